"""One user's reward model in transformers' own form; importing this module makes the form known to transformers.

``user_model.to_hf().save_pretrained(folder)`` writes it, and where this module was imported::

    AutoModelForSequenceClassification.from_pretrained(folder)

reads it. Without skmrm, ``trust_remote_code=True`` reads it too, since the few lines of its network are in the folder.

What it scores is the text that the encoder reads, tokenised by the tokenizer that was saved with it. Over a reward
model or causal language model that is prompt and response in the chat template, as any reward model of transformers.
Sentence encoders read the response alone: in TRL, which gives a reward model the prompt as well, use
:class:`skmrm.integrations.trl.UserReward`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForSequenceClassification

from skmrm.base_rewards import BaseRewards
from skmrm.encoders import HFEncoder, TextEncoder
from skmrm.encoders.huggingface._chat import rendered
from skmrm.export.calibration import text_calibration
from skmrm.export.modeling_user_reward import UserRewardConfig, UserRewardModelForSequenceClassification

__all__ = ["UserRewardConfig", "UserRewardModelForSequenceClassification", "to_hf"]

# Logits; of rewards beyond 1, as a share of them. Rounding is far below that, reading something else far above.
_ATOL, _HALF_ATOL = 1e-3, 5e-2
_LONG = 500  # characters
_HEAD_NAMES = {
    "bases": "linear.weight",
    "kernel.out": "kernel_out.weight",
    "kernel.points": "points",
    "kernel.precision": "precision",
}

AutoConfig.register(UserRewardConfig.model_type, UserRewardConfig, exist_ok=True)
AutoModelForSequenceClassification.register(UserRewardConfig, UserRewardModelForSequenceClassification, exist_ok=True)
UserRewardConfig.register_for_auto_class()
UserRewardModelForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")


class UserRewards(Protocol):
    """What is needed of a :class:`skmrm.UserRewardModel`."""

    @property
    def _base(self) -> BaseRewards: ...

    @property
    def weights_(self) -> NDArray[Any]:
        """Weights (n_bases,) of the base rewards."""
        ...

    def predict(self, X: Any) -> NDArray[Any]:
        """Rewards of responses."""
        ...


def to_hf(user_model: UserRewards) -> UserRewardModelForSequenceClassification:
    """Make a model of transformers; see :meth:`skmrm.UserRewardModel.to_hf`.

    Parameters
    ----------
    user_model : UserRewardModel
        Of a model with ``MetaRewardModel(encoder=HFEncoder(...), text_statistics=False)``.

    Returns
    -------
    UserRewardModelForSequenceClassification
        Its logits (n, 1) of the tokenised responses are the rewards that ``user_model.score`` gives.

    Raises
    ------
    ValueError
        If rewards do not come from token ids alone; all reasons are listed.
    """
    base = user_model._base
    encoder = _encoder_of_ids(base.encoder)
    params = _head_parameters(base.folded(user_model.weights_))
    tokenizer, network = encoder.tokenizer_, encoder.network_
    before, after = _special_tokens(encoder)
    padding_at_end = None if encoder.reads_ == "response" else network.config.pad_token_id
    while after and after[-1] == padding_at_end:
        after.pop()
    config = UserRewardConfig(
        backbone_config=_without_path(network.config),
        pooling=encoder.pooling_,
        normalize=encoder.normalize_,
        n_features=base.n_features,
        n_landmarks=len(params.get("points", ())),
        prefix_ids=before,
        suffix_ids=after,
        max_tokens=encoder.max_length_,
        truncation_side=tokenizer.truncation_side if encoder.reads_ == "response" else "left",
        padding_at_end=padding_at_end,
        pad_token_id=tokenizer.pad_token_id or 0,
    )
    with torch.device("meta"):  # without drawing random weights that nobody uses
        model = UserRewardModelForSequenceClassification(config)
    model.backbone = copy.deepcopy(network).cpu()
    model.head.load_state_dict({name: torch.tensor(value) for name, value in params.items()}, assign=True)
    model.tokenizer = copy.deepcopy(tokenizer)
    if encoder.chat_template is not None:
        model.tokenizer.chat_template = encoder.chat_template
    model.eval()
    _check_same(model, user_model, encoder)
    return model


def _check_same(model: UserRewardModelForSequenceClassification, user_model: UserRewards, encoder: HFEncoder) -> None:
    """Raise a ValueError if the model gives other rewards than the user's, of a few odd texts of moderate length."""
    items = [(prompt, text) for prompt, text in text_calibration() if len(text) < _LONG]
    expected = user_model.predict(items).astype(float)
    texts, has_template = _as_read(encoder, items)
    with torch.inference_mode():
        found = [
            model(**model.tokenizer(text, add_special_tokens=not has_template, return_tensors="pt")).logits.item()
            for text in texts
        ]
    difference = np.abs(expected - found) / np.maximum(1, np.abs(expected))
    if not difference.max() <= (_ATOL if model.backbone.dtype == torch.float32 else _HALF_ATOL):
        raise ValueError(
            f"to_hf: rewards from token ids differ from the user's by up to {difference.max():.2g} logits, so the "
            f"encoder reads more than these ids, or reads them in another way than {type(model).__name__}: use "
            "another encoder"
        )


