"""How good a personalised reward model is: measured per user, and compared user by user."""

from skmrm.metrics.bootstrap import Interval, bootstrap_interval, share_helped, simultaneous_intervals
from skmrm.metrics.calibration import Reliability, expected_calibration_error, reliability
from skmrm.metrics.outcomes import outcome_losses, outcome_probabilities, tie_calibration_error
from skmrm.metrics.per_user import (
    log_loss,
    user_accuracies,
    user_level_accuracy,
    user_log_losses,
    worst_decile,
    worst_decile_accuracy,
)

__all__ = [
    "Interval",
    "Reliability",
    "bootstrap_interval",
    "expected_calibration_error",
    "log_loss",
    "outcome_losses",
    "outcome_probabilities",
    "reliability",
    "share_helped",
    "simultaneous_intervals",
    "tie_calibration_error",
    "user_accuracies",
    "user_level_accuracy",
    "user_log_losses",
    "worst_decile",
    "worst_decile_accuracy",
]
