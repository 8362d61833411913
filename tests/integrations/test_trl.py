"""Users' rewards in TRL: what trainers log is what models score, and candidates become the right pairs."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skmrm import MetaRewardModel, UserModels
from skmrm.datasets import load_style_preferences
from skmrm.encoders import TextEncoder
from skmrm.episodes.messages import Conversation
from skmrm.exceptions import EpisodeError
from skmrm.integrations.trl import UserReward, best_of_n, from_trl_dataset, score_dataset

N_NEW = 4
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # logits, of sums in single precision in another order


@pytest.fixture(scope="module")
def data():
    return load_style_preferences(n_users=60, n_pairs=20, taste_strength=2.0, random_state=0).episodes


@pytest.fixture(scope="module")
def model(data):
    return MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(data[:-N_NEW])


@pytest.fixture(scope="module")
def users(model, data):
    found = model.adapt_many(data[-N_NEW:])
    assert not np.allclose(found.weights_[0], found.weights_[1])
    return found


@pytest.fixture(scope="module")
def rows(data, users):
    """Prompts, responses and users as a trainer has them: users mixed, responses repeated."""
    items, ids = data.items[:10], list(users)
    return [(*items[place % 10], ids[place % 3]) for place in range(24)]


def library(name):
    return pytest.importorskip(name, reason=f"needs {name}: pip install 'skmrm[trl]'")


def columns(rows):
    prompts, completions, who = map(list, zip(*rows, strict=True))
    return {"prompts": prompts, "completions": completions, "user_id": who}


def say(content, role="assistant"):
    return [{"role": role, "content": content}]


# ---------------------------------------------------------------- the reward function


def test__user_reward__rows_of_many_users__are_their_own_models_scores(users, rows):
    rewards = UserReward(users)(**columns(rows))
    assert all(type(reward) is float for reward in rewards)
    assert_allclose(rewards, [users[user].score(prompt, text) for prompt, text, user in rows], **CLOSE)


def test__user_reward__messages__are_scored_as_user_models_score_them(users, rows):
    talks = [
        ([{"role": "system", "content": "Be brief."}, *say(p, "user")] if i % 2 else say(p, "user"), say(text), user)
        for i, (p, text, user) in enumerate(rows)
    ]
    rewards = UserReward(users)(**columns(talks))
    assert_allclose(rewards, [users[user].score(prompt, text) for prompt, text, user in talks], **CLOSE)


def test__user_reward__messages_that_call_tools__are_scored_with_their_calls(users):
    def calls(*names):
        tools = [{"role": "assistant", "content": None, "tool_calls": [{"name": name}]} for name in names]
        return [*tools, *say("Done.")]

    user = next(iter(users))
    completions = [calls("kettle"), calls("kettle", "teapot"), say("Done.")]
    found = UserReward(users)(prompts=["Tea?"] * 3, completions=completions, user_id=[user] * 3)
    assert len(set(found)) == 3
    assert_allclose(found, users[user].score("Tea?", completions), **CLOSE)


def test__user_reward__order_and_company_of_rows__change_nothing(users, rows):
    reward = UserReward(users)
    together = np.array(reward(**columns(rows)))
    order = np.random.default_rng(0).permutation(len(rows))
    assert_allclose(reward(**columns([rows[place] for place in order])), together[order], **CLOSE)
    assert_allclose([reward(**columns([row]))[0] for row in rows], together, **CLOSE)
    assert reward(prompts=[], completions=[], user_id=[]) == []


def test__user_reward__one_step__encodes_distinct_texts_in_one_call(users, rows, monkeypatch):
    calls = []
    encode = TextEncoder.transform
    monkeypatch.setattr(TextEncoder, "transform", lambda self, items: calls.append(items) or encode(self, items))
    UserReward(users)(**columns(rows))
    assert [len(items) for items in calls] == [10]


def test__user_reward__pickled__scores_alike_under_the_same_name(users, rows):
    reward = UserReward(users, on_unknown_user="none", name="taste")
    copied = pickle.loads(pickle.dumps(reward))
    assert copied.__name__ == "taste"
    assert repr(copied) == repr(reward)
    assert copied(**columns([*rows, ("Tea?", "Yes.", "stranger")])) == reward(**columns([*rows, ("Tea?", "Yes.", "?")]))


@pytest.mark.parametrize("unknown", ["stranger", None, float("nan")])
def test__user_reward__unknown_users__get_what_was_asked_for(model, users, rows, unknown):
    prompt, text, user = rows[0]
    mixed = columns([rows[0], (prompt, text, unknown)])
    known = users[user].score(prompt, text)
    assert_allclose(UserReward(users)(**mixed), [known, model.score(prompt, text)], **CLOSE)
    found, missing = UserReward(users, on_unknown_user="none")(**mixed)
    assert missing is None
    assert found == pytest.approx(known, rel=1e-4, abs=1e-5)
    with pytest.raises(KeyError, match=f"4 adapted users, got {unknown!r}: adapt them"):
        UserReward(users, on_unknown_user="error")(**mixed)


def test__user_reward__rows_without_reward__are_not_encoded(users, monkeypatch):
    monkeypatch.setattr(TextEncoder, "transform", lambda *_: pytest.fail("encoded"))
    reward = UserReward(users, on_unknown_user="none")
    assert reward(prompts=["Tea?"], completions=["Yes."], user_id=["stranger"]) == [None]


@pytest.mark.parametrize("unknown", ["prior", "none", "error"])
def test__user_reward__ids_of_another_type__are_an_error_and_no_strangers(users, unknown):
    ids = np.array([7, "8", 9, "x"], dtype=object)
    renamed = UserModels(users._base, ids, users.weights_, None, users.n_pairs_, users.start_weights_)
    reward = UserReward(renamed, on_unknown_user=unknown)
    for came, adapted in (("7", "7"), (8, "'8'")):
        with pytest.raises(KeyError, match=f"{came!r} came, {adapted} was adapted"):
            reward(prompts=["Tea?"], completions=["Yes."], user_id=[came])
    assert len(reward(prompts=["Tea?"], completions=["Yes."], user_id=[np.int64(7)])) == 1


def test__user_reward__share_of_unknown_users__is_logged(users, rows):
    logged = {}
    table = columns([*rows[:3], ("Tea?", "Yes.", "stranger")])
    UserReward(users, name="taste")(**table, log_metric=logged.__setitem__, trainer_state=None, log_extra=None)
    assert logged == {"taste/unknown_users": 0.25}


def test__user_reward__one_reward_for_all_rows__needs_no_users(model, users, rows, tmp_path):
    serving = pytest.importorskip("skmrm.serving")
    pytest.importorskip("onnxruntime")
    user_model = users[next(iter(users))]
    user_model.export_onnx(tmp_path / "user")
    users.export_onnx(tmp_path / "users")
    table = columns(rows)
    del table["user_id"]
    for source in (model, user_model):
        assert_allclose(UserReward(source)(**table), source.score(table["prompts"], table["completions"]), **CLOSE)
    served = UserReward(serving.OnnxScorer(tmp_path / "user"))
    assert_allclose(served(**table), UserReward(user_model)(**table), **CLOSE)
    with pytest.raises(ValueError, match="many users does not say who they are"):
        UserReward(serving.OnnxScorer(tmp_path / "users"))


def test__user_reward__made_of_what_cannot_score__says_all_that_is_wrong(model, users, planted):
    of_vectors = MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(planted.episodes[:20])
    with pytest.raises(ValueError, match=r"fitted on feature vectors.*got 'skip'"):
        UserReward(of_vectors.adapt_many(planted.episodes[20:22]), on_unknown_user="skip")
    with pytest.raises(ValueError, match="a MetaRewardModel gives all rows one reward: pass"):
        UserReward(model, on_unknown_user="none")
    with pytest.raises(TypeError, match="got a dict"):
        UserReward({"ann": 1})
    without_start = UserModels(users._base, users.users_, users.weights_, None, users.n_pairs_)
    with pytest.raises(ValueError, match="needs the starting weights"):
        UserReward(without_start)
    UserReward(without_start, on_unknown_user="error")


def test__user_reward__columns_that_cannot_be_read__are_named(users):
    reward = UserReward(users)
    with pytest.raises(ValueError, match=r"columns are 'prompt', 'user': add it .* did you mean user_column='user'"):
        reward(prompts=["Tea?"], completions=["Yes."], user=["ann"], log_metric=None, completion_ids=[[1]])
    with pytest.raises(ValueError, match="one user a completion, got 2 for 1"):
        reward(prompts=["Tea?"], completions=["Yes."], user_id=["ann", "bo"])
    with pytest.raises(
        ValueError, match=r"same length, got 1 and 2.*completions must be readable.*missing values .1 row: 1"
    ):
        reward(prompts=["Tea?"], completions=["Yes.", None], user_id=["ann", "bo"])
    with pytest.raises(TypeError, match="hashable"):
        reward(prompts=["Tea?"], completions=["Yes."], user_id=[["ann"]])
    with pytest.raises(ValueError, match="one user a completion, got a str"):
        reward(prompts=["Tea?"] * 3, completions=["Yes."] * 3, user_id="ann")
    with pytest.raises(ValueError, match=r"prompts must hold .*a single str.*completions must hold .*a single str"):
        reward(prompts="Tea?", completions="Yes.", user_id=["ann"] * 4)


def test__user_reward__rewards_that_are_not_finite__are_an_error(users, monkeypatch):
    width = users._base.n_features
    monkeypatch.setattr(TextEncoder, "transform", lambda _, items: np.full((len(items), width), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"features must be finite.*not so for 1 item, the first is item 0"):
        UserReward(users)(prompts=["Tea?"], completions=["Yes."], user_id=list(users)[:1])


def test__adapt_many__start_weights__are_those_of_the_model(model, users):
    assert_allclose(users.start_weights_, model.start_weights_, rtol=0)
    assert_allclose(pickle.loads(pickle.dumps(users)).start_weights_, model.start_weights_, rtol=0)
    with pytest.raises(ValueError, match="read-only"):
        users.start_weights_[0] = 1


def test__integrations__import__loads_neither_torch_nor_trl():
    script = (
        "import skmrm.integrations.trl, sys\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'torch', 'trl', 'transformers', 'datasets'})"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


# ---------------------------------------------------------------- candidates


@pytest.fixture(scope="module")
def questions(data, users):
    """For each of two users, six candidates to each of three prompts: (user, prompt, candidates)."""
    candidates = {}
    for prompt, text in data.items[:18]:
        candidates.setdefault(prompt, []).append(text)
    return [(user, prompt, texts) for prompt, texts in candidates.items() for user in list(users)[:2]]


def wide(questions, conversational=False):
    if conversational:
        return [
            {"user_id": user, "prompt": say(prompt, "user"), "completion": [say(text) for text in texts]}
            for user, prompt, texts in questions
        ]
    return [{"user_id": user, "prompt": prompt, "completion": list(texts)} for user, prompt, texts in questions]


def long(questions, conversational=False):
    """One row a completion, the first of all questions first."""
    table = wide(questions, conversational)
    n = max(len(row["completion"]) for row in table)
    return [
        {**row, "completion": row["completion"][place]}
        for place in range(n)
        for row in table
        if place < len(row["completion"])
    ]


@pytest.mark.parametrize("conversational", [False, True])
@pytest.mark.parametrize("form", [wide, long])
@pytest.mark.parametrize("kind", ["list", "dataset"])
def test__best_of_n__each_user_and_prompt__gives_best_and_worst(users, questions, kind, form, conversational):
    table = form(questions, conversational)
    given = table if kind == "list" else library("datasets").Dataset.from_list(table)
    pairs = best_of_n(given, users)
    assert type(pairs) is type(given)
    assert len(pairs) == len(questions)
    for pair, (user, prompt, texts) in zip(pairs, questions, strict=True):
        assert list(pair) == ["user_id", "prompt", "chosen", "rejected", "score_chosen", "score_rejected"]
        rewards = users[user].score(prompt, texts)
        best, worst = texts[rewards.argmax()], texts[rewards.argmin()]
        expected = (say(prompt, "user"), say(best), say(worst)) if conversational else (prompt, best, worst)
        assert (pair["user_id"], (pair["prompt"], pair["chosen"], pair["rejected"])) == (user, expected)
        assert_allclose([pair["score_chosen"], pair["score_rejected"]], [rewards.max(), rewards.min()], **CLOSE)
    winners = {(pair["user_id"], str(pair["prompt"])): pair["chosen"] for pair in pairs}
    assert len({str(winner) for winner in winners.values()}) > len(questions) / 2  # users disagree, or it shows little


def test__best_of_n__margins__leave_out_ties_and_small_ones(users, questions):
    user, prompt, texts = questions[0]
    table = wide([(user, prompt, [texts[0]]), (user, prompt, [texts[0]] * 3), (user, prompt, []), questions[0]])
    with pytest.warns(
        UserWarning, match=r"1 of 3 prompts of a user have one candidate .* the first is row 0: give each"
    ):
        (pair,) = best_of_n(table, users)
    table = table[1:]
    margin = pair["score_chosen"] - pair["score_rejected"]
    assert best_of_n(table, users, min_margin=0.99 * margin) == [pair]
    assert best_of_n(table, users, min_margin=1.01 * margin) == []
    with pytest.raises(ValueError, match="min_margin must be"):
        best_of_n(table, users, min_margin=-1)


def test__best_of_n__no_pairs_and_no_rows__keep_the_form(users, questions):
    datasets = library("datasets")
    with pytest.warns(UserWarning, match="one candidate"):
        empty = best_of_n(datasets.Dataset.from_list(wide([(*questions[0][:2], ["Yes."])])), users)
    assert (len(empty), empty.column_names[:4]) == (0, ["user_id", "prompt", "chosen", "rejected"])
    assert best_of_n([], users) == score_dataset([], users) == []


@pytest.mark.parametrize("form", [wide, long])
def test__best_of_n_and_score_dataset__a_streamed_set__gives_the_rows_of_one_in_memory(users, questions, form):
    datasets = library("datasets")
    rows = form(questions)
    streamed = datasets.Dataset.from_list(rows).to_iterable_dataset()
    assert best_of_n(streamed, users).to_list() == best_of_n(rows, users)
    assert list(score_dataset(streamed, users)) == score_dataset(rows, users)


def test__best_of_n__unknown_users__are_judged_as_asked_for(model, users, questions):
    _, prompt, texts = questions[0]
    table = wide([("stranger", prompt, texts)])
    rewards = model.score(prompt, texts)
    with pytest.warns(
        UserWarning, match="1 of 1 row are of users who were not adapted, 'stranger': they get the reward"
    ):
        (pair,) = best_of_n(table, users)
    assert pair["chosen"] == texts[rewards.argmax()]
    assert best_of_n(table, users, on_unknown_user="none") == []
    with pytest.raises(KeyError, match="stranger"):
        best_of_n(table, users, on_unknown_user="error")


def test__best_of_n__one_user_and_no_column_of_users__needs_none(users, questions):
    user, prompt, texts = questions[0]
    table = [{"q": prompt, "a": text} for text in texts]
    (pair,) = best_of_n(table, users[user], prompt="q", completion="a")
    assert list(pair) == ["prompt", "chosen", "rejected", "score_chosen", "score_rejected"]
    assert pair["chosen"] == texts[users[user].rank(prompt, texts)[0]]


@pytest.mark.parametrize("form", [wide, long])
def test__score_dataset__rows__get_their_users_rewards_and_stay_as_they_were(users, questions, form):
    datasets = library("datasets")
    table = form(questions)
    dataset = datasets.Dataset.from_list(table)
    scored, listed = score_dataset(dataset, users, reward="r"), score_dataset(table, users, reward="r")
    assert scored.to_list() == listed
    assert dataset.column_names == list(table[0]) == ["user_id", "prompt", "completion"]
    for row in listed:
        assert_allclose(row["r"], users[row["user_id"]].score(row["prompt"], row["completion"]), **CLOSE)


def test__score_dataset__unknown_users__are_none_where_asked_for(users, questions):
    user, prompt, texts = questions[0]
    rows = score_dataset(wide([(user, prompt, texts[:2]), ("?", prompt, texts[:2])]), users, on_unknown_user="none")
    assert rows[1]["reward"] == [None, None]
    assert None not in rows[0]["reward"]


def test__score_dataset__tables_that_cannot_be_read__say_why(users, questions):
    table = wide(questions)
    with pytest.raises(ValueError, match=r"user='user' is not a column.*did you mean user='user_id'.*'prompt' already"):
        score_dataset(table, users, user="user", reward="prompt")
    with pytest.raises(ValueError, match="row 0 has a list, and rows 1 have one"):
        score_dataset([table[0], {**table[1], "completion": "Yes."}], users)
    with pytest.raises(ValueError, match=r"completion must be readable in each row.*1 row: 0"):
        score_dataset([{**table[0], "completion": [None, "Yes."]}], users)
    for wrong in ({"prompt": []}, pytest.importorskip("polars").DataFrame(table).lazy()):
        with pytest.raises(TypeError, match=r"list of dicts or a pandas, polars or pyarrow table is needed, got "):
            score_dataset(wrong, users)


@pytest.mark.parametrize("form", [wide, long])
@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test__best_of_n_and_score_dataset__tables__come_back_as_the_same_with_the_same_rows(users, questions, kind, form):
    library = pytest.importorskip(kind)
    rows = form(questions)
    make = library.Table.from_pylist if kind == "pyarrow" else library.DataFrame
    table = make(rows)
    if kind == "pandas":
        table.index = table.index + 7
    for found, expected in (
        (best_of_n(table, users), best_of_n(rows, users)),
        (score_dataset(table, users), score_dataset(rows, users)),
    ):
        assert type(found) is type(table)
        to_rows = {"pandas": lambda it: it.to_dict("records"), "polars": lambda it: it.to_dicts()}
        assert to_rows.get(kind, lambda it: it.to_pylist())(found) == expected
    assert kind != "pandas" or score_dataset(table, users).index.equals(table.index)


def test__best_of_n__rows_of_one_user_that_share_no_prompt__are_told(users, questions):
    rows = long(questions[:1])
    rows = [row | {"prompt": f"{row['prompt']} {k}"} for k, row in enumerate(rows)]
    with pytest.warns(
        UserWarning, match=f"{len(rows)} of {len(rows)} prompts .* give rows of one user the same prompt"
    ):
        assert best_of_n(rows, users) == []
    splits = library("datasets").DatasetDict
    with pytest.raises(TypeError, match="pass one"):
        score_dataset(splits({"train": []}), users)


# ---------------------------------------------------------------- trainers

WORDS = ["<pad>", "<eos>", "<unk>", "Tea", "?", "yes", "no", "please", "For", "example", ",", "perhaps", "sorry", "."]
WORDS += ["Great", "!", "user", "assistant"]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)
quiet_trainer = pytest.mark.filterwarnings(
    # transformers 5.24 about what TRL 1.16 calls
    r"ignore:`(is_)?gradient_checkpointing\w*` is deprecated:FutureWarning"
)


@pytest.fixture(scope="module")
def tokenizer():
    transformers = library("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, chat_template=TEMPLATE, **special)


def make_policy():
    import torch
    import transformers

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), max_position_embeddings=64, pad_token_id=0, bos_token_id=None, eos_token_id=1, **sizes
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config)


def options(folder, **more):
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "max_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        **more,
    }


@pytest.mark.parametrize("conversational", [False, True], ids=["standard", "conversational"])
@pytest.mark.parametrize("method", ["GRPO", "RLOO"])
@pytest.mark.parametrize("unknown", ["prior", "none"])
@quiet_trainer
def test__trainer__logged_rewards__are_the_models_scores(
    model, users, tokenizer, tmp_path, method, conversational, unknown
):
    trl, datasets = library("trl"), library("datasets")
    asked = [("Tea ?", "stranger"), *zip(["yes ?", "please Tea ?", "no ?"], users, strict=False)]
    rows = [{"prompt": say(text, "user") if conversational else text, "user_id": user} for text, user in asked]
    text_of = (lambda cell: cell[0]["content"]) if conversational else str
    steps = []

    def n_words(prompts, completions, user_id, **_):
        """Another reward function; it keeps what it was given."""
        steps.append(list(zip(prompts, completions, user_id, strict=True)))
        return [float(len(text_of(completion).split())) for completion in completions]

    arguments = getattr(trl, f"{method}Config")(
        **options(tmp_path), num_generations=4, max_completion_length=6, reward_weights=[0.5, 2.0], beta=0.0, seed=0
    )
    trainer = getattr(trl, f"{method}Trainer")(
        model=make_policy(),
        reward_funcs=[UserReward(users, on_unknown_user=unknown, name="taste"), n_words],
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logs) == len(steps) == 2
    strangers = 0
    for log, step in zip(logs, steps, strict=True):
        scores = [
            users[user].score(prompt, completion)
            if user in users
            else model.score(prompt, completion)
            if unknown == "prior"
            else np.nan
            for prompt, completion, user in step
        ]
        words = [len(text_of(completion).split()) for _, completion, _ in step]
        assert log["rewards/taste/mean"] == pytest.approx(np.nanmean(scores), abs=1e-4)
        assert log["reward"] == pytest.approx(np.mean(0.5 * np.nan_to_num(scores) + 2 * np.array(words)), abs=1e-4)
        share = np.mean([user not in users for *_, user in step])
        assert log["taste/unknown_users"] == pytest.approx(share)
        strangers += share
    assert strangers > 0
    assert len({text_of(completion) for step in steps for _, completion, _ in step}) > 4


@pytest.mark.parametrize("conversational", [False, True], ids=["standard", "conversational"])
@quiet_trainer
def test__best_of_n__its_pairs__train_with_dpo(users, questions, tokenizer, tmp_path, conversational):
    trl, datasets = library("trl"), library("datasets")
    pairs = best_of_n(datasets.Dataset.from_list(wide(questions, conversational)), users)
    trainer = trl.DPOTrainer(
        model=make_policy(),
        ref_model=make_policy(),
        args=trl.DPOConfig(**options(tmp_path, max_steps=1, max_length=32)),
        train_dataset=pairs,
        processing_class=tokenizer,
    )
    trainer.train()
    (log,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert log["loss"] == pytest.approx(np.log(2), abs=1e-3)  # of a policy that is its own reference


# ---------------------------------------------------------------- preference sets to episodes


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("conversational", [True, False])
@pytest.mark.parametrize("form", ["rows", "Dataset"])
def test__from_trl_dataset__each_format__reads_whose_choice_it_was(explicit, conversational, form):
    table = [
        ("ann", "Tea now?", " Yes .", " No ."),
        ("bo", "Tea now?", " No .", " Yes ."),
        ("ann", "Why ?", " So", " It"),
    ]

    def row(user, prompt, chosen, rejected):
        if conversational:
            start = say(prompt, "user")
            pair = {"chosen": say(chosen), "rejected": say(rejected)}
        else:
            start, pair = prompt, {"chosen": chosen, "rejected": rejected}
        if explicit:
            return {"rater": user, "prompt": start, **pair, "score_chosen": 1.0}
        return {"rater": user, **{name: start + response for name, response in pair.items()}, "score_chosen": 1.0}

    rows = [row(*entry) for entry in table]
    if form == "Dataset":
        rows = library("datasets").Dataset.from_list(rows)
    episodes = from_trl_dataset(rows, "rater")
    assert list(episodes.users) == ["ann", "bo"]
    read = [
        (episodes.users[user], *map(str, episodes.items[chosen]), str(episodes.items[rejected][1]))
        for user, chosen, rejected in zip(episodes.user, episodes.chosen, episodes.rejected, strict=True)
    ]
    assert read == [table[0], table[2], table[1]]


def test__from_trl_dataset__pairs_of_best_of_n__are_read_back(users, questions):
    rows = [{"user_id": user, "prompt": prompt, "completion": texts} for user, prompt, texts in questions]
    pairs = best_of_n(rows, users)
    episodes = from_trl_dataset(pairs)
    assert episodes.n_pairs == len(pairs) > 0
    found = {(episodes.users[u], episodes.items[c][1]) for u, c in zip(episodes.user, episodes.chosen, strict=True)}
    assert found == {(pair["user_id"], pair["chosen"]) for pair in pairs}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": "a", "completion": "b"}, "prompt-completion type.*best_of_n"),
        ({"messages": [{"role": "user", "content": "a"}]}, "language modeling type"),
        ({"question": "a"}, "unknown type, with columns .*'question'.*: rename"),
        ({"prompt": "a", "chosen": "b"}, "rejected"),
    ],
)
def test__from_trl_dataset__another_type__says_what_it_is(columns, message):
    with pytest.raises(EpisodeError, match=message):
        from_trl_dataset([{"user_id": "ann", **columns}])


def test__from_trl_dataset__margins__are_strengths_and_none_a_tie():
    rows = [
        {"user_id": "ann", "prompt": str(n), "chosen": "x", "rejected": "y", "margin": m}
        for n, m in enumerate([0, 2.5, 1, 0])
    ]
    assert from_trl_dataset(rows).outcome.tolist() == [1, 3, 2, 1]
    many = [row | {"prompt": str(n), "margin": n / 7} for n, row in enumerate(rows * 10)]
    found = from_trl_dataset(many).outcome
    assert (np.diff(found) >= 0).all()
    assert (found.min(), found.max()) == (1, 20)


def test__from_trl_dataset__unpaired_preferences__are_thumbs():
    rows = [{"user_id": "ann", "prompt": str(n), "completion": "x", "label": n % 2 == 0} for n in range(3)]
    found = from_trl_dataset(rows)
    assert found.rating.tolist() == [2, 1, 2]
    assert found.scale == (False, True)
    assert found.items[found.chosen[1]] == ("1", "x")
    talk = [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Yes."}]
    assert from_trl_dataset([{"user_id": "ann", "completion": talk, "label": True}]).items[0] == (
        Conversation([("user", "Tea?")]),
        Conversation([("assistant", "Yes.")]),
    )


def test__from_trl_dataset__without_the_column_of_users__is_refused():
    with pytest.raises(EpisodeError, match="user_id"):
        from_trl_dataset([{"user": "ann", "prompt": "a", "chosen": "b", "rejected": "c"}])
