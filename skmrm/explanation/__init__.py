"""What one user likes more or less than the crowd, in words and numbers."""

from skmrm.explanation.effects import Effect
from skmrm.explanation.explanation import Explanation, ResponseDifference

__all__ = ["Effect", "Explanation", "ResponseDifference"]
