"""What a notebook shows of fitted estimators and of adapted users; nothing is encoded, adapted or read for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import counted
from skmrm.base_rewards import BaseRewards, FeatureRewards
from skmrm.display import Part, Table, as_html, shortened, signed

__all__ = ["fitted_page", "user_page", "users_page"]

_FEW = 5  # weights, or users, that are shown


def fitted_page(model: Any) -> str:
    """What a fitted estimator was fitted on, what was chosen, and what that gains, for below scikit-learn's diagram."""
    base, selection = model.base_rewards_, model.selection_
    facts = {"users": f"{model.n_users_:,}"}
    n_pairs = getattr(model, "n_pairs_", None)  # files and pickles of earlier versions do not say
    if n_pairs is not None:
        facts["pairs"] = f"{n_pairs:,}"
    facts |= {"items": _items(base), "base reward functions": _bases(base)}
    if len(model.history_) > 1:
        facts["outer loop"] = _epochs(model.history_)
    if model._cold is not None:
        used = "not used: they did not help users left out" if model._cold.effects is None else "used"
        facts["user features"] = f"{len(model._cold.columns.columns)}, {used}"
    chosen = next((one for one in selection if one["chosen"]), None)
    if chosen is not None:
        facts |= {"chosen": _chosen(chosen, selection), "gains": _gains(chosen, selection)}
    return as_html("", "", [Table([*facts.items()], title="Fitted on", named=True), *_candidates(selection)])


def user_page(user: Any) -> str:
    """One adapted user: how many choices, and the weights that are least like the crowd's."""
    base: BaseRewards = user._base
    start = base.params.get("crowd.weights", np.zeros_like(user.weights_))
    update = "not kept: cannot be updated" if user._history is None and user.n_pairs_ else "kept for update"
    facts = {"choices": f"{user.n_pairs_:,}, {update}", "items": _items(base), "base reward functions": _bases(base)}
    order = np.argsort(-np.abs(user.weights_ - start), kind="stable")[:_FEW]
    spread = None if user.weights_cov_ is None else np.sqrt(np.diagonal(user.weights_cov_).clip(min=0))
    names = _base_names(base, order)
    rows = [
        (name, signed(user.weights_[at]), *([] if spread is None else [f"{spread[at]:.2f}"]), signed(start[at]))
        for name, at in zip(names, order.tolist(), strict=True)
    ]
    head = ("", "weight", *([] if spread is None else ["± posterior"]), "crowd")
    title = "Weights least like the crowd's:" if len(order) < len(user.weights_) else "Weights:"
    return as_html(
        "UserRewardModel", "", [Table([*facts.items()], named=True), Table(rows, head, title, numbers=True, named=True)]
    )


def users_page(users: Any) -> str:
    """Many adapted users: how many, and the first few; of a file no more is read than these."""
    first = list(islice(users, _FEW))
    few = users._table.read(first)
    facts = {"users": f"{len(users):,}"}
    if users._file is None:
        facts["choices"] = _spread(users.n_pairs_)
    else:
        facts["file"] = str(users._file.path)
    facts |= {"items": _items(users._base), "base reward functions": _bases(users._base)}
    rows = [(shortened(user), f"{n_pairs:,}") for user, n_pairs in zip(first, few.n_pairs.tolist(), strict=True)]
    title = f"The first {len(rows)}:" if len(rows) < len(users) else ""
    parts: list[Part] = [Table(rows, ("user", "choices"), title, numbers=True, named=True)] if rows else []
    return as_html("UserModels", "", [Table([*facts.items()], named=True), *parts])


def _items(base: BaseRewards) -> str:
    features = counted(base.n_features, "feature")
    return features if base.encoder is None else f"texts, {features} by {type(base.encoder).__name__}"


def _bases(base: BaseRewards) -> str:
    kernel = ", with Nyström features of a Gaussian kernel" if "kernel.out" in base.params else ""
    return f"{base.n_bases:,}{kernel}"


def _base_names(base: BaseRewards, places: NDArray[np.intp]) -> list[str]:
    """Of features that are base reward functions themselves, their own names."""
    own = base.feature_names if isinstance(base, FeatureRewards) else None
    return [f"base_reward{at}" if own is None or at >= len(own) else shortened(own[at]) for at in places.tolist()]


def _spread(counts: NDArray[np.integer]) -> str:
    if len(counts) == 0:
        return "none"
    return f"{counts.sum():,}, {counts.min():,} to {counts.max():,} a user, median {np.median(counts):,g}"


def _epochs(history: Sequence[dict[str, Any]]) -> str:
    """How many there were, and what they brought users who were left out."""
    losses = [one["validation_loss"] for one in history]
    epochs = counted(len(history) - 1, "epoch")
    if None in losses:
        return epochs
    return f"{epochs}, log loss of users left out {losses[0]:.3f} before and {min(losses):.3f} at best"


def _chosen(chosen: dict[str, Any], selection: Sequence[dict[str, Any]]) -> str:
    """The setting; of a weighted mean also what weighs most."""
    parts = [one for one in selection if one.get("weight")]
    if chosen.get("weight", 0) is not None or not parts:
        return str(chosen["setting"])
    most = max(parts, key=lambda one: one["weight"])
    return f"{chosen['setting']} of {len(parts)}, most of it {most['setting']} ({100 * most['weight']:.0f} %)"


def _gains(chosen: dict[str, Any], selection: Sequence[dict[str, Any]]) -> str:
    """What users who were left out gain by it."""
    if "change" not in chosen:
        return f"log loss {chosen['validation_loss']:.3f} for users left out, the lowest of {len(selection)} or as good"
    if chosen["setting"] == "none":
        return "nothing: no way to personalise helped users left out, and all get one reward"
    gain, error = -chosen["change"] + 0.0, chosen["standard_error"]
    return f"{gain:.3f} ± {error:.3f} nats a pair for users left out, against one reward for all"


def _candidates(selection: Sequence[dict[str, Any]]) -> list[Part]:
    """All that was chosen from, for who asks."""
    if not selection:
        return []
    known = {"validation_loss": "log loss", "change": "change", "standard_error": "± se", "weight": "weight"}
    columns = [name for name in known if any(one.get(name) is not None for one in selection)]
    rows = [
        (str(one["setting"]), *(_cell(one.get(name), name) for name in columns), "chosen" * one["chosen"])
        for one in selection
    ]
    head = ("setting", *(known[name] for name in columns), "")
    return [Table(rows, head, f"All {len(rows)} candidates", numbers=True, named=True, folded=True)]


def _cell(value: float | None, name: str) -> str:
    if value is None:
        return ""
    return signed(value, 3) if name == "change" else f"{value:.3f}"
