"""The default model and what it has to beat: one maker each, from a seed to an unfitted estimator."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.accuracy.judging import Makers
from skmrm import MetaRewardModel
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry

__all__ = ["BASELINES", "PAPER_EPOCHS", "makers"]

BASELINES = ("paper", "lore", "pooled", "bent", "per_user")
PAPER_EPOCHS = 200


def makers(names: Iterable[str] = ("default", *BASELINES), paper_epochs: int = PAPER_EPOCHS) -> Makers:
    """Estimators by name.

    Parameters
    ----------
    names : iterable of str
        Out of "default" and `BASELINES`.
    paper_epochs : int
        Epochs of the paper's setting; the paper has 200.
    """
    every: Makers = {
        "default": lambda seed: MetaRewardModel(random_state=seed),
        "paper": lambda seed: MetaRewardModel.paper(random_state=seed, max_epochs=paper_epochs),
        "lore": lambda seed: LowRankRewards(random_state=seed),
        "pooled": lambda seed: PooledBradleyTerry(random_state=seed),
        "bent": lambda seed: PooledBradleyTerry(kernel="auto", random_state=seed),
        "per_user": lambda seed: PerUserBradleyTerry(random_state=seed),
    }
    return {name: every[name] for name in names}
