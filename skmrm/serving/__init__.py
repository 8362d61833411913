"""Exported reward models scored on a CPU without torch: numpy, onnxruntime and tokenizers are enough."""

from skmrm.serving._scorer import OnnxScorer

__all__ = ["OnnxScorer"]
