"""What the card of a model, of users or of one user says of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from skmrm.base_rewards import BaseRewards
from skmrm.encoders import HFEncoder, TextEncoder
from skmrm.episodes.user_features import UserColumns
from skmrm.meta.adaptation import Adaptation

__all__ = [
    "REPO",
    "CardFacts",
    "encoder_problems",
    "facts_of_model",
    "facts_of_user",
    "facts_of_users",
    "network_of",
    "plain",
]

REPO = "<repository>"  # stands in code for where it is pushed to
_HISTORY = "What each of them said: gaps of base rewards, a few numbers a choice, with weights and times; no text."


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    Attributes
    ----------
    class_name : str
    intro : str
        What it is, in a sentence.
    base : BaseRewards
    sizes : mapping of str to int or None
        How many of what; what is not known is left out.
    code : str
        That loads and uses it from `REPO`.
    holds : list of str
        What the files have of people, in sentences.
    rule : Adaptation or None
    selection : list of dict
        What was tried, and what was chosen.
    """

    class_name: str
    intro: str
    base: BaseRewards
    sizes: Mapping[str, int | None]
    code: str
    holds: Sequence[str]
    rule: Adaptation | None = None
    selection: Sequence[Mapping[str, Any]] = field(default_factory=list)


def facts_of_model(model: Any, columns: UserColumns | None, onnx: bool) -> CardFacts:
    """Of a fitted estimator, with what it knows of user features."""
    base, name = model.base_rewards_, type(model).__name__
    holds = ["No id and no text of anybody in fit, and no weights of any one of them."]
    if columns is not None:
        named = ", ".join(plain(str(one["name"])) for one in columns.columns)
        holds.append(f"Names of the user features ({named}), and the categories that they had in fit.")
    groups = getattr(model, "n_groups_", None)
    return CardFacts(
        name,
        "A reward model of many people's choices, which adapts to a new person from a handful of theirs.",
        base,
        {
            "people in fit": model.n_users_,
            "their choices": getattr(model, "n_pairs_", None),
            "prompts, or other groups, that they were about": groups,
        },
        _code_of_model(base, name, onnx),
        holds,
        model.adaptation_,
        model.selection_,
    )


def facts_of_users(base: BaseRewards, n_users: int, include: Collection[str], onnx: bool) -> CardFacts:
    """Of many adapted users, and what else of them goes up."""
    if onnx:
        holds = [f"Weights of {n_users:,} people, a row each, in the order that they had; no ids."]
        code = f"{_scorer()}print(scorer.{_score(base)[:-1]}, weights=scorer.weights[0]))  # of the first of them"
    else:
        who = "by their ids" if "ids" in include else "numbered from 0, without their ids"
        holds = [f"Weights, posterior covariances and numbers of choices of {n_users:,} people, {who}."]
        holds.append(_HISTORY if "history" in include else "Nothing of what they said.")
        code = (
            "from skmrm import MetaRewardModel, UserModels\n\n"
            'model = MetaRewardModel.from_pretrained("...")  # the one that adapted them, which the file knows\n'
            f'users = UserModels.from_pretrained("{REPO}", model)\nprint(list(users)[:5])'
        )
    intro = f"Reward models of {n_users:,} people, over the base rewards that they share."
    return CardFacts("UserModels", intro, base, {"people": n_users}, code, holds)


def facts_of_user(base: BaseRewards, n_pairs: int, include: Collection[str], onnx: bool) -> CardFacts:
    """Of one user, and what else of theirs goes up."""
    holds = ["Weights of one person" + (", folded into the graph" if onnx else " and their covariance") + "; no id."]
    if onnx:
        code = f"{_scorer()}print(scorer.{_score(base)})"
    else:
        holds.append(_HISTORY.replace("each of them", "they") if "history" in include else "Nothing of what they said.")
        code = (
            "from skmrm import UserRewardModel\n\n"
            f'user = UserRewardModel.from_pretrained("{REPO}")\nprint(user.{_score(base)})'
        )
    return CardFacts("UserRewardModel", "The reward model of one person.", base, {"choices": n_pairs}, code, holds)


def encoder_problems(encoder: Any) -> list[str]:
    """Say that an encoder's network lies in a folder of this machine, if it does."""
    network = network_of(encoder)
    if network is None or not Path(network).is_dir():
        return []
    return [
        f"the encoder's network is in a folder of this machine ({network}), which others do not have: push that to the "
        "Hub and fit with its id, or push with onnx=True, which takes the network along"
    ]


def network_of(encoder: Any) -> str | None:
    """Folder or id of the network that makes features of texts, if one does."""
    inner = encoder.encoder_ if isinstance(encoder, TextEncoder) else encoder
    return str(inner.model) if isinstance(inner, HFEncoder) else None


def plain(text: str) -> str:
    """A text of the data on a card: neither Markdown nor HTML, on one line."""
    marked = "".join(f"\\{letter}" if letter in "\\`*_{}[]#|~" else letter for letter in text)
    return escape(" ".join(marked.split()), quote=False)


def _code_of_model(base: BaseRewards, name: str, onnx: bool) -> str:
    module = "skmrm" if name == "MetaRewardModel" else "skmrm.baselines"
    row = f"[[0.5] * {base.n_features}]"
    pairs = 'choices = [("Tea?", "With pleasure, thank you.", "Yes.")]  # prompt, chosen, rejected'
    episode = ""
    if base.kind == "features":
        other = row.replace("0.5", "0.1")
        pairs, episode = f'choices = Episode("new", chosen={row}, rejected={other})', "from skmrm import Episode\n"
    if onnx:
        score = f"{_score(base)[:-1]}, weights=scorer.adapt(choices))"
        return f"{episode}{_scorer()}{pairs}\nprint(scorer.{score})"
    return (
        f"{episode}from {module} import {name}\n\n"
        f'model = {name}.from_pretrained("{REPO}")\n{pairs}\nuser = model.adapt(choices)\nprint(user.{_score(base)})'
    )


def _scorer() -> str:
    return f'from skmrm.serving import OnnxScorer  # needs no torch\n\nscorer = OnnxScorer.from_pretrained("{REPO}")\n'


def _score(base: BaseRewards) -> str:
    """A call that ranks or scores."""
    if base.kind == "text":
        return 'rank("Cake?", ["No.", "I should love a slice, how kind."])'
    return f"predict([[0.5] * {base.n_features}, [0.1] * {base.n_features}])"
