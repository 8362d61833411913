"""Asking the most telling question next to random ones: on tiny data."""

import numpy as np
import pytest

from benchmarks.accuracy import parts, questions
from benchmarks.accuracy.effort import QUICK
from benchmarks.accuracy.questions import (
    CONTENDERS,
    SIMULATED_PEOPLE,
    ask_residents,
    judge_questions,
    question_text,
    question_verdicts,
    questions_needed,
)
from benchmarks.accuracy.text_features import HashedFeatures
from skmrm import EpisodeSet
from skmrm.datasets import load_style_preferences


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(questions, "N_TRAIN", 40)
        patch.setattr(questions, "N_JUDGED", 12)
        patch.setattr(questions, "MIN_POOL", 4)
        yield


@pytest.fixture(scope="module")
def planted(tiny):
    return SIMULATED_PEOPLE["planted"](0)


@pytest.fixture(scope="module")
def found(tiny):
    return {"planted": judge_questions(SIMULATED_PEOPLE["planted"], [0])}


def test__interview__most_telling__asks_what_suggest_pairs_would(planted):
    asked = []

    def noted(mean, variance, rng):
        worth = CONTENDERS["most telling"](mean, variance, rng)
        asked.append(int(worth.argmax()))
        return worth

    accuracy = planted.interview(noted, 0, n_questions=1)
    nobody = planted.model.adapt_many(planted._said([[] for _ in planted.users]))
    for place, pool in enumerate(planted.pools):
        (question,) = nobody[place].suggest_pairs(np.stack([planted.features[end] for end in pool.T], axis=1))
        assert (question.first, question.second) == (asked[place], asked[place])
    assert accuracy.shape == (2, 12)


def test__judge_questions__all_contenders__start_alike_and_never_ask_twice(found, planted):
    tables = found["planted"]
    assert list(tables) == list(CONTENDERS)
    for table in tables.values():
        assert table.shape == (21, 12)
        np.testing.assert_array_equal(table[0], tables["random"][0])
        assert table[20].mean() > table[0].mean()
    few = planted.interview(CONTENDERS["random"], 0, n_questions=2)
    np.testing.assert_array_equal(few, tables["random"][:3])


def test__ask_residents__answers_of_one_half__are_not_what_is_judged(monkeypatch):
    monkeypatch.setattr(questions, "CONTENDERS", {"random": CONTENDERS["random"]})
    data = load_style_preferences(30, 12, random_state=0)
    episodes = data.episodes
    halves = EpisodeSet(**episodes.__getstate__() | {"group": np.arange(episodes.n_pairs) % 2, "shared_groups": True})
    people = ask_residents(halves, HashedFeatures(), 0)
    assert 0 < len(people.users) <= 12
    for pool, answers, query in zip(people.pools, people.answers, people.queries, strict=True):
        assert answers.all()
        assert len(pool) >= 4
        assert len(query) == 6
    table = judge_questions(lambda seed: people, [0, 1])["random"]
    assert table.shape == (21, len(people.users))  # the same people twice


def test__questions_needed__known_curves__counts_and_says_where_it_is_not_reached():
    steps = np.linspace(0.5, 0.9, 21)[:, None] * np.ones(5)
    fast = np.minimum(0.5 + 0.08 * np.arange(21), 0.9)[:, None] * np.ones(5)
    assert questions_needed(fast, steps).estimate == 5
    assert questions_needed(steps, steps).estimate == 20
    assert questions_needed(steps - 0.1, steps).estimate == 21


def test__question_text_and_verdicts__name_every_kind(found):
    text = question_text(found)
    assert text.count("\n") == len(CONTENDERS)
    assert len(list(question_verdicts(found))) == 2
    worse = {"planted": found["planted"] | {"most telling": found["planted"]["random"] - 0.2}}
    assert [verdict.passed for verdict in question_verdicts(worse)] == [False, False]
    (harmless,) = question_verdicts({"elsewhere": found["planted"]})
    assert harmless.claim.startswith("elsewhere: telling questions are at no number below")


def test__part__without_the_residents__says_why_and_judges_the_others(monkeypatch):
    monkeypatch.setattr(parts, "_missing", lambda dataset, encoder: "not here")
    monkeypatch.setattr(
        parts, "judge_questions", lambda people, seeds, note: dict.fromkeys(CONTENDERS, np.ones((21, 3)))
    )
    asked, skipped = parts.PARTS["questions"](QUICK)
    assert (skipped.title, skipped.text) == ("polis skipped", "  not here")
    assert list(asked.numbers) == ["planted", "bundled corpus"]
