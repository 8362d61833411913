"""The package's inner rules by name, for files that say which one a model has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal, get_args, get_origin, get_type_hints

from skmrm.meta.adaptation.fixed import FixedAdaptation
from skmrm.meta.adaptation.gradient import GradientAdaptation
from skmrm.meta.adaptation.map import MapAdaptation
from skmrm.meta.adaptation.mixture import MixtureAdaptation
from skmrm.meta.adaptation.rule import Adaptation
from skmrm.meta.adaptation.simplex import SimplexAdaptation
from skmrm.meta.adaptation.span import SpanAdaptation

__all__ = ["RULES", "Rule", "rule_config", "rule_of_config"]

_MOST_STEPS = 1_000_000

Rule = MapAdaptation | MixtureAdaptation | GradientAdaptation | FixedAdaptation | SimplexAdaptation | SpanAdaptation


RULES: dict[str, type[Rule]] = {
    "map": MapAdaptation,
    "mixture": MixtureAdaptation,
    "gradient": GradientAdaptation,
    "fixed": FixedAdaptation,
    "simplex": SimplexAdaptation,
    "span": SpanAdaptation,
}


def rule_config(rule: Adaptation, problems: list[str]) -> dict[str, Any]:
    """Kind and fields of an inner rule as JSON values; what is none of the package's is a problem."""
    for name, kind in RULES.items():
        if type(rule) is kind:
            return {"kind": name, **asdict(rule)}
    problems.append(f"the inner rule {type(rule).__name__} is not one of the package's: pickle with joblib.dump")
    return {}


def rule_of_config(config: Mapping[str, Any]) -> Adaptation:
    """The inverse of :func:`rule_config`.

    Raises
    ------
    ValueError
        If no rule has that kind, or it has no such fields.
    """
    fields = dict(config)
    kind, tempering = fields.pop("kind", None), fields.pop("tempering", 0)  # which earlier versions wrote
    if tempering:
        raise ValueError(f"inner rule with tempering={tempering:g}, which this version does not have: fit again")
    if kind not in RULES:
        raise ValueError(f"inner rule {kind!r} is not known to this version of skmrm: upgrade skmrm")
    hints = get_type_hints(RULES[kind])
    wrong = [f"{name}={value!r:.80}" for name, value in fields.items() if not _is_a(value, hints.get(name))]
    if wrong:
        raise ValueError(f"inner rule {kind!r} has no {', '.join(wrong)}: upgrade skmrm, or save the model again")
    return RULES[kind](**fields)


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of a field's type; no number is NaN, and so many steps end."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_args(hint):
        return any(_is_a(value, one) for one in get_args(hint))
    if hint is float and isinstance(value, float):
        return value == value
    if hint in (int, float):
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_STEPS
    return isinstance(value, hint or ())
