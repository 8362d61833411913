"""The labelling page: what it asks and learns, alone and in a browser, and that texts stay texts."""

import json
import re
import shutil
from contextlib import contextmanager
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from skmrm import MetaRewardModel
from skmrm.datasets import load_style_preferences

pytest.importorskip("httpx", reason="needs httpx: pip install 'skmrm[dev]'")
for needed in ("fastapi", "uvicorn", "onnx", "onnxruntime"):
    pytest.importorskip(needed, reason=f"needs {needed}: pip install 'skmrm[dev]'")

from fastapi.testclient import TestClient  # noqa: E402

from skmrm.service import Limits, create_app  # noqa: E402
from skmrm.service.command import main  # noqa: E402
from skmrm.service.errors import StartError  # noqa: E402
from skmrm.service.pool import read_pool  # noqa: E402

SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER and find_spec("selenium")),
    reason="needs chromium, chromedriver and selenium: apt-get install chromium-driver, pip install 'skmrm[dev]'",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Bundles of models that know ties, and that do not; a pool; and rewards of somebody who likes short answers."""
    folder = tmp_path_factory.mktemp("labelling")
    data = load_style_preferences(n_users=48, random_state=0)
    episodes, model = data.episodes, MetaRewardModel(n_bases=4, max_epochs=1, random_state=0, device="cpu")
    gaps = data.rewards[episodes.user, episodes.chosen] - data.rewards[episodes.user, episodes.rejected]
    model.fit(episodes._with(outcome=np.where(np.abs(gaps) < 0.35, 0, 1))).export_onnx(folder / "ties")
    answers = {}
    for prompt, response in episodes.items:
        answers.setdefault(prompt, []).append(response)
    write_pool(folder / "pool.jsonl", answers)
    write_pool(folder / "small.jsonl", {prompt: answers[prompt][:3] for prompt in list(answers)[:2]})
    short = -3 * data.traits[:, data.taste_names.index("length")]
    rewards = dict(zip(episodes.items, short, strict=True))
    return SimpleNamespace(folder=folder, bundle=folder / "ties", pool=folder / "pool.jsonl", rewards=rewards)


@pytest.fixture(scope="module")
def plain_bundle(world, text_model):
    """Of a model in whose fit nobody tied."""
    text_model.export_onnx(world.folder / "plain")
    return world.folder / "plain"


def write_pool(file, answers):
    lines = [json.dumps({"prompt": prompt, "responses": responses}) for prompt, responses in answers.items()]
    file.write_text("\n".join(lines) + "\n")


@contextmanager
def labelling(bundle, database, pool):
    with TestClient(create_app(bundle, database, pool=pool)) as client:
        yield client


def send(client, key, choice, user="ann"):
    return client.post(f"/users/{user}/label", json={"key": key, "choice": choice})


def asked(client, user="ann"):
    return client.get(f"/users/{user}/label").raise_for_status().json()


def test__answer__left_or_right__is_the_update_with_the_chosen_response(world, tmp_path):
    with labelling(world.bundle, tmp_path / "users.sqlite", world.pool) as client:
        for choice in ("left", "right", "right"):
            question = asked(client)["question"]
            send(client, question["key"], choice).raise_for_status()
            chosen, rejected = (question[side] for side in (choice, "left" if choice == "right" else "right"))
            pair = {"prompt": question["prompt"], "chosen": chosen, "rejected": rejected}
            client.post("/users/bo/update", json={"pairs": [pair]}).raise_for_status()
        ann, bo = (client.get(f"/users/{user}").json() for user in ("ann", "bo"))
        np.testing.assert_allclose(ann["weights"], bo["weights"], atol=1e-9)
        assert ann["gaps"] == bo["gaps"]
        assert (ann["n_pairs"], len(ann["asked"]), bo["asked"]) == (3, 3, [])


def test__question__is_the_most_telling_of_those_not_asked__until_none_is_left(world, tmp_path):
    pool, seen = world.folder / "small.jsonl", []
    for restart in range(3):  # a service of its own each time, over the same file
        with labelling(world.bundle, tmp_path / "users.sqlite", pool) as client:
            for choice in ("left", "skip"):
                state = asked(client)
                assert state == asked(client)  # the same until it is answered
                assert (state["n_asked"], state["n_left"]) == (len(seen), 6 - len(seen))
                seen.append(frozenset(state["question"][name] for name in ("prompt", "left", "right")))
                after = send(client, state["question"]["key"], choice).json()
                assert after == asked(client)
            assert after["n_choices"] == restart + 1
    assert after["question"] is None
    assert after["n_left"] == 0
    assert len(set(seen)) == 6
    with labelling(world.bundle, tmp_path / "users.sqlite", world.pool) as client:  # the pool of all prompts
        assert asked(client)["n_left"] == 60 * 15 - 6


def test__question__first__is_what_the_question_route_asks(world, tmp_path):
    with labelling(world.bundle, tmp_path / "users.sqlite", world.folder / "small.jsonl") as client:
        items = [
            {"prompt": prompt, "response": response}
            for prompt, response in read_pool(world.folder / "small.jsonl", 20_000)
        ]
        (wanted,) = client.post("/users/ann/question", json={"items": items}).json()["questions"]
        found = asked(client)["question"]
        assert found["prompt"] == wanted["prompt"]
        assert {found["left"], found["right"]} == {wanted["response_a"], wanted["response_b"]}
        assert found["information"] == pytest.approx(wanted["information"])


def test__sides__of_many_users__are_drawn_by_chance_and_stay(world, tmp_path):
    with labelling(world.bundle, tmp_path / "users.sqlite", world.pool) as client:
        left = [asked(client, f"user{number}")["question"]["left"] for number in range(80)]
        assert left[:20] == [asked(client, f"user{number}")["question"]["left"] for number in range(20)]
    counts = [left.count(text) for text in set(left)]
    assert len(counts) == 2
    assert min(counts) > 20  # 40 expected, of a standard deviation of 4.5


def test__answer__sent_again__counts_once(world, tmp_path):
    with labelling(world.bundle, tmp_path / "users.sqlite", world.pool) as client:
        key = asked(client)["question"]["key"]
        first = send(client, key, "left").json()
        assert send(client, key, "right").json() == first
        assert first["n_choices"] == first["n_asked"] == 1


def test__answer__tie__counts_where_the_model_knows_ties_and_is_refused_elsewhere(world, plain_bundle, tmp_path):
    with labelling(world.bundle, tmp_path / "ties.sqlite", world.pool) as client:
        for choice in ("left", "tie"):
            state = asked(client)
            assert state["ties"]
            send(client, state["question"]["key"], choice).raise_for_status()
        assert client.get("/users/ann").json()["said"]["outcome"] == [-1, 0]
        assert asked(client)["n_choices"] == 2
    with labelling(plain_bundle, tmp_path / "plain.sqlite", world.pool) as client:
        state = asked(client)
        assert not state["ties"]
        refused = send(client, state["question"]["key"], "tie")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "cannot_tie")
        send(client, state["question"]["key"], "left").raise_for_status()
        assert client.get("/users/ann").json()["said"] == {}


def test__asked__is_kept_by_update__and_forgotten_by_adapt_and_delete(world, tmp_path):
    file, pair = tmp_path / "users.sqlite", {"prompt": "Tea?", "chosen": "Yes.", "rejected": "Well, perhaps, why not?"}
    with labelling(world.bundle, file, world.pool) as client:
        key = asked(client)["question"]["key"]
        for change, kept in (("update", 1), ("adapt", 0)):
            send(client, key, "skip").raise_for_status()
            client.post(f"/users/ann/{change}", json={"pairs": [pair]}).raise_for_status()
            assert asked(client)["n_asked"] == kept
        send(client, key, "left").raise_for_status()
        assert bytes.fromhex(key) in b"".join(path.read_bytes() for path in tmp_path.glob("users.sqlite*"))
        assert client.delete("/users/ann").status_code == 204
        assert bytes.fromhex(key) not in b"".join(path.read_bytes() for path in tmp_path.glob("users.sqlite*"))
        assert asked(client)["n_asked"] == 0
    assert not any(text.encode() in file.read_bytes() for text in ("Tea?", "perhaps"))


def test__answer__of_what_was_never_asked__is_refused(world, tmp_path):
    with labelling(world.bundle, tmp_path / "users.sqlite", world.pool) as client:
        refused = send(client, "0" * 16, "left")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_question")
        for key, choice in (("short", "left"), ("0" * 16, "both")):
            refused = send(client, key, choice)
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
        assert client.get("/users").json()["users"] == []


def test__answers__more_than_may_be_kept__are_refused_and_the_question_stays(world, tmp_path):
    app = create_app(world.bundle, tmp_path / "users.sqlite", Limits(kept=1), pool=world.pool)
    with TestClient(app) as client:
        send(client, asked(client)["question"]["key"], "left").raise_for_status()
        state = asked(client)
        refused = send(client, state["question"]["key"], "left")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "too_many_choices")
        assert asked(client) == state


def test__pool__with_mistakes__names_all_lines(tmp_path):
    good = {"prompt": "p", "responses": ["a", "b"]}
    lines = [
        (json.dumps(good), None),
        ("", None),
        ("{", "is no JSON"),
        ("[]", "is a JSON list, not an object"),
        (json.dumps(good | {"prompt": None}), "has no prompt"),
        (json.dumps(good | {"prompt": 3}), "has a prompt that is no text"),
        (json.dumps({"prompt": "p"}), "has no responses"),
        (json.dumps(good | {"responses": "ab"}), "has responses that are no list of texts"),
        (json.dumps(good | {"responses": ["a", 1]}), "has responses that are no list of texts"),
        (json.dumps(good | {"responses": ["a", "a"]}), "has fewer than two different responses"),
        (json.dumps(good | {"responses": ["a", "b" * 101]}), "has a text of 101 characters, more than 100"),
    ]
    file = tmp_path / "pool.jsonl"
    for number, (line, problem) in enumerate(lines, 1):
        if problem:
            file.write_text("\n" * (number - 1) + line)
            with pytest.raises(StartError, match=f"line {number} {re.escape(problem)}"):
                read_pool(file, 100)
    file.write_text("\n".join(line for line, _ in lines))
    with pytest.raises(StartError, match=r"line 3 .*line 7 .*and 4 more$"):
        read_pool(file, 100)
    file.write_text("\n".join([lines[0][0], "", lines[0][0]]))
    assert read_pool(file, 100) == [("p", "a"), ("p", "b")]
    for content in (b"", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(StartError, match=r"it is empty|cannot read the pool"):
            read_pool(file, 100)
    with pytest.raises(StartError, match="cannot read the pool"):
        read_pool(tmp_path / "missing", 100)


def test__start__of_what_cannot_label__says_why(world, model, gradient_model, tmp_path):
    model.export_onnx(tmp_path / "features")
    with pytest.raises(StartError, match="labelling shows texts"):
        create_app(tmp_path / "features", tmp_path / "users.sqlite", pool=world.pool)
    given = ["--bundle", str(world.bundle), "--database", str(tmp_path / "users.sqlite")]
    for more, says in ((["--label"], "add --pool FILE"), (["--pool", "file"], "add --label")):
        with pytest.raises(SystemExit, match=f"--label and --pool go together: {says}"):
            main([*given, *more])


def test__page__is_there_only_with_a_pool__and_may_load_nothing_from_elsewhere(world, tmp_path):
    with TestClient(create_app(world.bundle, tmp_path / "none.sqlite")) as client:
        assert client.get("/label").status_code == client.get("/users/ann/label").status_code == 404
    with labelling(world.bundle, tmp_path / "users.sqlite", world.pool) as client:
        for path, kind in (("", "html"), ("label", "html"), ("label/page.js", "javascript"), ("label/page.css", "css")):
            found = client.get(f"/{path}").raise_for_status()
            assert kind in found.headers["content-type"]
            assert "default-src 'none'" in found.headers["content-security-policy"]
            assert "unsafe" not in found.headers["content-security-policy"]
            assert not re.search(r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|\son\w+=", found.text)
            assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=", found.text)
        paths = client.get("/openapi.json").json()["paths"]
        assert set(paths["/users/{user_id}/label"]) == {"get", "post"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1280,1000",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


class Page:
    """The page as somebody uses it."""

    def __init__(self, browser, client):
        self.browser, self.client = browser, client

    def open(self, end=""):
        self.browser.get("about:blank")
        self.browser.get(f"{self.client.base_url}/label{end}")
        return self

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def text(self, selector):
        return self.find(selector).get_property("textContent")

    def click(self, selector):
        self.find(selector).click()

    def press(self, keys):
        self.find("body").send_keys(keys)

    def wait(self, said, selector="#status"):
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 60, 0.02).until(
            lambda _: re.search(said, self.text(selector)) and not self.find("#asking").get_attribute("aria-busy"),
            f"{selector} says {self.text(selector)!r}, not {said!r}",
        )
        return self

    def better(self, rewards):
        """Which side somebody likes."""
        prompt = self.text("#prompt")
        return "left" if rewards[prompt, self.text("#left")] > rewards[prompt, self.text("#right")] else "right"


@needs_browser
def test__browser__twenty_choices_with_a_restart_in_the_middle__nothing_is_lost(world, serving, browser, tmp_path):
    file = tmp_path / "users.sqlite"
    with serving(world.bundle, file, pool=world.pool) as client:
        page, port = Page(browser, client).open(), client.base_url.port
        page.find("#user").send_keys("ann\n")
        page.wait("^0 choices so far, 900 left")
        assert page.browser.current_url.endswith("/label#ann")
        for number in range(1, 11):
            page.click(f"[data-choice={page.better(world.rewards)}]")
            page.wait(rf"^Saved\. {number} choices? so far")
    page.click(f"[data-choice={page.better(world.rewards)}]")
    page.wait("cannot be reached", "#problem")
    with serving(world.bundle, file, pool=world.pool, port=port) as client:
        for number in range(11, 21):
            page.press("\ue012" if page.better(world.rewards) == "left" else "\ue014")  # arrows
            page.wait(rf"^Saved\. {number} choices so far")
            assert page.text("#problem") == ""
        page.open().wait("^20 choices so far, 880 left")  # remembered without a name in the address
        assert page.text("#name") == "ann"
        kept = client.get("/users/ann").json()
        assert (kept["n_pairs"], len(set(kept["asked"]))) == (20, 20)
        assert "shorter answers" in page.text("#effects")
        items, truth = zip(*list(world.rewards.items())[:200], strict=True)
        body = {"items": [{"prompt": prompt, "response": response} for prompt, response in items]}
        rewards = client.post("/users/ann/score", json=body).json()["rewards"]
        assert np.corrcoef(rewards, truth)[0, 1] > 0.5
        new = client.post("/users/nobody/score", json=body).json()["rewards"]
        assert np.corrcoef(rewards, truth)[0, 1] > np.corrcoef(new, truth)[0, 1] + 0.2


@needs_browser
def test__browser__tie_skip_and_forget__by_keyboard(world, serving, browser, tmp_path):
    with serving(world.bundle, tmp_path / "users.sqlite", pool=world.pool) as client:
        page = Page(browser, client).open("#bo.who-leaves").wait("^0 choices")
        for keys, said in (("t", "Saved. 1 choice "), ("s", "Skipped. 1 choice "), ("b", "Saved. 2 choices ")):
            page.press(keys)
            page.wait(re.escape(said))
        kept = client.get("/users/bo.who-leaves").json()
        assert kept["said"]["outcome"] == [0, -1]
        assert len(kept["asked"]) == 3
        page.click("#forget")
        page.press("s")  # not while the page waits for an answer of another kind
        page.click("#forget-yes")
        page.wait("^Forgotten")
        assert page.find("#enter").is_displayed()
        assert not page.find("#asking").is_displayed()
        assert client.get("/users/bo.who-leaves").status_code == 404
        assert not any(b"bo.who-leaves" in path.read_bytes() for path in tmp_path.iterdir())
        page.open()
        assert page.find("#enter").is_displayed()


@needs_browser
def test__browser__tie__has_no_button_where_the_model_knows_none(world, plain_bundle, serving, browser, tmp_path):
    with serving(plain_bundle, tmp_path / "users.sqlite", pool=world.pool) as client:
        page = Page(browser, client).open("#cy").wait("^0 choices")
        assert not page.find("#tie").is_displayed()
        page.press("t")
        page.press("a")
        page.wait("^Saved. 1 choice ")


@needs_browser
def test__browser__script_in_texts_and_name__stays_text(world, serving, browser, tmp_path):
    pool = tmp_path / "pool.jsonl"
    write_pool(pool, {f"{SCRIPT} prompt": [f"{SCRIPT} one\n\n- two", f"**b** {SCRIPT}"]})
    with serving(world.bundle, tmp_path / "users.sqlite", pool=pool) as client:
        page = Page(browser, client).open("#eve").wait("^0 choices")
        assert page.text("#prompt") == f"{SCRIPT} prompt"
        assert {page.text("#left"), page.text("#right")} == {f"{SCRIPT} one\n\n- two", f"**b** {SCRIPT}"}
        page.press("a")
        page.wait("^Saved. 1 choice so far")
        assert page.find("#done").is_displayed()
        page.click("#change")
        page.find("#user").send_keys(f"{SCRIPT}\n")
        page.wait("A name has letters", "#problem")
        assert SCRIPT[:20] in page.text("#problem")
        page.open(f"#{SCRIPT}").wait("A name has letters", "#problem")
        assert page.browser.title == "Which answer is better?"
        assert page.browser.find_elements("css selector", "main img, main script, header img, header script") == []
        assert [user["user_id"] for user in client.get("/users").json()["users"]] == ["eve"]
