"""Features of texts: a sentence encoder's vectors, or the package's own, with statistics of style."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skmrm import EpisodeSet
from skmrm.encoders import TextEncoder, TextStatistics

__all__ = ["Encode", "Features", "HashedFeatures", "SentenceFeatures"]

Items = Sequence[tuple[str, str]]

_BATCH = 32
_MAX_TOKENS = 256


@dataclass(frozen=True, eq=False)
class Features:
    """Features of items.

    Attributes
    ----------
    table : (n_items, n_features) array
    seconds : float
        What it took to encode them, whether now or earlier in the run.
    """

    table: NDArray[Any]
    seconds: float


# From all items, and the training users, to features of all items.
Encode = Callable[[Items, EpisodeSet], Features]


class HashedFeatures:
    """The package's own encoder with text statistics, fitted on the items of training pairs alone."""

    def __call__(self, items: Items, train: EpisodeSet) -> Features:
        """Fit, and encode all items."""
        began = time.perf_counter()
        table = TextEncoder().fit(train.compact().items).transform(list(items))
        return Features(np.asarray(table), time.perf_counter() - began)


class SentenceFeatures:
    """Mean-pooled vectors of unit length by a transformers model, with text statistics; nothing is fitted.

    The same items are encoded once.

    Parameters
    ----------
    folder : Path
        A model and its tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[tuple[str, str], ...], Features] = {}

    def __call__(self, items: Items, train: EpisodeSet) -> Features:
        """Encode all items, or look them up."""
        asked = tuple(items)
        if asked not in self._known:
            began = time.perf_counter()
            vectors = _mean_pooled(self.folder, [response for _, response in items])
            table = np.hstack([vectors, TextStatistics().transform(list(items))])
            self._known[asked] = Features(table, time.perf_counter() - began)
        return self._known[asked]


@torch.inference_mode()
def _mean_pooled(folder: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModel.from_pretrained(folder).eval()
    vectors = np.empty((len(texts), network.config.hidden_size), np.float32)
    by_length = np.argsort([len(text) for text in texts], kind="stable")
    for begin in range(0, len(texts), _BATCH):
        rows = by_length[begin : begin + _BATCH]
        batch = tokenizer(
            [texts[row] for row in rows], padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
        )
        hidden, mask = network(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        vectors[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return vectors
