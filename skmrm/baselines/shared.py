"""What the baselines have in common beyond the estimator contract."""

from __future__ import annotations

import warnings
from numbers import Real

from sklearn.utils._param_validation import Interval

from skmrm.estimators.core_data import CoreData
from skmrm.meta.fit import Fitted
from skmrm.meta.folds import MIN_JUDGED_USERS

__all__ = ["FRACTION", "RIDGE", "warn_unvalidated"]

RIDGE = [None, Interval(Real, 0, None, closed="neither")]
FRACTION = [Interval(Real, 0, 0.5, closed="both")]


def warn_unvalidated(fitted: Fitted, data: CoreData, wanted: bool) -> None:
    """Say so where choices were to be made on users and there were too few of them."""
    if wanted and fitted.n_judged < MIN_JUDGED_USERS:
        warnings.warn(
            f"parameters left open cannot be chosen: {MIN_JUDGED_USERS} users with pairs in at least two groups are "
            f"needed, got {fitted.n_judged} of {data.pairs.n_users} users; defaults are used. Add users, pass groups "
            "that divide each user's pairs, or give the parameters",
            UserWarning,
            stacklevel=6,
        )
