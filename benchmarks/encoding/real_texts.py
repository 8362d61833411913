"""Real texts, and where they come from."""

from __future__ import annotations

import numpy as np

from benchmarks._support.datasets import CONVARGS
from skmrm.datasets import load_style_preferences

__all__ = ["real_texts"]


def real_texts(n_texts: int) -> tuple[list[str], str]:
    """Distinct texts of people, in random order.

    The responses of the bundled corpus; arguments of online debates where that data is; and if these are too few, the
    same again below what they answer.

    Parameters
    ----------
    n_texts : int
        Most texts.

    Returns
    -------
    texts : list of str
    origin : str
        Where they come from.
    """
    bundled = load_style_preferences(n_users=400, n_pairs=30, random_state=0).episodes.items or []
    origin = "the bundled corpus"
    if CONVARGS.file.exists():
        debates = CONVARGS.read().items or []
        origin += " and arguments of debates (convargs)"
    else:
        debates = []
        origin += f"; there are no arguments of debates, since {CONVARGS.file} does not exist (SKMRM_SHARED_DATA)"
    items = sorted({*bundled, *debates})
    texts = list(dict.fromkeys([text for _, text in items] + [f"{prompt}\n\n{text}" for prompt, text in items]))
    order = np.random.default_rng(0).permutation(min(n_texts, len(texts)))
    return [texts[place] for place in order], origin
