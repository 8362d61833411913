"""Texts to feature vectors: the offline default, sentence encoders, statistics of style, any transformer."""

from typing import TYPE_CHECKING

import lazy_loader as lazy

if TYPE_CHECKING:  # what lazy.attach provides at run time, spelt out for type checkers
    from skmrm.encoders._text_encoder import TextEncoder, build_encoder
    from skmrm.encoders.hashed._hashed import HashedTextEncoder
    from skmrm.encoders.huggingface._transformers import HFEncoder
    from skmrm.encoders.style._statistics import TextStatistics

__all__ = ["HFEncoder", "HashedTextEncoder", "TextEncoder", "TextStatistics", "build_encoder"]

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "hashed._hashed": ["HashedTextEncoder"],
        "style._statistics": ["TextStatistics"],
        "_text_encoder": ["TextEncoder", "build_encoder"],
        "huggingface._transformers": ["HFEncoder"],
    },
)
