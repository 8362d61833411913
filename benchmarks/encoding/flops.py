"""Operations of a network, and how many the machine can do: what no encoder can beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Products", "network_flops"]


def network_flops(network: Any, lengths: Sequence[int] | NDArray[np.integer], *, causal: bool) -> float:
    """Floating-point operations of the matrix products of a transformer for texts without padding.

    Two for each weight of a linear layer and token, and four for each number of a head and pair of tokens, half of
    which causal attention leaves out.

    Parameters
    ----------
    network
        Of transformers, without a head.
    lengths : (n,) sequence of int
        Tokens of each text.
    causal : bool
        Whether tokens see those before them alone.
    """
    config, tokens = network.config, np.asarray(lengths, float)
    weights = sum(
        layer.weight.numel()
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Linear) and "pooler" not in name.split(".")
    )
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    a_pair = 4 * config.num_hidden_layers * config.num_attention_heads * width * (0.5 if causal else 1.0)
    return float(2 * weights * tokens.sum() + a_pair * (tokens**2).sum())


class Products:
    """Products of square matrices: the most operations a second that an encoder could get.

    Parameters
    ----------
    device : str
    dtype : torch.dtype
    """

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        on_gpu = device.startswith("cuda")
        self._size, self._times = (8192, 20) if on_gpu else (1024, 20)
        self._factors = torch.randn(2, self._size, self._size, device=device).to(dtype)

    @property
    def flops(self) -> float:
        """Operations of a call."""
        return 2.0 * self._size**3 * self._times

    def __call__(self) -> float:
        """Multiply, and wait for the last product."""
        for _ in range(self._times):
            product = self._factors[0] @ self._factors[1]
        return float(product[0, 0])
