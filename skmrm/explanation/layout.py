"""An explanation as rows of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skmrm.display import Table, shortened, signed, with_interval
from skmrm.explanation.effects import Effect

__all__ = ["effect_table", "label_of", "response_table"]


def label_of(effect: Effect) -> str:
    """An effect in two lines."""
    return f"{effect.words}\n{effect.per}".replace("$", r"\$")  # a dollar would begin a formula


def effect_table(effects: Sequence[Effect], level: float | None, title: str, *, likely: bool = False) -> Table:
    """A row for each effect, in the direction that the user likes better, and how likely that is."""
    rows = []
    for effect in effects:
        sign = 1 if effect.effect >= 0 else -1
        low, high = sorted((sign * effect.low, sign * effect.high))
        own = with_interval(abs(effect.effect), low, high)
        chance = [f"{100 * effect.probability:.0f} %"] if likely else []
        rows.append((effect.words, own, effect.per, signed(sign * effect.crowd), *chance))
    return Table(rows, ("", _header(level), "", "crowd", *(["likely"] if likely else [])), title)


def response_table(responses: Sequence[Any], level: float | None, title: str) -> Table:
    """A row for each response, shortened."""
    rows = [
        (
            with_interval(one.difference, one.low, one.high),
            f"item {one.item}" if one.response is None else shortened(one.response),
        )
        for one in responses
    ]
    return Table(rows, (_header(level), ""), title)


def _header(level: float | None) -> str:
    return "logits" if level is None else f"logits [{100 * level:g} %]"
