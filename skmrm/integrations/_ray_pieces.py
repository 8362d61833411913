"""Pieces of a store through actors of Ray Data: texts there, features back, in the order in which they are ready."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from skmrm._support.wording import counted
from skmrm.encoders._encoded import Encoded
from skmrm.episodes.items import Item

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ActorOptions", "encode_pieces"]

_SHOWN = 60  # characters of a text that an error shows


@dataclass(frozen=True)
class ActorOptions:
    """How many actors there are, and what each of them needs."""

    fewest: int
    most: int
    num_gpus: float | None = None
    num_cpus: float | None = None
    others: dict[str, Any] = field(default_factory=dict)


def encode_pieces(
    encoder: Any, options: ActorOptions, pieces: Sequence[Sequence[Item]]
) -> Iterator[tuple[int, Encoded]]:
    """Encode pieces in actors.

    Parameters
    ----------
    encoder : transformer
        Fitted. Its pickle goes to each actor.
    options : ActorOptions
        The actors.
    pieces : sequence of sequences of (prompt, response)
        At least one. Texts are copied into Ray's object store, which writes to disk what it has no memory for.

    Yields
    ------
    int, Encoded
        Which piece, and what was made of it: each once, in the order in which they are ready.

    Raises
    ------
    RuntimeError
        If the encoder failed.
    """
    import pyarrow as pa
    import ray.data

    num_gpus = _gpus_of_each(encoder) if options.num_gpus is None else options.num_gpus
    if hasattr(encoder, "unload"):
        encoder.unload()  # the network here would take the place of an actor's
    # One at a time, so that there is no second copy of all texts in this process.
    blocks = [
        ray.put(pa.table({"place": [place], "texts": pa.array([pickle.dumps(list(piece))], pa.large_binary())}))
        for place, piece in enumerate(pieces)
    ]
    rows = ray.data.from_arrow_refs(blocks)
    rows.context.enable_progress_bars = False  # of this data set alone: it has a copy of the context
    rows.context.print_on_execution_start = False
    rows = rows.map_batches(
        PieceEncoder,
        fn_constructor_args=(encoder, num_gpus > 0),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=options.fewest, max_size=options.most),
        num_gpus=num_gpus or None,
        num_cpus=options.num_cpus,
        **options.others,
    )
    for row in rows.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
        place = row["place"][0].as_py()
        if row["error"][0].as_py():
            raise _failure(place, pieces, row)
        n_rows = len(pieces[place])
        features = np.frombuffer(row["features"][0].as_buffer(), np.float32).reshape(n_rows, -1)
        yield place, Encoded(features, row["n_tokens"][0].as_py(), row["n_cut"][0].as_py())


class PieceEncoder:
    """What runs in an actor: an encoder, which loads its network with the first piece and keeps it.

    Parameters
    ----------
    encoder : transformer
        Fitted.
    has_gpu : bool
        Whether Ray gave the actor a GPU.
    """

    def __init__(self, encoder: Any, has_gpu: bool) -> None:
        if not has_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves GPUs in sight that it gave to others
        self.encoder = encoder

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Encode a piece; an error is a row, too, so that it does not depend on how Ray passes errors on."""
        from skmrm.encoders._encoded import encode_piece

        place = batch["place"][0].as_py()
        try:
            encoded = encode_piece(self.encoder, pickle.loads(batch["texts"][0].as_py()))
        except Exception as error:
            return _row(place, error=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
        features = np.ascontiguousarray(encoded.features, np.float32)
        return _row(place, features.tobytes(), encoded.n_tokens, encoded.n_cut)


def _row(
    place: int, features: bytes = b"", n_tokens: int = 0, n_cut: int = 0, error: str = "", trace: str = ""
) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "place": [place],
            "features": pa.array([features], pa.large_binary()),
            "n_tokens": [n_tokens],
            "n_cut": [n_cut],
            "error": [error],
            "trace": [trace],
        }
    )


def _failure(place: int, pieces: Sequence[Sequence[Item]], row: pa.Table) -> RuntimeError:
    piece = pieces[place]
    first = str(piece[0][1])
    shown = first if len(first) <= _SHOWN else f"{first[:_SHOWN]} …"
    error = RuntimeError(
        f"the encoder failed in an actor on piece {place + 1} of {len(pieces)} ({counted(len(piece), 'text')}; the "
        f"first response is {shown!r}): {row['error'][0].as_py()}; what was written before is in the store: mend the "
        "encoder or the texts, and call again"
    )
    error.__cause__ = RuntimeError(f"in the actor:\n{row['trace'][0].as_py()}")
    return error


def _gpus_of_each(encoder: Any) -> int:
    """One where there are some and the encoder can use it."""
    import ray

    wants = getattr(encoder, "device", "cpu") != "cpu"
    return int(wants and ray.cluster_resources().get("GPU", 0) >= 1)
