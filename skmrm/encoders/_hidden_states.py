"""Texts through a network, in batches of like length."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["hidden_states", "most_positions"]

_LOOK_AHEAD = 64  # batches of texts that are sorted by length together

Rows = NDArray[np.intp]


def hidden_states(
    tokenizer: Any, network: Any, texts: Sequence[str], max_length: int, batch_size: int
) -> Iterator[tuple[Rows, torch.Tensor, torch.Tensor]]:
    """Last hidden states, long texts first among those that are sorted together.

    Parameters
    ----------
    tokenizer, network
        Of one model.
    texts : sequence of str
        Texts.
    max_length : int
        Most tokens of a text; the tokenizer cuts the rest.
    batch_size : int
        Texts at a time.

    Yields
    ------
    rows : (n,) int array
        Places of some texts; all yield each place once, but for texts without a token.
    hidden : (n, tokens, width) float32 tensor
        Padded on the right, where padding moves no position.
    mask : (n, tokens) int tensor
        1 for tokens, 0 for padding.
    """
    import torch

    takes = set(inspect.signature(network.forward).parameters)
    for start in range(0, len(texts), batch_size * _LOOK_AHEAD):
        part = list(texts[start : start + batch_size * _LOOK_AHEAD])
        tokens = tokenizer(part, truncation=True, max_length=max_length, return_attention_mask=True)
        lengths = np.array([len(ids) for ids in tokens["input_ids"]])
        by_length = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
        for begin in range(0, len(by_length), batch_size):
            rows = by_length[begin : begin + batch_size]
            batch = _padded(tokenizer, {name: [lists[row] for row in rows] for name, lists in tokens.items()})
            batch = {name: tensor.to(network.device) for name, tensor in batch.items()}
            with torch.inference_mode():
                output = network(**{name: tensor for name, tensor in batch.items() if name in takes})
            yield rows + start, output.last_hidden_state, batch["attention_mask"]


def most_positions(network: Any) -> int | None:
    """Tokens that a network has positions for; None if nothing limits them."""
    import torch

    for name, module in network.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and isinstance(module, torch.nn.Embedding):
            # RoBERTa and its like count positions from behind the one of padding.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    said = getattr(network.config, "max_position_embeddings", None)
    return said if isinstance(said, int) and said > 0 else None


def _padded(tokenizer: Any, batch: Mapping[str, list[list[int]]]) -> dict[str, torch.Tensor]:
    import torch

    fillers = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    return {
        name: torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row) for row in rows], batch_first=True, padding_value=fillers.get(name, 0)
        )
        for name, rows in batch.items()
    }
