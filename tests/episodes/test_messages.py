"""Messages of every dialect: one conversation is one item wherever it comes in, and no role tells which was chosen."""

import json
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmrm import Episode, MetaRewardModel, episodes_from_frame
from skmrm.datasets import load_style_preferences
from skmrm.episodes import as_episode_set
from skmrm.episodes.dialects import plain_role
from skmrm.episodes.from_user import read_user_pairs
from skmrm.episodes.items import check_items
from skmrm.episodes.messages import Conversation, as_conversation, extract_prompt, own_prompt
from skmrm.exceptions import EpisodeError
from skmrm.integrations._read_texts import read_items
from skmrm.integrations.trl import UserReward, from_trl_dataset, score_dataset

WORDS = st.lists(st.sampled_from(["The", "sky", "is", "blue.", "é😀", "No:"]), min_size=1, max_size=4).map(" ".join)


class Role(Enum):
    USER, ASSISTANT, SYSTEM, TOOL = "user", "assistant", "system", "tool"


@dataclass
class Turn:
    role: str
    content: str
    name: str | None = None


def renamed(role_key, content_key, **names):
    return lambda role, text: {role_key: names.get(role, role), content_key: text}


DIALECTS = {
    "openai": renamed("role", "content"),
    "capitals": renamed("role", "content", user="USER", assistant="Assistant", system=" System", tool="Tool"),
    "anthropic": renamed("role", "content", user="Human", assistant="Assistant", tool="function"),
    "sharegpt": renamed("from", "value", user="human", assistant="gpt", tool="observation"),
    "oasst": renamed("role", "text", user="prompter"),
    "gemini": lambda role, text: {"role": "model" if role == "assistant" else role, "parts": [{"text": text}]},
    "cohere": renamed("role", "message", user="USER", assistant="CHATBOT", system="SYSTEM", tool="TOOL"),
    "author": renamed("author", "text", user="customer", assistant="bot", system="developer", tool="ipython"),
    "parts": lambda role, text: {"role": role, "content": [{"type": "text", "text": text, "image": None}]},
    "strings": lambda role, text: {"role": role, "content": [text]},
    "padded": lambda role, text: {"role": role, "content": text, "tool_calls": None, "name": "x", "thinking": ""},
    "filled up": lambda role, text: {"from": float("nan"), "role": role, "content": text, "tool_calls": float("nan")},
    "enum": lambda role, text: {"role": Role(role), "content": text},
    "dataclass": Turn,
    "client": lambda role, text: SimpleNamespace(role=role, content=text, tool_calls=None, refusal=None),
}
CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "array": lambda messages: object_array(messages),
}
each_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def object_array(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def say(role, text):
    return {"role": role, "content": text}


def spoken(messages, dialect="openai", container="list"):
    return CONTAINERS[container]([DIALECTS[dialect](role, text) for role, text in messages])


# What a prompt may be, and two answers to it, as (role, text).
PROMPTS = st.tuples(
    st.lists(st.tuples(st.just("system"), WORDS), max_size=1),
    st.lists(st.tuples(st.just("user"), WORDS), min_size=1, max_size=1),
).map(lambda parts: [*parts[0], *parts[1]])
ANSWERS = st.tuples(
    st.lists(st.tuples(WORDS, WORDS), max_size=1).map(
        lambda calls: [turn for call, found in calls for turn in (("assistant", call), ("tool", found))]
    ),
    WORDS,
).map(lambda parts: [*parts[0], ("assistant", parts[1])])
PAIRS = st.tuples(PROMPTS, ANSWERS, ANSWERS).filter(lambda pair: pair[1] != pair[2])


@pytest.fixture(scope="module")
def model():
    texts = load_style_preferences(n_users=60, n_pairs=20, taste_strength=2.0, random_state=0).episodes
    return MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(texts)


# ---------------------------------------------------------------- one conversation, one item


@each_dialect
@settings(max_examples=15)
@given(PAIRS, st.sampled_from(list(CONTAINERS)), st.sampled_from(["text", "messages", "repeated", "none"]))
def test__items__of_a_pair_in_any_dialect__are_the_same_wherever_it_comes_in(dialect, pair, container, given_prompt):
    asked, better, worse = pair
    expected = as_episode_set([Episode("u", [spoken(better)], [spoken(worse)], [spoken(asked)])])
    prompt = {
        "text": asked[-1][1],
        "messages": spoken(asked, dialect, container),
        "repeated": spoken(asked, dialect, container),
        "none": None,
    }[given_prompt]
    front = [] if given_prompt == "messages" else asked
    chosen, rejected = (spoken([*front, *answer], dialect, container) for answer in (better, worse))
    if given_prompt in ("text", "none") and better[0] == worse[0] and len(better) > 1 < len(worse):
        return  # then the start that they share is longer
    row = {"user_id": "u", "chosen": chosen, "rejected": rejected} | ({} if prompt is None else {"prompt": prompt})
    pairs = (chosen, rejected) if prompt is None else (prompt, chosen, rejected)
    assert episodes_from_frame([row], prompt=None if prompt is None else "prompt") == expected
    assert from_trl_dataset([row]) == expected
    assert as_episode_set([Episode("u", [chosen], [rejected], None if prompt is None else [prompt])]) == expected
    for form in ([pairs], [row], Episode("u", *([cell] for cell in (*pairs[-2:], *pairs[:-2])))):
        assert read_user_pairs(form, "text", 1, "adapt").items == expected.items
    scored = [("" if prompt is None else prompt, response) for response in (chosen, rejected)]
    assert check_items(scored, "predict") == read_items(*zip(*scored, strict=True), ("p", "c")) == expected.items


@each_dialect
def test__model__choices_and_responses_in_any_dialect__give_the_same_weights_and_rewards(model, dialect):
    asked, call, found = ("user", "Weather?"), ("assistant", "Let me look!"), ("tool", "sunny")
    answers = [[call, found, ("assistant", "It is sunny!")], [("assistant", "No idea.")]]
    prompt, better, worse = spoken([asked]), *map(spoken, answers)
    expected = model.adapt([(prompt, better, worse)])
    assert abs(expected.weights_ - model.start_weights_).max() > 0
    mine = [spoken([asked, *answer], dialect) for answer in answers]
    rows = [{"prompt": "Weather?", "chosen": mine[0], "rejected": mine[1]}]
    for pairs in (rows, [tuple(rows[0].values())], [tuple(mine)], Episode("u", mine[:1], mine[1:], ["Weather?"])):
        assert_array_equal(model.adapt(pairs).weights_, expected.weights_)
    rewards = expected.score(prompt, [better, worse])
    assert rewards[0] != rewards[1]
    assert_array_equal(expected.score("Weather?", mine), rewards)
    assert_array_equal(expected.predict([("", answer) for answer in mine]), rewards)
    assert_array_equal(expected.rank("Weather?", mine), expected.rank(prompt, [better, worse]))
    assert_array_equal(UserReward(expected)(prompts=["Weather?"] * 2, completions=mine), rewards)
    table = [{"prompt": "Weather?", "completion": answer} for answer in mine]
    assert_array_equal([row["reward"] for row in score_dataset(table, expected)], rewards)


@pytest.mark.parametrize(
    ("role", "plain"),
    [
        *[(role, "user") for role in ("user", "User", "human", "Human", "HUMAN", "prompter", "customer")],
        *[(role, "assistant") for role in ("assistant", "Assistant", "gpt", "GPT", "bot", "model", "chatbot", "ai")],
        *[(role, "system") for role in ("system", "System", "developer", "Developer")],
        *[(role, "tool") for role in ("tool", "function", "Observation", "ipython", "function_response")],
        ("function_call", "assistant"),
        ("narrator", "narrator"),
        ("Ann", "Ann"),
    ],
)
def test__plain_role__of_any_dialect__is_one_name(role, plain):
    assert plain_role(role) == plain
    assert Conversation([(role, "x")]).messages == ((plain, "x"),)


# ---------------------------------------------------------------- tools, thoughts, refusals


CITY = {"city": "Paris", "days": 2}
TEXT = '<tool_call>\n{"name": "f", "arguments": {"city": "Paris", "days": 2}}\n</tool_call>'


@pytest.mark.parametrize(
    "message",
    [
        {"tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": CITY}}]},
        {"content": "", "tool_calls": [{"id": "b", "function": {"name": "f", "arguments": json.dumps(CITY)}}]},
        {"tool_calls": [{"function": {"arguments": '{"days": 2,\n "city": "Paris"}', "name": "f"}}]},
        {
            "tool_calls": [
                {"function": {"name": "f", "arguments": {**CITY, "zip": None, "to": float("nan"), "days": 2.0}}}
            ]
        },
        {"tool_calls": np.array([{"function": {"name": "f", "arguments": CITY}}])},
        {"tool_calls": [{"name": "f", "args": CITY, "type": "tool_call"}]},
        {"tool_calls": json.dumps([{"name": "f", "arguments": CITY}])},
        {"tool_calls": [SimpleNamespace(function=SimpleNamespace(name="f", arguments=json.dumps(CITY)))]},
        {"function_call": {"name": "f", "arguments": json.dumps(CITY)}},
        {"content": [{"type": "tool_use", "id": "c", "name": "f", "input": CITY}]},
        {"role": "function_call", "content": json.dumps({"name": "f", "arguments": CITY})},
    ],
)
def test__as_conversation__call_of_a_tool__is_the_same_text_however_it_is_written(message):
    for extra in ({}, {"reasoning": None}):
        (said,) = as_conversation([{"role": "assistant", "content": None, **extra, **message}]).messages
        assert said == ("assistant", TEXT)


