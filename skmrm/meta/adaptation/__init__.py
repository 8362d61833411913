r"""The inner loop: from a user's support pairs to the user's weights, all users of a batch at once.

Two rules behind one interface (:class:`Adaptation`), both differentiable with respect to the gaps, the start and the
rule's own meta-learnt parameters:

- :class:`GradientAdaptation`: :math:`w \leftarrow w - \alpha \nabla L_u(w)`, T steps from :math:`w_0` (MAML; the
  paper's rule);
- :class:`MapAdaptation`:
  :math:`\arg\min_w \sum_p -\log \sigma(w \cdot g_p) + \tfrac12 (w - w_0)^\top \Lambda (w - w_0)`, the mode of the
  posterior under a Gaussian prior :math:`N(w_0, \Lambda^{-1})`.

The same code runs in ``fit`` and in ``adapt``. It knows tensors only.
"""

from skmrm.meta.adaptation.gradient import GradientAdaptation
from skmrm.meta.adaptation.map import MapAdaptation
from skmrm.meta.adaptation.rule import Adaptation, InnerRule, Pullback, RuleParameters, with_pullback

__all__ = [
    "Adaptation",
    "GradientAdaptation",
    "InnerRule",
    "MapAdaptation",
    "Pullback",
    "RuleParameters",
    "with_pullback",
]
