"""Fitted encoders as part of a bundle: what the graph takes, and what the scorer needs to make it of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from skmrm.export.heads import Graph
from skmrm.serving._bundle import ENCODER_FILE

if TYPE_CHECKING:
    from skmrm.encoders import HashedTextEncoder

__all__ = ["EncoderPart", "encoder_part", "has_transformer", "quantized"]


class EncoderPart(Protocol):
    """What a bundle holds of an encoder."""

    @property
    def config(self) -> dict[str, Any] | None:
        """For config.json; None for a model of feature vectors."""

    @property
    def files(self) -> dict[str, bytes]:
        """Besides the graph."""

    def add_to(self, graph: Graph) -> str:
        """Add inputs, and nodes if any; gives the name of the features (n, d)."""


class OutsideGraph:
    """Features come from outside of the graph: from the caller, or from what the scorer makes of texts with numpy."""

    def __init__(self, n_features: int, config: dict[str, Any] | None = None, files: dict[str, bytes] | None = None):
        self._n_features = n_features
        self.config = config
        self.files = files or {}

    def add_to(self, graph: Graph) -> str:
        """One input."""
        return graph.input("features", ["n", self._n_features])


def has_transformer(encoder: Any) -> bool:
    """Whether a transformer is among what encodes."""
    if encoder is None:
        return False
    from skmrm.encoders import HFEncoder

    return type(_divided(encoder)[0]) is HFEncoder


def encoder_part(encoder: Any, n_features: int) -> EncoderPart:
    """The part of a fitted encoder, or of none.

    Raises
    ------
    ValueError
        If the encoder cannot be exported.
    """
    if encoder is None:
        return OutsideGraph(n_features)
    from skmrm.encoders import HashedTextEncoder, HFEncoder, TextStatistics

    inner, statistics = _divided(encoder)
    if type(inner) is HFEncoder:
        from skmrm.export.transformer import transformer_part

        return transformer_part(inner, statistics)
    if type(inner) is HashedTextEncoder:
        return _hashed_part(inner, statistics, n_features)
    if type(inner) is TextStatistics:
        config = {"kind": "statistics", "statistics": statistics, "description": "statistics of style"}
        return OutsideGraph(n_features, config)
    raise ValueError(
        f"the encoder {type(inner).__name__} cannot be exported: a scorer without Python code of yours can only have "
        "HFEncoder, HashedTextEncoder (the default) and TextStatistics. Encode texts yourself, fit on arrays, and "
        "export what scores feature vectors"
    )


def quantized(part: EncoderPart) -> EncoderPart:
    """The part of a transformer with matrices of eight bits."""
    from skmrm.export.transformer import TransformerPart

    assert isinstance(part, TransformerPart)
    return part.quantized()


def _divided(encoder: Any) -> tuple[Any, bool]:
    """What encodes, and whether statistics of style stand beside it."""
    from skmrm.encoders import TextEncoder

    if isinstance(encoder, TextEncoder):
        return encoder.encoder_, encoder.statistics_ is not None
    return encoder, False


def _hashed_part(encoder: HashedTextEncoder, statistics: bool, n_features: int) -> OutsideGraph:
    from safetensors.numpy import save

    from skmrm.encoders._saving import fitted_arrays

    arrays = {name: np.ascontiguousarray(array) for name, array in fitted_arrays(encoder).items()}
    config = {
        "kind": "hashed",
        "statistics": statistics,
        "description": "hashed word and character n-grams, tf-idf, singular vectors",
        "word_ngrams": encoder.word_ngrams,
        "char_ngrams": encoder.char_ngrams,
        "n_hashes": int(encoder.n_hashes),
    }
    return OutsideGraph(n_features, config, {ENCODER_FILE: save(arrays)})
