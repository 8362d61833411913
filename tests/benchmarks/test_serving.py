"""The serving benchmark: every part runs and compares the sides that it names."""

from __future__ import annotations

import json

import pytest

for name in ("onnx", "onnxruntime", "fastapi", "uvicorn", "httpx", "transformers"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'skmrm[dev]'")

from benchmarks.serving import __main__ as serving  # noqa: E402
from benchmarks.serving import models as served  # noqa: E402


def tiny(folder):
    """A random sentence encoder and a tokenizer of letters."""
    import torch
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = ["<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(WordLevel({letter: i for i, letter in enumerate(letters)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=24
    ).save_pretrained(folder)
    sizes = {"vocab_size": len(letters), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(**sizes, intermediate_size=24, max_position_embeddings=32, initializer_range=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.full
def test__serving__quick__prints_a_table_of_each_part_and_writes_all_numbers(tmp_path, monkeypatch, capsys):
    folder = tiny(tmp_path / "tiny")
    monkeypatch.setattr(served, "sentence_encoder_folder", lambda: folder)
    served.text_models.cache_clear()
    assert serving.main(["--quick", "--output", str(tmp_path / "found.json")]) == 0
    served.text_models.cache_clear()
    printed = capsys.readouterr().out
    parts = json.loads((tmp_path / "found.json").read_text())["parts"]
    assert list(parts) == ["head", "shared", "start", "texts", "service"]
    for part in parts.values():
        assert part["title"] in printed
        assert len(part["rows"]) > 0
    assert [row["rows"] for row in parts["head"]["rows"]] == [1, 1000]
    models = {row["model"] for row in parts["start"]["rows"]}
    assert {"head", "hashed n-grams", "MiniLM, int8"} <= models
    assert {row["call"] for row in parts["service"]["rows"]} >= {"OnnxScorer.adapt", "POST /users/{id}/adapt"}
