"""Token ids through a network, in batches of like length."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skmrm.encoders.huggingface._batches import Rows, batches
from skmrm.encoders.huggingface._tokens import Tokens

if TYPE_CHECKING:
    import torch

__all__ = ["States", "arguments_of", "hidden_states", "most_positions", "padded", "token_mask"]

States = tuple[Rows, "torch.Tensor", "torch.Tensor"]


def hidden_states(
    tokenizer: Any, network: Any, tokens: Tokens, batch_tokens: int, rows: Rows | None = None
) -> Iterator[States]:
    """Last hidden states of texts, long ones first.

    Parameters
    ----------
    tokenizer, network
        Of one model.
    tokens : Tokens
        Of all texts.
    batch_tokens : int
        Tokens at a time, padding included.
    rows : (n,) int array, optional
        Texts to put through; None is all.

    Yields
    ------
    rows : (n,) int array
        Places of some texts; all yield each place once, but for texts without a token.
    hidden : (n, tokens, width) tensor
        Padded on the right, where padding moves no position.
    mask : (n, tokens) int tensor
        1 for tokens, 0 for padding.
    """
    import torch

    takes = arguments_of(network)
    inputs = {name: lists for name, lists in tokens.inputs.items() if name in takes}
    fillers = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    cacheless = {"use_cache": False} if "use_cache" in takes else {}
    wanted = np.arange(len(tokens.ids)) if rows is None else rows
    lengths = [len(tokens.ids[row]) for row in wanted]
    for batch in batches(lengths, batch_tokens):
        places = wanted[batch]
        with torch.inference_mode():
            parts = {
                name: padded([lists[row] for row in places], fillers.get(name, 0)).to(network.device)
                for name, lists in inputs.items()
            }
            mask = token_mask([lengths[row] for row in batch]).to(network.device)
            output = network(**parts, attention_mask=mask, **cacheless)
            hidden = output.last_hidden_state
            mask = mask.to(hidden.device)
        yield places, hidden, mask


def padded(rows: Sequence[Sequence[int]], filler: int, *, left: bool = False) -> torch.Tensor:
    """Rows of int as one tensor (n, longest), filled up on the right, or on the left."""
    import torch

    width = max(map(len, rows))
    table = np.full((len(rows), width), filler, np.int64)
    for place, row in enumerate(rows):
        table[place, slice(width - len(row), width) if left else slice(len(row))] = row
    return torch.from_numpy(table)


def token_mask(lengths: Sequence[int], *, left: bool = False) -> torch.Tensor:
    """1 for tokens, 0 for padding of rows of these lengths as `padded` makes them, (n, longest) int."""
    import torch

    places, counts = torch.arange(max(lengths)), torch.tensor(lengths)[:, None]
    return (places >= max(lengths) - counts if left else places < counts).long()


def arguments_of(network: Any) -> Mapping[str, Any]:
    """What the network's forward takes, by name."""
    return inspect.signature(network.forward).parameters


def most_positions(network: Any) -> int | None:
    """Tokens that a network has positions for; None if nothing limits them."""
    import torch

    for name, module in network.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and isinstance(module, torch.nn.Embedding):
            # RoBERTa and its like count positions from behind the one of padding.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    said = getattr(network.config, "max_position_embeddings", None)
    return said if isinstance(said, int) and said > 0 else None
