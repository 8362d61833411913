"""The service: its answers are the live model's, it keeps what it acknowledged, and it says no in one form."""

import argparse
import asyncio
import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict

import numpy as np
import pytest

from skmrm import Episode, MetaRewardModel
from skmrm.episodes import as_episode_set
from skmrm.exceptions import EpisodeError
from skmrm.serving import OnnxScorer

httpx = pytest.importorskip("httpx", reason="needs httpx: pip install 'skmrm[dev]'")
for needed in ("fastapi", "uvicorn", "onnx", "onnxruntime"):
    pytest.importorskip(needed, reason=f"needs {needed}: pip install 'skmrm[dev]'")

from fastapi.testclient import TestClient  # noqa: E402

from skmrm.service.app import create_app, fingerprint  # noqa: E402
from skmrm.service.command import add_arguments, main  # noqa: E402
from skmrm.service.errors import ServiceError, StartError, error_response  # noqa: E402
from skmrm.service.limits import Limits, RequestLimits  # noqa: E402
from skmrm.service.store import WeightStore, _empty_log  # noqa: E402

SMALL_LIMITS = "Limits(pairs=3, items=3, questions=2, kept=5, characters=40, id_characters=8, body_bytes=2000)"
PROMPT = "How do I boil an egg?"


@pytest.fixture(scope="module")
def bundles(model, text_model, few_episodes, small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    model.export_onnx(folder / "features")
    text_model.export_onnx(folder / "text")
    model.adapt(few_episodes[0]).export_onnx(folder / "one_user")
    return folder


@pytest.fixture(scope="module")
def text_service(serving, bundles, tmp_path_factory):
    with serving(bundles / "text", tmp_path_factory.mktemp("database") / "users.sqlite") as client:
        yield client


@pytest.fixture(scope="module")
def small_text_service(serving, bundles, tmp_path_factory):
    database = tmp_path_factory.mktemp("database") / "users.sqlite"
    with serving(bundles / "text", database, SMALL_LIMITS) as client:
        yield client


@pytest.fixture(scope="module")
def feature_service(serving, bundles, tmp_path_factory):
    with serving(bundles / "features", tmp_path_factory.mktemp("database") / "users.sqlite") as client:
        yield client


def post(client, path, body):
    return client.post(path, json=body).raise_for_status().json()


def query(**given):
    """The end of a path, with what is not None."""
    found = [f"{name}={value}" for name, value in given.items() if value is not None]
    return f"?{'&'.join(found)}" if found else ""


def workers(port):
    """Arguments of two processes that share a database."""
    where = ["--factory", "skmrm.service.app:from_environment", "--port", str(port)]
    return ["-m", "uvicorn", *where, "--workers", "2", "--no-access-log"]


async def in_process(app, *request, **options):
    """One request to an application, from its start to its end."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        return await client.request(*request, **options)


def text_pairs(episode):
    rows = zip(episode.prompts, episode.chosen, episode.rejected, strict=True)
    return [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in rows]


def thumbs_of(episode):
    """Of each pair one response: up what was chosen, down what was not."""
    up = np.arange(len(episode)) % 2 == 0
    alone = np.where(up[:, None], episode.chosen, episode.rejected)
    return Episode(episode.user, alone, alone, groups=episode.groups, ratings=np.where(up, 2, 1))


def feature_pairs(episode):
    rows = zip(episode.chosen.tolist(), episode.rejected.tolist(), strict=True)
    return [{"chosen": chosen, "rejected": rejected} for chosen, rejected in rows]


def one_pair(**changes):
    return {"prompt": PROMPT, "chosen": "Ten minutes.", "rejected": "Maybe seven?", **changes}


def refusal(response, status, code):
    """The error of a response that has the one form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) == {"code", "message", "problems"}
    assert error["code"] == code
    assert "Traceback" not in response.text
    return error


def test__environment__of_the_service__has_no_torch(environment):
    for name in ("torch", "sklearn", "scipy.linalg", "transformers"):
        run = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, text=True, env=environment)
        assert f"{name.partition('.')[0]} is blocked" in run.stderr


def test__health__says_what_is_served(text_service, feature_service, text_model, model):
    for client, kind, served in ((text_service, "text", text_model), (feature_service, "features", model)):
        found = client.get("/health").json()
        assert found["status"] == "ok"
        assert (found["kind"], found["n_bases"]) == (kind, len(served.start_weights_))
        assert found["schema_version"] == 1
        assert found["n_users"] >= 0
        assert found["package_version"]


def test__adapt__texts__rewards_and_order_are_those_of_the_live_model(text_service, text_model, known_and_new):
    user, other = known_and_new[1][0], known_and_new[1][1]
    answer = post(text_service, "/users/ann/adapt", {"pairs": text_pairs(user)})
    assert answer == {"user_id": "ann", "n_pairs": len(user), "n_bases": len(text_model.start_weights_)}
    adapted = text_model.adapt(user)
    items = [*zip(other.prompts, other.chosen, strict=True), ("", ""), ("Ça va?", "😀")]
    wanted = [{"prompt": prompt, "response": response} for prompt, response in items]
    scores = post(text_service, "/users/ann/score", {"items": wanted})
    np.testing.assert_allclose(scores["rewards"], adapted.predict(items), atol=1e-5)
    assert (scores["units"], scores["known_user"]) == ("logits", True)
    responses = [*other.chosen, *other.rejected]
    ranking = post(text_service, "/users/ann/rank", {"prompt": PROMPT, "responses": responses})
    assert ranking["order"] == adapted.rank(PROMPT, responses).tolist()
    np.testing.assert_allclose(ranking["rewards"], adapted.score(PROMPT, responses), atol=1e-5)


def test__adapt__feature_vectors__rewards_and_order_are_those_of_the_live_model(feature_service, model, episodes):
    user, other = episodes[3], episodes[4]
    answer = post(feature_service, "/users/ann/adapt", {"pairs": feature_pairs(user)})
    assert answer == {"user_id": "ann", "n_pairs": len(user), "n_bases": len(model.start_weights_)}
    adapted = model.adapt(user)
    body = {"features": other.chosen.tolist()}
    scores = post(feature_service, "/users/ann/score", body)
    np.testing.assert_allclose(scores["rewards"], adapted.predict(other.chosen), atol=1e-5)
    ranking = post(feature_service, "/users/ann/rank", body)
    assert ranking["order"] == adapted.rank(None, other.chosen).tolist()
    assert ranking["rewards"] == scores["rewards"]


def test__adapt__ties_strengths_and_weights__weights_are_those_of_the_live_model(feature_service, model, episodes):
    user, other = episodes[5], episodes[6]
    said = [{"outcome": 0}, {"weight": 2.5}, {"outcome": 3, "weight": 0.5}, {}]
    pairs = [pair | said[place % 4] for place, pair in enumerate(feature_pairs(user))]
    post(feature_service, "/users/ann/adapt", {"pairs": pairs})
    adapted = model.adapt([{"outcome": 1, "weight": 1.0} | pair for pair in pairs])
    rewards = post(feature_service, "/users/ann/score", {"features": other.chosen.tolist()})["rewards"]
    np.testing.assert_allclose(rewards, adapted.predict(other.chosen), atol=1e-5)
    assert np.abs(adapted.weights_ - model.adapt(user).weights_).max() > 1e-3


