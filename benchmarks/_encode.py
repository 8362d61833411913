"""Texts to features with a reward model of the Hugging Face Hub: the last hidden state of the last token.

Prompt and response are rendered with the model's chat template, as in the paper's code. Needs transformers 4.56 or
newer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._files import digest, read_json, save_array, write_json

__all__ = ["Encoded", "Encoder", "encode", "load_encoded"]

Items = Sequence[tuple[str, str]]

_SHARD = 2048  # items in a file of intermediate results: what an interruption costs at most


@dataclass(frozen=True)
class Encoder:
    """Which model encodes, and how.

    Attributes
    ----------
    name : str
        Repository on the Hub, or a local folder, of a sequence classifier with one output and a chat template.
    revision : str
        Branch, tag or commit.
    device : str
        A torch device. On a GPU the model runs in bfloat16, on the CPU in float32.
    max_batch_tokens : int
        Tokens in a batch, padding included; a longer text is a batch of its own.
    """

    name: str
    revision: str = "main"
    device: str = "cuda"
    max_batch_tokens: int = 16_384

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the model's arithmetic."""
        return torch.float32 if self.device == "cpu" else torch.bfloat16


@dataclass(frozen=True, eq=False)
class Encoded:
    """Features of items.

    Attributes
    ----------
    features : (n_items, d) float32 memory map
        Last hidden state, after the final normalisation, of the last token.
    rewards : (n_items,) float32 array
        What the model's own head makes of it, in logits.
    manifest : dict
        What they were made from.
    """

    features: NDArray[np.float32]
    rewards: NDArray[np.float32]
    manifest: dict[str, Any]


def encode(items: Items, encoder: Encoder, folder: Path) -> Encoded:
    """Encode items, or go on where an earlier run was interrupted.

    Parameters
    ----------
    items : sequence of (prompt, response)
        A prompt is a text, or a `Conversation` with messages.
    encoder : Encoder
        The model.
    folder : Path
        Gets ``manifest.json``, a shard for every 2,048 items, and at the end ``features.npy`` and ``rewards.npy``.

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
        If the folder holds features of other items or of another model, or the model is of another kind.
    """
    wanted = _manifest(items, encoder)
    _check_manifest(folder, wanted)
    if not (folder / "features.npy").exists():
        model, tokenizer = _load(encoder)
        write_json(folder / "manifest.json", wanted | {"commit": getattr(model.config, "_commit_hash", None)})
        shards = [_shard(folder, start) for start in range(0, len(items), _SHARD)]
        for start, path in zip(range(0, len(items), _SHARD), shards, strict=True):
            if not path.exists():
                save_array(path, _encode_shard(items[start : start + _SHARD], model, tokenizer, encoder))
                print(f"encoded {min(start + _SHARD, len(items)):,} of {len(items):,} texts", flush=True)
        _join(shards, folder)
    return load_encoded(items, encoder, folder)


def load_encoded(items: Items, encoder: Encoder, folder: Path) -> Encoded:
    """Read what `encode` has finished.

    Parameters
    ----------
    items, encoder, folder
        As of `encode`.

    Returns
    -------
    Encoded
        One row for each item.

    Raises
    ------
    FileNotFoundError
        If encoding has not been done, or not been finished.
    ValueError
        If the folder holds features of other items or of another model.
    """
    wanted = _manifest(items, encoder)
    del wanted["dtype"]  # of the machine that encoded
    _check_manifest(folder, wanted)
    if not (folder / "features.npy").exists():
        raise FileNotFoundError(f"{folder} must hold finished features, found none: run --stage encode first")
    return Encoded(
        features=np.load(folder / "features.npy", mmap_mode="r"),
        rewards=np.load(folder / "rewards.npy"),
        manifest=read_json(folder / "manifest.json"),
    )


def _manifest(items: Items, encoder: Encoder) -> dict[str, Any]:
    texts = [[getattr(prompt, "messages", str(prompt)), str(response)] for prompt, response in items]
    made_by = {name: value for name, value in asdict(encoder).items() if name in ("name", "revision")}
    return {"encoder": made_by, "dtype": str(encoder.dtype), "n_items": len(items), "items": digest(texts)}


