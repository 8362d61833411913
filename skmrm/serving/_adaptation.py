r"""A new user's weights in plain numpy: the inner rules of :mod:`skmrm.meta` for one user.

Double precision throughout. The rules, their parameters and their equations are those of
:class:`skmrm.meta.adaptation.MapAdaptation`, :class:`skmrm.meta.adaptation.mixture.MixtureAdaptation`,
:class:`skmrm.meta.adaptation.GradientAdaptation` and, for pooled models, no adaptation at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.outcomes import UNTOLD, sides_of
from skmrm.exceptions import ModelFileError
from skmrm.metrics.margins import sigmoid

__all__ = ["RULES", "Sides", "posterior", "sides_of_choices"]

Array = NDArray[np.float64]
Rule = Mapping[str, Any]  # fields of the rule, and its meta-learnt arrays
_ADAM_BETAS, _ADAM_EPS = (0.9, 0.999), 1e-8
_TOLERANCE = 1e-10  # in prior standard deviations
_SHORTEST_STEP = 1e-12


class Sides(NamedTuple):
    """A user's choices as sides; see :mod:`skmrm.meta.thresholds`.

    Attributes
    ----------
    gaps : (n, n_bases) array
        Base rewards of the response that is ahead minus those of the other.
    held : (n,) array
        What margins are held against, in logits; zero for plain choices.
    weight : (n,) array
    """

    gaps: Array
    held: Array
    weight: Array


def sides_of_choices(
    gaps: NDArray[Any],
    outcome: NDArray[np.int64] | None,
    weight: NDArray[np.float64] | None,
    thresholds: NDArray[Any] | None,
    rating: NDArray[np.int64] | None = None,
    cuts: NDArray[Any] | None = None,
) -> Sides:
    """Choices (n_pairs,) as sides, of a population with these thresholds; None where nobody tied or told strengths.

    The gaps of ratings are those to the bar, and their cuts those between levels.
    """
    gaps, weight = np.asarray(gaps, float), np.ones(len(gaps)) if weight is None else weight
    if rating is None and thresholds is None and (outcome is None or outcome.all()):
        return Sides(gaps, np.zeros(len(gaps)), weight)
    t = np.zeros(1) if thresholds is None else np.asarray(thresholds, float)
    ends = np.empty(0) if rating is None or cuts is None else np.asarray(cuts, float)
    said = np.full(len(gaps), UNTOLD) if outcome is None else outcome
    pair, turned, side = sides_of(said, len(t), rating, len(ends))
    held = np.concatenate([t, ends, -t, -ends])[side]
    return Sides(np.where(turned[:, None], -gaps[pair], gaps[pair]), held, weight[pair])


def posterior(rule: Rule, start: NDArray[Any], sides: Sides) -> tuple[Array, Array | None]:
    """Weights (n_bases,) of a user, and their covariance (n_bases, n_bases) where the rule defines one.

    Parameters
    ----------
    rule : mapping
        ``kind``, one of `RULES`, and what that rule needs.
    start : (n_bases,) array
        Meta-learnt start.
    sides : Sides
        Of the user's choices, if there are any.

    Raises
    ------
    ModelFileError
        If the rule is of an earlier version that this one cannot compute.
    """
    if rule.get("tempering"):
        raise ModelFileError(f"the bundle's inner rule has tempering={rule['tempering']:g}: fit and export again")
    return RULES[rule["kind"]](rule, np.asarray(start, float), sides)


def _fixed(rule: Rule, start: Array, sides: Sides) -> tuple[Array, None]:
    return start, None


def _map(rule: Rule, start: Array, sides: Sides) -> tuple[Array, Array]:
    factor = np.diag(np.asarray(rule["prior_scale"], float))
    mode, _, hessian = _posterior(rule, start, factor, sides)
    return start + factor @ mode, factor @ np.linalg.inv(hessian) @ factor.T


def _mixture(rule: Rule, start: Array, sides: Sides) -> tuple[Array, Array]:
    """Posterior mean; covariance within the kinds, and between them as far as the user's kind is in doubt."""
    logits, centres = np.asarray(rule["logits"], float), np.asarray(rule["centres"], float)
    priors = np.asarray(rule.get("priors", np.zeros(len(logits), int)))  # one prior, if none are told apart
    weights = _softmax(np.asarray(rule.get("weights", np.zeros(1)), float))
    if "factors" in rule:
        factors = np.asarray(rule["factors"], float)
    else:  # the same for all kinds
        factors = np.broadcast_to(
            np.diag(np.asarray(rule["prior_scale"], float)), (len(logits), len(start), len(start))
        )
    means = np.asarray(rule.get("means", np.zeros((len(weights), len(start)))), float)
    kinds: list[tuple[float, Array, Array]] = []  # of each its chance, its mode and its covariance
    for number, weight in enumerate(weights):
        own = np.flatnonzero(priors == number)
        shares = _softmax(logits[own])
        starts = start + means[number] + centres[own] - shares @ centres[own]
        found = [_posterior(rule, *kind, sides) for kind in zip(starts, factors[own], strict=True)]
        chances = _softmax(np.log(np.maximum(shares, np.finfo(float).tiny)) + [evidence for _, evidence, _ in found])
        for chance, kind, factor, (mode, _, hessian) in zip(chances, starts, factors[own], found, strict=True):
            kinds.append((weight * chance, kind + factor @ mode, factor @ np.linalg.inv(hessian) @ factor.T))
    mean = start if len(sides.gaps) == 0 else np.sum([chance * mode for chance, mode, _ in kinds], axis=0)
    spread = [chance * (own + np.outer(mode - mean, mode - mean)) for chance, mode, own in kinds]
    return mean, np.sum(spread, axis=0)