def test__adapt__thumbs_and_choices__weights_are_those_of_the_live_model(serving, episodes, tmp_path):
    model = MetaRewardModel(n_bases=3, random_state=0, device="cpu")
    rated = [thumbs_of(episode) for episode in episodes]
    model.fit(as_episode_set(rated)._with(scale=(False, True))).export_onnx(tmp_path / "bundle")
    user, other = episodes[5], episodes[6]
    responses = user.chosen[:6].tolist()
    ratings = [{"response": x, "rating": bool(row % 2), "weight": 1 + row} for row, x in enumerate(responses)]
    pairs = feature_pairs(user)[6:]
    with serving(tmp_path / "bundle", tmp_path / "users.sqlite") as client:
        for said in ({"ratings": ratings}, {"ratings": ratings, "pairs": pairs}):
            answer = post(client, "/users/ann/adapt", said)
            assert answer["n_pairs"] == len(ratings) + len(said.get("pairs", []))
            adapted = model.adapt([*ratings, *said.get("pairs", [])])
            rewards = post(client, "/users/ann/score", {"features": other.chosen.tolist()})["rewards"]
            np.testing.assert_allclose(rewards, adapted.predict(other.chosen), atol=1e-5)
        for wrong in (5, "superb"):
            body = {"ratings": [{"response": responses[0], "rating": wrong}]}
            error = refusal(client.post("/users/ann/adapt", json=body), 422, "unusable_pairs")
            assert "rating" in error["message"]


def test__adapt__thumbs_of_a_model_without_any__are_refused(feature_service, episodes):
    body = {"ratings": [{"response": episodes[0].chosen[0].tolist(), "rating": True}]}
    error = refusal(feature_service.post("/users/ann/adapt", json=body), 422, "unusable_pairs")
    assert "ratings need a model that was fitted on some" in error["message"]


def test__adapt__user_features__are_those_of_the_live_model_before_and_after_choices(planted, episodes, tmp_path):
    model = MetaRewardModel(n_bases=2, kernel=None, random_state=0, device="cpu")
    model.fit(episodes, user_features=planted.weights).export_onnx(tmp_path / "bundle")
    row, pairs = planted.weights[0].tolist(), feature_pairs(episodes[0])
    with TestClient(create_app(tmp_path / "bundle", tmp_path / "users.sqlite")) as client:
        post(client, "/users/ann/adapt", {"user_features": row})
        before = client.get("/users/ann").json()
        np.testing.assert_allclose(before["weights"], model.adapt([], user_features=row).weights_, atol=1e-5)
        assert np.abs(before["shift"]).max() > 0.1
        post(client, "/users/ann/update", {"pairs": pairs})
        after = client.get("/users/ann").json()
        np.testing.assert_allclose(after["weights"], model.adapt(pairs, user_features=row).weights_, atol=1e-5)
        assert after["shift"] == before["shift"]
        for wrong, code in (([["nested"]], "invalid_request"), (["a text"], "unusable_pairs")):
            refusal(client.post("/users/ann/adapt", json={"user_features": wrong}), 422, code)


def test__adapt__user_features_of_a_model_without_any__are_refused(feature_service):
    refused = feature_service.post("/users/ann/adapt", json={"user_features": {"age": 30}})
    assert "leave them out" in refusal(refused, 422, "cannot_use_features")["message"]


def test__adapt__a_second_time__replaces_what_the_first_said(feature_service, episodes):
    body = {"features": episodes[0].chosen.tolist()}
    rewards = []
    for user_id, users in (("first", [1]), ("second", [2]), ("both", [1, 2])):
        for row in users:
            post(feature_service, f"/users/{user_id}/adapt", {"pairs": feature_pairs(episodes[row])})
        rewards.append(post(feature_service, f"/users/{user_id}/score", body)["rewards"])
    assert rewards[2] == rewards[1] != rewards[0]


def test__update__after_adapt__is_the_live_models_update(
    text_service, feature_service, text_model, model, known_and_new
):
    user, other = known_and_new[1][2], known_and_new[1][3]
    pairs = text_pairs(user)
    post(text_service, "/users/updated/adapt", {"pairs": pairs[:4]})
    for some in (pairs[4:5], pairs[5:]):
        answer = post(text_service, "/users/updated/update", {"pairs": some})
    assert answer == {"user_id": "updated", "n_pairs": len(user), "n_bases": len(text_model.start_weights_)}
    live = text_model.adapt(pairs[:4]).update(pairs[4:])
    items = [*zip(other.prompts, other.chosen, strict=True)]
    body = {"items": [{"prompt": prompt, "response": response} for prompt, response in items]}
    rewards = post(text_service, "/users/updated/score", body)["rewards"]
    np.testing.assert_allclose(rewards, live.predict(items), atol=1e-5)
    np.testing.assert_allclose(rewards, text_model.adapt(user).predict(items), atol=1e-5)


def test__update__times_ties_and_weights__are_the_live_models(feature_service, model, episodes):
    said = [{"outcome": 0}, {"weight": 2.5}, {"outcome": 3, "weight": 0.5}, {}]
    timed = [pair | {"time": 10.0 * place} for place, pair in enumerate(feature_pairs(episodes[7]))]
    pairs = [pair | said[place % 4] for place, pair in enumerate(timed[:-2])]
    full = [{"outcome": 1, "weight": 1.0} | pair for pair in pairs]
    body = {"features": episodes[8].chosen.tolist()}
    post(feature_service, "/users/timed/adapt?half_life=30", {"pairs": pairs[:5]})
    for half_life, live in ((30.0, model.adapt(full[:5], half_life=30)), (None, model.adapt(full[:5]))):
        post(feature_service, f"/users/timed/adapt{query(half_life=half_life)}", {"pairs": pairs[:5]})
        rewards = post(feature_service, "/users/timed/score", body)["rewards"]
        np.testing.assert_allclose(rewards, live.predict(episodes[8].chosen), atol=1e-5)
        post(feature_service, f"/users/timed/update{query(half_life=half_life)}", {"pairs": pairs[5:]})
        rewards = post(feature_service, "/users/timed/score", body)["rewards"]
        live = live.update(full[5:], half_life=half_life)
        np.testing.assert_allclose(rewards, live.predict(episodes[8].chosen), atol=1e-5)
    timeless = {"pairs": feature_pairs(episodes[7])[-2:]}
    refused = feature_service.post("/users/timed/update?half_life=30", json=timeless)
    assert "give all of them a time" in refusal(refused, 422, "unusable_pairs")["message"]
    assert feature_service.get("/users/timed").json()["n_pairs"] == len(pairs)
    post(feature_service, "/users/timed/update", timeless)
    mixed = {"pairs": [pairs[0], timeless["pairs"][0]]}
    refusal(feature_service.post("/users/timed/update", json=mixed), 422, "invalid_request")


def test__update__of_nobody__is_adapt(feature_service, episodes):
    body = {"features": episodes[0].chosen.tolist()}
    for call in ("adapt", "update"):
        assert post(feature_service, f"/users/by-{call}/{call}", {"pairs": feature_pairs(episodes[6])})["n_pairs"] > 0
    rewards = [post(feature_service, f"/users/by-{call}/score", body)["rewards"] for call in ("adapt", "update")]
    assert rewards[0] == rewards[1]


