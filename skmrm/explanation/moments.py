"""Second moments of named statistics and base rewards over responses: all that effects are computed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes import EpisodeSet
from skmrm.episodes.columns import factorize

if TYPE_CHECKING:
    from skmrm.base_rewards import BaseRewards

__all__ = ["MOMENTS", "Moments", "compared_parts", "kept_moments", "moments_of", "parts_of", "within_parts"]

MOMENTS = ("crowd.moments", "crowd.n_items")  # arrays that moments are kept as
_MOST_STATISTICS = 256  # columns that anybody would read the names of
_MOST_BASES = 512  # of which a model keeps the square
_MOST_ITEMS = 1 << 14  # of those in fit: enough for moments


class Moments(NamedTuple):
    """Second moments of m statistics and K base rewards, over responses that are compared with each other.

    Attributes
    ----------
    statistics : ndarray of shape (m, m)
        Covariance of the statistics, each in its own unit.
    cross : ndarray of shape (m, n_bases)
        Of statistics and base rewards.
    rewards : ndarray of shape (n_bases, n_bases)
        Of base rewards.
    n_items : int
        Number of responses.
    n_free : int
        How many of them are free to differ: less one for each set that is compared only within itself.
    """

    statistics: NDArray[np.float64]
    cross: NDArray[np.float64]
    rewards: NDArray[np.float64]
    n_items: int
    n_free: int

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """For :attr:`BaseRewards.params`."""
        whole = np.block([[self.statistics, self.cross], [self.cross.T, self.rewards]])
        return dict(zip(MOMENTS, (whole, np.array([self.n_items, self.n_free])), strict=True))

    @classmethod
    def of_arrays(cls, params: Any, n_bases: int) -> Moments | None:
        """What `as_arrays` wrote; None if it did not."""
        if MOMENTS[0] not in params:
            return None
        whole, counts = (params[name] for name in MOMENTS)
        m = len(whole) - n_bases
        n_items, n_free = counts.tolist()
        return cls(whole[:m, :m], whole[:m, m:], whole[m:, m:], n_items, n_free)


def compared_parts(n_items: int, episodes: EpisodeSet) -> NDArray[np.intp]:
    """A code (n_items,) for each item: the same for those that were compared, directly or through others."""
    from scipy.sparse import coo_array  # which services do without
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(episodes.n_pairs), (episodes.chosen, episodes.rejected)), shape=(n_items, n_items))
    return np.asarray(connected_components(links, directed=False)[1], np.intp)


def parts_of(episodes: EpisodeSet) -> NDArray[np.intp]:
    """Which responses of a set are held against each other: those to one prompt; of features, those compared."""
    if episodes.items is None:
        return _parts_or_one(compared_parts(episodes.n_items, episodes))
    return parts_of_prompts([prompt for prompt, _ in episodes.items])


def parts_of_prompts(prompts: list[str]) -> NDArray[np.intp]:
    """A code for each prompt; one for all, where most responses are the only one to their prompt."""
    return _parts_or_one(factorize(prompts)[0].astype(np.intp))


def _parts_or_one(part: NDArray[np.intp]) -> NDArray[np.intp]:
    alone = np.bincount(part, minlength=1)[part] == 1
    return np.zeros_like(part) if alone.mean() > 0.5 else part


def within_parts(values: NDArray[Any], part: NDArray[np.intp]) -> NDArray[np.float64]:
    """Deviation of values (n, k) from the mean of their part.

    Rewards have no natural zero, and are learnt from differences between responses to one prompt: what differs between
    prompts is not a preference.
    """
    counts = np.bincount(part)
    columns = np.asarray(values, float).T
    means = np.array([np.bincount(part, weights=column) / counts for column in columns]).reshape(len(columns), -1)
    return np.asarray((columns - means[:, part]).T)


def moments_of(statistics: NDArray[Any], rewards: NDArray[Any], part: NDArray[np.intp]) -> Moments:
    """Moments of statistics (n, m) and base rewards (n, n_bases) within parts."""
    n, both = len(part), (within_parts(statistics, part), within_parts(rewards, part))
    first, second = both
    return Moments(first.T @ first / n, first.T @ second / n, second.T @ second / n, n, n - len(np.unique(part)))


def kept_moments(base: BaseRewards, episodes: EpisodeSet, features: NDArray[Any], n_own: int) -> Moments | None:
    """Those that a model keeps of the items in fit: of texts' statistics, or of features; None if there are too many.

    Parameters
    ----------
    base : BaseRewards
        Fitted.
    episodes : EpisodeSet
        In fit.
    features : (n_items, d) array
        Of its items, in memory.
    n_own : int
        Last columns that are statistics of style.
    """
    m = n_own if base.kind == "text" else base.n_features
    if not 0 < m <= _MOST_STATISTICS or base.n_bases > _MOST_BASES:
        return None
    part = parts_of(episodes)
    some = _some_parts(part)
    rows, part = (features, part) if some is None else (features[some], np.unique(part[some], return_inverse=True)[1])
    return moments_of(rows[:, rows.shape[1] - m :], base._of_features(rows), part)


def _some_parts(part: NDArray[np.intp]) -> NDArray[np.intp] | None:
    """Rows of whole parts drawn at random, about as many as are enough; None for all. One part is drawn from."""
    if len(part) <= _MOST_ITEMS:
        return None
    rng = np.random.default_rng(0)
    place = rng.permutation(int(part.max()) + 1)[part]
    order = np.lexsort((rng.random(len(part)), place))
    return np.sort(order[:_MOST_ITEMS])
