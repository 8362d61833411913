"""How well users are predicted who were not in fit, after a few of their choices."""

from skmrm.model_selection.curve import AdaptationCurve, Comparison, compare
from skmrm.model_selection.judged import adaptation_curve, adaptation_scorer

__all__ = ["AdaptationCurve", "Comparison", "adaptation_curve", "adaptation_scorer", "compare"]
