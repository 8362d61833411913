"""Checkpoints of a fit: one file, whole or not there, that another process goes on from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from skmrm._support.arrays import plain
from skmrm._support.files import is_intact, json_object, sealed, write_whole
from skmrm.exceptions import ModelFileError, reading

if TYPE_CHECKING:
    from skmrm.episodes import EpisodeSet

__all__ = ["CHECKPOINT_FILE", "Checkpoints", "FileKeeper"]

CHECKPOINT_FILE = "checkpoint.safetensors"
_FACTS, _DIGEST = "skmrm", "tensors_digest"
# Parameters that change no bit of what is learnt, or only by the features, which count for themselves.
_NOT_OF_THE_MODEL = ("encoder", "text_statistics", "memory", "n_jobs", "device", "verbose")


class FileKeeper:
    """Keeps states of a fit in a folder; see :class:`skmrm.meta.outer.keeper.Keeper`.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    every : int
        Epochs from one state kept to the next.
    fingerprint : str
        Of data and parameters: a checkpoint of others is refused.
    seeds : list of int
        Of this fit; those of a checkpoint that is gone on from take their place.

    Attributes
    ----------
    draws : numpy.random.Generator
        From the seeds; its state is kept with each state, and set when one is loaded.

    Raises
    ------
    ValueError
        If the folder holds a checkpoint of other data or parameters.
    ModelFileError
        If it cannot be read.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int,
        fingerprint: str,
        seeds: list[int],
    ) -> None:
        self._file = Path(folder) / CHECKPOINT_FILE
        self._every = every
        self._tensors: dict[str, torch.Tensor] = {}
        self._facts: dict[str, Any] = {"fingerprint": fingerprint, "seeds": seeds, "stages": {}}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            self._read(fingerprint)
        self.draws = np.random.default_rng(self._facts["seeds"])

    def due(self, epoch: int) -> bool:
        """Every so many epochs."""
        return epoch % self._every == 0

    def save(self, stage: str, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Write all states in one step: a reader finds the old file or the new one."""
        from safetensors.torch import save

        self._tensors = {name: value for name, value in self._tensors.items() if not name.startswith(f"{stage}.")}
        self._tensors |= {f"{stage}.{name}": value.detach().cpu().clone() for name, value in tensors.items()}
        self._facts["stages"][stage] = {"facts": facts, "draws": self.draws.bit_generator.state}
        facts = self._facts | {_DIGEST: _digest_of(self._tensors)}
        write_whole(self._file, save(self._tensors, {_FACTS: sealed(facts).decode()}))

    def load(self, stage: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Read the state last written of a stage."""
        found = self._facts["stages"].get(stage)
        if found is None:
            return None
        self.draws.bit_generator.state = found["draws"]
        tensors = {
            name.removeprefix(f"{stage}."): value
            for name, value in self._tensors.items()
            if name.startswith(f"{stage}.")
        }
        return tensors, found["facts"]

    def _read(self, fingerprint: str) -> None:
        from safetensors import safe_open

        with reading(f"{self._file} is no checkpoint that can be read", "remove it"):
            with safe_open(self._file, "pt") as file:
                facts = json_object(file.metadata()[_FACTS].encode())
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            # earlier versions wrote neither seal nor digest
            altered = "config_sha256" in facts and not is_intact(facts)
            digest = _digest_of(tensors)
            altered |= facts.pop(_DIGEST, digest) != digest
            found, _ = facts["fingerprint"], facts["seeds"]
        if altered:
            raise ModelFileError(f"{self._file} was altered since it was written: remove it")
        if found != fingerprint:
            raise ValueError(
                f"checkpoint_dir holds a checkpoint of other data or parameters: {self._file}; fit on what it was made "
                "with to go on from it, remove it, or pass another directory"
            )
        self._facts, self._tensors = facts, tensors


@dataclass(frozen=True)
class Checkpoints:
    """What a caller of fit asks for.

    Attributes
    ----------
    folder : path
    every : int
        Epochs.
    """

    folder: str | os.PathLike[str]
    every: int

    def problems(self) -> list[str]:
        """What is wrong with it, known before any work is done."""
        found = []
        if not isinstance(self.folder, str | os.PathLike):
            found.append(f"checkpoint_dir takes a path, got {self.folder!r}")
        elif Path(self.folder).exists() and not Path(self.folder).is_dir():
            found.append(f"checkpoint_dir must be a folder, or nothing yet; {self.folder} is a file")
        if not isinstance(self.every, Integral) or isinstance(self.every, bool) or self.every < 1:
            found.append(f"checkpoint_every takes a number of epochs, at least 1, got {self.every!r}")
        return found

    def keeper(
        self, episodes: EpisodeSet, features: NDArray[Any], params: dict[str, Any], seeds: list[int]
    ) -> FileKeeper:
        """A keeper of the states of a fit on these episodes with these parameters."""
        own = episodes
        columns = (features, own.chosen, own.rejected, own.user, own.group, *own.said.values())
        of_model = {name: value for name, value in params.items() if name not in _NOT_OF_THE_MODEL}
        if not isinstance(params["random_state"], Integral):
            del of_model["random_state"]  # drawn once, and kept in the checkpoint
        return FileKeeper(self.folder, int(self.every), _fingerprint(columns, of_model), seeds)


def _digest_of(tensors: dict[str, torch.Tensor]) -> str:
    names = sorted(tensors)
    return _fingerprint((np.atleast_1d(tensors[name].numpy()) for name in names), {"names": names})


def _fingerprint(arrays: Iterable[NDArray[Any]], params: dict[str, Any]) -> str:
    """Digest of arrays and parameters."""
    found = hashlib.blake2b(repr([(name, plain(params[name])) for name in sorted(params)]).encode())
    for array in arrays:
        found.update(f"{array.dtype}{array.shape}".encode())
        for start in range(0, array.shape[0], 65536):
            rows = np.ascontiguousarray(array[start : start + 65536])
            found.update(rows.view(np.uint8).data)  # bytes, since bfloat16 has no buffer of its own
    return found.hexdigest()
