r"""Adam (Kingma and Ba 2015) as a pure function of its state, the way back through it, and as an optimiser.

With running means :math:`m, v` of a gradient g and of its square, which start at zero, step n goes along

.. math:: \frac{m / (1 - \beta_1^n)}{\sqrt{v / (1 - \beta_2^n)} + \epsilon}, \qquad
    m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 .
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from skmrm.meta.tensors.pairs import safe_sqrt

__all__ = ["Adam", "AdamState", "adam_direction", "adam_pullback"]

BETAS, EPS = (0.9, 0.999), 1e-8
AdamState = tuple[Tensor, Tensor]  # running means of the gradient and of its square


def adam_direction(
    gradient: Tensor, state: AdamState | None, number: int, last: bool = False
) -> tuple[Tensor, Tensor, AdamState | None]:
    """Direction of step `number`, from 1 on; what the mean gradient was divided by; and the state after the step.

    The state is None before the first step, and after a first step that is the last, since nobody asks for it. A user
    without pairs has a gradient of exactly zero.
    """
    if state is None:  # the state and its corrections for starting at zero cancel
        size = gradient.abs() + EPS
        state = None if last else ((1 - BETAS[0]) * gradient, (1 - BETAS[1]) * gradient**2)
        return gradient / size, size, state
    first = BETAS[0] * state[0] + (1 - BETAS[0]) * gradient
    second = BETAS[1] * state[1] + (1 - BETAS[1]) * gradient**2
    size = safe_sqrt(second / (1 - BETAS[1] ** number)) + EPS
    return (first / (1 - BETAS[0] ** number)) / size, size, (first, second)


def adam_pullback(
    d_direction: Tensor,
    d_state: tuple[Tensor | float, Tensor | float] | None,
    gradient: Tensor,
    direction: Tensor,
    size: Tensor,
    state: AdamState | None,
    number: int,
) -> tuple[Tensor, tuple[Tensor | float, Tensor | float] | None]:
    """Gradients with respect to a step's gradient and to Adam's state before it, from those of what it returned."""
    if number == 1:
        d_gradient = d_direction * (EPS / size**2)
        if d_state is not None:
            d_gradient = d_gradient + (1 - BETAS[0]) * d_state[0] + 2 * (1 - BETAS[1]) * gradient * d_state[1]
        return d_gradient, None
    d_first, d_second = d_state or (0.0, 0.0)
    corrections = [1 - beta**number for beta in BETAS]
    d_first = d_first + d_direction / (corrections[0] * size)
    assert state is not None
    root = safe_sqrt(state[1] / corrections[1])
    slope = -d_direction * direction / size
    d_second = d_second + torch.where(root > 0, slope / torch.where(root > 0, 2 * corrections[1] * root, 1.0), 0.0)
    d_gradient = (1 - BETAS[0]) * d_first + 2 * (1 - BETAS[1]) * gradient * d_second
    return d_gradient, (BETAS[0] * d_first, BETAS[1] * d_second)


class Adam:
    """Adam on named tensors as one vector, after clipping the gradient's norm.

    Attributes
    ----------
    n_steps : int
    values, first, second : Tensor of shape (n,)
        Parameters one after the other, and running means of the gradient and of its square: all that a checkpoint has
        to keep.
    """

    def __init__(self, params: Mapping[str, Tensor]) -> None:
        self.n_steps = 0
        self._shapes = {name: value.shape for name, value in params.items()}
        self.values = _joined(params, self._shapes)
        self.first, self.second = torch.zeros_like(self.values), torch.zeros_like(self.values)

    @property
    def params(self) -> dict[str, Tensor]:
        """The parameters by name: views, which follow each step."""
        parts = self.values.split([shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def step(self, gradient: Mapping[str, Tensor], learning_rate: float, max_norm: float | None = None) -> None:
        """Move the parameters, by a gradient for each."""
        given = _joined(gradient, self._shapes)
        if max_norm is not None:
            given = given * (max_norm / (given.norm() + 1e-6)).clamp_max(1.0)
        self.n_steps += 1
        direction, _, state = adam_direction(given, (self.first, self.second), self.n_steps)
        assert state is not None
        self.first, self.second = state
        self.values.sub_(direction, alpha=learning_rate)


def _joined(named: Mapping[str, Tensor], order: Mapping[str, torch.Size]) -> Tensor:
    """All numbers of named tensors one after the other, (n,)."""
    return torch.cat([named[name].detach().reshape(-1) for name in order])
