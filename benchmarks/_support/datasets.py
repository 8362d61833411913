"""Real judgements in files next to the checkout, as episodes."""

from __future__ import annotations

import os
from pathlib import Path

from skmrm import EpisodeSet, episodes_from_frame

__all__ = ["data_file", "read_judgements"]


def data_file() -> Path:
    """Where the judgements are looked for: in SKMRM_SHARED_DATA, or in a folder next to the checkout."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    return Path(os.environ.get("SKMRM_SHARED_DATA", beside)) / "convargs" / "pairs.parquet"


def read_judgements(file: Path) -> EpisodeSet:
    """Read a table with the columns user_id, prompt, chosen, rejected and topic; topics are groups."""
    import pandas as pd

    return episodes_from_frame(
        pd.read_parquet(file), user="user_id", prompt="prompt", chosen="chosen", rejected="rejected", group="topic"
    )
