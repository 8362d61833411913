"""Inputs on which an exported graph is compared with the live model: odd ones among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["feature_calibration", "text_calibration"]

_N_DRAWN = 200
_SENTENCE = "A longer answer goes on for a while, because it wants to be complete, and nobody told it to stop. "


def feature_calibration(params: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Normal draws at the training items' mean and scale, three times that far out, the mean itself, and the origin."""
    mean = params["mean"]
    scale = np.where(np.isfinite(params["scale"]), params["scale"], 1.0)  # infinite where a feature says nothing
    draws = np.random.default_rng(0).standard_normal((_N_DRAWN, len(mean)))
    draws[::4] *= 3
    return np.vstack([mean + scale * draws, mean, np.zeros_like(mean)]).astype(mean.dtype)


def text_calibration() -> list[tuple[str, str]]:
    """Responses to one prompt, of many kinds: short, long, empty, marked up, in other scripts."""
    responses = [
        "",
        " ",
        "Yes.",
        "no",
        "I am not sure, perhaps you could try it and see?",
        "Absolutely! It is by far the best choice; you'll love it!!!",
        "STOP. READ THE MANUAL FIRST.",
        "- first this\n- then that\n- and finally the rest",
        "1. Boil water.\n2. Add the egg.\n3. Wait ten minutes.",
        "# Heading\n\n**Bold** and *italic*, `code`, and a [link](https://example.org).",
        "```python\nprint('hello')\n```",
        "x = (a + b) / 2, so 50 % of 1,234.5 is 617.25.",
        "Möchten Sie noch etwas Käse? Ça va très bien, merci.",
        "我觉得这个答案很好，谢谢你。",
        "Спасибо, это очень полезно.",
        "شكرا جزيلا",
        "👍🏽 great 🎉 thanks ❤️",
        "a\u0301 combining, zero\u200bwidth, nul\x00byte, tab\tand\u00a0blank",
        "supercalifragilisticexpialidocious" * 5,
        "word " * 30,
        _SENTENCE,
        _SENTENCE * 4,
        _SENTENCE * 16,
        _SENTENCE * 64,
    ]
    return [("How do I boil an egg?", response) for response in responses]