def test__update__more_than_may_be_kept__is_refused_and_changes_nothing(small_text_service):
    for n_new in (3, 2):
        n_pairs = post(small_text_service, "/users/full/update", {"pairs": [one_pair()] * n_new})["n_pairs"]
    assert n_pairs == 5
    response = small_text_service.post("/users/full/update", json={"pairs": [one_pair()]})
    error = refusal(response, 409, "too_many_choices")
    assert "adapt with those that still count" in error["message"]
    assert small_text_service.get("/users/full").json()["n_pairs"] == 5


def test__update__many_at_a_time_in_several_processes__loses_none(running, serving, bundles, model, episodes, tmp_path):
    variables = {"SCORER_BUNDLE": str(bundles / "features"), "SCORER_DATABASE": str(tmp_path / "users.sqlite")}
    pairs, body = feature_pairs(episodes[2]), {"features": episodes[0].chosen.tolist()}

    def update(pair):
        with httpx.Client(base_url=client.base_url, timeout=None, trust_env=False) as own:
            while (response := own.post("/users/ann/update", json={"pairs": [pair]})).status_code == 503:
                time.sleep(0.1)  # as Retry-After says, or nearly
            return response.raise_for_status().json()["n_pairs"]

    with running(workers, variables) as (client, _), ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(update, pairs)) == [*range(1, len(pairs) + 1)]
    with serving(bundles / "features", tmp_path / "users.sqlite") as client:
        rewards = post(client, "/users/ann/score", body)["rewards"]
        np.testing.assert_allclose(rewards, model.adapt(pairs).predict(episodes[0].chosen), atol=1e-5)
        post(client, "/users/ann/update", {"pairs": feature_pairs(episodes[3])})
        rewards = post(client, "/users/ann/score", body)["rewards"]
        live = model.adapt(pairs).update(episodes[3])
        np.testing.assert_allclose(rewards, live.predict(episodes[0].chosen), atol=1e-5)


def same_questions(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        sides = [np.asarray(side).tolist() for side in (other.response_a, other.response_b)]
        assert (one["prompt"], one["response_a"], one["response_b"]) == (other.prompt, *sides)
        assert (one["first"], one["second"]) == (other.first, other.second)
        assert one["information"] == pytest.approx(other.information, abs=1e-5)


def test__question__texts__are_those_of_the_live_user(text_service, text_model, known_and_new):
    user, other = known_and_new[1][0], known_and_new[1][1]
    post(text_service, "/users/asked/adapt", {"pairs": text_pairs(user)})
    responses = [*other.chosen[:6], *other.rejected[:6]]
    items = [*zip([*other.prompts[:6]] * 2, responses, strict=True)]
    listed = [{"prompt": prompt, "response": response} for prompt, response in items]
    for user_id, live in (("asked", text_model.adapt(user)), ("nobody", text_model.adapt([]))):
        found = post(text_service, f"/users/{user_id}/question", {"prompt": PROMPT, "responses": responses, "n": 3})
        same_questions(found["questions"], live.suggest_pairs(responses, 3, PROMPT))
        assert (found["known_user"], found["n_pairs"]) == (user_id == "asked", live.n_pairs_)
        found = post(text_service, f"/users/{user_id}/question", {"items": listed})
        same_questions(found["questions"], live.suggest_pairs(items))
    refusal(text_service.post("/users/nobody/question?on_unknown=error", json={"items": listed}), 404, "unknown_user")


def test__question__feature_vectors__are_those_of_the_live_user(feature_service, model, episodes):
    pairs = [pair | {"time": float(place)} for place, pair in enumerate(feature_pairs(episodes[5]))]
    post(feature_service, "/users/asked/adapt", {"pairs": pairs})
    body = {"features": episodes[6].chosen.tolist(), "n": 4}
    for half_life in (None, 3.0):
        found = post(feature_service, f"/users/asked/question{query(half_life=half_life)}", body)
        live = model.adapt(pairs, half_life=half_life)
        same_questions(found["questions"], live.suggest_pairs(episodes[6].chosen, 4))


def test__model_without_posterior__explains_and_does_not_ask(episodes, tmp_path):
    model = MetaRewardModel(n_bases=2, adaptation="gradient", max_epochs=1, random_state=0, device="cpu")
    model.fit(episodes).export_onnx(tmp_path / "bundle")
    app = create_app(tmp_path / "bundle", tmp_path / "users.sqlite")
    body = {"features": episodes[0].chosen.tolist()}
    response = asyncio.run(in_process(app, "POST", "/users/ann/question", json=body))
    assert "defines none" in refusal(response, 422, "cannot_ask")["message"]
    app = create_app(tmp_path / "bundle", tmp_path / "users.sqlite")
    found = asyncio.run(in_process(app, "GET", "/users/ann/explain")).json()
    assert [effect["low"] for effect in found["effects"]] == [None] * len(found["effects"])
    same_explanation(found, model.adapt([]).explain())


def same_explanation(found, live):
    """An answer of the service, and what the live user says."""
    wanted = asdict(live)
    assert found["headline"] == live.headline
    for name in ("effects", "gains", "losses"):
        assert len(found[name]) == len(wanted[name])
        for one, other in zip(found[name], wanted[name], strict=True):
            for key, value in other.items():
                value = None if value != value else value
                assert one[key] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), key
    for name in ("n_choices", "n_items", "adaptive"):
        assert found[name] == wanted[name]
    for name in ("level", "settled", "explained", "explainable"):
        assert found[name] == (None if wanted[name] is None else pytest.approx(wanted[name], abs=1e-5))


def test__explain__texts__is_that_of_the_live_user(text_service, text_model, known_and_new):
    user, other = known_and_new[1][0], known_and_new[1][1]
    post(text_service, "/users/told/adapt", {"pairs": text_pairs(user)})
    items = [*zip([*other.prompts] * 2, [*other.chosen, *other.rejected], strict=True)]
    body = {"items": [{"prompt": prompt, "response": response} for prompt, response in items]}
    for user_id, live in (("told", text_model.adapt(user)), ("nobody", text_model.adapt([]))):
        found = text_service.get(f"/users/{user_id}/explain").raise_for_status().json()
        same_explanation(found, live.explain())
        assert (found["text"], found["known_user"]) == (repr(live.explain()), user_id == "told")
        found = post(text_service, f"/users/{user_id}/explain?n=3&level=0.5", body)
        same_explanation(found, live.explain(items, 3, level=0.5))
    refusal(text_service.get("/users/nobody/explain?on_unknown=error"), 404, "unknown_user")
    refused = text_service.post("/users/told/explain", json={"items": body["items"][:1]})
    assert "needs 2 or more" in refusal(refused, 422, "cannot_explain")["message"]


