"""What one user likes more or less than the crowd, in words and numbers."""

from typing import TYPE_CHECKING

import lazy_loader as lazy

if TYPE_CHECKING:  # what lazy.attach provides at run time, spelt out for type checkers
    from skmrm.explanation.effects import Effect
    from skmrm.explanation.explanation import Explanation, ResponseDifference

__all__ = ["Effect", "Explanation", "ResponseDifference"]

__getattr__, __dir__, _ = lazy.attach(
    __name__, submod_attrs={"effects": ["Effect"], "explanation": ["Explanation", "ResponseDifference"]}
)
