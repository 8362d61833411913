"""Features of texts on disk: encoded once, found by content, read without being loaded."""

from typing import TYPE_CHECKING

import lazy_loader as lazy

if TYPE_CHECKING:  # what lazy.attach provides at run time, spelt out for type checkers
    from skmrm.embeddings._encode_dataset import encode_dataset
    from skmrm.embeddings._filling import Summary
    from skmrm.embeddings._store import EmbeddingStore

__all__ = ["EmbeddingStore", "Summary", "encode_dataset"]

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_encode_dataset": ["encode_dataset"],
        "_filling": ["Summary"],
        "_store": ["EmbeddingStore"],
    },
)
