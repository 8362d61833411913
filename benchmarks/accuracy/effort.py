"""How much is done: in full, or quickly."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.accuracy.contenders import PAPER_EPOCHS
from benchmarks.accuracy.judgements import SETTINGS
from benchmarks.accuracy.outcomes import KINDS
from benchmarks.accuracy.planted import SIMULATED
from benchmarks.accuracy.questions import SIMULATED_PEOPLE
from benchmarks.accuracy.rpo import COMPARISONS

__all__ = ["FULL", "QUICK", "Effort"]


@dataclass(frozen=True)
class Effort:
    """How much is done.

    Attributes
    ----------
    seeds : range
        Of all parts but rpo; of "questions" and "profiles" the first three.
    encoder : {"MiniLM", "default"}
        Of the texts of real judgements.
    settings : tuple of str
        How people and topics are split.
    judgements_left_out : tuple of str
        Models that are not fitted on real judgements.
    paper_epochs : int
        Epochs of the paper's setting on real judgements; the paper has 200.
    families : tuple of str
        Of simulated users.
    n_judged : int
        Simulated users to judge on, a seed.
    planted_paper_epochs : int
        Epochs of the paper's setting on simulated users. With 50 and with 200 its accuracy differed by 0.3 points at
        most, and 50 was mostly above.
    outcome_kinds : tuple of str
        What simulated users say beside choices.
    questioned : tuple of str
        Simulated people who are asked questions.
    n_ranked : int
        Users whose rankings are held against Plackett and Luce's likelihood.
    repeats : int
        Of timed fits.
    comparisons : tuple of str
        Of outer loops.
    rpo_seeds : range
    rpo_judged : int
        Simulated users to judge outer loops on, a seed.
    """

    seeds: range = range(5)
    encoder: str = "MiniLM"
    settings: tuple[str, ...] = tuple(SETTINGS)
    judgements_left_out: tuple[str, ...] = ()
    paper_epochs: int = PAPER_EPOCHS
    families: tuple[str, ...] = tuple(SIMULATED)
    n_judged: int = 300
    planted_paper_epochs: int = 50
    outcome_kinds: tuple[str, ...] = tuple(KINDS)
    questioned: tuple[str, ...] = tuple(SIMULATED_PEOPLE)
    n_ranked: int = 900
    repeats: int = 3
    comparisons: tuple[str, ...] = tuple(COMPARISONS)
    rpo_seeds: range = range(20)
    rpo_judged: int = 1000


FULL = Effort()
QUICK = Effort(
    seeds=range(1),
    settings=("new users",),
    judgements_left_out=("lore",),
    paper_epochs=20,
    families=("low rank", "no personal signal", "100 users of 5 choices on 10 items", "two opposite camps"),
    planted_paper_epochs=20,
    outcome_kinds=tuple(KINDS)[:1],
    questioned=("planted", "bundled corpus"),
    n_ranked=150,
    repeats=1,
    comparisons=tuple(COMPARISONS)[:1],
    rpo_seeds=range(12),
    rpo_judged=500,
)