def _encoder_of_ids(encoder: Any) -> HFEncoder:
    """What makes features of token ids, or a ValueError with all that stands against it."""
    problems = []
    inner = encoder.encoder_ if isinstance(encoder, TextEncoder) else encoder
    if isinstance(encoder, TextEncoder) and encoder.statistics_ is not None:
        problems.append(
            "the model appends statistics of style, which cannot be computed from token ids: fit it with "
            "text_statistics=False"
        )
    if not isinstance(inner, HFEncoder):
        came = "feature vectors" if inner is None else f"texts that {type(inner).__name__} encodes"
        problems.append(f"the model is of {came}, not of a network's token ids: fit it with encoder=HFEncoder(...)")
    else:
        if inner.reward_head:
            problems.append(
                "the encoder appends the reward of a head (reward_head=True), which would not be saved: fit without it"
            )
        if inner.trust_remote_code:
            problems.append(
                "the encoder's network is code that came with it (trust_remote_code=True), which would not be saved: "
                "use an encoder of transformers' own"
            )
    if problems or not isinstance(inner, HFEncoder):
        raise ValueError("to_hf: " + "; ".join(problems))
    return inner


def _head_parameters(folded: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Parameters of `UserHead`, by its names."""
    return {_HEAD_NAMES.get(name, name): np.asarray(value, np.float32) for name, value in folded.items()}


def _without_path(config: Any) -> Any:
    """Configuration of the encoder's network, without the folder on this machine that it came from."""
    copied = copy.deepcopy(config)
    copied._name_or_path = ""
    return copied


def _as_read(encoder: HFEncoder, items: Sequence[tuple[str, str]]) -> tuple[list[str], bool]:
    """The texts that an encoder makes tokens of, and whether special ones are in them already."""
    if encoder.reads_ == "response":
        return [response for _, response in items], False
    return rendered(encoder.tokenizer_, items, encoder.chat_template)


def _special_tokens(encoder: HFEncoder) -> tuple[list[int], list[int]]:
    """Ids that stand before and after each text: of a chat template the one that begins texts, else the tokenizer's."""
    tokenizer = encoder.tokenizer_
    (text,), has_template = _as_read(encoder, [("a", "a")])
    if has_template:
        first = tokenizer(text, add_special_tokens=False)["input_ids"][:1]
        return (first if first == [tokenizer.bos_token_id] else []), []
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    for start in range(len(framed) - len(plain) + 1):
        if plain and framed[start : start + len(plain)] == plain:
            return framed[:start], framed[start + len(plain) :]
    raise ValueError(
        f"to_hf: the special tokens of {type(tokenizer).__name__} must stand before and after a text, whose tokens "
        f"stay the same; 'a' is {plain} without and {framed} with them: use another encoder"
    )
