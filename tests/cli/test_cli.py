"""The command line does what the API does, over files, and says what is wrong in words."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

import skmrm
from skmrm import MetaRewardModel, UserModels, UserRewardModel, personalization_report, split_users
from skmrm.cli import COMMANDS, main
from skmrm.datasets import load_style_preferences
from skmrm.episodes import episodes_from_frame
from skmrm.episodes.files import open_source

HEAVY = {"torch", "sklearn", "scipy", "onnxruntime", "fastapi", "matplotlib"}


def write_csv(file, rows):
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.DictWriter(opened, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(file)


@pytest.fixture(scope="module")
def rows():
    episodes = load_style_preferences(n_users=24, n_pairs=10, random_state=0).episodes
    items = episodes.items
    return [
        {"who": episodes.users[user], "prompt": items[a][0], "chosen": items[a][1], "rejected": items[b][1]}
        for user, a, b in zip(episodes.user, episodes.chosen, episodes.rejected, strict=True)
    ]


@pytest.fixture(scope="module")
def folder(rows, tmp_path_factory):
    """Files as somebody has them, and what ``fit`` and ``adapt`` make of them."""
    folder = tmp_path_factory.mktemp("cli")
    choices = write_csv(folder / "choices.csv", rows)
    write_csv(folder / "ann.csv", [{**row, "who": "ann"} for row in rows[:5]])
    answers = [
        {"who": row["who"], "prompt": row["prompt"], "response": row[side]}
        for row in rows[:12]
        for side in ("chosen", "rejected")
    ]
    write_csv(folder / "answers.csv", answers)
    assert main(["fit", choices, "--user", "who", "-o", f"{folder}/model", "-q"]) == 0
    assert main(["adapt", f"{folder}/model", f"{folder}/ann.csv", "-o", f"{folder}/ann", "-q"]) == 0
    several = f"{folder}/team.sqlite"
    assert main(["adapt", f"{folder}/model", choices, "--user", "who", "-o", several, "-q"]) == 0
    return folder


@pytest.fixture(scope="module")
def choices(rows):
    return episodes_from_frame(rows, user="who")


@pytest.fixture(scope="module")
def model(folder):
    return MetaRewardModel.load(folder / "model")


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Call a command among the files; its exit code, and what it printed to either stream."""
    monkeypatch.chdir(folder)

    def call(*arguments):
        code = main(arguments)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(call):
    """Call a command that refuses, and what it says."""

    def refused(*arguments, code=2):
        found, out, err = call(*arguments)
        assert (found, out) == (code, "")
        assert "Traceback" not in err
        return err

    return refused