def _posterior(rule: Rule, start: Array, factor: Array, sides: Sides) -> tuple[Array, float, Array]:
    """Mode of the posterior in prior standard deviations, by Newton's method, the log of its evidence, the Hessian."""
    scaled, offset, weight = sides.gaps @ factor, sides.gaps @ start - sides.held, sides.weight
    mode = np.zeros(factor.shape[1])

    def objective(mode: Array) -> float:
        return float(weight @ np.logaddexp(0, -(offset + scaled @ mode)) + 0.5 * mode @ mode)

    value = objective(mode)
    for _ in range(int(rule["max_steps"])):
        gradient, hessian = _derivatives(mode, offset, scaled, weight)
        step = -np.linalg.solve(hessian, gradient)
        length, reached = 1.0, objective(mode + step)
        while reached > value + 1e-4 * length * (gradient @ step) and length > _SHORTEST_STEP:
            length /= 2
            reached = objective(mode + length * step)
        if not reached <= value:
            break  # rounding: no step lowers the objective any more
        mode, value = mode + length * step, reached
        if (np.abs(length * step) <= _TOLERANCE * (1 + np.abs(mode))).all():
            break
    hessian = _derivatives(mode, offset, scaled, weight)[1]
    _, log_det = np.linalg.slogdet(hessian)
    return mode, -value - 0.5 * float(log_det), hessian


def _derivatives(mode: Array, offset: Array, scaled: Array, weight: Array) -> tuple[Array, Array]:
    """Gradient and Hessian of the objective."""
    wrong = sigmoid(-(offset + scaled @ mode))
    curvature = weight * wrong * (1 - wrong)
    return mode - (weight * wrong) @ scaled, np.eye(len(mode)) + (scaled * curvature[:, None]).T @ scaled


def _gradient(rule: Rule, start: Array, sides: Sides) -> tuple[Array, None]:
    """Steps on the user's mean loss; on the simplex, in the logits of the weights."""
    step_size = np.asarray(rule["step_size"], float)
    constrain: Callable[[Array], Array] = _softmax if rule["simplex"] else _same
    raw, first, second = start, np.zeros(len(start)), np.zeros(len(start))
    if len(sides.gaps) == 0:
        return constrain(start), None
    share = sides.weight / sides.weight.sum()
    for number in range(1, int(rule["steps"]) + 1):
        weights = constrain(raw)
        slope = -(share * sigmoid(sides.held - sides.gaps @ weights)) @ sides.gaps
        if rule["simplex"]:
            slope = weights * (slope - weights @ slope)
        if rule["optimizer"] == "adam":
            first = _ADAM_BETAS[0] * first + (1 - _ADAM_BETAS[0]) * slope
            second = _ADAM_BETAS[1] * second + (1 - _ADAM_BETAS[1]) * slope**2
            corrected = [moment / (1 - beta**number) for moment, beta in zip((first, second), _ADAM_BETAS, strict=True)]
            slope = corrected[0] / (np.sqrt(corrected[1]) + _ADAM_EPS)
        raw = raw - step_size * slope
    return constrain(raw), None


def _same(values: Array) -> Array:
    return values


def _softmax(values: Array) -> Array:
    shifted = np.exp(values - values.max())
    return shifted / shifted.sum()


RULES: dict[str, Callable[[Rule, Array, Sides], tuple[Array, Array | None]]] = {
    "fixed": _fixed,
    "map": _map,
    "mixture": _mixture,
    "gradient": _gradient,
}
