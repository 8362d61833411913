"""A user's reward model as one of transformers'. This file goes along with each saved model: it imports nothing else.

With skmrm installed, ``import skmrm.export.huggingface`` makes the model known to transformers; without it, load
with ``trust_remote_code=True``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

__all__ = ["UserRewardConfig", "UserRewardModelForSequenceClassification"]


class UserRewardConfig(PretrainedConfig):
    """How token ids become a reward.

    Parameters
    ----------
    backbone_config : PretrainedConfig or dict
        Of the network whose last hidden states are pooled.
    pooling : {"mean", "cls", "last"}, default="mean"
        Mean over all tokens, the first, or the last.
    normalize : bool, default=False
        Whether pooled states get unit length.
    n_features : int, default=1
        Width of the pooled states.
    n_landmarks : int, default=0
        Landmarks of the kernel of the base reward functions.
    prefix_ids, suffix_ids : sequence of int, default=()
        Special tokens that the encoder's tokenizer puts around a text.
    max_tokens : int, optional
        Most tokens of a text, special ones included.
    truncation_side : {"left", "right"}, default="right"
        Which end of a longer text is cut.
    padding_at_end : int, optional
        Token that is padding at the end of a text wherever it comes from, as in transformers' own classifiers.
    **kwargs : any
        Of every configuration of transformers.
    """

    model_type = "skmrm_user_reward"
    sub_configs = {"backbone_config": AutoConfig}  # noqa: RUF012 (transformers' convention)

    def __init__(
        self,
        backbone_config: Any = None,
        pooling: str = "mean",
        normalize: bool = False,
        n_features: int = 1,
        n_landmarks: int = 0,
        prefix_ids: Sequence[int] = (),
        suffix_ids: Sequence[int] = (),
        max_tokens: int | None = None,
        truncation_side: str = "right",
        padding_at_end: int | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(backbone_config, dict):
            backbone_config = AutoConfig.for_model(**backbone_config)
        self.backbone_config = backbone_config
        self.pooling, self.normalize = pooling, normalize
        self.n_features, self.n_landmarks = n_features, n_landmarks
        self.prefix_ids, self.suffix_ids = list(prefix_ids), list(suffix_ids)
        self.max_tokens, self.truncation_side, self.padding_at_end = max_tokens, truncation_side, padding_at_end
        kwargs.setdefault("num_labels", 1)
        super().__init__(**kwargs)


class UserHead(nn.Module):
    """One user's reward of features: linear, and a kernel where the model has one."""

    mean: Tensor
    scale: Tensor
    points: Tensor
    precision: Tensor

    def __init__(self, config: UserRewardConfig) -> None:
        super().__init__()
        width = config.n_features
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = nn.Linear(width, 1, bias=False)
        self.kernel_out = nn.Linear(config.n_landmarks, 1, bias=False) if config.n_landmarks else None
        if config.n_landmarks:
            self.register_buffer("points", torch.zeros(config.n_landmarks, width))
            self.register_buffer("precision", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Rewards (n, 1), in logits, of features (n, n_features)."""
        z = (features.to(self.mean.dtype) - self.mean) / self.scale
        rewards = self.linear(z)
        if self.kernel_out is not None:
            distance = (z**2).sum(1, keepdim=True) - 2 * z @ self.points.T + (self.points**2).sum(1)
            rewards = rewards + self.kernel_out(torch.exp(-self.precision * distance.clamp_min(0)))
        return rewards


class UserRewardModelForSequenceClassification(PreTrainedModel):
    """Token ids to one user's reward: encoder, pooling, standardisation and base reward functions, weights folded in.

    Special tokens that the encoder's tokenizer puts around a text are added where they are not there, since trainers
    tokenise without them; texts that are too long are cut as the tokenizer cuts them. So padding, on whichever side,
    and truncation do not matter.

    Attributes
    ----------
    tokenizer : PreTrainedTokenizer or None
        The encoder's, which ``save_pretrained`` writes, too; None in a model that was loaded.
    """

    config_class = UserRewardConfig
    base_model_prefix = "backbone"
    # the head is a few numbers, and means and scales need their digits
    _keep_in_fp32_modules = ["head"]  # noqa: RUF012 (transformers' convention)
    _keep_in_fp32_modules_strict = ["head"]  # noqa: RUF012

    def __init__(self, config: UserRewardConfig) -> None:
        super().__init__(config)
        self.backbone = AutoModel.from_config(config.backbone_config)
        self.head = UserHead(config)
        self.tokenizer: Any = None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        return_dict: bool | None = None,
        **unused: Any,
    ) -> Any:
        """Rewards of texts.

        Parameters
        ----------
        input_ids : (n, tokens) int tensor
            Texts as the encoder's tokenizer makes them, with or without its special tokens.
        attention_mask : (n, tokens) tensor, optional
            1 for tokens, 0 for padding; None takes tokens that are not that of padding.
        return_dict : bool, optional
            False gives a tuple.
        **unused
            What else tokenizers and trainers pass (``token_type_ids``, ``use_cache``).

        Returns
        -------
        SequenceClassifierOutput
            ``logits`` of shape (n, 1), float32.
        """
        ids, mask = self._as_encoded(input_ids, attention_mask)
        hidden = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        logits = self.head(self._pooled(hidden, mask))
        return (logits,) if return_dict is False else SequenceClassifierOutput(logits=logits)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write the model, with its tokenizer if it has one; as transformers does otherwise.

        Parameters
        ----------
        save_directory : str or path
            The folder.
        *args, **kwargs : any
            As of any model of transformers.
        """
        super().save_pretrained(save_directory, *args, **kwargs)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(save_directory)

    def _as_encoded(self, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Ids and mask (n, tokens) as the encoder makes them: special tokens, not too many, padding on the right."""
        padding = self.config.pad_token_id
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids) if padding is None else input_ids.ne(padding)
        rows = [
            self._framed([token for token, is_there in zip(row, there, strict=True) if is_there])
            for row, there in zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
        ]
        width = max(1, max(map(len, rows), default=1))
        ids = [row + [padding or 0] * (width - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        return torch.tensor(ids, device=input_ids.device), torch.tensor(mask, device=input_ids.device)

    def _framed(self, row: list[int]) -> list[int]:
        config = self.config
        before, after = config.prefix_ids, config.suffix_ids
        if before and row[: len(before)] == before:
            row = row[len(before) :]
        if after and row[-len(after) :] == after:
            row = row[: -len(after)]
        while row and len(before) + len(row) > 1 and row[-1] == config.padding_at_end:
            row = row[:-1]
        if config.max_tokens is not None:
            room = config.max_tokens - len(before) - len(after)
            row = row[:room] if config.truncation_side == "right" else row[max(0, len(row) - room) :]
        return [*before, *row, *after]

    def _pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.config.pooling == "cls":
            vectors = hidden[:, 0]
        elif self.config.pooling == "last":
            last = (mask.sum(1) - 1).clamp(min=0)
            vectors = hidden[torch.arange(len(hidden), device=hidden.device), last]
        else:
            there = mask.unsqueeze(-1).to(hidden.dtype)
            vectors = (hidden * there).sum(1) / there.sum(1).clamp(min=1)
        vectors = vectors * mask.any(1, keepdim=True)  # a text without a token
        return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12) if self.config.normalize else vectors
