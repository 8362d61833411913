"""Fitted models and adapted users as folders that are served without torch, and as models of transformers.

The method ``export_onnx`` of :class:`skmrm.UserRewardModel`, :class:`skmrm.UserModels` and
:class:`skmrm.MetaRewardModel`, and ``to_hf`` of a user's model, are the ways in.
"""

from skmrm.export.onnx import ExportReport, OnnxExport, Parity

__all__ = ["ExportReport", "OnnxExport", "Parity"]