def test__as_conversation__calls_in_sharegpt_and_anthropic__are_the_conversation_that_openai_writes():
    call = {"name": "f", "arguments": CITY}
    openai = [
        say("user", "Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": call}] * 2},
        {"role": "tool", "tool_call_id": "a", "name": "f", "content": "sunny"},
        say("assistant", "It is sunny."),
    ]
    sharegpt = [
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": json.dumps([call, call])},
        {"from": "observation", "value": "sunny"},
        {"from": "gpt", "value": "It is sunny."},
    ]
    use, result = {"type": "tool_use", "name": "f", "input": CITY}, {"type": "tool_result", "content": "sunny"}
    anthropic = [
        say("user", "Weather?"),
        say("assistant", [use, use]),
        say("user", [result]),
        say("assistant", "It is sunny."),
    ]
    assert as_conversation(openai) == as_conversation(sharegpt) == as_conversation(anthropic)
    assert as_conversation(openai).messages[1] == ("assistant", f"{TEXT}\n\n{TEXT}")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (None, "{}"),
        ("", "{}"),
        ("{}", "{}"),
        ({"opt": None}, "{}"),
        ("not JSON", '"not JSON"'),
        (np.array([1.0, 2.5]), "[1, 2.5]"),
        ({"b": [{"d": 1, "c": "é"}], "a": True}, '{"a": true, "b": [{"c": "é", "d": 1}]}'),
    ],
    ids=repr,
)
def test__as_conversation__arguments_of_a_call__are_plain_and_in_order(arguments, text):
    call = [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": arguments}]}]
    assert str(as_conversation(call)) == f'<tool_call>\n{{"name": "f", "arguments": {text}}}\n</tool_call>'


@pytest.mark.parametrize(
    "nothing", [None, [], {}, "", [None], [{"name": None, "arguments": None}], float("nan")], ids=repr
)
def test__as_conversation__calls_of_nothing__are_no_calls(nothing):
    message = {"role": "assistant", "content": "Yes.", "tool_calls": nothing, "function_call": nothing}
    assert as_conversation([message]).messages == (("assistant", "Yes."),)
    with pytest.raises(ValueError, match="message 0 has no 'content'"):
        as_conversation([{**message, "content": None}])


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test__as_conversation__reasoning__is_part_of_the_text_wherever_it_stands(key):
    expected = as_conversation([say("assistant", "<think>\nHm.\n</think>\n\nYes.")])
    assert as_conversation([{**say("assistant", "Yes."), key: "Hm."}]) == expected
    parts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}]
    assert as_conversation([say("assistant", parts)]) == expected
    for nothing in ("", None, False):
        assert str(as_conversation([{**say("assistant", "Yes."), key: nothing}])) == "Yes."


