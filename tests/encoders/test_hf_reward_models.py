"""Reward models and causal language models as encoders: against transformers called plainly, one text at a time."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skmrm import MetaRewardModel, episodes_from_frame
from skmrm.encoders import HFEncoder, TextEncoder
from skmrm.encoders.huggingface import _transformers as hf_module
from skmrm.encoders.huggingface._batches import batches
from skmrm.encoders.huggingface._prefixes import _MOVING_ROPES, find_shared
from skmrm.episodes.messages import Conversation

transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'skmrm[text]'")

SPECIAL = ["<bos>", "<pad>", "<end>", "<unk>", "<system>", "<user>", "<assistant>"]
TEXT = "tea coffee yes no please the quick brown fox jumps over a lazy dog and then some more"
WORDS = [*SPECIAL, *TEXT.split()]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %} <{{ message['role'] }}> {{ message['content'] }} <end>{% endfor %}"
)
STRICT = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "num_labels": 1,
    "initializer_range": 0.3,
}
KINDS = {
    "llama": lambda **more: transformers.LlamaConfig(**SIZES | more),
    "qwen3": lambda **more: transformers.Qwen3Config(**SIZES | {"head_dim": 8} | more),
    "gemma": lambda **more: transformers.GemmaConfig(**SIZES | {"head_dim": 8} | more),
    "gemma2": lambda **more: transformers.Gemma2Config(**SIZES | {"head_dim": 8, "sliding_window": 8} | more),
    "gpt2": lambda **more: transformers.GPT2Config(
        vocab_size=len(WORDS),
        n_positions=128,
        n_embd=16,
        n_layer=2,
        n_head=2,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        num_labels=1,
        initializer_range=0.3,
    ),
}
CLASSIFIER, CAUSAL = "AutoModelForSequenceClassification", "AutoModelForCausalLM"

_rng = np.random.default_rng(0)


def words(n):
    """A text of n words."""
    return " ".join(_rng.choice(WORDS[len(SPECIAL) :], n))


LONG = words(45)
CHAT = Conversation([("system", words(3)), ("user", words(4)), ("assistant", words(5)), ("user", words(40))])
ITEMS = [
    ("tea or coffee", "tea please"),
    ("", "no"),
    ("tea or coffee", ""),
    (LONG, words(3)),
    (LONG, words(11)),
    (LONG, words(1)),
    (CHAT, "yes please"),
    (CHAT, words(9)),
    (CHAT, Conversation([("assistant", "yes"), ("user", "no"), ("assistant", "the lazy dog")])),
    (words(50), "no"),
    ("odd \ud83d half", "the \ud83d fox"),
]


def save_tokenizer(folder, template=TEMPLATE, bos=True, **options):
    """Words are tokens. As many a tokenizer does, it puts <bos> before each text, and so does its template."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", None, [("<bos>", 0)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        additional_special_tokens=SPECIAL[4:],
        chat_template=template,
        **{"padding_side": "left", "model_max_length": 100} | options,
    ).save_pretrained(folder)


