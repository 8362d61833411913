"""The serving benchmark: every part runs and compares the sides that it names."""

from __future__ import annotations

import json

import pytest

for name in ("onnx", "onnxruntime", "fastapi", "uvicorn", "httpx"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'skmrm[dev]'")

from benchmarks._support.sentence_encoder import sentence_encoder_folder  # noqa: E402
from benchmarks.serving import __main__ as serving  # noqa: E402


def test__serving__quick__prints_a_table_of_each_part_and_writes_all_numbers(tmp_path, capsys):
    assert serving.main(["--quick", "--output", str(tmp_path / "found.json")]) == 0
    printed = capsys.readouterr().out
    parts = json.loads((tmp_path / "found.json").read_text())["parts"]
    assert list(parts) == ["head", "shared", "start", "texts", "service"]
    for part in parts.values():
        assert part["title"] in printed
        assert len(part["rows"]) > 0
    assert [row["rows"] for row in parts["head"]["rows"]] == [1, 1000]
    models = {row["model"] for row in parts["start"]["rows"]}
    assert {"head", "hashed n-grams"} <= models
    assert ("MiniLM, int8" in models) == (sentence_encoder_folder() is not None)
    assert {row["call"] for row in parts["service"]["rows"]} >= {"OnnxScorer.adapt", "POST /users/{id}/adapt"}
