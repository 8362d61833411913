"""Responses to one prompt: what their tokens share at the start goes through the network once.

Under causal attention the states of a token depend on those before it alone. The keys and values that a shared start
leaves in the network's cache are therefore those of each text that begins with it, and only the rest of each text has
to follow. With n responses of s tokens each to a prompt of p tokens, p + n s tokens are computed, and not n (p + s).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmrm.encoders._batches import Rows, batches
from skmrm.encoders._hidden_states import States, arguments_of, hidden_states, padded
from skmrm.encoders._tokens import Tokens

__all__ = ["Shared", "find_shared", "prefixes_are_exact", "states_after_prefixes"]

_FEWEST = 32  # tokens that have to be shared: fewer are not worth a second call of the network
_PROBE = 24  # tokens of the longest text that is tried
_EXACT = {
    "float32": 1e-4,
    "bfloat16": 5e-2,
    "float16": 1e-2,
}  # differences that are rounding, against the largest state
_CACHES = ("cache", "past_key_values")  # what transformers calls it, since version 5.24 and before
# Frequencies that change with the longest text of a batch: a cached key is another one in a longer text.
_MOVING_ROPES = ("dynamic", "longrope")


@dataclass(frozen=True)
class Shared:
    """Texts that begin alike.

    Attributes
    ----------
    rows : (n,) int array
        Places of the texts.
    n_tokens : int
        Tokens that all share; each text has at least one more.
    longest : int
        Tokens of the longest text.
    """

    rows: Rows
    n_tokens: int
    longest: int

    @property
    def cost(self) -> int:
        """Tokens that a text counts as: so no call of the network has more than a batch, and the cache twice that."""
        return max(-(-self.longest // 2), self.longest - self.n_tokens)


def find_shared(ids: Sequence[Sequence[int]], prompts: Sequence[Hashable], batch_tokens: int) -> list[Shared]:
    """Find texts with one prompt whose tokens begin alike.

    Parameters
    ----------
    ids : sequence of list of int
        Token ids of each text.
    prompts : sequence of hashable
        Prompt of each text.
    batch_tokens : int
        Tokens at a time: more responses to a prompt are divided.

    Returns
    -------
    list of Shared
        Two texts each, at least; texts that share too little with others are in none.
    """
    by_prompt: dict[Hashable, list[int]] = {}
    for row, prompt in enumerate(prompts):
        by_prompt.setdefault(prompt, []).append(row)
    found = []
    for rows in by_prompt.values():
        n_shared = _n_alike([ids[row] for row in rows]) if len(rows) > 1 else 0
        if n_shared < _FEWEST:
            continue
        by_length = np.array(sorted(rows, key=lambda row: -len(ids[row])), np.intp)
        whole = Shared(by_length, n_shared, len(ids[by_length[0]]))
        size = max(2, batch_tokens // whole.cost)
        parts = [by_length[start : start + size] for start in range(0, len(rows), size)]
        found += [replace(whole, rows=part, longest=len(ids[part[0]])) for part in parts if len(part) > 1]
    return found


def states_after_prefixes(
    tokenizer: Any, network: Any, tokens: Tokens, shared: Sequence[Shared], batch_tokens: int
) -> Iterator[States]:
    """Hidden states of what follows shared starts; otherwise as :func:`hidden_states`.

    Yields
    ------
    rows : (n,) int array
    hidden : (n, tokens, width) tensor
        Of the tokens behind the shared start, padded on the right.
    mask : (n, tokens) int tensor
        1 for tokens, 0 for padding.
    """
    import torch

    sizes = np.array([len(group.rows) for group in shared], np.intp)
    for batch in batches([group.cost for group in shared], batch_tokens, sizes):
        with torch.inference_mode():
            yield _after(network, tokenizer.pad_token_id or 0, tokens.ids, [shared[place] for place in batch])


def prefixes_are_exact(tokenizer: Any, network: Any, max_length: int) -> bool:
    """Whether a network gives the same states with shared starts as without; tried on a few tokens.

    Parameters
    ----------
    tokenizer, network
        Of one model, whose attention is causal by its configuration.
    max_length : int
        Most tokens of a text.
    """
    longest = min(_PROBE, max_length)
    if longest < 4 or "position_ids" not in arguments_of(network) or _has_moving_rope(network.config):
        return False
    n_tokens = network.get_input_embeddings().num_embeddings
    # Two groups whose shared starts differ in length, and two texts each whose ends do.
    lengths = [longest, longest - 1, longest - 1, longest - 2]
    ids = [[(7 * place + row // 2) % n_tokens for place in range(length)] for row, length in enumerate(lengths)]
    for row in (1, 3):
        ids[row][-1] = (ids[row][-1] + 1) % n_tokens
    tokens = Tokens({"input_ids": ids}, 0)
    groups = [Shared(np.array([0, 1]), longest - 2, longest), Shared(np.array([2, 3]), longest - 3, longest - 1)]
    try:
        plain = _last_of(hidden_states(tokenizer, network, tokens, 10**6))
        found = _last_of(states_after_prefixes(tokenizer, network, tokens, groups, 10**6))
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False  # a cache of another kind
    scale = max(np.abs(state).max() for state in plain.values())
    precision = str(network.dtype).removeprefix("torch.")
    return all(np.abs(found[row] - plain[row]).max() <= _EXACT.get(precision, 0) * scale for row in plain)


def _after(network: Any, filler: int, ids: Sequence[Sequence[int]], groups: Sequence[Shared]) -> States:
    """States of one batch: shared starts first, then what follows them."""
    import torch
    from transformers import DynamicCache

    device = network.device
    takes = arguments_of(network)
    cache = DynamicCache(config=network.config)
    held = {next(name for name in _CACHES if name in takes): cache, "use_cache": True}
    # Starts are padded on the left, so that each text goes on right behind its own, also for windows of attention.
    starts = [ids[group.rows[0]][: group.n_tokens] for group in groups]
    start_mask = padded([[1] * len(start) for start in starts], 0, left=True).to(device)
    positions = (start_mask.cumsum(1) - 1).clamp(min=0)
    network(
        input_ids=padded(starts, filler, left=True).to(device),
        attention_mask=start_mask,
        position_ids=positions,
        **held,
    )
    of_group = torch.tensor(np.repeat(np.arange(len(groups)), [len(group.rows) for group in groups]), device=device)
    cache.batch_select_indices(of_group)
    rows = np.concatenate([group.rows for group in groups])
    ends = [ids[row][group.n_tokens :] for group in groups for row in group.rows]
    mask = padded([[1] * len(end) for end in ends], 0).to(device)
    begins = torch.tensor([group.n_tokens for group in groups], device=device)[of_group]
    # Padding stays within the positions of its text: there may be no more.
    steps = (mask.cumsum(1) - 1).clamp(min=0)
    hidden = network(
        input_ids=padded(ends, filler).to(device),
        attention_mask=torch.cat([start_mask[of_group], mask], 1),
        position_ids=begins[:, None] + steps,
        **held,
    ).last_hidden_state
    return rows, hidden, mask.to(hidden.device)


def _n_alike(texts: Sequence[Sequence[int]]) -> int:
    """Tokens that all texts begin with, one less than the shortest has at most."""
    shortest = min(map(len, texts))
    table = np.array([text[:shortest] for text in texts])
    differs = (table != table[0]).any(0)
    return min(int(np.argmax(differs)) if differs.any() else shortest, shortest - 1)


def _last_of(states: Iterator[States]) -> dict[int, Any]:
    """State of the last token of each text."""
    found = {}
    for rows, hidden, mask in states:
        for row, state, there in zip(rows.tolist(), hidden, mask, strict=True):
            found[row] = state[int(there.sum()) - 1].float().cpu().numpy()
    return found


def _has_moving_rope(config: Any) -> bool:
    for name in ("rope_parameters", "rope_scaling"):
        said = getattr(config, name, None) or {}
        kinds = [said, *(value for value in said.values() if isinstance(value, Mapping))]  # one for each kind of layer
        if any(kind.get("rope_type", kind.get("type")) in _MOVING_ROPES for kind in kinds):
            return True
    return False
