"""Standardised features as base reward functions, for users who share nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from skmrm._bridge import standardised_of
from skmrm.base_rewards import BaseRewards

__all__ = ["FeatureRewards", "make_base_rewards"]


class FeatureRewards(BaseRewards):
    """One base reward function for each feature, the feature itself: bases = identity, never stored or multiplied by.

    Parameters
    ----------
    params : mapping of str to array
        ``mean`` and ``scale``, (n_features,) each.
    encoder : fitted transformer or None
    device : str
    """

    @property
    def n_bases(self) -> int:
        """Number of features."""
        return self.n_features

    def _of_features(self, features: NDArray[Any]) -> NDArray[Any]:
        return standardised_of(self.params, features, self.device)


def make_base_rewards(params: Mapping[str, NDArray[Any]], encoder: Any, device: str) -> BaseRewards:
    """Base rewards of learnt parameters; without ``bases``, the standardised features themselves."""
    kind = BaseRewards if "bases" in params else FeatureRewards
    return kind(params, encoder, device)
