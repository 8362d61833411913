"""Rewards of rows, each under its own user's model: what trainers and data sets have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import described, name_some, raise_all
from skmrm.episodes.columns import factorize
from skmrm.episodes.items import CheckedItems, Item

if TYPE_CHECKING:
    from skmrm.estimators.users import UserModels

__all__ = ["OnUnknownUser", "RowRewards"]

OnUnknownUser: TypeAlias = Literal["prior", "none", "error"]

_ITEMS_AT_A_TIME = 1 << 14  # distinct ones; bounds the memory that their features take


class RowRewards:
    """Whose reward each row is, and what it is.

    Parameters
    ----------
    source : UserModels, UserRewardModel, fitted MetaRewardModel or baseline, or skmrm.serving.OnnxScorer
        Many users; or one reward for all rows: one user's, or that of the starting weights.
    on_unknown_user : {"prior", "none", "error"}
        What a row of a user gets who is not among many users.

    Raises
    ------
    TypeError
        If `source` is none of these.
    ValueError
        If it does not score texts, or cannot do what `on_unknown_user` asks for.
    """

    def __init__(self, source: Any, on_unknown_user: OnUnknownUser) -> None:
        self.source, self.on_unknown_user = source, on_unknown_user
        self._users, kind, problems = _opened(source)
        if kind != "text":
            problems.append(
                "completions are texts, and this model was fitted on feature vectors: fit one on texts, with an encoder"
            )
        if on_unknown_user not in ("prior", "none", "error"):
            problems.append(f"on_unknown_user must be 'prior', 'none' or 'error', got {on_unknown_user!r}")
        elif self._users is None and on_unknown_user != "prior":
            problems.append(
                f"on_unknown_user={on_unknown_user!r} needs a source that knows users, {described(source)} gives all "
                "rows one reward: pass model.adapt_many(episodes), or leave the option out"
            )
        elif self._users is not None and on_unknown_user == "prior" and self._users.start_weights_ is None:
            problems.append(
                "on_unknown_user='prior' needs the starting weights, which these UserModels do not have: make them "
                "with model.adapt_many, or choose 'none' or 'error'"
            )
        raise_all(problems)

    @property
    def needs_users(self) -> bool:
        """Whether rows are scored by user, or all alike."""
        return self._users is not None

    def is_known(self, users: Iterable[Any]) -> list[bool]:
        """Whether each row's user was adapted."""
        known = self._users
        return [True if known is None else _is_known(known, user) for user in users]

    def __call__(self, items: Sequence[Item], users: Sequence[Any] | None) -> list[float | None]:
        """Reward of each row in logits; None for users who are to have none.

        Each distinct (prompt, response) is encoded once, whoever's rows it is in.

        Raises
        ------
        KeyError
            If users are unknown and may not be; or if they are only known as values of another type.
        ValueError
            If a reward is NaN or infinite.
        """
        if self._users is None:
            return _finite(self._scored(items, None), items).tolist()
        assert users is not None
        known = self.is_known(users)
        self._check_unknown([user for user, is_known in zip(users, known, strict=True) if not is_known])
        scored = [place for place in range(len(users)) if known[place] or self.on_unknown_user != "none"]
        rewards: list[float | None] = [None] * len(users)
        some = [items[place] for place in scored]
        own = [users[place] for place in scored]
        for place, reward in zip(scored, _finite(self._scored(some, own), some).tolist(), strict=True):
            rewards[place] = reward
        return rewards

    def _scored(self, items: Sequence[Item], users: Sequence[Any] | None) -> NDArray[Any]:
        """Rewards (n,) of items: of one reward for all, or each under the weights of a user."""
        codes, distinct = factorize(items)
        parts = [
            self._of_items(CheckedItems(distinct[start : start + _ITEMS_AT_A_TIME]))
            for start in range(0, len(distinct), _ITEMS_AT_A_TIME)
        ]
        if not parts:
            return np.empty(0, np.float32)
        table = np.concatenate(parts)[codes]
        return table if users is None else np.einsum("nk,nk->n", table, self._weights(users))

    @property
    def _of_items(self) -> Callable[[Sequence[Item]], NDArray[Any]]:
        """Base rewards (n, n_bases) where rows have users, else rewards (n,)."""
        return self.source.predict if self._users is None else self._users._base.of_items

    def _weights(self, users: Sequence[Any]) -> NDArray[Any]:
        """Weights (n, n_bases) of users, the starting weights of those who were not adapted."""
        assert self._users is not None
        known = [user for user in dict.fromkeys(users) if user in self._users]
        place = {user: row for row, user in enumerate(known)}
        rows = np.array([place.get(user, len(known)) for user in users], np.intp)
        weights, start = self._users._read(known).weights, self._users.start_weights_
        return (weights if start is None else np.vstack([weights, start]))[rows]

    def _check_unknown(self, unknown: list[Any]) -> None:
        assert self._users is not None
        respelt = {user: other for user in dict.fromkeys(unknown) for other in _of_other_type(self._users, user)}
        if respelt:
            user, other = next(iter(respelt.items()))
            raise KeyError(
                f"ids of users must be of the type that they had when the users were adapted; {name_some(respelt)} "
                f"came, {other!r} was adapted, not {user!r}: convert the column"
            )
        if unknown and self.on_unknown_user == "error":
            raise KeyError(
                f"each row's user must be among the {len(self._users)} adapted users, got "
                f"{name_some(dict.fromkeys(unknown))}: adapt them, or choose on_unknown_user='prior' or 'none'"
            )


def _opened(source: Any) -> tuple[UserModels | None, str, list[str]]:
    """Users where there are many, the kind of what is scored, and what is wrong with it."""
    from skmrm.serving import OnnxScorer

    if isinstance(source, OnnxScorer):
        if source.config["scorer"] != "users":
            return None, source.kind, []
        problem = "a bundle of many users does not say who they are: pass the UserModels that it was exported from"
        return None, source.kind, [problem]
    from skmrm.estimators.scorer import RewardScorer
    from skmrm.estimators.users import UserModels

    if isinstance(source, UserModels):
        return source, source._base.kind, []
    if isinstance(source, RewardScorer):
        base, _ = source._scorer()  # raises NotFittedError
        return None, base.kind, []
    raise TypeError(
        "a fitted MetaRewardModel, a UserRewardModel, UserModels (from model.adapt_many) or an OnnxScorer of one user "
        f"is needed, got {described(source)}"
    )


def _is_known(users: UserModels, user: Any) -> bool:
    try:
        hash(user)
    except TypeError as error:
        raise TypeError(f"ids of users must be hashable, as strings and numbers are: {error}") from None
    return user in users


def _of_other_type(users: UserModels, user: Any) -> list[Hashable]:
    """Users whose ids read like one that is not known: 7 for "7"."""
    found: list[Hashable] = []
    for kind in (str, int):
        try:
            other = kind(user)
        except (TypeError, ValueError, OverflowError):
            continue
        if type(user) is not kind and other in users:
            found.append(other)
    return found


def _finite(rewards: NDArray[Any], items: Sequence[Item]) -> NDArray[Any]:
    wrong = np.flatnonzero(~np.isfinite(rewards))
    if len(wrong):
        raise ValueError(
            f"rewards must be finite; {len(wrong)} of {len(rewards)} are not, the first is {rewards[wrong[0]]} for "
            f"{items[wrong[0]][1]!r:.80}: see what the encoder makes of this text"
        )
    return rewards
