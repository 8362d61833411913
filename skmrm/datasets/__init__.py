"""Simulated users whose true rewards are known, and the texts that they choose between."""

from typing import TYPE_CHECKING

import lazy_loader as lazy

if TYPE_CHECKING:  # what lazy.attach provides at run time, spelt out for type checkers
    from skmrm.datasets._simulated import make_user_preferences, oracle_accuracy, true_gaps
    from skmrm.datasets._style import load_style_preferences

__all__ = ["load_style_preferences", "make_user_preferences", "oracle_accuracy", "true_gaps"]

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_simulated": ["make_user_preferences", "oracle_accuracy", "true_gaps"],
        "_style": ["load_style_preferences"],
    },
)
