"""The same choices in five forms: reading and fit, in seconds of CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks._support.areas import Found
from skmrm import Episode, MetaRewardModel, episodes_from_arrays, episodes_from_frame
from skmrm.datasets import make_user_preferences

__all__ = ["forms", "forms_of"]


def forms_of(features: NDArray[Any], ends: NDArray[np.int64], user: NDArray[np.int64]) -> dict[str, Callable[[], Any]]:
    """What reads each form of pairs `ends` (n_pairs, 2), chosen first, of users in ascending order.

    What the caller has is made here; what reading costs, when called.
    """
    chosen, rejected = (features[side] for side in ends.T)
    own = np.split(np.arange(len(user)), np.flatnonzero(np.diff(user)) + 1)
    listed = [Episode(int(user[rows[0]]), chosen[rows], rejected[rows]) for rows in own]
    columns = {"user_id": user, "chosen": list(chosen), "rejected": list(rejected)}
    frame = pd.DataFrame(columns)
    dicts = [
        {"user_id": who, "chosen": better, "rejected": worse}
        for who, better, worse in zip(user.tolist(), chosen.tolist(), rejected.tolist(), strict=True)
    ]
    stacked, pair = np.vstack([chosen, rejected]), np.arange(len(user))
    return {
        "list of Episode": lambda: listed,
        "frame of vectors": lambda: episodes_from_frame(frame, prompt=None),
        "list of dicts": lambda: episodes_from_frame(dicts, prompt=None),
        "indexed features": lambda: episodes_from_arrays(features, *ends.T, user),
        "a row for each end": lambda: episodes_from_arrays(stacked, pair, pair + len(pair), user),
    }


def forms(bandwidth: float, quick: bool) -> Found:
    """Time reading and fit of each form, and compare the fitted rewards with those of the first."""
    n_users = 30 if quick else 1200
    data = make_user_preferences(n_users, 40, n_features=64, n_groups=25, n_items_per_group=4, random_state=0).episodes
    rows: list[dict[str, Any]] = []
    first: NDArray[Any] | None = None
    for name, read in forms_of(data.features, np.stack([data.chosen, data.rejected], 1), data.user).items():
        model = MetaRewardModel(random_state=0)
        began = time.process_time()
        model.fit(read())
        seconds = time.process_time() - began
        rewards = model.transform(data.features)
        first = rewards if first is None else first
        rows.append({"form": name, "CPU, s": seconds, "difference": float(abs(rewards - first).max())})
    fastest = min(row["CPU, s"] for row in rows)
    title = f"forms: {data.n_pairs:,} pairs over {data.n_items} responses, reading and fit; rewards next to the first's"
    table = [row | {"times the fastest": row["CPU, s"] / fastest} for row in rows]
    return Found(title, {"form": "s", "CPU, s": ".2f", "times the fastest": ".2f", "difference": ".0e"}, table)