@pytest.mark.parametrize(
    "key_and_values",
    [
        ("tool_calls", [[{"name": "f", "arguments": {"city": city}}] for city in ("Paris", "Lyon")]),
        ("function_call", [{"name": name, "arguments": "{}"} for name in "fg"]),
        ("reasoning_content", ["One.", "Two."]),
        ("thinking", ["One.", None]),
        ("refusal", ["I will not.", "I cannot."]),
        ("content", [[{"type": "tool_use", "name": "f", "input": {"n": n}}] for n in (1, 2)]),
    ],
    ids=lambda value: value[0],
)
@pytest.mark.parametrize("as_frame", [False, True])
def test__pairs__that_differ_in_what_is_no_content__are_two_items_everywhere(model, key_and_values, as_frame):
    key, values = key_and_values
    chosen, rejected = ([{"role": "assistant", "content": "", key: value}] for value in values)
    rows = [{"user_id": "u", "prompt": "Tea?", "chosen": chosen, "rejected": rejected}]
    table = pytest.importorskip("pandas").DataFrame(rows) if as_frame else rows
    found = episodes_from_frame(table)
    assert (found.n_items, found.chosen[0] == found.rejected[0]) == (2, False)
    assert_array_equal(model.adapt(table).weights_, model.adapt([("Tea?", chosen, rejected)]).weights_)
    texts = [str(response) for _, response in found.items]
    for responses in ([chosen, rejected], [rejected, chosen]):
        order = 1 if responses[0] is chosen else -1
        assert [str(text) for _, text in read_items(["Tea?"] * 2, responses, ("p", "c"))] == texts[::order]
        assert [str(text) for _, text in check_items([("Tea?", one) for one in responses], "score")] == texts[::order]


