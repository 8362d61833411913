"""The paper's table, all stages, on a tiny random reward model and files of PRISM's schema."""

import json
import shutil

import numpy as np
import pytest
import torch

from benchmarks._support.files import digest
from benchmarks.paper_table import __main__ as paper_table
from benchmarks.paper_table import encode as encoding
from benchmarks.paper_table.encode import encode, load_encoded, reward_model
from benchmarks.paper_table.judge import MODELS, Result
from benchmarks.paper_table.table import table_rows
from skmrm.datasets import fetch_prism
from skmrm.encoders import HFEncoder

WORDS = ["red", "green", "blue", "fox", "dog", "hen", "runs", "sleeps", "sings", "well", "badly", "now", "here"]
TEMPLATE = "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} <|end|> {% endfor %}"


def sentence(rng, low=1, high=12):
    return " ".join(rng.choice(WORDS, rng.integers(low, high)))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Twenty users with six conversations each, of one or two turns."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(20):
        for number in range(6):
            history = []
            for turn in range(1 + number % 2):
                history.append({"turn": turn, "role": "user", "content": sentence(rng)})
                history += [
                    {
                        "turn": turn,
                        "role": "model",
                        "content": f"{sentence(rng)} {WORDS[place]}",
                        "score": 50,
                        "if_chosen": place == 0,
                        "within_turn_id": place,
                    }
                    for place in range(3)
                ]
            rows.append({"user_id": f"u{user}", "conversation_id": f"c{user}{number}", "conversation_history": history})
    folder = tmp_path_factory.mktemp("prism")
    (folder / "conversations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def reward_model_folder(tmp_path_factory):
    """A randomly initialised Llama with one output, and a tokenizer with a chat template, saved as the Hub has them."""
    pytest.importorskip("transformers", reason="needs transformers: pip install 'skmrm[text]'")
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = ["<unk>", "<s>", "<pad>", "<|user|>", "<|assistant|>", "<|end|>"]
    words.train_from_iterator([" ".join(WORDS)], trainers.WordLevelTrainer(special_tokens=special))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", unk_token="<unk>", pad_token="<pad>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("model")
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def items(data_dir):
    return fetch_prism(data_dir=data_dir, ties="choice").episodes.items


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(encoding, "_SHARD", 150)


def encoder_of(folder):
    return reward_model(str(folder), device="cpu", batch_tokens=120)


def plain(folder, prompt, response):
    """The reference: one text at a time, all hidden states, no padding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    chat = [{"role": role, "content": content} for role, content in prompt.messages]
    text = tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": response}], tokenize=False)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
    return out.hidden_states[-1][0, -1].numpy(), float(out.logits[0, 0]), text


# -- encoding --------------------------------------------------------------------------------------------------------


def test__encode__batched_by_length__equals_one_text_at_a_time(items, reward_model_folder, tmp_path, small_shards):
    encoded = encode(items, encoder_of(reward_model_folder), tmp_path)
    assert encoded.features.shape == (len(items), 16)
    assert encoded.features.dtype == np.float32
    rows = [0, 1, 57, len(items) - 1, max(range(len(items)), key=lambda row: len(items[row][0]))]
    for row in rows:
        hidden, reward, text = plain(reward_model_folder, *items[row])
        assert text.startswith("<s><|user|> ")
        np.testing.assert_allclose(encoded.features[row], hidden, atol=1e-5)
        assert encoded.rewards[row] == pytest.approx(reward, abs=1e-5)
    assert any(len(items[row][0].messages) == 3 for row in rows)
    assert len(np.unique(encoded.rewards)) == len(items)


def test__encode__interrupted__goes_on_and_gives_the_same(
    items, reward_model_folder, tmp_path, small_shards, monkeypatch, capsys
):
    whole = encode(items, encoder_of(reward_model_folder), tmp_path / "whole")
    work, calls = HFEncoder.encode, []

    def counted(encoder, batch):
        calls.append(len(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return work(encoder, batch)

    monkeypatch.setattr(HFEncoder, "encode", counted)
    with pytest.raises(KeyboardInterrupt):
        encode(items, encoder_of(reward_model_folder), tmp_path / "parts")
    n_left = len(items) - 150
    with pytest.raises(FileNotFoundError, match=f"lacks those of {n_left:,}: run --stage encode first"):
        load_encoded(items, tmp_path / "parts")
    capsys.readouterr()
    resumed = encode(items, encoder_of(reward_model_folder), tmp_path / "parts")
    assert sum(calls[2:]) == n_left  # the first shard was not encoded again
    assert f"{n_left:,} new" in capsys.readouterr().out
    assert np.array_equal(resumed.features, whole.features)
    assert np.array_equal(resumed.rewards, whole.rewards)
    monkeypatch.setattr(HFEncoder, "fit", None)  # a finished folder is read, whatever became of the model
    assert np.array_equal(load_encoded(items, tmp_path / "parts").features, whole.features)


def test__encode__more_texts__are_added_and_those_of_another_model_refused(items, reward_model_folder, tmp_path):
    few = encode(items[:3], encoder_of(reward_model_folder), tmp_path / "features")
    more = encode(items[:5], encoder_of(reward_model_folder), tmp_path / "features")
    np.testing.assert_array_equal(more.features[:3], few.features)
    shutil.copytree(reward_model_folder, tmp_path / "other")
    tokenizer = json.loads((tmp_path / "other" / "tokenizer_config.json").read_text(encoding="utf-8"))
    (tmp_path / "other" / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"is_other": True}))
    with pytest.raises(ValueError, match="made with another encoder or form"):
        encode(items[:3], encoder_of(tmp_path / "other"), tmp_path / "features")


def test__encode__what_is_missing__is_said(items, reward_model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"needs a GPU, and torch finds none.*--device cpu"):
        encode(items, reward_model("some/model"), tmp_path / "features")
    with pytest.raises(OSError, match="nowhere' does not exist"):
        encode(items, encoder_of(tmp_path / "nowhere"), tmp_path / "features")
    shutil.copytree(reward_model_folder, tmp_path / "silent")
    (tmp_path / "silent" / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="silent must have a chat template: use a reward model"):
        encode(items, encoder_of(tmp_path / "silent"), tmp_path / "features")
    assert not (tmp_path / "features").exists()


def test__reward_model__device__decides_the_precision():
    assert [reward_model("some/model", device=device).dtype for device in ("cpu", "cuda", "cuda:1")] == [
        "float32",
        "bfloat16",
        "bfloat16",
    ]
    assert reward_model("some/model").reward_head


# -- the whole -------------------------------------------------------------------------------------------------------


def run(out, data_dir, reward_model_folder, *more):
    fixed = ["--dataset", "prism", "--data-dir", data_dir, "--encoder", reward_model_folder, "--device", "cpu"]
    quick = ["--fit-device", "cpu", "--seeds", "2", "--epochs", "2"]
    return paper_table.main([str(part) for part in (*fixed, *quick, "--out", out, *more)])


@pytest.fixture(scope="module")
def finished(data_dir, reward_model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert run(out, data_dir, reward_model_folder) == 0
    return out


def test__paper_table__all_stages__write_every_model_and_column(finished):
    table = json.loads((finished / "table.json").read_text(encoding="utf-8"))
    assert [row["model"] for row in table["rows"]] == list(MODELS)
    for row in table["rows"]:
        for column in ("overall", "seen", "unseen", "worst_decile"):
            assert 0 <= row[column][0] <= 1
        assert row["worst_decile"][0] <= row["overall"][0]
        assert (row["gain_over_pooled"] is None) == (row["model"] == "pooled")
    facts = table["facts"]
    assert facts["users"] == 20
    assert facts["encoder"] == "a local folder"
    assert facts["encoder precision"] == "float32"
    assert facts["epochs of the paper's setting"] == 2
    assert facts["pairs"] == 20 * (3 * 2 + 3 * 4)
    markdown = (finished / "table.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in markdown if line.startswith("| ")]
    assert len(rows) == 2 + len(MODELS)
    assert len({line.count("|") for line in rows}) == 1
    for label, _ in MODELS.values():
        assert sum(line.startswith(f"| {label} |") for line in rows) == 1


def test__paper_table__accuracy_of_the_reward_model__is_counted_by_hand(finished, data_dir, reward_model_folder):
    data = fetch_prism(data_dir=data_dir, ties="choice", n_splits=2, random_state=0)
    episodes = data.episodes
    encoded = load_encoded(episodes.items, finished / "features")
    right = encoded.rewards[episodes.chosen] > encoded.rewards[episodes.rejected]
    for seed, split in enumerate(data.splits):
        saved = json.loads((finished / "results" / f"reward_model-seed{seed}.json").read_text(encoding="utf-8"))
        assert saved["seen"].keys() == {f"u{row}" for row in split.seen}
        for row in range(20):
            mine = split.query & (episodes.user == row)
            assert (saved["seen"] | saved["unseen"])[f"u{row}"] == pytest.approx(right[mine].mean())


def test__paper_table__run_again__judges_only_what_changed(finished, data_dir, reward_model_folder, capsys):
    assert run(finished, data_dir, reward_model_folder, "--stage", "judge", "--models", "pooled", "reward_model") == 0
    assert "seed 0" not in capsys.readouterr().out
    (finished / "results" / "pooled-seed1.json").unlink()
    stage = ("--stage", "table", "--models", "pooled")
    assert run(finished, data_dir, reward_model_folder, *stage) == 1
    assert "must hold pooled-seed1.json, found none: run --stage judge first" in capsys.readouterr().err
    assert run(finished, data_dir, reward_model_folder, "--stage", "judge", "--models", "pooled", "reward_model") == 0
    printed = capsys.readouterr().out
    assert "seed 1, Pooled Bradley-Terry" in printed
    assert "seed 0" not in printed


def test__paper_table__missing_data_and_stages_out_of_order__say_what_to_do(
    tmp_path, data_dir, reward_model_folder, capsys
):
    assert run(tmp_path, tmp_path / "none", reward_model_folder) == 1
    assert "fetch: fetch_prism: data_dir must be an existing folder" in capsys.readouterr().err
    assert run(tmp_path, data_dir, reward_model_folder, "--stage", "judge") == 1
    assert "judge: " in (error := capsys.readouterr().err)
    assert "run --stage encode first" in error


# -- the table -------------------------------------------------------------------------------------------------------


def test__table_rows__known_accuracies__known_means_and_gain():
    def result(seen, unseen):
        return Result(seen=seen, unseen=unseen, parameters={}, data="", made_from="")

    pooled = [result({"a": 0.5, "b": 0.7}, {"c": 0.6}), result({"a": 0.5, "c": 0.8}, {"b": 0.4})]
    better = [result({"a": 0.6, "b": 0.8}, {"c": 0.7}), result({"a": 0.6, "c": 0.9}, {"b": 0.5})]
    first, second = table_rows({"pooled": pooled, "default": better})
    assert first["overall"] == pytest.approx([(0.6 + 1.7 / 3) / 2, (0.6 - 1.7 / 3) / 2])
    assert first["seen"] == pytest.approx([0.625, 0.025])
    assert first["unseen"] == pytest.approx([0.5, 0.1])
    assert first["worst_decile"] == pytest.approx([0.45, 0.05])
    assert first["gain_over_pooled"] is None
    assert second["gain_over_pooled"] == pytest.approx([0.1, 0.1, 0.1])


def test__digest__parts__do_not_run_together():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(np.arange(2)) != digest(np.arange(2.0))
    assert digest([1, "x"], np.zeros(3)) == digest([1, "x"], np.zeros(3))
