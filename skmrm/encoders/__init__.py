"""Texts to feature vectors: the offline default, sentence encoders, statistics of style, any transformer."""

from typing import TYPE_CHECKING

import lazy_loader as lazy

if TYPE_CHECKING:  # what lazy.attach provides at run time, spelt out for type checkers
    from skmrm.encoders._hashed import HashedTextEncoder
    from skmrm.encoders._statistics import TextStatistics
    from skmrm.encoders._text_encoder import TextEncoder, build_encoder
    from skmrm.encoders._transformers import HFEncoder

__all__ = ["HFEncoder", "HashedTextEncoder", "TextEncoder", "TextStatistics", "build_encoder"]

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_hashed": ["HashedTextEncoder"],
        "_statistics": ["TextStatistics"],
        "_text_encoder": ["TextEncoder", "build_encoder"],
        "_transformers": ["HFEncoder"],
    },
)
