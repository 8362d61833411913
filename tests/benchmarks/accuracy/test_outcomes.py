"""What is said beside choices, next to pairs made of it by hand: on tiny data."""

import numpy as np
import pytest

from benchmarks.accuracy import outcomes
from benchmarks.accuracy.outcomes import KINDS, judge_outcomes, outcome_text, outcome_verdicts, ranked_exactly


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "N_TRAIN", 40)
        return {name: judge_outcomes(kind, 20, [0]) for name, kind in KINDS.items()}


def test__judge_outcomes__each_kind__judges_the_same_users_both_ways(found):
    for name, one in found.items():
        said, by_hand = one.accuracy.values()
        assert said.shape == by_hand.shape == (20,)
        assert min(said.mean(), by_hand.mean()) > 0.6
        assert one.thresholds.shape == ((1, len(KINDS[name].thresholds)) if KINDS[name].thresholds else (0,))
    assert 0.2 < found["ties"].share_of_ties < 0.35


def test__outcome_text_and_verdicts__name_every_kind(found):
    rankings = ranked_exactly(12, 0)
    assert outcome_text(found).count("\n") == len(KINDS)
    verdicts = outcome_verdicts(found, rankings)
    assert len(verdicts) == len(KINDS) + 1
    assert verdicts[-1].passed
    assert not outcome_verdicts(found, (rankings[0] - 0.5, rankings[1]))[-1].passed
    assert np.abs(rankings[0] - rankings[1]).mean() < 0.2
