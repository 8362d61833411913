"""Importing this module makes users' models known to transformers; :mod:`skmrm.export.huggingface` makes them."""

from skmrm.export.huggingface import UserRewardConfig, UserRewardModelForSequenceClassification, to_hf

__all__ = ["UserRewardConfig", "UserRewardModelForSequenceClassification", "to_hf"]