def test__explain__feature_vectors__is_that_of_the_live_user(feature_service, model, episodes):
    pairs = [pair | {"time": float(place)} for place, pair in enumerate(feature_pairs(episodes[5]))]
    post(feature_service, "/users/told/adapt", {"pairs": pairs})
    for half_life in (None, 3.0):
        live = model.adapt(pairs, half_life=half_life)
        asked = query(half_life=half_life, level=0.8)
        same_explanation(feature_service.get(f"/users/told/explain{asked}").json(), live.explain(level=0.8))
        found = post(feature_service, f"/users/told/explain{asked}", {"features": episodes[6].chosen.tolist()})
        same_explanation(found, live.explain(episodes[6].chosen, level=0.8))


def test__users__are_listed_in_pages(bundles, episodes, tmp_path):
    app = create_app(bundles / "features", tmp_path / "users.sqlite", Limits(users=3))
    counts = {f"u{row}": 1 + row for row in (3, 1, 0, 2, 4)}

    async def visit():
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            assert (await client.get("/users")).json() == {"users": [], "after": None}
            for user_id, n_pairs in counts.items():
                pairs = feature_pairs(episodes[0])[:n_pairs]
                assert (await client.post(f"/users/{user_id}/adapt", json={"pairs": pairs})).status_code == 200
            pages, after = [], None
            while not pages or after:
                page = (await client.get(f"/users?limit=2{f'&after={after}' if after else ''}")).json()
                pages.append([(user["user_id"], user["n_pairs"]) for user in page["users"]])
                after = page["after"]
            assert pages == [[("u0", 1), ("u1", 2)], [("u2", 3), ("u3", 4)], [("u4", 5)]]
            assert len((await client.get("/users")).json()["users"]) == 3  # the default is no more than the limit
            for wrong in ("limit=4", "limit=0", "after=a%20b"):
                refusal(await client.get(f"/users?{wrong}"), 422, "invalid_request")

    asyncio.run(visit())


def test__user__all_that_is_kept__is_told(feature_service, model, episodes):
    pairs = [pair | {"outcome": 2, "time": float(place)} for place, pair in enumerate(feature_pairs(episodes[1]))]
    post(feature_service, "/users/curious/adapt", {"pairs": pairs[:3]})
    post(feature_service, "/users/curious/update", {"pairs": pairs[3:]})
    found = feature_service.get("/users/curious").json()
    live = model.adapt(pairs)
    assert (found["user_id"], found["n_pairs"]) == ("curious", len(pairs))
    np.testing.assert_allclose(found["weights"], live.weights_, atol=1e-5)
    gaps = model.transform(episodes[1].chosen) - model.transform(episodes[1].rejected)
    np.testing.assert_allclose(found["gaps"], gaps, atol=1e-5)
    assert found["said"] == {
        "outcome": [2] * len(pairs),
        "weight": [1] * len(pairs),
        "time": [*range(len(pairs))],
    }
    assert found["asked"] == []
    assert set(found) == {"user_id", "n_pairs", "weights", "gaps", "said", "shift", "asked"}
    refusal(feature_service.get("/users/nobody"), 404, "unknown_user")


def test__score__unknown_user__is_a_user_without_choices_or_an_error(feature_service, model, episodes):
    X = episodes[0].chosen
    for path in ("/users/nobody/score", "/users/nobody/rank?on_unknown=prior"):
        found = post(feature_service, path, {"features": X.tolist()})
        assert found["known_user"] is False
        np.testing.assert_allclose(found["rewards"], model.predict(X), atol=1e-5)
    for call in ("score", "rank"):
        response = feature_service.post(f"/users/nobody/{call}?on_unknown=error", json={"features": X.tolist()})
        assert "'nobody'" in refusal(response, 404, "unknown_user")["message"]


def test__service__killed_and_started_again__users_are_as_before(serving, bundles, model, episodes, tmp_path):
    database, body = tmp_path / "users.sqlite", {"features": episodes[0].chosen.tolist()}

    def rewards(client):
        return [post(client, f"/users/u{row}/score?on_unknown=error", body)["rewards"] for row in range(5)]

    with serving(bundles / "features", database) as client:
        for row in range(5):
            for call, some in (("adapt", slice(5)), ("update", slice(5, 9))):
                post(client, f"/users/u{row}/{call}", {"pairs": feature_pairs(episodes[row])[some]})
        before = rewards(client)
        kept = [client.get(f"/users/u{row}").json() for row in range(5)]
    with serving(bundles / "features", database) as client:
        assert client.get("/health").json()["n_users"] == 5
        assert rewards(client) == before
        assert [client.get(f"/users/u{row}").json() for row in range(5)] == kept
        post(client, "/users/u3/update", {"pairs": feature_pairs(episodes[3])[9:]})  # goes on from what was kept
        np.testing.assert_allclose(rewards(client)[3], model.adapt(episodes[3]).predict(episodes[0].chosen), atol=1e-5)
    assert len({tuple(found) for found in before}) == 5


def test__delete__forgets_the_user__and_only_this_one(feature_service, episodes):
    body = {"features": episodes[0].chosen.tolist()}
    for user_id in ("leaver", "stayer"):
        post(feature_service, f"/users/{user_id}/adapt", {"pairs": feature_pairs(episodes[5])})
    n_users = feature_service.get("/health").json()["n_users"]
    response = feature_service.delete("/users/leaver")
    assert (response.status_code, response.content) == (204, b"")
    assert post(feature_service, "/users/leaver/score", body)["known_user"] is False
    assert post(feature_service, "/users/stayer/score", body)["known_user"] is True
    assert feature_service.get("/health").json()["n_users"] == n_users - 1
    refusal(feature_service.delete("/users/leaver"), 404, "unknown_user")


@pytest.mark.parametrize(
    ("call", "body", "place"),
    [
        ("adapt", {"pairs": [one_pair()] * 4}, "body.pairs"),
        ("adapt", {"pairs": []}, "body"),
        ("adapt", {"ratings": [{"response": "a", "rating": True}]}, "body.ratings.0.prompt"),
        ("adapt", {"ratings": [{"prompt": "", "response": "a", "rating": True}] * 4}, "body.ratings"),
        ("adapt", {"pairs": [one_pair(chosen="x" * 41)]}, "body.pairs.0.chosen"),
        ("adapt", {"pairs": [one_pair(), one_pair(prompt=None)]}, "body.pairs.1.prompt"),
        ("adapt", {"pairs": [{"prompt": PROMPT, "chosen": "Ten minutes."}]}, "body.pairs.0.rejected"),
        ("adapt", {"pairs": one_pair()}, "body.pairs"),
        ("adapt", {"pairs": [one_pair(time="today")]}, "body.pairs.0.time"),
        ("adapt", {"pairs": [one_pair(time=1), one_pair()]}, "body"),
        ("update", {"pairs": [one_pair()] * 4}, "body.pairs"),
        ("update", {"pairs": []}, "body"),
        ("update?half_life=0", {"pairs": [one_pair(time=1)]}, "query.half_life"),
        ("question", {"prompt": "", "responses": ["a"] * 4}, "body.responses"),
        ("question", {"prompt": "", "responses": ["x" * 41]}, "body.responses.0"),
        ("question", {"prompt": "", "responses": ["a", "b"], "n": 3}, "body.n"),
        ("question", {"responses": ["a", "b"]}, "body"),
        ("question", {"prompt": "", "responses": ["a"], "items": [{"prompt": "", "response": ""}]}, "body"),
        ("question", {}, "body"),
        ("explain", {"items": [{"prompt": "", "response": ""}] * 4}, "body.items"),
        ("explain?n=0", {"items": [{"prompt": "", "response": ""}]}, "query.n"),
        ("explain?level=1", {"items": [{"prompt": "", "response": ""}]}, "query.level"),
        ("score", {"items": [{"prompt": "", "response": ""}] * 4}, "body.items"),
        ("score", {"items": [{"prompt": "x" * 41, "response": ""}]}, "body.items.0.prompt"),
        ("score", {"items": [{"prompt": "", "response": 1}]}, "body.items.0.response"),
        ("score", {}, "body.items"),
        ("score?on_unknown=ask", {"items": [{"prompt": "", "response": ""}]}, "query.on_unknown"),
        ("rank", {"prompt": "", "responses": ["a"] * 4}, "body.responses"),
        ("rank", {"prompt": "", "responses": ["x" * 41]}, "body.responses.0"),
        ("rank", {"prompt": "", "responses": "text"}, "body.responses"),
    ],
)
def test__texts__that_break_a_rule_or_a_limit__are_named(small_text_service, call, body, place):
    error = refusal(small_text_service.post(f"/users/ann/{call}", json=body), 422, "invalid_request")
    assert [problem.partition(":")[0] for problem in error["problems"]] == [place]
    assert "xxxxx" not in error["message"]


