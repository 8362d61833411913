"""Fit every model on the seen users of a split, and judge it on all users after they have adapted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._support.files import digest, read_json, write_json
from benchmarks.paper_table.encode import Encoded
from skmrm import EpisodeSet, MetaRewardModel
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.datasets import PaperSplit
from skmrm.metrics import user_accuracies
from skmrm.model_selection import adaptation_curve

__all__ = ["MODELS", "Result", "Setting", "judge", "load_results"]


@dataclass(frozen=True)
class Result:
    """One model in one split.

    Attributes
    ----------
    seen, unseen : dict of str to float
        Accuracy of each user by id, for users the model was trained on and for the others.
    parameters : dict
        Of the estimator.
    data : str
        Digest of the data, features included.
    made_from : str
        Digest of all of it: data, split and parameters.
    """

    seen: dict[str, float]
    unseen: dict[str, float]
    parameters: dict[str, Any]
    data: str
    made_from: str


@dataclass(frozen=True)
class Setting:
    """What of the paper's setting depends on the data set, and what a quick run changes.

    Attributes
    ----------
    learning_rate : float
        Of both loops: 1e-3 on PRISM and 5e-3 on Reddit TL;DR (scripts/ of https://github.com/ModalityDance/MRM).
    epochs : int
        Epochs of the paper's setting: 200.
    device : str
        Where models are fitted, as of `MetaRewardModel`.
    """

    learning_rate: float
    epochs: int = 200
    device: str = "auto"


MODELS: dict[str, tuple[str, Callable[[Setting, int], Any] | None]] = {
    "reward_model": ("The reward model itself", None),
    "pooled": (
        "Pooled Bradley-Terry",
        lambda setting, seed: PooledBradleyTerry(random_state=seed, device=setting.device),
    ),
    "per_user": (
        "Per-user Bradley-Terry",
        lambda setting, seed: PerUserBradleyTerry(random_state=seed, device=setting.device),
    ),
    "lore": ("Low-rank rewards (LoRe)", lambda setting, seed: LowRankRewards(random_state=seed, device=setting.device)),
    "paper": (
        "Meta Reward Modeling, the paper's setting",
        lambda setting, seed: MetaRewardModel.paper(
            inner_lr=setting.learning_rate,
            learning_rate=setting.learning_rate,
            max_epochs=setting.epochs,
            random_state=seed,
            device=setting.device,
        ),
    ),
    "default": (
        "MetaRewardModel, defaults",
        lambda setting, seed: MetaRewardModel(random_state=seed, device=setting.device),
    ),
}


def judge(
    episodes: EpisodeSet, splits: list[PaperSplit], encoded: Encoded, setting: Setting, names: list[str], folder: Path
) -> dict[str, list[Result]]:
    """Accuracies of every model in every split; what an earlier run has judged on the same data is read.

    Parameters
    ----------
    episodes : EpisodeSet
        All users.
    splits : list of PaperSplit
        One a seed.
    encoded : Encoded
        Features of ``episodes.items``.
    setting : Setting
        How to fit.
    names : list of str
        Which of `MODELS`.
    folder : Path
        Gets one file a model and seed.

    Returns
    -------
    dict of str to list
        For each model, one result a split.
    """
    # Features alone: the paper's models see no text, and so no statistics of it.
    known = EpisodeSet(
        users=episodes.users,
        user=episodes.user,
        chosen=episodes.chosen,
        rejected=episodes.rejected,
        group=episodes.group,
        features=encoded.features,
    )
    columns = [known.users.tolist(), known.user, known.chosen, known.rejected, known.group]
    data = digest(*columns, encoded.made_by, encoded.rewards)  # which no two sets of texts have in common
    found: dict[str, list[Result]] = {name: [] for name in names}
    for seed, split in enumerate(splits):
        for name in names:
            make = MODELS[name][1]
            model = None if make is None else make(setting, seed)
            parameters = {} if model is None else _plain(model.get_params())
            made_from = digest(data, split.seen, split.support, split.query, name, parameters)
            path = _path(folder, name, seed)
            if (read_json(path) or {}).get("made_from") != made_from:
                accuracies = (
                    _own_rewards(known, split, encoded.rewards) if model is None else _fitted(known, split, model)
                )
                write_json(path, asdict(Result(**accuracies, parameters=parameters, data=data, made_from=made_from)))
                print(f"seed {seed}, {MODELS[name][0]}: {_summary(accuracies)}", flush=True)
            found[name].append(Result(**read_json(path)))
    return found


def load_results(names: list[str], n_seeds: int, folder: Path) -> dict[str, list[Result]]:
    """Read what `judge` has finished.

    Raises
    ------
    FileNotFoundError
        If a model has not been judged in every split.
    ValueError
        If results are of different data.
    """
    paths = {(name, seed): _path(folder, name, seed) for name in names for seed in range(n_seeds)}
    missing = [path.name for path in paths.values() if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{folder} must hold {', '.join(missing)}, found none: run --stage judge first")
    results = {place: Result(**read_json(path)) for place, path in paths.items()}
    if len({result.data for result in results.values()}) > 1:
        raise ValueError(f"{folder} holds results on different data or features: run --stage judge again")
    return {name: [results[name, seed] for seed in range(n_seeds)] for name in names}


def _fitted(episodes: EpisodeSet, split: PaperSplit, model: Any) -> dict[str, dict[str, float]]:
    model.fit(split.training(episodes))
    accuracies = {}
    for side in ("seen", "unseen"):
        users, query = split.judged(episodes, seen=side == "seen")
        curve = adaptation_curve(model, users, support_sizes=[None], n_splits=1, query=query)
        accuracies[side] = _by_user(curve.users, curve.accuracy[0])
    return accuracies


def _own_rewards(episodes: EpisodeSet, split: PaperSplit, rewards: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """Judge the reward model's own head on the same users and pairs; nothing is fitted."""
    accuracies = {}
    for side in ("seen", "unseen"):
        users, query = split.judged(episodes, seen=side == "seen")
        n_query, n_support = (np.bincount(users.user[mask], minlength=users.n_users) for mask in (query, ~query))
        margins = (rewards[users.chosen] - rewards[users.rejected])[query]
        accuracy = user_accuracies(margins, users.user[query], users.n_users)
        judged = (n_query > 0) & (n_support > 0)
        accuracies[side] = _by_user(users.users[judged], accuracy[judged])
    return accuracies


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as JSON has them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()}


def _by_user(users: NDArray[np.object_], accuracy: NDArray[np.float64]) -> dict[str, float]:
    return {str(user): float(value) for user, value in zip(users, accuracy, strict=True)}


def _summary(accuracies: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{side} {np.mean(list(values.values())):.4f}" for side, values in accuracies.items())


def _path(folder: Path, name: str, seed: int) -> Path:
    return folder / f"{name}-seed{seed}.json"
