"""Displays in scikit-learn's manner: whether it is worth personalising, for whom, and what a model learnt.

Each display holds plain data. Its ``from_...`` class methods compute the data and plot them; ``plot`` draws them again,
into any axes. matplotlib is imported when something is drawn: ``pip install 'skmrm[plot]'``.
"""

from typing import TYPE_CHECKING

import lazy_loader as lazy

if TYPE_CHECKING:  # what lazy.attach provides at run time, spelt out for type checkers
    from skmrm.plotting._adaptation_curve import AdaptationCurveDisplay
    from skmrm.plotting._base_rewards import BaseRewardDisplay
    from skmrm.plotting._history import TrainingHistoryDisplay
    from skmrm.plotting._reliability import ReliabilityDisplay
    from skmrm.plotting._user_gain import UserGainDisplay

__all__ = [
    "AdaptationCurveDisplay",
    "BaseRewardDisplay",
    "ReliabilityDisplay",
    "TrainingHistoryDisplay",
    "UserGainDisplay",
]

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_adaptation_curve": ["AdaptationCurveDisplay"],
        "_base_rewards": ["BaseRewardDisplay"],
        "_history": ["TrainingHistoryDisplay"],
        "_reliability": ["ReliabilityDisplay"],
        "_user_gain": ["UserGainDisplay"],
    },
)
