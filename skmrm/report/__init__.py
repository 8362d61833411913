"""Whether adapting pays: words and numbers, on users that were not in fit."""

from skmrm.report.drift import Drift
from skmrm.report.report import PersonalizationReport, personalization_report

__all__ = ["Drift", "PersonalizationReport", "personalization_report"]
