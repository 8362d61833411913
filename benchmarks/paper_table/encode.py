"""Texts to features with a reward model, as in the paper's code: the last hidden state of the last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skmrm.embeddings import EmbeddingStore, encode_dataset
from skmrm.encoders import HFEncoder

__all__ = ["Encoded", "encode", "load_encoded", "reward_model"]

Items = Sequence[tuple[str, str]]

_SHARD = 2048  # texts in a file: what an interruption costs at most


@dataclass(frozen=True, eq=False)
class Encoded:
    """Features of items.

    Attributes
    ----------
    features : (n_items, d) float32 array
        Last hidden state, after the final normalisation, of the last token.
    rewards : (n_items,) float32 array
        What the model's own head makes of it, in logits.
    made_by : dict
        All that decides these numbers, as of ``HFEncoder.identity_``.
    """

    features: NDArray[np.float32]
    rewards: NDArray[np.float32]
    made_by: dict[str, Any]


def reward_model(name: str, revision: str = "main", device: str = "cuda", batch_tokens: int = 16_384) -> HFEncoder:
    """The encoder, not loaded yet.

    Parameters
    ----------
    name : str
        Repository on the Hub, or a local folder, of a sequence classifier with one output and a chat template.
    revision : str
        Branch, tag or commit.
    device : str
        A torch device. On a GPU the model runs in bfloat16, on the CPU in float32.
    batch_tokens : int
        Tokens in a batch, padding included.
    """
    return HFEncoder(
        name,
        reward_head=True,
        batch_tokens=batch_tokens,
        dtype="float32" if device == "cpu" else "bfloat16",
        device=device,
        revision=revision,
    )


def encode(items: Items, encoder: HFEncoder, folder: Path) -> Encoded:
    """Encode items, or go on where an earlier run was interrupted.

    Parameters
    ----------
    items : sequence of (prompt, response)
        A prompt is a text, or a `Conversation` with messages.
    encoder : HFEncoder
        Of `reward_model`.
    folder : Path
        Gets a store, which may hold other texts, too.

    Returns
    -------
    Encoded
        One row for each item.

    Raises
    ------
    RuntimeError
        If the device is not there.
    OSError
        If the model can be neither found nor downloaded.
    ValueError
        If the folder holds features of another model, or the model is of another kind.
    """
    if encoder.device.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError(
            f"encoding with {encoder.model} needs a GPU, and torch finds none: run this stage on a machine with one "
            "(and copy the output folder), or pass --device cpu and wait"
        )
    encoder.fit(items)
    if encoder.tokenizer_.chat_template is None:
        raise ValueError(f"{encoder.model} must have a chat template: use a reward model such as Skywork's")
    print(encode_dataset(items, EmbeddingStore(folder, encoder, rows_per_shard=_SHARD)), flush=True)
    return load_encoded(items, folder)


def load_encoded(items: Items, folder: Path) -> Encoded:
    """Read what `encode` has finished.

    Parameters
    ----------
    items, folder
        As of `encode`.

    Returns
    -------
    Encoded
        One row for each item.

    Raises
    ------
    FileNotFoundError
        If encoding has not been done, or not been finished.
    """
    store = EmbeddingStore(folder) if folder.exists() else None
    n_missing = len(items) if store is None else len(store.missing(items))
    if store is None or n_missing:
        raise FileNotFoundError(
            f"{folder} must hold features of all texts, lacks those of {n_missing:,}: run --stage encode first"
        )
    table = np.asarray(store.features(items))
    return Encoded(table[:, :-1], table[:, -1].copy(), store.identity)
