"""Encoding on Ray: the network runs in actors of Ray Data, on one machine or on many, and fills an embedding store."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from skmrm._support.progress import Verbose
from skmrm._support.wording import described, name_some, raise_all
from skmrm.integrations._ray_pieces import ActorOptions, encode_pieces
from skmrm.integrations._ray_texts import read_ray_dataset

if TYPE_CHECKING:
    from skmrm.embeddings import EmbeddingStore, Summary

__all__ = ["encode_dataset"]

# Options of map_batches that are settled here, or are parameters of their own.
_FIXED_OPTIONS = {
    "batch_format",
    "batch_size",
    "compute",
    "concurrency",
    "fn",
    "fn_args",
    "fn_constructor_args",
    "fn_constructor_kwargs",
    "fn_kwargs",
    "num_cpus",
    "num_gpus",
    "udf_modifying_row_count",
    "zero_copy_batch",
}


def encode_dataset(
    ds: Any,
    store: EmbeddingStore,
    *,
    concurrency: int | tuple[int, int] = 1,
    num_gpus: float | None = None,
    num_cpus: float | None = None,
    ray_remote_args: Mapping[str, Any] | None = None,
    verbose: Verbose = "auto",
) -> Summary:
    """Encode what a store does not hold yet, in actors of Ray Data.

    What :func:`skmrm.embeddings.encode_dataset` does, and what it leaves on disk, byte for byte where actors compute
    what this process would; but pieces of the store (its `rows_per_shard`) go to actors, each of which loads the
    network once. This process alone reads `ds` and writes the store, so that actors need neither. It goes on with the
    next piece that is ready, in any order, and Ray holds back actors that are ahead of it. A call that was killed or
    failed keeps the pieces that were written; another call goes on from there. Pieces of an actor that died are
    encoded by another one.

    Ray runs where it was started (``ray.init(address="auto")`` on a cluster), else as Ray starts by itself, and not at
    all if everything is in the store. Actors must be able to import what the encoder is made of, and to read its
    model: a hub id, or a folder that is at the same place on all machines.

    Parameters
    ----------
    ds : EpisodeSet, list of Episode, list of (prompt, response), table, or ray.data.Dataset
        As for :func:`skmrm.embeddings.encode_dataset`. A ``ray.data.Dataset`` has the columns ``prompt`` and
        ``response``, or ``prompt``, ``chosen`` and ``rejected``: texts, or lists of messages.
    store : EmbeddingStore
        With an encoder. Its `rows_per_shard` is the number of texts that an actor encodes at a time.
    concurrency : int or (int, int), default=1
        Number of actors; or the fewest and the most, between which Ray Data chooses.
    num_gpus : float, optional
        GPUs of each actor. None is 1 where the cluster has GPUs and the encoder has a `device` that is not "cpu", else
        0. On "auto" the encoder takes the GPU that Ray gave its actor.
    num_cpus : float, optional
        CPU cores of each actor, which are its threads, too. None is what Ray Data takes: 1 without a GPU.
    ray_remote_args : mapping, optional
        More options of ``ray.data.Dataset.map_batches`` for the actors: ``resources``, ``accelerator_type``,
        ``runtime_env``, ``label_selector``.
    verbose : bool, int or "auto", default="auto"
        As of :func:`skmrm.embeddings.encode_dataset`, with tokens per second of all actors together.

    Returns
    -------
    Summary
        How many texts there are, how many of them were encoded now, and how fast.

    Raises
    ------
    ImportError
        If Ray Data is not installed (``pip install 'skmrm[ray]'``).
    ValueError
        If a parameter is out of its bounds, `ds` cannot be read, or the store has no encoder or is written by another
        process; before anything is encoded.
    RuntimeError
        If the encoder failed in an actor, which names the piece and what is in it.

    Examples
    --------
    >>> from skmrm.embeddings import EmbeddingStore
    >>> from skmrm.encoders import HFEncoder
    >>> from skmrm.integrations.ray import encode_dataset
    >>> store = EmbeddingStore("embeddings", encoder=HFEncoder("Skywork/Skywork-Reward-V2-Qwen3-8B"))  # doctest: +SKIP
    >>> encode_dataset(episodes, store, concurrency=8, num_gpus=1)  # doctest: +SKIP
    """
    _require_ray()
    _check(store, concurrency, num_gpus, num_cpus, ray_remote_args)
    from skmrm.embeddings._encode_dataset import read_texts
    from skmrm.embeddings._filling import fill

    if _is_ray_dataset(ds):
        ds = read_ray_dataset(ds)
    options = ActorOptions(
        *(concurrency if isinstance(concurrency, tuple) else (concurrency, concurrency)),
        num_gpus=num_gpus,
        num_cpus=num_cpus,
        others=dict(ray_remote_args or {}),
    )
    return fill(store, read_texts(ds), partial(encode_pieces, store.encoder_, options), verbose)


def _require_ray() -> None:
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ImportError("encoding on Ray needs Ray Data: pip install 'skmrm[ray]'") from error


def _is_ray_dataset(ds: Any) -> bool:
    return isinstance(ds, sys.modules["ray.data"].Dataset)


def _check(store: Any, concurrency: Any, num_gpus: Any, num_cpus: Any, ray_remote_args: Any) -> None:
    """Raise a ValueError with all that is wrong."""
    problems = []
    if not _is_concurrency(concurrency):
        problems.append(
            "concurrency must be a number of actors, or the fewest and the most as a tuple, each at least 1, got "
            f"{concurrency!r}: write 4, or (1, 4)"
        )
    for name, value in (("num_gpus", num_gpus), ("num_cpus", num_cpus)):
        if value is not None and not (isinstance(value, Real) and 0 <= float(value) < math.inf):
            problems.append(f"{name} must be None or a number, 0 or more, got {value!r}: say how many an actor needs")
    if ray_remote_args is not None and not isinstance(ray_remote_args, Mapping):
        problems.append(f"ray_remote_args must be a dict of options, got {described(ray_remote_args)}")
    elif fixed := sorted(_FIXED_OPTIONS & set(ray_remote_args or ())):
        problems.append(
            f"ray_remote_args may not have {name_some(fixed)}, which are settled already: leave them out, or use the "
            "parameters concurrency, num_gpus and num_cpus"
        )
    problems += _device_problems(getattr(store.encoder_, "device", None), num_gpus)
    raise_all(problems)


def _is_concurrency(value: Any) -> bool:
    sizes = value if isinstance(value, tuple) else (value, value)
    numbers = all(isinstance(size, Integral) and not isinstance(size, bool) for size in sizes)
    return numbers and len(sizes) == 2 and 1 <= sizes[0] <= sizes[1]


def _device_problems(device: Any, num_gpus: Any) -> list[str]:
    """What is wrong with the device that the encoder asks for, which it shall find in each actor."""
    if not isinstance(device, str):
        return []
    if device.startswith("cuda:"):
        return [f"actors number their own GPUs, the encoder asks for {device!r}: give it device='auto'"]
    if device == "cuda" and num_gpus == 0:
        return ["the encoder asks for device='cuda', which actors with num_gpus=0 do not have: give it device='auto'"]
    if device == "cpu" and isinstance(num_gpus, Real) and float(num_gpus) > 0:
        return [f"num_gpus={num_gpus} would lie idle, the encoder asks for device='cpu': give it device='auto'"]
    return []
