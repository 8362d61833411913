"""Texts a second, with the graph and with torch, and what quantisation does to rewards."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.serving.models import text_episodes, text_models
from skmrm.serving import OnnxScorer

__all__ = ["texts"]


def texts(folder: Path, quick: bool) -> Found:
    """Texts a second, and what quantisation does to rewards."""
    rows = []
    episodes = text_episodes(quick)
    items = [item for item in episodes.items if item[1]][: 16 if quick else 128]
    for name, model in text_models(quick).items():
        user = model.adapt(episodes[0])
        for quantize in (None, "int8") if name == "MiniLM" else (None,):
            report = user.export_onnx(folder / "texts", calibration=items, quantize=quantize)
            scorer = OnnxScorer(folder / "texts", intra_op_threads=torch.get_num_threads())
            seconds = in_turn(
                {
                    "onnx": partial(scorer.predict, items),
                    "live": partial(user.predict, items),
                    "one": partial(scorer.predict, items[:1]),
                },
                1 if quick else 5,
            )
            parity = report.quantized or report.parity
            rows.append(
                {
                    "model": name + (", int8" if quantize else ""),
                    "texts/s": len(items) / seconds["onnx"],
                    "texts/s, torch": len(items) / seconds["live"],
                    "one text, ms": 1000 * seconds["one"],
                    "largest difference": parity.largest_difference,
                    "pairs in the same order, %": 100 * parity.pair_order_agreement,
                }
            )
    columns = dict(zip(rows[0], ["", ",.0f", ",.0f", ".2f", ".1e", ".2f"], strict=True))
    return Found(
        f"texts: {len(items)} texts of the bundled corpus, scored with the graph and with torch", columns, rows
    )
