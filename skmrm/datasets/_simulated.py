"""Simulated users over random features: their reward functions are known, so that recovery can be measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skmrm._support.randomness import RandomState, as_generator
from skmrm._support.wording import name_some, raise_all
from skmrm.episodes import Episode, EpisodeSet, as_episode_set

__all__ = ["make_user_preferences", "oracle_accuracy", "true_gaps"]

Family = Literal["low_rank", "clusters", "idiosyncratic"]
PairCounts = int | tuple[int, int]

_ROWS_PER_BLOCK = 1 << 18  # bounds the memory of work over all pairs


def make_user_preferences(
    n_users: int = 200,
    n_pairs: PairCounts = 30,
    n_features: int = 20,
    n_bases: int = 3,
    *,
    family: Family = "low_rank",
    shared_strength: float = 1.5,
    personal_strength: float = 2.5,
    noise: float = 0.0,
    hard_fraction: float = 0.0,
    n_groups: int = 100,
    n_items_per_group: int = 6,
    group_effect: float = 1.0,
    random_state: RandomState = None,
) -> Bunch:
    """Simulate users who choose between random items by their own, known, linear reward.

    The reward of item x for user u is ``coef[u] @ x`` with ``coef = weights @ base_functions``, and u prefers a to b
    with probability ``sigmoid(coef[u] @ (a - b))`` (Bradley-Terry).

    - Base functions are random orthonormal directions of the feature space.
    - Items come in groups, as responses come with a prompt. An item is its group's centre, drawn from
      N(0, group_effect² I), plus a draw of its own from N(0, I). Both items of a pair are of one group, so that the
      centre cancels. A user meets no pair of items twice before having met every pair.
    - Weights are ``sign[u] * mean_weights + deviation[u]``. The mean is the same on every base function. The sign is 1,
      and -1 for hard users, whose individual weights thus scatter around minus the population mean. The deviation
      is what makes users differ, and `family` says how.

    With the defaults the true rewards predict about 80 % of the choices, and the population's mean reward 65 %.

    Parameters
    ----------
    n_users : int, default=200
        Number of users.
    n_pairs : int or (low, high), default=30
        Pairs of each user; for a tuple, each user's number is drawn from low to high, both included.
    n_features : int, default=20
        Number of features of an item.
    n_bases : int, default=3
        Number of base reward functions, at most `n_features`. Ignored by the family "idiosyncratic".
    family : {"low_rank", "clusters", "idiosyncratic"}, default="low_rank"
        "low_rank": deviations are Gaussian within the space of the base functions. "clusters": users fall into
        `n_bases` equally likely clusters, one for each base function, and all users of a cluster share one deviation
        (that base function, less the average of all). "idiosyncratic": deviations are Gaussian in all `n_features`
        directions, so that nothing but the mean can be shared.
    shared_strength : float, default=1.5
        Root mean square gap between the rewards of two items of a group that the population's mean weights
        give, in logits.
    personal_strength : float, default=2.5
        Root mean square gap that the deviations give, in logits. The mean and the deviations together give
        ``sqrt(shared_strength**2 + personal_strength**2)``.
    noise : float, default=0.0
        Lapse rate: share of choices, from 0 to 1, that are made by tossing a coin.
    hard_fraction : float, default=0.0
        Share of users, from 0 to 1, who are hard; their number is rounded to the nearest integer.
    n_groups, n_items_per_group : int, default=100 and 6
        Number of groups, and of items in each; all users choose among the same items.
    group_effect : float, default=1.0
        Standard deviation of the groups' centres in each feature.
    random_state : int, numpy Generator, RandomState, or None
        The same integer gives the same data.

    Returns
    -------
    Bunch
        episodes : EpisodeSet
            Over ``n_groups * n_items_per_group`` items with features; groups are given.
        base_functions : (n_bases, n_features) array
            One row for each base reward function; (n_features, n_features) for "idiosyncratic".
        weights : (n_users, n_bases) array
            True weights of each user.
        coef : (n_users, n_features) array
            True reward vector of each user, ``weights @ base_functions``, in logits per unit of a feature.
        mean_weights, mean_coef : (n_bases,) and (n_features,) array
            The population's mean, hard users aside: the best reward for one who knows nothing of the user.
        hard : (n_users,) bool array
            Users whose taste opposes the crowd's.
        cluster : (n_users,) int array, or None
            Cluster of each user, for the family "clusters".
        reward_scale : float
            Expected root mean square of the true reward gap of a pair, in logits.

    Raises
    ------
    ValueError
        If parameters are out of their range; all of them are listed.

    See Also
    --------
    oracle_accuracy : How well the true rewards predict the choices: the most that any model can hope for.

    Examples
    --------
    >>> data = make_user_preferences(n_users=50, n_pairs=(5, 20), n_bases=2, random_state=0)
    >>> data.episodes
    EpisodeSet(n_users=50, n_pairs=642, n_items=600, n_features=20)
    >>> data.weights.shape, data.coef.shape
    ((50, 2), (50, 20))
    """
    problems = [
        *integer_problems("n_users", n_users),
        *pair_count_problems(n_pairs),
        *integer_problems("n_features", n_features),
        *integer_problems("n_groups", n_groups),
        *integer_problems("n_items_per_group", n_items_per_group, low=2),
        *number_problems("shared_strength", shared_strength),
        *number_problems("personal_strength", personal_strength),
        *number_problems("noise", noise, high=1.0),
        *number_problems("hard_fraction", hard_fraction, high=1.0),
        *number_problems("group_effect", group_effect),
        *_family_problems(family, n_bases, n_features),
        *random_state_problems(random_state),
    ]
    raise_all(problems, "make_user_preferences")

    rng = as_generator(random_state)
    rank = n_features if family == "idiosyncratic" else n_bases
    base_functions = _orthonormal_rows(rank, n_features, rng)
    mean_weights = np.full(rank, shared_strength / np.sqrt(2 * rank))  # the gap of two items has variance 2 a direction
    deviations, cluster = _deviations(family, n_users, rank, personal_strength / np.sqrt(2), rng)
    hard = np.zeros(n_users, bool)
    hard[rng.permutation(n_users)[: round(hard_fraction * n_users)]] = True
    weights = np.where(hard, -1.0, 1.0)[:, None] * mean_weights + deviations
    coef = weights @ base_functions

    centres = group_effect * rng.standard_normal((n_groups, 1, n_features))
    items = centres + rng.standard_normal((n_groups, n_items_per_group, n_features))
    features = items.reshape(-1, n_features)
    columns = draw_choices(coef, features, n_items_per_group, n_pairs, noise, rng)
    return Bunch(
        episodes=EpisodeSet(users=user_ids(n_users), features=features, shared_groups=True, **columns),
        base_functions=base_functions,
        weights=weights,
        coef=coef,
        mean_weights=mean_weights,
        mean_coef=mean_weights @ base_functions,
        hard=hard,
        cluster=cluster,
        reward_scale=float(np.hypot(shared_strength, personal_strength)),
    )


def true_gaps(
    data: Bunch, episodes: EpisodeSet | Sequence[Episode] | None = None, *, personal: bool = True
) -> NDArray[np.float64]:
    """Reward of the chosen item less that of the rejected one, by the rewards that made the choices.

    Parameters
    ----------
    data : Bunch
        What `make_user_preferences` or `load_style_preferences` returned.
    episodes : EpisodeSet or list of Episode, optional
        Some of the users, or of the pairs, of ``data.episodes``; None takes all.
    personal : bool, default=True
        False judges every pair by the population's mean reward, as the best possible pooled model would.

    Returns
    -------
    (n_pairs,) float64 array
        Gaps in logits; negative where the user chose the item of the lower reward.

    Raises
    ------
    ValueError
        If `episodes` has users or items that `data` has not.

    Examples
    --------
    >>> data = make_user_preferences(n_users=10, n_pairs=4, random_state=0)
    >>> true_gaps(data).shape, true_gaps(data, data.episodes[[2, 5]]).shape
    ((40,), (8,))
    """
    coef, mean, table = _truth(data)
    asked = _asked(data, episodes, "true_gaps")
    row_of = {user: row for row, user in enumerate(data.episodes.users)}
    strangers = [user for user in asked.users if user not in row_of]
    problems = [f"episodes must hold users of data.episodes, got {name_some(strangers)}"] if strangers else []
    if asked.n_items != len(table):
        problems.append(f"episodes must be over the {len(table)} items of data.episodes, got {asked.n_items} items")
    raise_all(problems, "true_gaps")
    rows = np.array([row_of[user] for user in asked.users], np.intp)[asked.user]
    return _gaps(coef if personal else np.broadcast_to(mean, coef.shape), table, rows, asked.chosen, asked.rejected)


def oracle_accuracy(
    data: Bunch, episodes: EpisodeSet | Sequence[Episode] | None = None, *, personal: bool = True
) -> float:
    """Accuracy of the rewards that made the choices, which no model beats but by luck.

    Parameters
    ----------
    data : Bunch
        What `make_user_preferences` or `load_style_preferences` returned.
    episodes : EpisodeSet or list of Episode, optional
        Some of the users, or of the pairs, of ``data.episodes``; None takes all.
    personal : bool, default=True
        False gives the accuracy of the population's mean reward: the bar for a model that knows nothing of the user.

    Returns
    -------
    float
        Fraction of pairs whose chosen item has the higher reward, ties counting one half, averaged over users.

    Raises
    ------
    ValueError
        If `episodes` has users or items that `data` has not.

    Examples
    --------
    >>> data = make_user_preferences(random_state=0)
    >>> bool(oracle_accuracy(data) > oracle_accuracy(data, personal=False) > 0.5)
    True
    """
    asked = _asked(data, episodes, "oracle_accuracy")
    right = (np.sign(true_gaps(data, asked, personal=personal)) + 1) / 2
    counts = asked.pairs_per_user
    per_user = np.bincount(asked.user, weights=right, minlength=asked.n_users)[counts > 0] / counts[counts > 0]
    return float(per_user.mean())


def _asked(data: Bunch, episodes: Any, context: str) -> EpisodeSet:
    """The episodes given, else all there are."""
    whole: EpisodeSet = data.episodes
    return whole if episodes is None else as_episode_set(episodes, min_pairs=0, context=context)


# -- drawing -----------------------------------------------------------------------------------------------------


def user_ids(n_users: int) -> list[str]:
    """Names of simulated users: "u0", "u1", ..."""
    return [f"u{i}" for i in range(n_users)]


def draw_choices(
    coef: NDArray[np.float64],
    table: NDArray[np.float64],
    group_size: int,
    n_pairs: PairCounts,
    noise: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Draw pairs within groups and let each user choose: the columns of an EpisodeSet.

    Parameters
    ----------
    coef : (n_users, n_columns) array
        Reward vector of each user.
    table : (n_items, n_columns) array
        Items, those of a group together, `group_size` of them in each group.
    group_size : int
        Items of a group.
    n_pairs : int or (low, high)
        Pairs of each user.
    noise : float
        Share of choices made by tossing a coin.
    rng : numpy Generator
        Source of randomness.

    Returns
    -------
    dict
        The columns user, chosen, rejected and group, each (n_pairs,).
    """
    n_users = len(coef)
    low, high = n_pairs if isinstance(n_pairs, tuple) else (n_pairs, n_pairs)
    sizes = rng.integers(low, high, size=n_users, endpoint=True)
    first, second = np.triu_indices(group_size, k=1)
    codes = _draw_without_repeats(sizes, len(table) // group_size * len(first), rng)
    group, within = np.divmod(codes, len(first))
    a, b = group * group_size + first[within], group * group_size + second[within]
    user = np.repeat(np.arange(n_users), sizes)
    a_wins = _bradley_terry(_gaps(coef, table, user, a, b), noise, rng)
    return {"user": user, "chosen": np.where(a_wins, a, b), "rejected": np.where(a_wins, b, a), "group": group}


def _bradley_terry(gaps: NDArray[np.float64], noise: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether the first item is chosen: with probability sigmoid(gap), or one half in a lapse."""
    wins = gaps + rng.logistic(size=len(gaps)) > 0  # P(logistic > -gap) = sigmoid(gap)
    lapse, coin = rng.random((2, len(gaps)))
    chosen: NDArray[np.bool_] = np.where(lapse < noise, coin < 0.5, wins)
    return chosen


def _draw_without_repeats(sizes: NDArray[np.int64], n_options: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Options 0 to n_options - 1 for each user, none twice unless the user needs more than there are."""
    return (_by_redrawing if 2 * sizes.max() <= n_options else _by_shuffling)(sizes, n_options, rng)


def _by_redrawing(sizes: NDArray[np.int64], n_options: int, rng: np.random.Generator) -> NDArray[np.int64]:
    # With at least twice the options that are needed, repeats at least halve in each round.
    offset = np.repeat(np.arange(len(sizes)), sizes) * n_options
    codes = rng.integers(n_options, size=len(offset))
    while True:
        keys = offset + codes
        order = np.argsort(keys, kind="stable")
        repeats = order[1:][keys[order[1:]] == keys[order[:-1]]]
        if len(repeats) == 0:
            return codes
        codes[repeats] = rng.integers(n_options, size=len(repeats))


def _by_shuffling(sizes: NDArray[np.int64], n_options: int, rng: np.random.Generator) -> NDArray[np.int64]:
    drawn = [np.empty(0, np.int64)]
    step = max(1, _ROWS_PER_BLOCK // n_options)
    for begin in range(0, len(sizes), step):
        block = sizes[begin : begin + step]
        orders = rng.permuted(np.tile(np.arange(n_options), (len(block), 1)), axis=1)
        user = np.repeat(np.arange(len(block)), block)
        place = np.arange(len(user)) - np.repeat(np.cumsum(block) - block, block)
        drawn.append(orders[user, place % n_options])
    return np.concatenate(drawn)


def _gaps(
    coef: NDArray[np.float64],
    table: NDArray[np.float64],
    user: NDArray[np.integer],
    a: NDArray[np.integer],
    b: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Reward of a less reward of b for each pair, a block of pairs at a time."""
    gaps = np.empty(len(user))
    for begin in range(0, len(user), _ROWS_PER_BLOCK):
        part = slice(begin, begin + _ROWS_PER_BLOCK)
        gaps[part] = np.einsum("pd,pd->p", coef[user[part]], table[a[part]] - table[b[part]])
    return gaps


def _orthonormal_rows(n_rows: int, n_columns: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.linalg.qr(rng.standard_normal((n_columns, n_rows)))[0].T)


def _deviations(
    family: Family, n_users: int, rank: int, norm: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """Deviations from the mean weights with root mean square norm `norm`, and the users' clusters."""
    if family == "clusters":
        cluster = rng.integers(rank, size=n_users)
        centred = np.eye(rank) - 1 / rank
        return norm * np.sqrt(rank / (rank - 1)) * centred[cluster], cluster
    return norm / np.sqrt(rank) * rng.standard_normal((n_users, rank)), None


def _truth(data: Bunch) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Users' reward vectors, their population mean, and the items' columns that they weigh."""
    if "tastes" in data:
        return data["tastes"], data["mean_taste"], data["traits"]
    return data["coef"], data["mean_coef"], data["episodes"].features


# -- checking ----------------------------------------------------------------------------------------------------


def integer_problems(name: str, value: object, low: int = 1) -> list[str]:
    """Sentences about a parameter that must be an integer of at least `low`."""
    if not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= low:
        return []
    return [f"{name} must be an integer of at least {low}, got {value!r}"]


def number_problems(name: str, value: object, high: float | None = None) -> list[str]:
    """Sentences about a parameter that must be a finite number from 0 to `high`."""
    limit = np.inf if high is None else high
    if not isinstance(value, bool) and isinstance(value, Real) and 0 <= float(value) <= limit and isfinite(value):
        return []
    span = "of at least 0" if high is None else f"from 0 to {high:g}"
    return [f"{name} must be a finite number {span}, got {value!r}"]


def pair_count_problems(n_pairs: object) -> list[str]:
    """Sentences about n_pairs, which must be a positive integer or an ascending tuple of two."""
    if not isinstance(n_pairs, tuple):
        if integer_problems("n_pairs", n_pairs):
            return [f"n_pairs must be an integer of at least 1, or a tuple (low, high) of two, got {n_pairs!r}"]
        return []
    if len(n_pairs) == 2 and not any(integer_problems("n_pairs", n) for n in n_pairs) and n_pairs[0] <= n_pairs[1]:
        return []
    return [f"n_pairs must be a tuple (low, high) of integers with 1 <= low <= high, got {n_pairs!r}"]


def random_state_problems(random_state: object) -> list[str]:
    """Sentences about a random_state from which no generator can be made."""
    if random_state is None or isinstance(random_state, np.random.Generator | np.random.RandomState):
        return []
    if not integer_problems("random_state", random_state, low=0):
        return []
    came = repr(random_state)
    return [f"random_state must be an integer of at least 0, a numpy Generator, a RandomState or None, got {came}"]


def _family_problems(family: object, n_bases: object, n_features: object) -> list[str]:
    names = get_args(Family)
    if family not in names:
        return [f"family must be one of {', '.join(map(repr, names))}, got {family!r}"]
    if family == "idiosyncratic":
        return []
    problems = integer_problems("n_bases", n_bases, low=2 if family == "clusters" else 1)
    if problems and family == "clusters":
        problems = [f"{problems[0]} (one for each cluster)"]
    if isinstance(n_bases, Integral) and isinstance(n_features, Integral) and int(n_bases) > int(n_features) >= 1:
        problems.append(
            f"n_bases must be at most n_features = {n_features}, got {n_bases}: base functions are orthogonal "
            "directions of the feature space"
        )
    return problems