def _check_manifest(folder: Path, wanted: dict[str, Any]) -> None:
    found = read_json(folder / "manifest.json")
    differing = [name for name in wanted if found is not None and found.get(name) != wanted[name]]
    if differing:
        raise ValueError(
            f"{folder} holds features that were made from something else ({', '.join(differing)} differ): choose "
            "another folder, or delete this one"
        )


def _shard(folder: Path, start: int) -> Path:
    return folder / "shards" / f"{start:09d}.npy"


def _load(encoder: Encoder) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if encoder.device.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError(
            f"encoding with {encoder.name} needs a GPU, and torch finds none: run this stage on a machine with one "
            "(and copy the output folder), or pass --device cpu and wait"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder.name, revision=encoder.revision)
        model = AutoModelForSequenceClassification.from_pretrained(
            encoder.name, revision=encoder.revision, num_labels=1, dtype=encoder.dtype
        )
    except OSError as error:
        reason = str(error).strip().partition("\n")[0]
        raise OSError(
            f"could not load {encoder.name} at revision {encoder.revision!r} ({reason}): check the name and the "
            "network, or pass the folder of a local copy as --encoder"
        ) from error
    unfit = [
        what
        for what, there in (("a chat template", tokenizer.chat_template), ("a head named 'score'", _has_head(model)))
        if not there
    ]
    if unfit:
        raise ValueError(f"{encoder.name} must have {' and '.join(unfit)}: use a reward model such as Skywork's")
    return model.to(encoder.device).eval(), tokenizer


def _has_head(model: Any) -> bool:
    return hasattr(model, "score") and model.base_model is not model


def _encode_shard(items: Items, model: Any, tokenizer: Any, encoder: Encoder) -> NDArray[np.float32]:
    """Encode some items: features and, in the last column, the reward; (n, d + 1)."""
    tokens = [_tokens(tokenizer, prompt, response) for prompt, response in items]
    rows: NDArray[np.float32] | None = None
    for batch in _batches([len(ids) for ids in tokens], encoder.max_batch_tokens):
        encoded = _forward(model, [tokens[row] for row in batch], encoder.device)
        if rows is None:
            rows = np.empty((len(items), encoded.shape[1]), np.float32)
        rows[batch] = encoded
    if rows is None or not np.isfinite(rows).all():
        raise ValueError(f"{encoder.name} made features that are not finite: use another precision or model")
    return rows


def _tokens(tokenizer: Any, prompt: str, response: str) -> list[int]:
    messages = getattr(prompt, "messages", [("user", str(prompt))])
    chat = [{"role": role, "content": content} for role, content in messages]
    chat.append({"role": "assistant", "content": str(response)})
    return list(tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False))


def _batches(lengths: list[int], max_tokens: int) -> Iterator[list[int]]:
    """Rows in batches of like length, the longest first, so that a lack of memory shows at once."""
    batch: list[int] = []
    width = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and width * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        if not batch:
            width = lengths[row]
        batch.append(row)
    if batch:
        yield batch


@torch.no_grad()
def _forward(model: Any, tokens: list[list[int]], device: str) -> NDArray[np.float32]:
    # Padding stands on the right: under causal attention no token sees it.
    lengths = torch.tensor([len(ids) for ids in tokens])
    padded = torch.zeros(len(tokens), int(lengths.max()), dtype=torch.long)
    for row, ids in enumerate(tokens):
        padded[row, : len(ids)] = torch.tensor(ids)
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    body = model.base_model(input_ids=padded.to(device), attention_mask=mask.long().to(device), use_cache=False)
    last = body.last_hidden_state[torch.arange(len(tokens)), lengths - 1]
    return torch.cat([last, model.score(last)], dim=1).float().cpu().numpy()


def _join(shards: list[Path], folder: Path) -> None:
    arrays = [np.load(path, mmap_mode="r") for path in shards]
    save_array(folder / "rewards.npy", np.concatenate([array[:, -1] for array in arrays]))
    part = folder / "features.part.npy"
    shape = (sum(len(array) for array in arrays), arrays[0].shape[1] - 1)
    joined = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
    start = 0
    for array in arrays:
        joined[start : start + len(array)] = array[:, :-1]
        start += len(array)
    joined.flush()
    part.replace(folder / "features.npy")
    for path in shards:
        path.unlink()