def test__episodes_from_frame__messages_through_parquet__are_the_same_items(tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = [
        {
            "user_id": "u",
            "chosen": [say("user", "Hi"), {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"n": 1}}]}],
            "rejected": [say("user", "Hi"), {"role": "assistant", "content": "No.", "thinking": "Hm."}],
        },
        {
            "user_id": "u",
            "chosen": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "b"}],
            "rejected": [
                say("user", "Hi"),
                {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"m": "x"}}]},
            ],
        },
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "pairs.parquet")
    stored = pandas.read_parquet(tmp_path / "pairs.parquet")
    assert isinstance(stored["chosen"][0], np.ndarray)
    assert episodes_from_frame(stored, prompt=None) == episodes_from_frame(rows, prompt=None)


# ---------------------------------------------------------------- prompts on one side


YES, NO, ASK, ABOUT = say("assistant", "Yes."), say("assistant", "No."), say("user", "Tea?"), say("system", "Be brief.")


def test__a_prompt_on_one_side__that_is_the_one_given__is_cut(model):
    for prompt in ("Tea?", [ASK]):
        expected = as_episode_set([Episode("u", [[YES]], [[NO]], [[ASK]])])
        for chosen, rejected in (([ASK, YES], [NO]), ([YES], [ASK, NO]), ([ASK, YES], [ASK, NO])):
            row = {"user_id": "u", "prompt": prompt, "chosen": chosen, "rejected": rejected}
            assert episodes_from_frame([row]) == expected
            assert read_user_pairs([(prompt, chosen, rejected)], "text", 1, "adapt").items == expected.items
    row = {"user_id": "u", "prompt": [ASK], "chosen": [ABOUT, ASK, YES], "rejected": [ABOUT, ASK, NO]}
    assert episodes_from_frame([row]).items == [
        (as_conversation([ABOUT, ASK]), as_conversation([say])) for say in (YES, NO)
    ]


ONE_SIDED = {
    "no prompt given": (None, [ASK, YES], [NO]),
    "another prompt": ("Coffee?", [ASK, YES], [NO]),
    "a system message": ("Tea?", [ABOUT, ASK, YES], [ASK, NO]),
    "a system message behind": ("Tea?", [ASK, ABOUT, YES], [ASK, NO]),
    "a system message alone": ("Tea?", [ABOUT, YES], [NO]),
    "a turn of the user's behind": ("Tea?", [ASK, YES, say("user", "Thanks!")], [ASK, NO]),
    "a turn of the user's behind, prompt of messages": ([ASK], [YES, say("user", "Thanks!")], [NO]),
    "who says it": ("Tea?", [say("user", "Yes.")], [NO]),
    "an unknown role": ("Tea?", [say("Ann", "Yes.")], [NO]),
    "no answer": (None, [ASK], [ASK, NO]),
}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("case", ONE_SIDED)
def test__one_side_alone_with_another_role__is_refused_wherever_pairs_come_in(model, case, swapped):
    prompt, *sides = ONE_SIDED[case]
    chosen, rejected = sides[::-1] if swapped else sides
    row = {"user_id": "ann", "chosen": chosen, "rejected": rejected} | ({} if prompt is None else {"prompt": prompt})
    pair = (chosen, rejected) if prompt is None else (prompt, chosen, rejected)
    episode = Episode("ann", [chosen], [rejected], None if prompt is None else [prompt])
    match = "must begin and end alike, .*not so for '.*' .1 pair: chosen begins with '.*pass the prompt as prompt"
    for call in (
        lambda: episodes_from_frame([row], prompt=None if prompt is None else "prompt"),
        lambda: from_trl_dataset([row]),
        lambda: model.fit([episode]),
        lambda: model.adapt_many([episode]),
        lambda: model.adapt(episode),
        lambda: model.adapt([pair]),
        lambda: model.predict_proba([row]),
    ):
        with pytest.raises(EpisodeError, match=match):
            call()