@pytest.mark.parametrize("user_id", ["a b", "%2e%2e", ".hidden", "ann%0a", "é", "a" * 9])
def test__user_id__unsafe_or_too_long__is_refused(small_text_service, user_id):
    for response in (
        small_text_service.delete(f"/users/{user_id}"),
        small_text_service.post(f"/users/{user_id}/adapt", json={"pairs": [one_pair()]}),
    ):
        assert "path.user_id" in refusal(response, 422, "invalid_request")["message"]


def test__limits__at_the_limit__are_kept(small_text_service):
    pairs = [one_pair(chosen="x" * 40)] * 3
    assert post(small_text_service, f"/users/{'a' * 8}/adapt", {"pairs": pairs})["n_pairs"] == 3
    body = json.dumps({"prompt": "", "responses": ["a"]}).ljust(2000)
    post_text = {"content": body, "headers": {"Content-Type": "application/json"}}
    assert small_text_service.post("/users/ann/rank", **post_text).json()["order"] == [0]


def test__body__too_large_or_unreadable__is_refused(small_text_service):
    headers = {"Content-Type": "application/json"}
    for n_bytes in (2001, 20_000_000):
        response = small_text_service.post("/users/ann/score", content=b" " * n_bytes, headers=headers)
        assert "2000 bytes" in refusal(response, 413, "body_too_large")["message"]
    in_pieces = small_text_service.post("/users/ann/score", content=(b" " * 500 for _ in range(5)), headers=headers)
    refusal(in_pieces, 413, "body_too_large")
    for unreadable in (b'{"items": ', b"", b"\xff\xfe"):
        response = small_text_service.post("/users/ann/score", content=unreadable, headers=headers)
        refusal(response, 422, "invalid_request")
    too_deep = small_text_service.post("/users/ann/score", content=b"[" * 1900, headers=headers)
    assert too_deep.json()["error"]["code"] in ("bad_request", "invalid_request")  # depends on Python's version
    plain = small_text_service.post("/users/ann/score", content=b"{}", headers={"Content-Type": "text/plain"})
    assert "Content-Type: application/json" in refusal(plain, 422, "invalid_request")["message"]
    assert small_text_service.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize(
    ("call", "body", "problem"),
    [
        ("adapt", '{"pairs": [{"chosen": [1, 2, 3, 4], "rejected": [1, 2, NaN, 4]}]}', "body.pairs.0.rejected.2: "),
        ("adapt", '{"pairs": [{"chosen": [1, 2, 3, 4], "rejected": [1, 2, 3]}]}', "body.pairs.0.rejected: "),
        ("score", '{"features": [[1, 2, 3, 4], [1, 2, 3, 4, 5]]}', "body.features.1: "),
        ("score", '{"features": [[1, 2, 3, 1e10]]}', "body.features.0.3: "),
        ("score", '{"features": [[1, "2", 3, 4]]}', "body.features.0.1: "),
        ("rank", '{"features": [[1, 2, 3, -Infinity]]}', "body.features.0.3: "),
        ("rank", '{"features": []}', "body.features: "),
        ("question", '{"features": [[1, 2, 3]]}', "body.features.0: "),
    ],
)
def test__feature_vectors__that_break_a_rule__are_named(feature_service, call, body, problem):
    response = feature_service.post(f"/users/ann/{call}", content=body, headers={"Content-Type": "application/json"})
    (found,) = refusal(response, 422, "invalid_request")["problems"]
    assert found.startswith(problem)


def test__feature_vectors__as_large_as_they_may_be__give_finite_rewards(feature_service):
    far = [[1e9, 1e9, 1e9, 1e9], [-1e9, 1e9, -1e9, 1e9], [1e-300, 0, 0, 0]]
    for size in (1e-5, 1.0):
        rows = (size * np.array(far)).tolist()
        pairs = [{"chosen": chosen, "rejected": rejected} for chosen in rows for rejected in rows]
        response = feature_service.post("/users/far/adapt", json={"pairs": pairs})
        if size == 1.0:  # to score, but not to learn from
            assert "adapt needs features of the size of those in fit" in str(refusal(response, 422, "unusable_pairs"))
        else:
            assert response.status_code == 200
    assert np.isfinite(post(feature_service, "/users/far/score", {"features": far})["rewards"]).all()


def test__body__of_the_other_kind__says_what_the_bundle_takes(text_service, feature_service):
    for call, body in {
        "adapt": {"pairs": [one_pair()]},
        "update": {"pairs": [one_pair()]},
        "question": {"prompt": "", "responses": ["a", "b"]},
        "explain": {"items": [{"prompt": "", "response": ""}]},
        "score": {"items": [{"prompt": "", "response": ""}]},
        "rank": {"prompt": "", "responses": ["a"]},
    }.items():
        error = refusal(feature_service.post(f"/users/ann/{call}", json=body), 422, "wrong_input_kind")
        assert error["message"] == "this bundle takes feature vectors of 4 numbers, got texts"
    vector = [0.0] * 4
    for call, body in {
        "adapt": {"pairs": [{"chosen": vector, "rejected": vector}]},
        "score": {"features": [vector]},
        "rank": {"features": [vector]},
        "question": {"features": [vector]},
        "explain": {"features": [vector]},
    }.items():
        error = refusal(text_service.post(f"/users/ann/{call}", json=body), 422, "wrong_input_kind")
        assert error["message"] == "this bundle takes texts, got feature vectors"


def test__errors__many_in_one_body__are_listed_up_to_a_limit(text_service):
    response = text_service.post("/users/ann/adapt", json={"pairs": [one_pair(prompt=1, chosen=2)] * 50})
    error = refusal(response, 422, "invalid_request")
    assert len(error["problems"]) == 20
    assert error["problems"][:2] == [
        "body.pairs.0.prompt: Input should be a valid string",
        "body.pairs.0.chosen: Input should be a valid string",
    ]