def answers(folder):
    with (folder / "answers.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def items(folder):
    return [(row["prompt"], row["response"]) for row in answers(folder)]


def test__fit__from_csv__is_the_fit_of_the_api(model, choices, folder):
    expected = MetaRewardModel(random_state=0).fit(choices)
    np.testing.assert_array_equal(model.predict(items(folder)), expected.predict(items(folder)))


def test__adapt__one_person__is_adapt_of_the_api(model, rows, folder):
    pairs = [(row["prompt"], row["chosen"], row["rejected"]) for row in rows[:5]]
    found = UserRewardModel.load(folder / "ann")
    np.testing.assert_array_equal(found.weights_, model.adapt(pairs).weights_)


def test__adapt__many__is_adapt_many_of_the_api(model, choices, folder):
    found, expected = UserModels.load(folder / "team.sqlite", model), model.adapt_many(choices)
    assert list(found) == list(expected)
    np.testing.assert_array_equal(found.weights_, expected.weights_)


@pytest.mark.parametrize("output", ["two", "two.sqlite"])
def test__adapt__update__adds_to_what_was_said(output, call, model, rows, tmp_path):
    one = [{**row, "who": "ann"} for row in rows[:10]]
    parts = [write_csv(tmp_path / f"{part}.csv", one[5 * part : 5 * part + 5]) for part in range(2)]
    whose = ("--user", "who", "-o", f"{tmp_path}/{output}")
    assert call("adapt", "model", parts[0], *whose)[0] == 0
    assert "updated" in call("adapt", "model", parts[1], *whose, "--update")[2]
    path = tmp_path / output
    found = UserModels.load(path, model)["ann"] if path.suffix else UserRewardModel.load(path)
    np.testing.assert_allclose(found.weights_, model.adapt(episodes_from_frame(one, user="who")).weights_, atol=1e-6)
    assert found.n_pairs_ == 10


def test__adapt__file_without_users__says_whom_it_takes_them_for(call, tmp_path):
    assert "(all taken for one person's)" in call("adapt", "model", "ann.csv", "-o", f"{tmp_path}/x")[2]


def test__score__person__rewards_and_ranks_within_prompts(call, folder, tmp_path):
    assert call("score", "ann", "answers.csv", "-o", f"{tmp_path}/scores.csv")[:2] == (0, "")
    found = open_source(tmp_path / "scores.csv").columns
    rewards = UserRewardModel.load(folder / "ann").predict(items(folder))
    np.testing.assert_array_equal(np.array(found["reward"], np.float32), rewards)
    for prompt in set(found["prompt"]):
        places = [place for place, one in enumerate(found["prompt"]) if one == prompt]
        better = [sum(rewards[other] > rewards[place] for other in places) + 1 for place in places]
        assert [int(found["rank"][place]) for place in places] == better


def test__score__rows_of_many__each_as_its_own_user(call, folder, model):
    code, out, _ = call("score", "model", "answers.csv", "--users", "team.sqlite", "--user", "who")
    assert code == 0
    users = UserModels.load(folder / "team.sqlite", model)
    asked = answers(folder)
    expected = [users[row["who"]].score(row["prompt"], row["response"]) for row in asked]
    found = list(csv.DictReader(out.splitlines(keepends=True)))
    np.testing.assert_allclose([float(row["reward"]) for row in found], expected, rtol=1e-5)
    assert [{name: row[name] for name in asked[0]} for row in found] == asked


def test__score__as_one_of_many__whatever_kind_its_id_is(call, folder, model, rows, tmp_path):
    numbered = [{**row, "who": 7} for row in rows[:5]]
    (tmp_path / "seven.json").write_text(json.dumps(numbered))
    whose = ("--user", "who", "-o", f"{tmp_path}/seven.sqlite")
    assert call("adapt", "model", f"{tmp_path}/seven.json", *whose)[0] == 0
    asked = ("score", "model", "answers.csv", "--users", f"{tmp_path}/seven.sqlite", "--as-user", "7")
    assert call(*asked, "-o", f"{tmp_path}/scores.jsonl")[0] == 0
    found = [json.loads(line)["reward"] for line in (tmp_path / "scores.jsonl").read_text("utf-8").splitlines()]
    expected = UserModels.load(tmp_path / "seven.sqlite", model)[7].predict(items(folder))
    np.testing.assert_array_equal(np.array(found, np.float32), expected)


def test__score__vectors__in_json_lines(call, planted, tmp_path):
    model = MetaRewardModel(max_epochs=0, random_state=0).fit(planted.episodes)
    model.save(tmp_path / "vectors")
    vectors = planted.episodes.features[:6]
    lines = [json.dumps({"response": row.tolist()}) for row in vectors]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    code, out, _ = call("score", f"{tmp_path}/vectors", f"{tmp_path}/items.jsonl", "--no-prompt")
    assert code == 0
    found = [float(row["reward"]) for row in csv.DictReader(out.splitlines())]
    np.testing.assert_allclose(found, model.predict(vectors), rtol=1e-6)


@pytest.mark.usefixtures("shared_fits")  # the command and the API fit the same
def test__report__of_a_file__fits_on_some_and_judges_the_others(call, choices, monkeypatch, tmp_path):
    monkeypatch.setattr("skmrm.report.report.frame_by_size", None)  # what needs pandas
    files = [f"{tmp_path}/report.{ending}" for ending in ("json", "html", "png", "txt")]
    wanted = [word for file in files for word in ("-o", file)]
    code, out, err = call("report", "choices.csv", "--user", "who", "--support-sizes", "0,3,99,all", *wanted)
    assert code == 0, err
    known, new = split_users(choices, 0.5, random_state=0)
    fitted = MetaRewardModel(random_state=0).fit(known)
    expected = personalization_report(fitted, new, support_sizes=(0, 3, 99, None))
    assert out == f"{expected}\n" == (tmp_path / "report.txt").read_text("utf-8")
    written = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert written == expected.to_dict()
    assert [row["n_support"] for row in written["rows"]] == [0, 3, 99, "all"]
    assert written["rows"][2]["n_users"] == 0
    assert written["rows"][2]["gain"] is None  # nobody reaches it: no number
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "data:image/png;base64," in page
    assert (tmp_path / "report.png").read_bytes()[:4] == b"\x89PNG"


def test__report__of_a_model__judges_all(call, model, choices):
    code, out, _ = call("report", "model", "--user", "who", "choices.csv", "--n-splits", "1", "--support-sizes", "all")
    assert code == 0
    assert out == f"{personalization_report(model, choices, n_splits=1, support_sizes=(None,))}\n"


def test__export__model_and_person__score_the_same(call, folder, model, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'skmrm[onnx]'")
    for name in ("model", "ann"):
        assert "100.0% of pairs are in the same order" in call("export", name, "-o", f"{tmp_path}/{name}")[2]
        (_, live, _), (_, served, _) = (call("score", path, "answers.csv") for path in (name, f"{tmp_path}/{name}"))
        rewards = [[float(row["reward"]) for row in csv.DictReader(text.splitlines())] for text in (live, served)]
        np.testing.assert_allclose(*rewards, atol=1e-5)


def test__export__users__has_a_row_for_each(call, folder, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'skmrm[onnx]'")
    from skmrm.serving import OnnxScorer

    assert call("export", "model", "--users", "team.sqlite", "-o", f"{tmp_path}/team")[0] == 0
    assert OnnxScorer(tmp_path / "team").weights.shape[0] == 24


def test__versions__are_those_of_the_api(call, capsys):
    code, out, _ = call("versions")
    skmrm.show_versions()
    assert (code, out) == (0, capsys.readouterr().out)
    assert f"skmrm: {skmrm.__version__}" in out
    for name in ("python", "numpy", "torch", "scikit-learn", "openblas"):
        assert name in out


FORMS = {
    "votes": (
        ["--response-a", "left", "--response-b", "right", "--winner", "won", "--word", "1=a", "--word", "2=b"],
        lambda row: {
            "who": row["who"],
            "prompt": row["prompt"],
            "left": row["rejected"],
            "right": row["chosen"],
            "won": 2,
        },
    ),
    "strengths and weights": (
        ["--strength", "much", "--weight", "often", "--time", "day", "--group", "prompt", "--shared-groups"],
        lambda row: row | {"much": 2, "often": 1.5, "day": 3},
    ),
    "recognised": (["--format", "auto"], lambda row: row),
}


@pytest.mark.parametrize("form", FORMS)
def test__choices__in_other_forms__are_read(form, call, rows, tmp_path):
    options, change = FORMS[form]
    file = write_csv(tmp_path / "other.csv", [change(row) for row in rows[:5]])
    assert call("adapt", "model", file, "--user", "who", *options, "-o", f"{tmp_path}/user")[0] == 0
    found = UserRewardModel.load(tmp_path / "user")
    assert found.n_pairs_ == 5
    if form != "strengths and weights":  # the model was fitted on choices, the same ones
        np.testing.assert_allclose(found.weights_, UserRewardModel.load("ann").weights_, rtol=1e-6)


def test__ratings__of_stars_in_a_csv__are_on_the_scale_of_the_model(call, rows, tmp_path):
    rated = [
        {"who": row["who"], "prompt": row["prompt"], "answer": row[side], "stars": stars}
        for row in rows[:80]
        for side, stars in (("chosen", 5), ("rejected", 2))
    ]
    columns = ("--user", "who", "--response", "answer", "--rating", "stars")
    file, few = write_csv(tmp_path / "stars.csv", rated), write_csv(tmp_path / "few.csv", rated[:1])
    code, _, err = call("fit", file, *columns, "--scale", "1,2,3,4,5", "-o", f"{tmp_path}/stars")
    assert code == 0, err
    assert err.startswith("read 160 ratings of 8 users\nfitted in ")
    assert err.endswith(f"wrote {tmp_path}/stars\n")
    assert MetaRewardModel.load(tmp_path / "stars").rating_scale_ == (1, 2, 3, 4, 5)
    assert call("adapt", f"{tmp_path}/stars", few, *columns, "-o", f"{tmp_path}/one")[0] == 0


WRONG = {
    "columns": (
        ["fit", "choices.csv", "--prompt", "promt", "-o", "new"],
        ["2 problems", "--user 'user_id' is not a column", "did you mean --prompt 'prompt'?"],
    ),
    "options": (
        [
            "fit",
            "nowhere.csv",
            "--random-state",
            "x",
            "--rating",
            "s",
            "--chosen",
            "c",
            "-o",
            "choices.csv",
            "--colour",
        ],
        [
            *("there is no option --colour", "no file or folder 'nowhere.csv'", "whole number of 0 or more, got 'x'"),
            *("--chosen of pairs; --rating of ratings", "'choices.csv' must be a folder", "5 mistakes"),
        ],
    ),
    "missing": (["fit", "choices.csv"], ["required: -o/--output", "skmrm fit --help"]),
    "close option": (["fit", "choices.csv", "-o", "new", "--usr", "who"], ["did you mean --user?"]),
    "other folder": (["fit", "choices.csv", "--user", "who", "-o", "."], ["holds something else"]),
    "several in a folder": (
        ["adapt", "model", "choices.csv", "--user", "who", "-o", "new"],
        ["choices of 24 users", "-o new.sqlite"],
    ),
    "no model": (["score", "choices.csv", "answers.csv"], ["no folder that skmrm fit"]),
    "users in place of a model": (["score", "team.sqlite", "answers.csv"], ["--users team.sqlite"]),
    "unknown user": (
        ["score", "model", "answers.csv", "--users", "team.sqlite", "--as-user", "zoe"],
        ["no user 'zoe'", "adapt it first"],
    ),
    "columns of responses": (
        ["score", "ann", "choices.csv", "--prompt", "asked"],
        [
            "2 mistakes",
            "--prompt 'asked' is not a column",
            "--response 'response' is not a column",
            "'who', 'prompt', 'chosen', 'rejected'",
        ],
    ),
    "outputs": (
        ["report", "choices.csv", "-o", "report.doc", "-o", "choices.csv", "--by-time", "--support-sizes", "a"],
        ["'report.doc' must end in .txt, .html", "would be lost", "--by-time needs --time", "as in 0,3,10,all"],
    ),
    "words": (["fit", "choices.csv", "--user", "who", "--outcome", "prompt", "-o", "new"], ["--word WORD=MEANING"]),
    "columns of one person": (
        ["adapt", "model", "answers.csv", "-o", "new"],
        [
            "2 problems",
            "--chosen 'chosen' is not a column of the table, whose columns are 'who', 'prompt', 'response'\n",
        ],
    ),
    "half a vote of one person": (
        ["adapt", "model", "answers.csv", "--response-a", "response", "-o", "new"],
        ["pass all of them, or none"],
    ),
    "no prompts": (["adapt", "model", "answers.csv", "--prompt", "asked", "-o", "new"], ["; pass --no-prompt if"]),
    "unknown format": (
        ["fit", "answers.csv", "--user", "who", "--format", "auto", "-o", "new"],
        ["the nearest of which is", "or leave --format out and name them"],
    ),
    "bundle": (["serve", "nowhere", "--database", "users.sqlite"], ["no file or folder 'nowhere'"]),
    "command": (["fitt"], ["there is no command 'fitt'; did you mean fit?"]),
    "extra": (["versions", "now"], ["one argument too many: 'now'"]),
    "encoder": (
        ["fit", "choices.csv", "--user", "who", "-o", "new", "--device", "abacus"],
        ["device takes 'auto', 'cpu', 'cuda'"],
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test__mistakes__all_of_a_call__are_told_without_a_traceback(mistake, refused, folder):
    arguments, sentences = WRONG[mistake]
    before = sorted(folder.iterdir())
    said = refused(*arguments)
    assert [sentence for sentence in sentences if sentence not in said] == []
    assert sorted(folder.iterdir()) == before


def test__model__that_was_altered__is_told(refused, folder, tmp_path):
    (tmp_path / "model").mkdir()
    for file in (folder / "model").iterdir():
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes().replace(b"e", b"a", 9))
    assert "altered" in refused("score", f"{tmp_path}/model", "answers.csv")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "skmrm versions: interrupted\n"),
        (ImportError("x needs y: pip install y"), 1, "skmrm versions: x needs y: pip install y\n"),
        (SystemExit(3), 1, ""),  # of a server that cannot listen, and has said so
        (
            OSError(28, "No space left on device", "model/config.json"),
            1,
            "model/config.json: No space left on device\n",
        ),
        (ZeroDivisionError("by nothing"), 1, "ZeroDivisionError: by nothing\n(--traceback shows where"),
    ],
)
def test__failures__are_told__by_code_and_words(error, code, said, refused, monkeypatch):
    def fail(options):
        raise error

    monkeypatch.setattr("skmrm.cli.versions.run", fail)
    assert said in refused("versions", code=code)


def test__failures__with_traceback__show_where(call, monkeypatch):
    monkeypatch.setattr("skmrm.cli.versions.run", lambda options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("versions", "--traceback")


def test__warnings__are_a_line__without_a_place_in_the_code(call, monkeypatch):
    import warnings

    def warn(options):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("few users", UserWarning, stacklevel=1)

    monkeypatch.setattr("skmrm.cli.versions.run", warn)
    assert call("versions")[2] == "warning: few users\n"


@pytest.mark.parametrize("command", COMMANDS)
def test__help__of_a_command__is_a_page_that_ends_with_an_example(command, call):
    code, out, _ = call(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: skmrm {command}")
    assert out.rpartition("example:\n")[2].startswith(f"  skmrm {command}")
    assert out.count("\n") < 80


def test__python_m_skmrm__every_page_of_help__loads_nothing_heavy():
    script = (
        "import runpy, sys\n"
        f"for name in {list(COMMANDS)} + ['']:\n"
        "    sys.argv = ['skmrm', *name.split(), '--help']\n"
        "    try: runpy.run_module('skmrm.cli', run_name='__main__')\n"
        "    except SystemExit as end: assert end.code == 0\n"
        f"print(sorted({HEAVY} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.rstrip().endswith("[]")
    assert "usage: skmrm COMMAND" in run.stdout
