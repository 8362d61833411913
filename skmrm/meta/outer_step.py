r"""One step of the outer loop: the gradient of a batch's robust loss, and Adam.

With gaps of features :math:`x_p = z_{c_p} - z_{r_p}` and of base rewards :math:`g_p = B x_p`, a user's query loss is
:math:`L_u = \sum_p q_p \, \mathrm{softplus}(-w_u \cdot g_p)` with weights :math:`w_u` from the inner loop. The chain
rule is applied by hand, in three parts: from the loss to weights and gaps; through the inner loop
(:func:`skmrm.meta.adaptation.with_pullback`); and to the base functions, :math:`\bar B = \sum_p \bar g_p x_p^\top`.
So a batch's features are gathered once, and read twice. Autograd has the last part where there are hidden layers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .adaptation import Adaptation, with_pullback
from .basis import Parameters, base_rewards
from .epochs import Batch
from .gradient_rule import BETAS, EPS
from .inference import rule_parameters
from .objectives import pair_margins, pair_sums, robust_weights
from .pullback import BY_HAND

__all__ = ["Adam", "batch_gradient", "batch_losses", "feature_gaps", "without_autograd"]


def without_autograd(rule: Adaptation, params: Parameters) -> AbstractContextManager[None]:
    """A context in which `batch_gradient` works for this rule: autograd off altogether where no part needs it."""
    by_hand = type(rule) in BY_HAND and not any(name.startswith("hidden.") for name in params)
    return torch.inference_mode() if by_hand else torch.no_grad()


def feature_gaps(table: Tensor, batch: Batch) -> Tensor:
    """Rows of the chosen minus rows of the rejected items of a batch, (n_pairs, d); from half precision, in single."""
    if table.dtype in (torch.float16, torch.bfloat16):
        return table[batch.ends[:, 0]].float() - table[batch.ends[:, 1]].float()
    # a weighted sum of two rows in one pass, which copies neither
    return torch.embedding_bag(table, batch.ends.view(-1), batch.bags, per_sample_weights=batch.signs)[0]


def batch_gradient(
    params: Parameters, rule: Adaptation, table: Tensor, batch: Batch, ratio: float, temperature: float | None
) -> tuple[Tensor, Parameters]:
    """Query loss of each user of a batch, (n_users,), and the gradient of their robust mean.

    Parameters
    ----------
    params : dict of Tensor
    rule : Adaptation
    table : Tensor of shape (n_items, d)
        Standardised features; half precision is read in single.
    batch : Batch
    ratio, temperature
        As of :func:`skmrm.meta.objectives.robust_weights`.
    """
    flat, to_basis = _gap_rewards(params, table, batch)
    gaps = batch.padded(flat)
    weights, to_start = with_pullback(rule, params["start"], gaps, batch.support, rule_parameters(params))
    margins = pair_margins(weights, gaps)
    losses = (softplus(-margins) * batch.query).sum(-1)
    share = robust_weights(losses, ratio, temperature)
    d_margins = -torch.sigmoid(-margins) * batch.query * share.unsqueeze(-1)
    d_start, d_gaps, d_rule = to_start(pair_sums(d_margins, gaps))
    d_gaps = d_gaps + d_margins.unsqueeze(-1) * weights.unsqueeze(1)
    gradient = to_basis(batch.flat(d_gaps)) | {"start": d_start}
    return losses, gradient | {f"rule.{name}": value for name, value in d_rule.items()}


def batch_losses(params: Parameters, rule: Adaptation, table: Tensor, batch: Batch) -> Tensor:
    """Query loss of each user of a batch after adaptation on its support, (n_users,); differentiable, and plain."""
    chosen, rejected = batch.ends.T
    flat = base_rewards(params, table[chosen]) - base_rewards(params, table[rejected])
    gaps = batch.padded(flat)
    weights = rule.adapt(params["start"], gaps, batch.support, rule_parameters(params))
    return (softplus(-pair_margins(weights, gaps)) * batch.query).sum(-1)


def _gap_rewards(params: Parameters, table: Tensor, batch: Batch) -> tuple[Tensor, Callable[[Tensor], Parameters]]:
    """Gaps of base rewards (n_pairs, n_bases), and from their gradient to that of the base functions."""
    hidden = [name for name in params if name.startswith("hidden.")]
    if not hidden:
        gaps = feature_gaps(table, batch)
        return gaps @ params["bases"].T, lambda given: {"bases": given.T @ gaps}
    with torch.enable_grad():
        leaves = {name: params[name].detach().requires_grad_() for name in ("bases", *hidden)}
        dtype = params["bases"].dtype
        of_chosen, of_rejected = (base_rewards(leaves, table[ends].to(dtype)) for ends in batch.ends.T)
        flat = of_chosen - of_rejected

    def pull_back(given: Tensor) -> Parameters:
        return dict(zip(leaves, torch.autograd.grad(flat, list(leaves.values()), given), strict=True))

    return flat.detach(), pull_back


class Adam:
    """Adam (Kingma and Ba 2015) on named tensors as one vector, after clipping the gradient's norm.

    Attributes
    ----------
    n_steps : int
    values, first, second : Tensor of shape (n,)
        Parameters one after the other, and running means of the gradient and of its square: all that a checkpoint has
        to keep.
    """

    def __init__(self, params: Parameters) -> None:
        self.n_steps = 0
        self._shapes = {name: value.shape for name, value in params.items()}
        self.values = self._flat(params)
        self.first, self.second = torch.zeros_like(self.values), torch.zeros_like(self.values)

    @property
    def params(self) -> Parameters:
        """The parameters by name: views, which follow each step."""
        parts = self.values.split([shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def step(self, gradient: Parameters, learning_rate: float, max_norm: float) -> None:
        """Move the parameters; those without a gradient have a gradient of zero."""
        given = self._flat({name: gradient[name] for name in self._shapes})
        given *= (max_norm / (torch.linalg.vector_norm(given) + 1e-6)).clamp_max(1.0)
        self.n_steps += 1
        self.first.lerp_(given, 1 - BETAS[0])
        self.second.mul_(BETAS[1]).addcmul_(given, given, value=1 - BETAS[1])
        root = (self.second / (1 - BETAS[1] ** self.n_steps)).sqrt_().add_(EPS)
        self.values.addcdiv_(self.first, root, value=-learning_rate / (1 - BETAS[0] ** self.n_steps))

    def _flat(self, named: Parameters) -> Tensor:
        return torch.cat([value.reshape(-1) for value in named.values()])