def test__errors__of_paths_and_methods__have_the_same_form(text_service):
    refusal(text_service.get("/nothing/here"), 404, "not_found")
    response = text_service.get("/users/ann/adapt")
    refusal(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test__requests__many_at_a_time__give_what_they_give_one_by_one(text_service, known_and_new):
    new = known_and_new[1]
    responses = [*new[0].chosen, *new[0].rejected]

    def visit(number):
        user = new[number % new.n_users]
        post(text_service, f"/users/visitor{number}/adapt", {"pairs": text_pairs(user)})
        return post(text_service, f"/users/visitor{number}/rank", {"prompt": PROMPT, "responses": responses})

    one_by_one = [visit(number) for number in range(16)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(visit, range(16))) == one_by_one


def test__workers__several__share_the_users(running, bundles, episodes, tmp_path):
    variables = {"SCORER_BUNDLE": str(bundles / "features"), "SCORER_DATABASE": str(tmp_path / "users.sqlite")}

    def visit(row):
        body = {"features": episodes[0].chosen.tolist()}
        with httpx.Client(base_url=client.base_url, timeout=None, trust_env=False) as own:  # its own connection
            post(own, f"/users/u{row}/adapt", {"pairs": feature_pairs(episodes[row])})
        with httpx.Client(base_url=client.base_url, timeout=None, trust_env=False) as own:
            return post(own, f"/users/u{row}/score?on_unknown=error", body)["rewards"]

    with running(workers, variables) as (client, _):
        with ThreadPoolExecutor(4) as threads:
            rewards = list(threads.map(visit, range(20)))
        assert client.get("/health").json()["n_users"] == 20
    assert len({tuple(found) for found in rewards}) == 20


def test__start__of_what_cannot_be_served__says_why_and_ends(bundles, tmp_path):
    WeightStore(tmp_path / "other.sqlite", "another model", 3).close()
    (tmp_path / "garbage.sqlite").write_bytes(b"no database, but longer than the header of one " * 10)
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as database:
        database.execute("CREATE TABLE orders (id)")
    before = (tmp_path / "shop.sqlite").read_bytes()
    for bundle, database, message in (
        ("features", "other.sqlite", "holds weights of another model"),
        ("features", "garbage.sqlite", "cannot use .*garbage.sqlite as a database"),
        ("features", "shop.sqlite", "database of something else, with orders"),
        ("features", "no/folder.sqlite", "is its folder there"),
        ("one_user", "new.sqlite", "this bundle cannot adapt"),
        ("missing", "new.sqlite", "config.json is missing"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["--bundle", str(bundles / bundle), "--database", str(tmp_path / database)])
        assert re.match(f"cannot serve: .*{message}", caught.value.code), caught.value.code
    assert (tmp_path / "shop.sqlite").read_bytes() == before
    assert not (tmp_path / "new.sqlite").exists()


def test__start__of_what_cannot_be_served__in_a_process_of_its_own__fails_without_a_traceback(
    bundles, environment, tmp_path
):
    given = ["--bundle", str(bundles / "missing"), "--database", str(tmp_path / "new.sqlite")]
    command = [sys.executable, "-m", "skmrm.service", *given]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 1
    assert re.match("cannot serve: .*config.json is missing", run.stderr), run.stderr
    assert "Traceback" not in run.stderr


def test__command__where_libraries_are_missing__can_be_read_and_names_the_extra(environment_without):
    environment = environment_without("fastapi", "uvicorn", "torch", "sklearn")
    for given, code, says in ((["--help"], 0, "--database FILE"), (["--bundle", "b", "--database", "d"], 1, "[serve]")):
        command = [sys.executable, "-m", "skmrm.service", *given]
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert run.returncode == code
        assert says in run.stdout + run.stderr
        assert "Traceback" not in run.stderr


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test__command__impossible_port__is_refused(port, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--bundle", "b", "--database", "d", f"--port={port}"])
    assert f"a port is a whole number from 0 to 65535, got {port}" in capsys.readouterr().err


def test__openapi__lists_all_paths__with_limits_descriptions_and_errors(text_service, feature_service):
    for client in (text_service, feature_service):
        document = client.get("/openapi.json").json()
        schemas = document["components"]["schemas"]
        found = {
            (method, path): operation
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }
        assert {key: {int(status) for status in found[key]["responses"]} - {200, 204} for key in found} == {
            ("post", "/users/{user_id}/adapt"): {400, 413, 422, 503},
            ("post", "/users/{user_id}/update"): {400, 409, 413, 422, 503},
            ("post", "/users/{user_id}/score"): {400, 404, 413, 422, 503},
            ("post", "/users/{user_id}/rank"): {400, 404, 413, 422, 503},
            ("post", "/users/{user_id}/question"): {400, 404, 409, 413, 422, 503},
            ("get", "/users/{user_id}/explain"): {404, 409, 422, 503},
            ("post", "/users/{user_id}/explain"): {400, 404, 409, 413, 422, 503},
            ("get", "/users"): {422, 503},
            ("get", "/users/{user_id}"): {404, 422, 503},
            ("delete", "/users/{user_id}"): {404, 422, 503},
            ("get", "/health"): {503},
        }
        for operation in found.values():
            assert operation["description"]
            errors = {int(status) for status in operation["responses"]} - {200, 204}
            for status in errors:
                refused = operation["responses"][str(status)]
                assert refused["description"]
                assert refused["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
        assert "all pairs of the user" in found["post", "/users/{user_id}/adapt"]["description"]
        assert schemas["Adapt"]["properties"]["pairs"]["maxItems"] == 200
        assert schemas["Pair"]["properties"]["chosen"]["type"] == ("string" if client is text_service else "array")
        assert "HTTPValidationError" not in schemas
    assert feature_service.get("/docs").status_code == 200


def test__errors__of_the_scorer__have_the_same_form(bundles, tmp_path, monkeypatch):
    body = {"pairs": [{"chosen": [0.0] * 4, "rejected": [1.0] * 4}]}

    def adapt(raised):
        monkeypatch.undo()
        app = create_app(bundles / "features", tmp_path / "users.sqlite")

        def fail(scorer, pairs, **options):
            raise raised

        monkeypatch.setattr("skmrm.serving.OnnxScorer.history", fail)
        return asyncio.run(in_process(app, "POST", "/users/ann/adapt", json=body))

    error = refusal(adapt(EpisodeError(["one rule", "another rule"])), 422, "unusable_pairs")
    assert error["problems"] == ["one rule", "another rule"]
    assert "secret" not in refusal(adapt(RuntimeError("secret")), 500, "internal_server_error")["message"]


def test__fingerprint__of_two_exports_of_one_model__is_the_same(model, text_model, bundles, tmp_path):
    def of(folder):
        return fingerprint(json.loads((folder / "config.json").read_text(encoding="utf-8")))

    for name, served in (("features", model), ("text", text_model)):
        served.export_onnx(tmp_path / name)
        assert of(tmp_path / name) == of(bundles / name)
    assert of(bundles / "features") != of(bundles / "text")


def test__store__keeps_bits__replaces_and_forgets(tmp_path):
    rng = np.random.default_rng(0)
    weights = {f"user{number}": rng.standard_normal(3) for number in range(20)}
    file = tmp_path / "users.sqlite"
    with closing(WeightStore(file, "model", 3)) as store:
        assert len(store) == 0
        assert store.get("user0") is None
        store.put("user0", rng.standard_normal(3), 1)
        for user, own in weights.items():
            store.put(user, own, 2)
        assert len(store) == 20
    with closing(WeightStore(file, "model", 3)) as store:
        for user, own in weights.items():
            np.testing.assert_array_equal(store.get(user), own)
        assert store.forget("user7")
        assert not store.forget("user7")
        assert store.get("user7") is None
        assert len(store) == 19
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT n_pairs FROM users WHERE id = 'user0'").fetchall() == [(2,)]


def test__store__after_forget__no_file_holds_the_user(tmp_path):
    file = tmp_path / "users.sqlite"

    def holds(content):
        return any(content in path.read_bytes() for path in tmp_path.iterdir())

    weights = [np.random.default_rng(seed).standard_normal(6) for seed in (0, 1)]
    with closing(WeightStore(file, "model", 6)) as store:
        for own in weights:
            store.put("the-one-who-leaves", own, 5, b"what was said" + own.tobytes() * 1000)  # more than a page
        store.change("the-one-who-leaves", lambda kept: kept._replace(history=kept.history + b"and said later"))
        for content in (b"the-one-who-leaves", b"what was said", b"and said later", weights[1].tobytes()):
            assert holds(content)
        store.forget("the-one-who-leaves")
        for content in (b"the-one-who-leaves", b"what was said", b"and said later", *(w.tobytes() for w in weights)):
            assert not holds(content)


def test__store__many_users__no_file_holds_one_who_left(tmp_path):
    """Rows are moved when pages are divided and joined, and SQLite overwrites what it deletes, not what it moved."""
    rng = np.random.default_rng(0)
    users = {f"user-{place:04}-{'x' * int(rng.integers(90))}": rng.standard_normal(8) for place in rng.permutation(400)}
    said = {user: rng.bytes(int(rng.integers(8, 3000))) for user in users}
    with closing(WeightStore(tmp_path / "users.sqlite", "model", 8)) as store:
        for user, own in users.items():
            store.put(user, own, 3, said[user])
        for user in rng.permutation(list(users))[:60]:
            assert store.forget(user)
            content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
            assert user.encode() not in content
            assert users[user].tobytes() not in content
            assert not any(said[user][place : place + 8] in content for place in range(0, len(said[user]) - 7, 1000))
        assert len(store) == 340


def test__delete__after_updates__no_file_holds_a_choice(bundles, model, episodes, tmp_path):
    app = create_app(bundles / "features", tmp_path / "users.sqlite")
    scorer = OnnxScorer(bundles / "features")
    pairs = feature_pairs(episodes[0])
    gaps = [scorer.history([pair]).gaps.tobytes() for pair in pairs]

    async def visit():
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):

            def held():
                content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
                return [gap in content for gap in gaps] + [b"leaver" in content]

            for call, some in (("adapt", pairs[:3]), ("update", pairs[3:])):
                assert (await client.post(f"/users/leaver/{call}", json={"pairs": some})).status_code == 200
            assert all(held())
            assert (await client.delete("/users/leaver")).status_code == 204
            assert not any(held())

    asyncio.run(visit())


def earlier_version(file, version, model, n_bases, users):
    """A database as the first version of the service wrote it, which kept no choices, or the second one."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        database.execute("CREATE TABLE users (id TEXT PRIMARY KEY, n_pairs INTEGER NOT NULL, weights BLOB NOT NULL)")
        if version > 1:
            database.execute("ALTER TABLE users ADD COLUMN history BLOB")
        meta = {"schema_version": str(version), "n_bases": str(n_bases), "model": model}
        database.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        rows = [(user, 7, weights.astype("<f8").tobytes()) for user, weights in users.items()]
        database.executemany("INSERT INTO users (id, n_pairs, weights) VALUES (?, ?, ?)", rows)


def test__database__of_the_first_version__serves_its_users(serving, bundles, model, episodes, tmp_path):
    file, body = tmp_path / "users.sqlite", {"features": episodes[0].chosen.tolist()}
    live = model.adapt(episodes[1])
    config = json.loads((bundles / "features" / "config.json").read_text(encoding="utf-8"))
    earlier_version(file, 1, fingerprint(config), len(live.weights_), {"ann": live.weights_, "bo": live.weights_})
    with serving(bundles / "features", file) as client:
        rewards = post(client, "/users/ann/score?on_unknown=error", body)["rewards"]
        np.testing.assert_allclose(rewards, live.predict(episodes[0].chosen), atol=1e-5)
        told = client.get("/users/ann").json()
        assert (told["n_pairs"], told["gaps"], told["said"]) == (7, None, None)
        pairs = {"pairs": feature_pairs(episodes[1])}
        for call, sent in (("update", pairs), ("question", body)):
            error = refusal(client.post(f"/users/ann/{call}", json=sent), 409, "choices_not_kept")
            assert "adapt again" in error["message"]
        refusal(client.get("/users/ann/explain"), 409, "choices_not_kept")
        assert post(client, "/users/ann/score", body)["rewards"] == rewards
        post(client, "/users/ann/adapt", pairs)
        assert post(client, "/users/ann/update", pairs)["n_pairs"] == 2 * len(episodes[1])
        assert client.delete("/users/bo").status_code == 204
        assert client.get("/users").json()["users"] == [{"user_id": "ann", "n_pairs": 2 * len(episodes[1])}]


@pytest.mark.parametrize("version", [1, 2])
def test__store__of_an_earlier_version__is_brought_up_to_date_once(tmp_path, version):
    earlier_version(tmp_path / "users.sqlite", version, "model", 3, {"ann": np.ones(3)})
    before = (tmp_path / "users.sqlite").read_bytes()
    with pytest.raises(StartError, match="weights of another model"):
        WeightStore(tmp_path / "users.sqlite", "other", 3)
    assert (tmp_path / "users.sqlite").read_bytes() == before

    def open_and_write(number):
        with closing(WeightStore(tmp_path / "users.sqlite", "model", 3)) as store:
            store.put(f"user{number}", np.full(3, number), 1, b"history", b"asked")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(open_and_write, range(16)))
    with closing(WeightStore(tmp_path / "users.sqlite", "model", 3)) as store:
        assert store.kept("ann")[2:] == (None, b"")
        assert store.kept("user3")[2:] == (b"history", b"asked")
        assert len(store) == 17


def test__store__change_that_fails__changes_nothing(tmp_path):
    def fail(kept):
        raise ZeroDivisionError

    with closing(WeightStore(tmp_path / "users.sqlite", "model", 3)) as store:
        store.put("ann", np.ones(3), 1, b"history")
        for user in ("ann", "bo"):
            with pytest.raises(ZeroDivisionError):
                store.change(user, fail)
        assert store.users(10) == [("ann", 1)]
        store.put("bo", np.ones(3), 1)  # nothing is left open


@contextmanager
def transaction(file, begin, *statements):
    """Another connection in the middle of something."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        for statement in (begin, *statements):
            other.execute(statement).fetchall()
        yield other
        other.execute("ROLLBACK")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("skmrm.service.store._PATIENCE", 0.02)


@pytest.mark.parametrize("log_is_empty", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
def test__forget__while_another_reads__is_not_done_and_says_so(impatient, tmp_path, log_is_empty, restarted):
    file, weights = tmp_path / "users.sqlite", np.random.default_rng(0).standard_normal(3)

    def holds(store):
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        return b"the-one-who-leaves" in content or weights.tobytes() in content

    store = WeightStore(file, "model", 3)
    store.put("the-one-who-leaves", weights, 5)
    if log_is_empty:
        _empty_log(store._writer)
    with transaction(file, "BEGIN", "SELECT count(*) FROM users"):
        for _ in range(2):
            with pytest.raises(ServiceError, match=r"not yet forgotten.*delete the user again") as error:
                store.forget("the-one-who-leaves")
            assert error.value.status == 503
            assert error.value.headers == {"Retry-After": "1"}
            assert store.get("the-one-who-leaves") is None
            assert len(store) == 0
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 200_000  # tries leave nothing behind
        if restarted:
            store.close()
            store = WeightStore(file, "model", 3)
    with closing(store):
        assert store.forget("the-one-who-leaves")
        assert not holds(store)
        assert not store.forget("the-one-who-leaves")


def test__store__while_another_writes__readers_read_and_writers_are_told(impatient, tmp_path):
    file = tmp_path / "users.sqlite"
    with closing(WeightStore(file, "model", 3)) as store:
        store.put("bo", np.ones(3), 5)
        for begin in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"):
            with transaction(file, begin), store._lock:  # a thread of this process waits for the other one
                np.testing.assert_array_equal(store.get("bo"), np.ones(3))
                assert len(store) == 1
                with closing(WeightStore(file, "model", 3)) as late:  # starts meanwhile
                    assert len(late) == 1
                    for write in (
                        lambda late=late: late.put("ann", np.ones(3), 5),
                        lambda late=late: late.forget("bo"),
                        lambda late=late: late.change("bo", lambda kept: kept),
                    ):
                        with pytest.raises(ServiceError, match="others are writing") as error:
                            write()
                        assert (error.value.status, error.value.headers) == (503, {"Retry-After": "1"})
                with pytest.raises(ServiceError, match="others are writing"):
                    store.put("ann", np.ones(3), 5)
        store.put("ann", np.ones(3), 5)
        assert len(store) == 2


def test__store__more_writers_than_may_wait__are_told_at_once(tmp_path):
    with closing(WeightStore(tmp_path / "users.sqlite", "model", 3)) as store:
        store._waiting = threading.Semaphore(1)
        with store._writing(), pytest.raises(ServiceError, match="others are writing"):
            store.put("ann", np.ones(3), 5)
        store.put("ann", np.ones(3), 5)


def test__service__database_in_use__answers_503_with_retry_after(impatient, bundles, episodes, tmp_path):
    file = tmp_path / "users.sqlite"
    app = create_app(bundles / "features", file)
    pairs, body = {"pairs": feature_pairs(episodes[0])}, {"features": episodes[0].chosen.tolist()}

    async def visit():
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):

            async def refused(code, *request, **options):
                response = await client.request(*request, **options)
                refusal(response, 503, code)
                assert response.headers["retry-after"] == "1"

            assert (await client.post("/users/ann/adapt", json=pairs)).status_code == 200
            with transaction(file, "BEGIN IMMEDIATE"):
                for request in (("POST", "/users/ann/score"), ("POST", "/users/ann/rank"), ("GET", "/health")):
                    found = await client.request(*request, json=body)
                    assert found.status_code == 200
                await refused("busy", "POST", "/users/bo/adapt", json=pairs)
                await refused("busy", "POST", "/users/ann/update", json=pairs)
                for path in ("/users", "/users/ann"):
                    assert (await client.get(path)).status_code == 200
                await refused("busy", "DELETE", "/users/ann")
            with transaction(file, "BEGIN", "SELECT * FROM users"):
                await refused("not_yet_forgotten", "DELETE", "/users/ann")
                found = (await client.post("/users/ann/score", json=body)).json()
                assert found["known_user"] is False
            assert (await client.delete("/users/ann")).status_code == 204
            assert not any(b"ann" in path.read_bytes() for path in tmp_path.iterdir())
            refusal(await client.delete("/users/ann"), 404, "unknown_user")

    asyncio.run(visit())


def test__service__more_at_once_than_may_be__answers_503_with_retry_after():
    """Requests that wait for a signal, by their number and by the bytes of their bodies."""

    async def visit(limits, bodies):
        go, answers = asyncio.Event(), []

        async def slow(scope, receive, send):
            await receive()
            await go.wait()
            await error_response(ServiceError(200, "done", ""))(scope, receive, send)

        app = RequestLimits(slow, Limits(**limits))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            tasks = [asyncio.create_task(client.post("/", content=b"x" * size)) for size in bodies]
            while sum(task.done() for task in tasks) + len(app._bodies) < len(bodies):
                await asyncio.sleep(0)
            go.set()
            answers = [await task for task in tasks]
            assert (await client.post("/", content=b"x" * bodies[0])).status_code == 200  # all is over
        for answer in answers:
            if answer.status_code != 200:
                refusal(answer, 503, "overloaded")
                assert answer.headers["retry-after"] == "1"
        return [answer.status_code for answer in answers]

    assert asyncio.run(visit({"requests_at_once": 2}, [0, 0, 0, 0])) == [200, 200, 503, 503]
    assert asyncio.run(visit({"bytes_at_once": 100}, [60, 30, 30, 10, 0])) == [200, 200, 503, 200, 200]
    assert asyncio.run(visit({"bytes_at_once": 100}, [500])) == [200]


@pytest.mark.parametrize(("model_name", "n_bases"), [("other", 3), ("model", 4)])
def test__store__of_another_model__is_refused_and_left_alone(tmp_path, model_name, n_bases):
    file = tmp_path / "users.sqlite"
    with closing(WeightStore(file, "model", 3)) as store:
        store.put("ann", np.ones(3), 1)
    with pytest.raises(StartError, match=r"weights of another model.*serve the bundle"):
        WeightStore(file, model_name, n_bases)
    with closing(WeightStore(file, "model", 3)) as store:
        np.testing.assert_array_equal(store.get("ann"), np.ones(3))


def test__store__of_a_later_version__says_what_to_install(tmp_path):
    earlier_version(tmp_path / "users.sqlite", 99, "model", 3, {})
    with pytest.raises(StartError, match=r"schema version 99.*install the later skmrm"):
        WeightStore(tmp_path / "users.sqlite", "model", 3)


def test__store__opened_by_many_at_once__is_made_once_and_loses_no_write(tmp_path):
    def write(number):
        with closing(WeightStore(tmp_path / "users.sqlite", "model", 2)) as store:
            for place in range(5):
                store.put(f"user{number}-{place}", np.full(2, number), place)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(16)))
    with closing(WeightStore(tmp_path / "users.sqlite", "model", 2)) as store:
        assert len(store) == 80
        assert all(store.get(f"user{number}-4")[0] == number for number in range(16))