@settings(max_examples=30)
@given(PAIRS)
def test__two_sides_of_one_shape__are_never_refused(pair):
    asked, better, worse = pair
    for prompt in (None, [spoken(asked)]):
        front = asked if prompt is None else []
        episode = Episode("u", [spoken([*front, *better])], [spoken([*front, *worse])], prompt)
        assert as_episode_set([episode]).n_items == 2


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("Tea?", "Tea? Yes.", "No."),
        ("Tea?", "\nTea?\nYes.", "No."),
        ("Write a poem about tea", "Write a poem about tea\nTea, o tea", "Tea is green."),
        ("Human: Tea?\n\nAssistant:", "Human: Tea?\n\nAssistant: Yes.", " No."),
        ("Tea?", "Human: Tea?\n\nAssistant: Yes.", "No."),
        ("", "User: Tea?\nAssistant: Yes.", "No."),
        ("Tea?", "Assistant: Yes.", "No."),
        ("Tea?", "<|im_start|>assistant\nYes.", "No."),
        ("Tea?", "<s>[INST] Tea? [/INST] Yes.", "No."),
    ],
)
def test__texts__with_their_prompt_on_one_side__are_refused(model, prompt, chosen, rejected):
    for better, worse in ((chosen, rejected), (rejected, chosen)):
        row = {"user_id": "ann", "prompt": prompt, "chosen": better, "rejected": worse}
        for call in (
            lambda row=row: episodes_from_frame([row]),
            lambda row=row: model.adapt([row]),
            lambda row=row: model.fit([Episode("ann", [row["chosen"]], [row["rejected"]], [row["prompt"]])]),
        ):
            with pytest.raises(EpisodeError, match=r"not so in 1 of 1 pair, the first of '.*pass the prompt as prompt"):
                call()


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("Hi", "Hi there!", "Hello."),
        ("Hello!", "Hello! What can I do?", "Hi."),
        ("Tea", "Tea is fine.", "No."),
        ("Tea?", "Tea? Yes.", "Tea? No."),
        ("", "Users like tea.", "System errors."),
        ("Tea?", "The user: a tea drinker.", "No."),
    ],
)
def test__texts__that_merely_begin_like_their_prompt__are_taken_whole(prompt, chosen, rejected):
    found = episodes_from_frame([{"user_id": "u", "prompt": prompt, "chosen": chosen, "rejected": rejected}])
    assert found.items == [(prompt, chosen), (prompt, rejected)]


def test__texts__of_which_a_few_repeat_their_question__are_taken_whole():
    rows = [{"user_id": "u", "prompt": "Tea?", "chosen": f"{n} cups.", "rejected": "No."} for n in range(3)]
    rows[1]["chosen"] = "Tea? Yes."
    assert episodes_from_frame(rows).items[2] == ("Tea?", "Tea? Yes.")
    subset = episodes_from_frame(rows).take_pairs([1])
    assert as_episode_set(subset) is subset


# ---------------------------------------------------------------- own prompts


@settings(max_examples=30)
@given(PROMPTS, ANSWERS, WORDS)
def test__own_prompt__of_one_response__is_what_a_pair_is_cut_at(asked, answer, other):
    whole, another = Conversation([*asked, *answer]), Conversation([*asked, ("assistant", other + "!")])
    for prompt in ("", asked[-1][1], Conversation(asked), Conversation(asked[-1:])):
        assert own_prompt(prompt, whole) == (Conversation(asked), Conversation(answer))
        assert own_prompt(*own_prompt(prompt, whole)) == own_prompt(prompt, whole)
    shared, _, rest = extract_prompt(another.messages, whole.messages)
    assert (Conversation(shared), Conversation(rest)) == own_prompt("", whole)
    for response in (str(whole), Conversation(answer), Conversation(asked)):
        assert own_prompt("Tea?", response) == ("Tea?", response)


