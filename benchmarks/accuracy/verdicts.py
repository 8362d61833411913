"""Claims about a table, checked: PASS or FAIL, with what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.accuracy.contenders import ALTERNATIVES, BASELINES
from benchmarks.accuracy.gains import Interval, Table
from benchmarks.accuracy.judging import Size
from benchmarks.accuracy.layout import MODEL_NAMES, in_nats, points, size_name, with_interval

__all__ = [
    "GAP",
    "Verdict",
    "above_every_baseline",
    "above_paper",
    "fast_enough",
    "near_oracle",
    "never_below_any",
    "never_below_pooled",
]

HARM = 0.2  # points that the default may be below pooled
LEAD = 1.5  # points that it should be above the paper's setting
GAP = 1.0  # points that it may be below the Bayes oracle
FEW = 3  # support pairs from which it should be above every baseline
SLOW = 3.0  # times as long as the pooled model that it may take
ROUNDING = 1e-6  # a fraction, or nats: less is nothing, though every user has it


@dataclass(frozen=True)
class Verdict:
    """One claim.

    Attributes
    ----------
    passed : bool
    claim : str
    found : str
        What decided it.
    """

    passed: bool
    claim: str
    found: str

    def __str__(self) -> str:
        return f"{'PASS' if self.passed else 'FAIL'}  {self.claim}: {self.found}"


def never_below_pooled(table: Table) -> Verdict:
    """Check that the default is at no size less accurate than pooled by more than a fifth of a point."""
    gains = dict(_known(table, table.gain["pooled"]))
    worst = min(gains, key=lambda size: gains[size][0])
    return Verdict(
        passed=100 * gains[worst][0] >= -HARM,
        claim=f"never below pooled by more than {HARM:g} points",
        found=f"the lowest gain is {with_interval(gains[worst])}, at {size_name(worst)}",
    )


def above_paper(table: Table, size: Size = None) -> Verdict:
    """Check that the default is more accurate than the paper's setting, by a point and a half, at one size."""
    gains = dict(_known(table, table.gain["paper"]))
    at_others = [f"{points(gain[0])} at {size_name(n)}" for n, gain in gains.items() if n != size]
    return Verdict(
        passed=100 * gains[size][0] >= LEAD,
        claim=f"at least {LEAD:g} points above the paper's setting at {size_name(size)}",
        found="; ".join([with_interval(gains[size]), *([", ".join(at_others)] if at_others else [])]),
    )


def above_every_baseline(table: Table) -> Verdict:
    """Check that the default is above every baseline at every size from 3 up, each interval above zero."""
    short = [
        f"{MODEL_NAMES[name]} at {size_name(size)} {with_interval(gain)}"
        for name in BASELINES
        if name in table.gain
        for size, gain in _known(table, table.gain[name])
        if (size is None or size >= FEW) and not gain[1] > 0
    ]
    left_out = [MODEL_NAMES[name] for name in BASELINES if name not in table.gain]
    found = "; ".join(short) or "all intervals are above zero"
    return Verdict(
        passed=not short,
        claim=f"above every baseline at every size from {FEW} up",
        found=f"{found} (not fitted: {', '.join(left_out)})" if left_out else found,
    )


def never_below_any(table: Table) -> list[Verdict]:
    """Check that no interval of the default's gain over an alternative lies below zero, at any number of pairs.

    One verdict each for the mean accuracy, for that of the worst tenth, and for the log loss. The worst tenth counts
    from one pair up: without any, a model that knows nothing and calls every pair a tie has half of them right for
    everybody, and no model that knows the crowd can have that for those who disagree with it.
    """
    measures = (
        ("in the mean", 0, table.gain, with_interval),
        ("in the worst tenth", 1, table.worst_gain, with_interval),
        ("in log loss", 0, table.loss_gain, in_nats),
    )
    verdicts = []
    for measure, fewest, gains, written in measures:
        cells = [
            (f"{MODEL_NAMES[name]} at {size_name(size)} {written(gain)}", gain[2] < -ROUNDING)
            for name in ALTERNATIVES
            if name in gains
            for size, gain in _known(table, gains[name])
            if size is None or size >= fewest
        ]
        below = [cell for cell, is_below in cells if is_below]
        found = f"{len(below)} of {len(cells)} intervals lie below zero"
        claim = f"below no alternative by more than its interval, {measure}"
        verdicts.append(Verdict(not below, claim, ": ".join([found, *(["; ".join(below)] if below else [])])))
    return verdicts


def near_oracle(table: Table, name: str = "oracle", size: Size = 20, gap: float = GAP) -> Verdict:
    """Check that the default is within so many points of an oracle at one size."""
    gain = dict(_known(table, table.gain[name])).get(size, (math.nan, math.nan, math.nan))
    return Verdict(
        passed=100 * gain[0] >= -gap,
        claim=f"within {gap:g} point{'' if gap == 1 else 's'} of the {MODEL_NAMES[name]} at {size_name(size)}",
        found=with_interval(gain),
    )


def fast_enough(ratio: float) -> Verdict:
    """Check that a default fit takes at most three times as long as a pooled one, encoding counted in both."""
    return Verdict(ratio <= SLOW, f"at most {SLOW:g} times the pooled model, encoding counted in both", f"{ratio:.2f}")


def _known(table: Table, gains: Sequence[Interval]) -> Iterator[tuple[Size, Interval]]:
    """Gains over a model at the sizes that some user reaches."""
    for size, gain in zip(table.sizes, gains, strict=True):
        if not math.isnan(gain[0]):
            yield size, gain
