"""Responses to one prompt: what their tokens share at the start goes through the network once.

Under causal attention the states of a token depend on those before it alone. The keys and values that a shared start
leaves in the network's cache are therefore those of each text that begins with it, and only the rest of each text has
to follow. With n responses of s tokens each to a prompt of p tokens, p + n s tokens are computed, and not n (p + s).
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skmrm.encoders.huggingface._batches import Rows, batches
from skmrm.encoders.huggingface._hidden_states import States, arguments_of, hidden_states, padded, token_mask
from skmrm.encoders.huggingface._tokens import Tokens

if TYPE_CHECKING:
    import torch

__all__ = ["Shared", "find_shared", "prefixes_are_exact", "states_after_prefixes"]

_FEWEST = 32  # tokens that have to be shared: fewer are not worth a second call of the network
_PROBE = 24  # tokens of the longest text that is tried
# Differences that are rounding, as a share of the largest state.
_EXACT = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
_CACHES = ("cache", "past_key_values")  # what transformers calls it, since version 5.24 and before
# Frequencies that change with the longest text of a batch: a cached key is another one in a longer text.
_MOVING_ROPES = ("dynamic", "longrope")


class Shared(NamedTuple):
    """Texts that begin alike: their places (n,), at least two, and how many tokens all share; each has more."""

    rows: list[int]
    n_tokens: int


def find_shared(ids: Sequence[Sequence[int]], prompts: Sequence[Hashable]) -> list[Shared]:
    """Find texts with one prompt whose tokens begin alike.

    Parameters
    ----------
    ids : sequence of list of int
        Token ids of each text.
    prompts : sequence of hashable
        Prompt of each text.

    Returns
    -------
    list of Shared
        Texts that share too little with others are in none.
    """
    by_prompt: dict[Hashable, list[int]] = {}
    for row, prompt in enumerate(prompts):
        by_prompt.setdefault(prompt, []).append(row)
    several = [rows for rows in by_prompt.values() if len(rows) > 1]
    found = [Shared(rows, _n_alike([ids[row] for row in rows])) for rows in several]
    return [group for group in found if group.n_tokens >= _FEWEST]


def states_after_prefixes(
    tokenizer: Any, network: Any, tokens: Tokens, shared: Sequence[Shared], batch_tokens: int
) -> Iterator[States]:
    """Hidden states of what follows shared starts; otherwise as :func:`hidden_states`.

    No call of the network has more than `batch_tokens`; a cache that a call starts from may have twice that.

    Yields
    ------
    rows : (n,) int array
    hidden : (n, tokens, width) tensor
        Of the tokens behind the shared start, padded on the right.
    mask : (n, tokens) int tensor
        1 for tokens, 0 for padding.
    """
    import torch

    filler = tokenizer.pad_token_id or 0
    for some in batches([group.n_tokens for group in shared], batch_tokens):
        groups = [shared[place] for place in some]
        with torch.inference_mode():
            starts = _Starts(network, filler, [tokens.ids[group.rows[0]][: group.n_tokens] for group in groups])
        group_of = np.repeat(np.arange(len(groups)), [len(group.rows) for group in groups])
        rows = np.concatenate([group.rows for group in groups])
        ends = [tokens.ids[row][groups[group].n_tokens :] for row, group in zip(rows, group_of, strict=True)]
        costs = [max(len(end), -(-len(tokens.ids[row]) // 2)) for row, end in zip(rows, ends, strict=True)]
        for part in batches(costs, batch_tokens):
            with torch.inference_mode():
                hidden, mask = starts.followed_by([ends[place] for place in part], group_of[part])
            yield rows[part], hidden, mask


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
    groups = [Shared([0, 1], longest - 2), Shared([2, 3], longest - 3)]
    try:
        plain = _last_of(hidden_states(tokenizer, network, tokens, 10**6))
        found = _last_of(states_after_prefixes(tokenizer, network, tokens, groups, 10**6))
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False  # a cache of another kind
    scale = max(np.abs(state).max() for state in plain.values())
    precision = str(network.dtype).removeprefix("torch.")
    return all(np.abs(found[row] - plain[row]).max() <= _EXACT.get(precision, 0) * scale for row in plain)


class _Starts:
    """Shared starts, and the cache that they leave.

    They are padded on the left, so that each text goes on right behind its own, also for windows of attention.
    """

    def __init__(self, network: Any, filler: int, starts: Sequence[Sequence[int]]) -> None:
        from transformers import DynamicCache

        takes = arguments_of(network)
        self._network, self._filler = network, filler
        self._cache_name = next(name for name in _CACHES if name in takes)
        self._mask = token_mask([len(start) for start in starts], left=True).to(network.device)
        self._cache = DynamicCache(config=network.config)
        self._compute(padded(starts, filler, left=True), self._mask, _positions(self._mask), self._cache)

    def followed_by(self, ends: Sequence[Sequence[int]], group: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (n, tokens, width) of what follows the start of each group (n,), and its mask."""
        import torch

        of_group = torch.from_numpy(group).to(self._mask.device)
        mask = token_mask([len(end) for end in ends]).to(self._mask.device)
        # Padding stays within the positions of its text: there may be no more.
        positions = self._mask.sum(1)[of_group, None] + _positions(mask)
        whole = torch.cat([self._mask[of_group], mask], 1)
        hidden = self._compute(padded(ends, self._filler), whole, positions, self._of(of_group))
        return hidden, mask.to(hidden.device)

    def _compute(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        options = {"attention_mask": mask, "position_ids": positions, "use_cache": True, self._cache_name: cache}
        states: torch.Tensor = self._network(input_ids=ids.to(mask.device), **options).last_hidden_state
        return states

    def _of(self, group: torch.Tensor) -> Any:
        """The cache with a row for each text: another one, since what follows is appended to it."""
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        cache.batch_select_indices(group)
        return cache


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Position of each token among those of its row; padding repeats the one before it."""
    return (mask.cumsum(1) - 1).clamp(min=0)


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