# ---------------------------------------------------------------- JSON


def test__messages_in_json__are_read_where_all_cells_are_such(model):
    pair = [[ASK, YES], [ASK, NO]]
    chosen, rejected = map(json.dumps, pair)
    expected = as_episode_set([Episode("u", [[YES]] * 2, [[NO]] * 2, [[ASK]] * 2)])
    for prompt in (None, "Tea?", json.dumps([ASK]), '["Tea?"]'):
        prompts = None if prompt is None else [prompt] * 2
        columns = {"user_id": ["u"] * 2, "prompt": prompts, "chosen": [chosen] * 2, "rejected": [rejected] * 2}
        if prompts is None:
            del columns["prompt"]
        assert from_trl_dataset(columns) == expected
        assert as_episode_set([Episode("u", [chosen] * 2, [rejected] * 2, prompts)]) == expected
        assert read_user_pairs(columns, "text", 1, "adapt").items == expected.items
        items = [(prompt or "", chosen), (prompt or "", rejected)]
        assert check_items(items, "predict") == read_items(*zip(*items, strict=True), ("p", "c")) == expected.items
    alone = episodes_from_frame([{"user_id": "u", "prompt": json.dumps([ASK]), "chosen": "Yes.", "rejected": "No."}])
    assert alone.items == [(as_conversation([ASK]), "Yes."), (as_conversation([ASK]), "No.")]


def test__messages_through_csv__are_read_as_messages(tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = [
        {"user_id": "u", "chosen": [ASK, say("assistant", text)], "rejected": [ASK, say("assistant", f"No {text}")]}
        for text in ('It\'s "fine".', "[]\n {}, {'role': 1}}\n {")
    ]
    for turn in (list, object_array):
        table = pandas.DataFrame([{**row, "chosen": turn(row["chosen"])} for row in rows])
        table.to_csv(tmp_path / "pairs.csv", index=False)
        stored = pandas.read_csv(tmp_path / "pairs.csv")
        assert isinstance(stored["chosen"][0], str)
        assert episodes_from_frame(stored, prompt=None) == episodes_from_frame(rows, prompt=None)


@pytest.mark.parametrize("n_read", [1, 5])
def test__messages_in_json__are_looked_for_in_all_chunks_of_a_table(monkeypatch, n_read):
    monkeypatch.setattr("skmrm.episodes.tables.ROWS_PER_CHUNK", 2)
    cells = [json.dumps([say("assistant", f"{n}.")]) for n in range(5)]
    cells[n_read:] = [f"{n}." for n in range(n_read, 5)]
    columns = {"user_id": ["u"] * 5, "prompt": ["p"] * 5, "chosen": cells, "rejected": [json.dumps([NO])] * 5}
    found = episodes_from_frame(columns)
    assert found.items[0] == ("p", as_conversation([say("assistant", "0.")]) if n_read == 5 else cells[0])


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ([json.dumps([YES]), "[1, 2]"], [json.dumps([NO])] * 2),
        ([json.dumps([YES])] * 2, [json.dumps([NO]), "No."]),
        (['["tea"]', '[{"tea": 1}]'], ["[]", "[[]]"]),
        (['[{"name": "tea", "text": "x"}]'] * 2, ['[{"role": 1, "content": "x"}]', '[{"role": "user"}]']),
        (['{"role": "assistant", "content": "Yes."}'] * 2, ["[", "[{"]),
    ],
)
def test__answers_in_json__stay_the_texts_that_they_are(chosen, rejected):
    found = as_episode_set([Episode("u", chosen, rejected, ["a", "b"])])
    columns = {"user_id": ["u"] * 2, "prompt": ["a", "b"], "chosen": chosen, "rejected": rejected}
    assert found == episodes_from_frame(columns)
    assert {text for _, text in found.items} == {*chosen, *rejected}
    assert all(type(text) is str for item in found.items for text in item)


# ---------------------------------------------------------------- wrong shapes


