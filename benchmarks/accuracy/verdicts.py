"""Claims about a table, checked: PASS or FAIL, with what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.accuracy.contenders import BASELINES
from benchmarks.accuracy.gains import Interval, Table
from benchmarks.accuracy.judging import Size
from benchmarks.accuracy.layout import MODEL_NAMES, points, size_name, with_interval

__all__ = ["Verdict", "above_every_baseline", "above_paper", "fast_enough", "near_oracle", "never_below_pooled"]

HARM = 0.2  # points that the default may be below pooled
LEAD = 1.5  # points that it should be above the paper's setting
GAP = 1.0  # points that it may be below the Bayes oracle
FEW = 3  # support pairs from which it should be above every baseline
SLOW = 3.0  # times as long as the pooled model that it may take


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
    gains = dict(_known(table, "pooled"))
    worst = min(gains, key=lambda size: gains[size][0])
    return Verdict(
        passed=100 * gains[worst][0] >= -HARM,
        claim=f"never below pooled by more than {HARM:g} points",
        found=f"the lowest gain is {with_interval(gains[worst])}, at {size_name(worst)}",
    )


def above_paper(table: Table, size: Size = None) -> Verdict:
    """Check that the default is more accurate than the paper's setting, by a point and a half, at one size."""
    gains = dict(_known(table, "paper"))
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
        for size, gain in _known(table, name)
        if (size is None or size >= FEW) and not gain[1] > 0
    ]
    left_out = [MODEL_NAMES[name] for name in BASELINES if name not in table.gain]
    found = "; ".join(short) or "all intervals are above zero"
    return Verdict(
        passed=not short,
        claim=f"above every baseline at every size from {FEW} up",
        found=f"{found} (not fitted: {', '.join(left_out)})" if left_out else found,
    )


def near_oracle(table: Table, name: str = "oracle", size: Size = 20) -> Verdict:
    """Check that the default is within one point of an oracle at one size."""
    gain = dict(_known(table, name)).get(size, (math.nan, math.nan, math.nan))
    return Verdict(
        passed=100 * gain[0] >= -GAP,
        claim=f"within {GAP:g} point of the {MODEL_NAMES[name]} at {size_name(size)}",
        found=with_interval(gain),
    )


def fast_enough(ratio: float) -> Verdict:
    """Check that a default fit takes at most three times as long as a pooled one, encoding counted in both."""
    return Verdict(ratio <= SLOW, f"at most {SLOW:g} times the pooled model, encoding counted in both", f"{ratio:.2f}")


def _known(table: Table, name: str) -> Iterator[tuple[Size, Interval]]:
    """Gains over a model at the sizes that some user reaches."""
    for size, gain in zip(table.sizes, table.gain[name], strict=True):
        if not math.isnan(gain[0]):
            yield size, gain
