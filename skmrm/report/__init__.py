"""Whether adapting pays: words and numbers, on users that were not in fit."""

from skmrm.report.report import PersonalizationReport, personalization_report

__all__ = ["PersonalizationReport", "personalization_report"]