@pytest.mark.parametrize("message", [YES, {"from": "gpt", "value": "Yes."}], ids=["openai", "sharegpt"])
def test__a_message_by_itself__names_its_keys_and_asks_for_a_list(model, message):
    keys = ", ".join(map(repr, message))
    match = rf"a dict with keys {keys}.*(a list|\[message\])"
    row = {"user_id": "u", "prompt": "Tea?", "chosen": message, "rejected": message}
    columns = {name: [cell] for name, cell in row.items()}
    texts_beside = [{**row, "chosen": [message], "rejected": [message]}, row]
    for call in (
        lambda: episodes_from_frame([row]),
        lambda: episodes_from_frame(columns),
        lambda: episodes_from_frame(texts_beside),
        lambda: model.adapt([row]),
        lambda: model.adapt([("Tea?", message, message)]),
        lambda: model.adapt({"chosen": [message], "rejected": [message]}),
        lambda: model.fit([Episode("u", [message], [message])]),
        lambda: model.score("Tea?", message),
        lambda: model.score(message, ["Yes."]),
        lambda: model.rank("Tea?", message),
        lambda: model.rank(message, ["Yes."]),
        lambda: model.predict([("Tea?", message)]),
        lambda: UserReward(model)(prompts=["Tea?"], completions=[message]),
        lambda: score_dataset([{"prompt": "Tea?", "completion": message}], model),
    ):
        with pytest.raises((TypeError, ValueError), match=match):
            call()


@pytest.mark.parametrize(
    "pairs",
    [
        {"prompt": "Tea?", "chosen": "Yes!", "rejected": "No.."},
        {"chosen": "Yes!", "rejected": "No.."},
        {"prompt": "Tea?", "chosen": [YES], "rejected": [NO]},
        ("Tea?", "Yes!", "No.."),
        ("Yes", "No!"),
        [("Yes", "No!"), "Yes"],
        ([ASK], [YES], [NO]),
        ([ASK, YES], [ASK, NO]),
        ["Yes!", "No.."],
        "Yes!",
        b"Yes!",
        [[YES, NO]],
        Episode("u", "Yes!", "No.."),
        Episode("u", b"Yes!", b"No.."),
        Episode("u", [YES], [NO]),
        Episode("u", ["Yes!"], ["No.."], "T"),
        {("Tea?", "Yes!", "No..")},
    ],
    ids=repr,
)
def test__one_choice_where_several_are_asked_for__is_refused_and_never_taken_apart(model, pairs):
    for call in (model.adapt, model.predict_proba, model.decision_function):
        with pytest.raises((TypeError, ValueError), match=r"wrap|takes an Episode|pass a list|list of messages"):
            call(pairs)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.rank("Tea?", "Yes."),
        lambda model: model.rank("Tea?", [YES]),
        lambda model: model.rank(["Tea?", "Cake?"], ["Yes.", "No."]),
        lambda model: model.rank("Tea?", None),
        lambda model: model.score("Tea?", {"Yes.", "No."}),
        lambda model: model.score("Tea?", {"a": "Yes."}),
        lambda model: model.score("Tea?", b"Yes."),
        lambda model: model.score("Tea?", 3),
        lambda model: model.score(3, ["Yes."]),
        lambda model: model.score(["Tea?"], "Yes."),
        lambda model: model.score("Tea?", np.array([["Yes."], ["No."]])),
        lambda model: model.predict("Yes."),
        lambda model: model.predict(("Tea?", "Yes.")),
        lambda model: model.predict({("Tea?", "Yes.")}),
        lambda model: model.predict(["ab", "cd"]),
        lambda model: model.predict([{"prompt": "Tea?", "response": "Yes."}]),
    ],
)
def test__responses_of_another_shape__are_refused_and_never_taken_apart(model, call):
    with pytest.raises(TypeError, match=r"takes|each item must be"):
        call(model)


def test__check_items__messages_that_cannot_be_read__are_all_counted():
    items = [("Tea?", [YES]), ("Tea?", [{"role": "user"}]), ("Tea?", [{"content": "x"}])]
    with pytest.raises(ValueError, match=r"not so in 2 items of 3, at 1, 2 .the first: message 0 has no 'content'"):
        check_items(items, "predict")


def test__messages__a_role_that_is_no_text__is_refused():
    answer = [{"role": 5, "content": "Yes."}]
    row = {"user_id": "ann", "prompt": "Tea?", "chosen": answer, "rejected": "No."}
    with pytest.raises(EpisodeError, match="the role of message 0 is an int; a str is needed"):
        episodes_from_frame([row | {"rejected": [{"role": "assistant", "content": "No."}]}])
