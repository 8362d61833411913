"""Data sets of real judgements: where their files are looked for, and how they are read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from skmrm import EpisodeSet, episodes_from_frame

__all__ = ["CONVARGS", "DATASETS", "Dataset", "read_pairs"]


@dataclass(frozen=True)
class Dataset:
    """Pairs of texts, each judged by a person: ``<name>/pairs.parquet`` in a folder of data sets.

    Attributes
    ----------
    name : str
    group : str
        The column whose values support and query do not share.
    people : str
        What the people are called.
    """

    name: str
    group: str
    people: str

    @property
    def file(self) -> Path:
        """Where it is looked for: in SKMRM_SHARED_DATA, or in a folder next to the checkout."""
        beside = Path(__file__).parents[2].parent / "shared" / "data"
        return Path(os.environ.get("SKMRM_SHARED_DATA", beside)) / self.name / "pairs.parquet"

    @property
    def missing(self) -> str:
        """Why it cannot be read; empty if it can."""
        if self.file.exists():
            return ""
        return f"the judgements are not at {self.file}: set SKMRM_SHARED_DATA to the folder that holds {self.name}"

    def read(self) -> EpisodeSet:
        """All pairs."""
        return read_pairs(self.file, self.group)


def read_pairs(file: Path, group: str) -> EpisodeSet:
    """Read a table with the columns user_id, prompt, chosen and rejected, and one of groups that all users share."""
    import pandas as pd

    return episodes_from_frame(pd.read_parquet(file), group=group, shared_groups=True)


# Which argument is more convincing: hardly a matter of taste. Groups are topics of debates.
CONVARGS = Dataset("convargs", group="topic", people="workers")
# Which statements on their county people agree with: very much one. All have one prompt, so that groups are the two
# halves of the statements.
POLIS = Dataset("polis", group="half", people="residents")

DATASETS = {dataset.name: dataset for dataset in (CONVARGS, POLIS)}
