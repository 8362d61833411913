"""Whose rewards are exported: one user's, many users', or a model's with its inner rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skmrm.base_rewards import BaseRewards
from skmrm.explanation.moments import MOMENTS
from skmrm.meta.adaptation import Adaptation

__all__ = ["Source", "model_source", "spread", "user_source", "users_source"]

Arrays = dict[str, NDArray[Any]]
_N_USERS_COMPARED = 64


@dataclass(frozen=True)
class Source:
    """What a bundle says and holds of users, how its head is built, and how to ask the live model.

    Attributes
    ----------
    base : BaseRewards
    scorer : {"user", "users", "model"}
    n_bases : int
    add_head : callable
        From a graph and the name of its features; adds outputs.
    live : callable
        From base rewards (n, n_bases) to rewards (n,).
    weights : ndarray of shape (n_users, n_bases) or None
        Those that the graph takes as an input; None where it has them.
    adaptation : dict or None
        Inner rule, for a new user's weights; or the reason why there is none.
    arrays : dict of str to ndarray
        Start and parameters of the inner rule, effects of user features, and moments of the responses in fit.
    user_columns : tuple of dict, optional
        How features of users become numbers.
    """

    base: BaseRewards
    scorer: Literal["user", "users", "model"]
    n_bases: int
    add_head: Callable[[Any, str], None]
    live: Callable[[NDArray[Any]], NDArray[Any]]
    weights: NDArray[Any] | None = None
    adaptation: dict[str, Any] | None = None
    arrays: Arrays | None = None
    user_columns: tuple[dict[str, Any], ...] | None = None

    def knowing(self, columns: tuple[dict[str, Any], ...], effects: NDArray[Any] | None) -> Source:
        """The same with what features of users do to the mean of the prior."""
        more = {} if effects is None else {"user.effects": effects}
        return replace(self, arrays={**(self.arrays or {}), **more}, user_columns=columns)


def user_source(base: BaseRewards, weights: NDArray[Any]) -> Source:
    """One user, whose weights become part of the graph."""

    def add_head(graph: Any, features: str) -> None:
        from skmrm.export.heads import add_user_head

        add_user_head(graph, base.folded(weights), features)

    return Source(base, "user", len(weights), add_head, lambda rewards: rewards @ weights)


def users_source(base: BaseRewards, weights: NDArray[Any]) -> Source:
    """Many users, whose weights (n_users, n_bases) stand beside the graph."""
    return _shared(base, "users", weights)


def model_source(base: BaseRewards, start_weights: NDArray[Any], rule: Adaptation, rule_params: Arrays) -> Source:
    """All users, known and new: weights of one without choices, and the inner rule where numpy has it."""
    from skmrm.meta.adaptation.registry import rule_config
    from skmrm.serving._adaptation import RULES

    problems: list[str] = []
    adaptation = rule_config(rule, problems)
    if not problems and adaptation["kind"] not in RULES:
        problems.append(f"the inner rule {adaptation['kind']!r} has no form without torch")
    if problems:
        return _shared(base, "model", start_weights[None], {"reason": "; ".join(problems)})
    moments = {name: base.params[name] for name in MOMENTS if name in base.params}
    return _shared(base, "model", start_weights[None], adaptation, rule_params | moments)


def spread(weights: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """Weights (n_rows, n_bases): users spread over the rows, as many as there are, up to a limit."""
    if len(weights) == 0:  # nobody adapted yet: each base reward by itself
        weights = np.eye(weights.shape[1], dtype=weights.dtype)
    some = weights[np.linspace(0, len(weights) - 1, min(len(weights), _N_USERS_COMPARED)).astype(int)]
    return some[np.arange(n_rows) % len(some)]


def _shared(
    base: BaseRewards,
    scorer: Literal["users", "model"],
    weights: NDArray[Any],
    adaptation: dict[str, Any] | None = None,
    arrays: Arrays | None = None,
) -> Source:
    def add_head(graph: Any, features: str) -> None:
        from skmrm.export.heads import add_shared_head

        add_shared_head(graph, base.params, features)

    def live(rewards: NDArray[Any]) -> NDArray[Any]:
        return np.einsum("nk,nk->n", rewards, spread(weights, len(rewards)))

    return Source(base, scorer, base.n_bases, add_head, live, weights, adaptation, arrays)
