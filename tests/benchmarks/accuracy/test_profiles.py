"""What is known of users before their first choice: on tiny data."""

import numpy as np
import pytest

from benchmarks.accuracy import profiles
from benchmarks.accuracy.profiles import SIZES, judge_profiles, profile_text, profile_verdicts


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "N_TRAIN", 80)
        return {share: judge_profiles(share, 30, [0]) for share in (0.5, 0.0)}


def test__judge_profiles__shares__judges_the_same_users_all_ways(found):
    for one in found.values():
        assert all(values.shape == (len(SIZES), 30) for values in one.values())
        assert one["with"][-1].mean() > one["with"][0].mean()
    told = found[0.5]
    assert told["without"][0].mean() < told["with"][0].mean() <= told["knowing"][0].mean() + 0.02


def test__profile_text_and_verdicts__name_every_share(found):
    assert profile_text(found).count("\n") == len(found) * len(SIZES)
    assert all(verdict.passed for verdict in profile_verdicts(found))
    worse = {share: one | {"with": one["without"] - 0.1} for share, one in found.items()}
    assert not any(verdict.passed for verdict in profile_verdicts(worse))
    assert np.isfinite(found[0.5]["with"]).all()