def tiny(folder, kind="llama", auto=CLASSIFIER, *, seed=0, config=None, **tokenizer_options):
    """A random model with a tokenizer, as transformers saves them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        getattr(transformers, auto).from_config(KINDS[kind](**config or {})).save_pretrained(folder)
    save_tokenizer(folder, **tokenizer_options)
    return folder


def messages(item):
    """The conversation of an item, spelt out."""
    prompt, response = item
    turns = [
        *(prompt.messages if isinstance(prompt, Conversation) else [("user", prompt)]),
        *(response.messages if isinstance(response, Conversation) else [("assistant", response)]),
    ]
    return [{"role": role, "content": text.replace("\ud83d", "?")} for role, text in turns]


def plain_ids(folder, item):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer.apply_chat_template(messages(item), tokenize=True, return_dict=False)


@torch.inference_mode()
def plain(folder, items, auto=CLASSIFIER, ids_of=plain_ids):
    """The definition: one text at a time, no padding, no mask; state of the last token, and the reward of a head."""
    network = getattr(transformers, auto).from_pretrained(folder, dtype=torch.float32).eval()
    states, rewards = [], []
    for item in items:
        ids = torch.tensor([ids_of(folder, item)])
        states.append(network.base_model(ids).last_hidden_state[0, -1].numpy())
        rewards.append(network(ids).logits[0, -1].item() if auto == CLASSIFIER else np.nan)
    return np.array(states), np.array(rewards)


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request, tmp_path_factory):
    """A tiny classifier of each kind, which nobody may change."""
    return tiny(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def fitted(llama):
    return HFEncoder(llama, device="cpu").fit(ITEMS)


# ---------------------------------------------------------------- the numbers


@pytest.mark.parametrize("prefix_caching", [True, False])
def test__reward_model__auto__state_of_the_last_token_of_the_chat_template(folder, prefix_caching):
    encoder = HFEncoder(folder, reward_head=True, prefix_caching=prefix_caching, device="cpu").fit(ITEMS)
    states, rewards = plain(folder, ITEMS)
    found = encoder.transform(ITEMS)
    assert (encoder.pooling_, encoder.reads_, encoder.normalize_) == ("last", "conversation", False)
    assert encoder.prefix_caching_ == prefix_caching
    assert found.dtype == np.float32
    assert states.std() > 0.1  # the tolerance says something
    assert_allclose(found[:, :-1], states, atol=1e-5, rtol=1e-5)
    assert_allclose(found[:, -1], rewards, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", list(KINDS))
def test__causal_language_model__auto__state_of_the_last_token(kind, tmp_path):
    folder = tiny(tmp_path, kind, CAUSAL)
    encoder = HFEncoder(folder, device="cpu").fit(ITEMS)
    assert_allclose(encoder.transform(ITEMS), plain(folder, ITEMS, CAUSAL)[0], atol=1e-5, rtol=1e-5)
    assert encoder.n_features_out_ == 16


@pytest.mark.parametrize("batch_tokens", [1, 150, 400, 10_000])
def test__order_repetition_and_batches__change_nothing_but_rounding(folder, batch_tokens, monkeypatch):
    expected = plain(folder, ITEMS)[0]
    monkeypatch.setattr(hf_module, "_WINDOW", 7)
    encoder = HFEncoder(folder, batch_tokens=batch_tokens, device="cpu").fit(ITEMS[:1])
    order = np.random.default_rng(batch_tokens).permutation(np.repeat(np.arange(len(ITEMS)), 3))
    assert_allclose(encoder.transform([ITEMS[row] for row in order]), expected[order], atol=1e-5, rtol=1e-5)


def test__no_template__response_right_behind_the_prompt_and_special_tokens_of_the_tokenizer(tmp_path):
    folder = tiny(tmp_path, "qwen3", CAUSAL, template=None)
    items = [("tea ", "please"), (LONG, " no"), (LONG, " then some more"), (CHAT, " yes"), ("", "")]

    def joined(folder, item):
        return transformers.AutoTokenizer.from_pretrained(folder)(str(item[0]) + str(item[1]))["input_ids"]

    assert joined(folder, items[0]) == [0, WORDS.index("tea"), WORDS.index("please")]
    found = HFEncoder(folder, device="cpu").fit(items).transform(items)
    assert_allclose(found, plain(folder, items, CAUSAL, joined)[0], atol=1e-5, rtol=1e-5)


def test__conversations__differ_by_their_messages_not_by_their_text(fitted):
    joined = Conversation([("user", "tea"), ("assistant", "coffee"), ("user", "no")])
    vectors = fitted.transform([(joined, "yes"), (str(joined), "yes"), ("no", "yes")])
    assert abs(np.diff(vectors, axis=0)).max(1).min() > 0.01


def test__chat_template__given__is_the_one_that_is_used(llama, tmp_path):
    template = TEMPLATE.replace("<end>", "then <end>")
    folder = tiny(tmp_path, template=template)
    encoder = HFEncoder(llama, chat_template=template, device="cpu").fit(ITEMS)
    assert_allclose(encoder.transform(ITEMS), plain(folder, ITEMS)[0], atol=1e-5, rtol=1e-5)


def test__template_with_a_date__is_the_same_text_on_each_day(tmp_path):
    now = "{{ strftime_now('%Y') }} {{ 'tea' if strftime_now('%d %b %Y') == '26 Jul 2024' else 'coffee' }}"
    folder = tiny(tmp_path, template=TEMPLATE + now)
    encoder = HFEncoder(folder, chat_template=TEMPLATE + "2024 tea", device="cpu").fit(ITEMS)
    assert_allclose(HFEncoder(folder, device="cpu").fit_transform(ITEMS), encoder.transform(ITEMS), atol=1e-6)


def test__padding_token_at_the_end__read_out_before_it_as_transformers_does(tmp_path):
    # some models have one token for both the end of a turn and padding
    folder = tiny(tmp_path, config={"pad_token_id": 2})
    encoder = HFEncoder(folder, reward_head=True, device="cpu").fit(ITEMS)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = [network(torch.tensor([plain_ids(folder, item)])).logits.item() for item in ITEMS]
    assert_allclose(encoder.transform(ITEMS)[:, -1], expected, atol=1e-5, rtol=1e-5)


def test__sentence_folder_of_the_last_token__reads_the_response_alone(tmp_path):
    folder = tiny(tmp_path, "qwen3", CAUSAL)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    content = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{name}"}
        for place, (path, name) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(content))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))

    def response(folder, item):
        return transformers.AutoTokenizer.from_pretrained(folder)(item[1])["input_ids"]

    items = [("tea", "yes please"), ("no", LONG), (CHAT, "the fox")]
    encoder = HFEncoder(folder, device="cpu").fit(items)
    expected = plain(folder, items, CAUSAL, response)[0]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert (encoder.pooling_, encoder.reads_, encoder.normalize_) == ("last", "response", True)
    assert_allclose(encoder.transform(items), expected, atol=1e-5)


# ---------------------------------------------------------------- length


@pytest.mark.parametrize("bos", [True, False])
def test__too_long__the_end_is_kept_behind_the_first_token_and_counted(tmp_path, bos):
    folder = tiny(tmp_path, template=TEMPLATE if bos else TEMPLATE.replace("{{ bos_token }}", ""), bos=bos)
    encoder = HFEncoder(folder, max_length=20, device="cpu").fit(ITEMS)

    def end(folder, item):
        ids = plain_ids(folder, item)
        return ids if len(ids) <= 20 else [0, *ids[-19:]] if bos else ids[-20:]

    assert_allclose(encoder.transform(ITEMS), plain(folder, ITEMS, ids_of=end)[0], atol=1e-5, rtol=1e-5)
    lengths = [len(plain_ids(folder, item)) for item in ITEMS]
    encoded = encoder.encode(ITEMS)
    assert encoded.n_cut == sum(length > 20 for length in lengths) > 0
    assert encoded.n_tokens == sum(min(length, 20) for length in lengths)


def test__length__is_the_least_of_what_tokenizer_and_network_say(tmp_path, llama):
    assert HFEncoder(llama, device="cpu").fit(ITEMS).max_length_ == 100
    folder = tiny(tmp_path, model_max_length=int(1e30))
    assert HFEncoder(folder, device="cpu").fit(ITEMS).max_length_ == 128
    with pytest.raises(ValueError, match="at most its 128 positions; got 129"):
        HFEncoder(folder, max_length=129, device="cpu").fit(ITEMS)


def test__sentence_encoder__counts_what_its_tokenizer_cuts(tmp_path):
    folder = tiny(tmp_path, template=None)
    encoder = HFEncoder(folder, pooling="mean", max_length=5, device="cpu").fit(ITEMS)
    encoded = encoder.encode([("", words(n)) for n in (2, 4, 5, 9)])
    assert (encoded.n_cut, encoded.n_tokens) == (2, 3 + 5 + 5 + 5)


# ---------------------------------------------------------------- shared starts


def count_tokens(network):
    """Tokens that go through a network, padding included."""
    counts = []
    network.register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return counts


def test__shared_starts__go_through_the_network_once(llama):
    items = [(LONG, response) for response in ("yes", "no", "tea", "then")]
    encoder = HFEncoder(llama, device="cpu").fit(items)
    counts = count_tokens(encoder.network_)
    encoder.transform(items)
    assert counts == [1 + 47 + 1, 4 * 2]  # the start with <assistant>, then a word and <end> each


def test__many_responses__share_one_start_however_small_the_budget(llama):
    items = [(LONG, words(n)) for n in range(1, 30)]
    encoder = HFEncoder(llama, batch_tokens=60, device="cpu").fit(items)
    counts = count_tokens(encoder.network_)
    found = encoder.transform(items)
    assert counts[0] == 1 + 47 + 1
    assert sum(counts[1:]) < 1.25 * sum(n + 1 for n in range(1, 30))
    assert_allclose(found, plain(llama, items)[0], atol=1e-5, rtol=1e-5)


def test__few_tokens_shared__not_worth_it(llama):
    encoder = HFEncoder(llama, device="cpu").fit(ITEMS)
    counts = count_tokens(encoder.network_)
    encoder.transform([("tea", "yes"), ("tea", "no")])
    assert counts == [2 * 7]


def test__budget__bounds_each_call_of_the_network(folder):
    encoder = HFEncoder(folder, batch_tokens=120, device="cpu").fit(ITEMS)
    counts = count_tokens(encoder.network_)
    encoder.transform([(LONG, words(n)) for n in range(1, 30)] + [(CHAT, words(n)) for n in range(1, 8)])
    assert len(counts) > 8
    assert max(counts) <= 120


@pytest.mark.parametrize("kind", _MOVING_ROPES)
def test__frequencies_that_move_with_the_length__no_shared_starts(kind, tmp_path):
    rope = {"rope_type": kind, "factor": 2.0, "rope_theta": 1e4}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 32}
    encoder = HFEncoder(tiny(tmp_path, config={"rope_parameters": rope}), device="cpu").fit(ITEMS)
    assert not encoder.prefix_caching_


def test__network_without_a_cache_of_keys_and_values__no_shared_starts(tmp_path, monkeypatch):
    config = transformers.MambaConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, state_size=4)
    monkeypatch.setitem(KINDS, "mamba", lambda: config)
    folder = tiny(tmp_path, "mamba", CAUSAL)
    encoder = HFEncoder(folder, device="cpu").fit(ITEMS)
    assert not encoder.prefix_caching_
    assert_allclose(encoder.transform(ITEMS), plain(folder, ITEMS, CAUSAL)[0], atol=1e-5, rtol=1e-5)


def test__cache_that_is_not_exact__found_out_by_trying(llama, monkeypatch):
    original = transformers.DynamicCache.batch_select_indices
    assert HFEncoder(llama, device="cpu").fit(ITEMS).prefix_caching_

    def wrong(cache, indices):
        original(cache, indices)
        cache.layers[0].values = cache.layers[0].values * 1.01

    monkeypatch.setattr(transformers.DynamicCache, "batch_select_indices", wrong)
    assert not HFEncoder(llama, device="cpu").fit(ITEMS).prefix_caching_


@given(
    lengths=st.lists(st.integers(0, 30), max_size=40),
    budget=st.integers(1, 100),
)
def test__batches__each_row_once_within_the_budget_long_ones_first(lengths, budget):
    found = list(batches(lengths, budget))
    rows = np.concatenate([*found, np.empty(0, int)]).astype(int)
    assert sorted(rows) == [row for row, length in enumerate(lengths) if length]
    assert all(len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget for batch in found)
    assert [lengths[row] for row in rows] == sorted(filter(None, lengths), reverse=True)


@given(
    groups=st.lists(st.tuples(st.integers(20, 60), st.lists(st.integers(0, 30), min_size=1, max_size=6)), max_size=5)
)
def test__find_shared__texts_of_one_prompt_that_begin_alike(groups):
    ids, prompts = [], []
    for prompt, (start, ends) in enumerate(groups):
        for place, end in enumerate(ends):
            ids.append([7] * start + [8 + place] * end)
            prompts.append(prompt)
    found = find_shared(ids, prompts)
    alike = [min(start, start + min(ends) - 1) if len(ends) > 1 else 0 for start, ends in groups]
    assert [prompts[group.rows[0]] for group in found] == [prompt for prompt, n in enumerate(alike) if n >= 32]
    for rows, n_tokens in found:
        texts = [ids[row] for row in rows]
        assert {prompts[row] for row in rows} == {prompts[rows[0]]}
        assert len(rows) == prompts.count(prompts[rows[0]])
        assert n_tokens < min(map(len, texts))
        assert len({tuple(text[:n_tokens]) for text in texts}) == 1


# ---------------------------------------------------------------- options


def test__half_precision__close_and_named(llama):
    encoder = HFEncoder(llama, dtype="bfloat16", reward_head=True, device="cpu").fit(ITEMS)
    assert (encoder.dtype_, encoder.network_.dtype) == ("bfloat16", torch.bfloat16)
    states, rewards = plain(llama, ITEMS)
    found = encoder.transform(ITEMS)
    assert found.dtype == np.float32
    assert 1e-5 < abs(found - np.column_stack([states, rewards])).max() < 0.1 * abs(states).max()


def test__auto_precision_on_a_cpu__single_whatever_the_weights_were_saved_in(tmp_path, llama):
    transformers.AutoModelForSequenceClassification.from_pretrained(llama).to(torch.bfloat16).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    encoder = HFEncoder(tmp_path, device="cpu").fit(ITEMS)
    assert (encoder.dtype_, encoder.network_.dtype) == ("float32", torch.float32)


def test__options_of_transformers__reach_it_and_change_no_number(llama, fitted, monkeypatch):
    pytest.importorskip("accelerate", reason="needs accelerate: pip install 'skmrm[trl]'")
    given = {}
    original = transformers.AutoModel.from_pretrained
    monkeypatch.setattr(
        transformers.AutoModel, "from_pretrained", lambda *args, **more: given.update(more) or original(*args, **more)
    )
    encoder = HFEncoder(llama, device_map={"": "cpu"}, attn_implementation="eager", revision="main").fit(ITEMS)
    assert (given["device_map"], given["trust_remote_code"]) == ({"": "cpu"}, False)
    assert encoder.network_.config._attn_implementation == "eager"
    assert_allclose(encoder.transform(ITEMS), fitted.transform(ITEMS), atol=1e-5)


def test__reward_head__has_a_name_and_others_keep_theirs(llama):
    names = HFEncoder(llama, reward_head=True, device="cpu").fit(ITEMS).get_feature_names_out()
    assert list(names[[0, -2, -1]]) == ["hfencoder0", "hfencoder15", "hfencoder_reward"]


@pytest.mark.parametrize(
    ("auto", "config", "options", "message"),
    [
        (CLASSIFIER, {"num_labels": 3}, {"reward_head": True}, "one output.*LlamaForSequenceClassification with 3"),
        (CAUSAL, {}, {"reward_head": True}, r"weights of .* lack \['score.weight'\]|lack 'score.weight'"),
        (CLASSIFIER, {}, {"reward_head": True, "pooling": "mean"}, "reward_head=True need a model that reads prompt"),
        (
            CLASSIFIER,
            {},
            {"reward_head": True, "chat_template": TEMPLATE, "pooling": "mean"},
            "reward_head=True and a chat_template need .* leave them out",
        ),
        (CLASSIFIER, {}, {"dtype": "int8"}, "'dtype' parameter of HFEncoder must be"),
        (CLASSIFIER, {}, {"pooling": "cls"}, "pooling 'cls' needs a first token that sees all others"),
    ],
)
def test__what_cannot_be__refused_with_a_remedy(auto, config, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        HFEncoder(tiny(tmp_path, auto=auto, config=config), device="cpu", **options).fit(ITEMS)


def test__template_that_refuses_messages__says_which_and_why(tmp_path):
    encoder = HFEncoder(tiny(tmp_path, template=STRICT + TEMPLATE), device="cpu").fit(ITEMS)
    with pytest.raises(ValueError, match=r"refuses 3 items of 11, at 6, 7(,| and) 8 .*System role not supported"):
        encoder.transform(ITEMS)


# ---------------------------------------------------------------- what tells encoders apart


def test__identity__of_what_decides_the_numbers_only(llama, tmp_path):
    encoder = HFEncoder(llama, device="cpu").fit(ITEMS)
    same = HFEncoder(llama, device="cpu", batch_tokens=7, prefix_caching=False, attn_implementation="eager")
    assert same.fit(ITEMS[:1]).identity_ == encoder.identity_
    assert pickle.loads(pickle.dumps(encoder)).identity_ == encoder.identity_
    assert json.loads(json.dumps(encoder.identity_)) == encoder.identity_
    assert str(llama) not in json.dumps(encoder.identity_)
    options = [
        {"max_length": 50},
        {"reward_head": True},
        {"dtype": "bfloat16"},
        {"chat_template": TEMPLATE + " "},
        {"normalize": True},
        {"pooling": "mean"},
    ]
    others = [HFEncoder(llama, device="cpu", **option).fit(ITEMS).identity_ for option in options]
    assert len({json.dumps(identity) for identity in [encoder.identity_, *others]}) == 1 + len(options)


def test__identity__changes_with_the_template_file_and_with_the_weights(tmp_path):
    folder = tiny(tmp_path)
    found = [HFEncoder(folder, device="cpu").fit(ITEMS).identity_]
    save_tokenizer(folder, template=TEMPLATE.replace("<end>", "then <end>"))
    found.append(HFEncoder(folder, device="cpu").fit(ITEMS).identity_)
    tiny(folder, seed=1)
    found.append(HFEncoder(folder, device="cpu").fit(ITEMS).identity_)
    assert len({json.dumps(identity) for identity in found}) == 3
    assert {frozenset(identity.items() ^ found[0].items()) for identity in found[1:]} == {
        frozenset({("files", identity["files"]), ("files", found[0]["files"])}) for identity in found[1:]
    }


def test__pickled__loads_the_same_model_with_its_head_again(llama):
    encoder = HFEncoder(llama, reward_head=True, device="cpu").fit(ITEMS)
    data = pickle.dumps(encoder)
    assert len(data) < 5000
    assert_array_equal(pickle.loads(data).transform(ITEMS), encoder.transform(ITEMS))


# ---------------------------------------------------------------- in a model


def test__model__fits_on_messages_and_survives_a_file(llama, tmp_path):
    rng = np.random.default_rng(0)
    pairs = []
    for user in range(8):
        for _ in range(6):
            prompt = [{"role": "user", "content": " ".join(rng.choice(WORDS[7:], 4))}]
            short, long = (
                [{"role": "assistant", "content": " ".join(rng.choice(WORDS[7:], n))}] for n in rng.integers(1, 9, 2)
            )
            pairs.append({"user_id": f"u{user}", "prompt": prompt, "chosen": short, "rejected": long})
    model = MetaRewardModel(
        encoder=HFEncoder(llama, reward_head=True, device="cpu"),
        text_statistics=False,
        max_epochs=0,
        random_state=0,
        device="cpu",
    ).fit(episodes_from_frame(pairs))
    assert model.n_features_in_ == 17
    model.save(tmp_path / "model")
    loaded = MetaRewardModel.load(tmp_path / "model")
    prompt = [{"role": "system", "content": "a fox"}, {"role": "user", "content": "tea"}]
    assert model.score(prompt, "yes please") == loaded.score(prompt, "yes please")
    assert model.score(prompt, "yes please") != loaded.score("tea", "yes please")


def test__text_encoder__folder_of_a_reward_model(llama, fitted):
    encoder = TextEncoder(str(llama), text_statistics=False).fit(ITEMS)
    assert_allclose(encoder.transform(ITEMS), fitted.transform(ITEMS), atol=1e-5)


def test__export__conversations_and_half_precision__refused_with_a_remedy(llama):
    pytest.importorskip("onnx")
    from skmrm.export.transformer import transformer_part

    encoder = HFEncoder(llama, dtype="bfloat16", device="cpu").fit(ITEMS)
    with pytest.raises(ValueError, match=r"in a chat template.*computes in bfloat16.*Encode texts yourself"):
        transformer_part(encoder, False)


def test__unload__what_needs_the_network_loads_it_again(llama, fitted):
    encoder = HFEncoder(llama, device="cpu").fit(ITEMS)
    before = encoder.network_
    encoder.unload()
    assert_array_equal(encoder.transform(ITEMS), fitted.transform(ITEMS))
    assert encoder.network_ is not before
