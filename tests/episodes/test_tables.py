"""Tables of every kind: the same rows give the same set, and what is wrong is said at once."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmrm.episodes import Episode, EpisodeSet, as_episode_set, episodes_from_frame
from skmrm.episodes.messages import as_conversation
from skmrm.episodes.tables import ROWS_PER_CHUNK
from skmrm.exceptions import EpisodeError

ROWS = [
    {"user_id": "bo", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No.", "topic": 1, "day": "mon"},
    {"user_id": "ann", "prompt": "Tea?", "chosen": "No.", "rejected": "Yes.", "topic": 1, "day": "tue"},
    {"user_id": "bo", "prompt": "Ümlaut 😀?", "chosen": "", "rejected": "No.", "topic": 2, "day": "mon"},
    {"user_id": "bo", "prompt": "Tea?", "chosen": "Perhaps.", "rejected": "Perhaps.", "topic": 1, "day": "tue"},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def as_pandas(columns):
    import pandas as pd

    return pd.DataFrame(columns)


def as_pandas_arrow(columns):
    import pandas as pd

    return as_arrow(columns).to_pandas(types_mapper=pd.ArrowDtype)


def as_polars(columns):
    import polars as pl

    return pl.DataFrame(columns)


def as_arrow(columns):
    import pyarrow as pa

    return pa.table(columns)


def as_pandas_from_parquet(columns):
    """Lists come out of Parquet as NumPy arrays of dicts or numbers."""
    import io

    import pandas as pd

    file = io.BytesIO()
    as_pandas(columns).to_parquet(file)
    return pd.read_parquet(file)


def as_dataset(columns):
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install 'skmrm[text]'")

    return datasets.Dataset.from_dict(columns)


def as_shuffled_dataset(columns):
    """A dataset whose rows are in order only through its table of indices."""
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install 'skmrm[text]'")

    order = np.arange(len(columns["chosen"]))[::-1]
    backwards = {name: [cells[i] for i in order] for name, cells in columns.items()}
    return datasets.Dataset.from_dict(backwards).select(order)


def as_rows(columns):
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def as_columns(columns):
    return columns


KINDS = [
    as_columns,
    as_rows,
    as_pandas,
    as_pandas_arrow,
    as_pandas_from_parquet,
    as_polars,
    as_arrow,
    as_dataset,
    as_shuffled_dataset,
]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def partition(labels):
    places = {}
    for place, label in enumerate(labels):
        places.setdefault(label, set()).add(place)
    return sorted(map(sorted, places.values()))


# -- every kind gives the same set -----------------------------------------------------------------------------------


@each_kind
def test__episodes_from_frame__texts__same_set_as_from_episodes(kind):
    found = episodes_from_frame(kind(COLUMNS))
    expected = as_episode_set(
        [
            Episode("bo", ["Yes.", "", "Perhaps."], ["No.", "No.", "Perhaps."], ["Tea?", "Ümlaut 😀?", "Tea?"]),
            Episode("ann", ["No."], ["Yes."], ["Tea?"]),
        ]
    )
    assert found == expected
    assert all(type(text) is str for item in found.items for text in item)
    assert partition(found.group[:3]) == [[0, 2], [1]]


@each_kind
def test__episodes_from_frame__message_lists__same_set(kind):
    def talk(*contents):
        return [{"role": role, "content": c} for role, c in zip(("user", "assistant") * 2, contents, strict=False)]

    columns = {
        "user_id": [1, 2, 1],
        "chosen": [talk("Hi", "a"), talk("Hi", "b"), talk("Hi", "So?", "Yes", "c")],
        "rejected": [talk("Hi", "b"), talk("Hi", "c"), talk("Hi", "So?", "Yes", "d")],
    }
    found = episodes_from_frame(kind(columns), prompt=None)
    expected = [
        Episode(1, [columns["chosen"][0], columns["chosen"][2]], [columns["rejected"][0], columns["rejected"][2]]),
        Episode(2, [columns["chosen"][1]], [columns["rejected"][1]]),
    ]
    assert found == as_episode_set(expected)
    assert found.items[0] == (as_conversation(talk("Hi")), as_conversation([{"role": "assistant", "content": "a"}]))
    assert list(map(type, found.users)) == [int, int]


@each_kind
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
def test__episodes_from_frame__feature_vectors__same_set(kind, dtype):
    rng = np.random.default_rng(0)
    chosen, rejected = (rng.integers(-9, 9, (5, 3)).astype(dtype) for _ in range(2))
    users = ["a", "b", "a", "b", "a"]
    prompts = ["p", "p", "p", "q", "q"]
    if kind in (as_columns, as_rows):
        columns = {"user_id": users, "prompt": prompts, "chosen": list(chosen), "rejected": list(rejected)}
    else:
        columns = {"user_id": users, "prompt": prompts, "chosen": chosen.tolist(), "rejected": rejected.tolist()}
    found = episodes_from_frame(kind(columns))
    order = [0, 2, 4, 1, 3]
    assert_array_equal(found.features[found.chosen], chosen[order])
    assert_array_equal(found.features[found.rejected], rejected[order])
    assert partition(found.group[:3]) == [[0, 1], [2]]
    assert found.features.dtype == (np.float32 if dtype == "f4" and kind in (as_columns, as_rows) else np.float64)
    assert not found.is_text
    alone = episodes_from_frame(kind(columns), prompt=None)
    assert partition(alone.group) == [[0], [1], [2], [3], [4]]


def test__episodes_from_frame__fixed_size_lists__keep_their_dtype():
    import polars as pl

    features = np.arange(12, dtype="f4").reshape(4, 3)
    frame = pl.DataFrame({"user_id": list("abab"), "chosen": features, "rejected": features[::-1].copy()})
    for table in (frame, frame.to_arrow(), frame.slice(1, 2), frame.to_arrow().slice(1, 2)):
        found = episodes_from_frame(table, prompt=None)
        assert found.features.dtype == np.float32
    assert_array_equal(found.features[found.chosen], features[[1, 2]])


def test__episodes_from_frame__dict_of_arrays_and_tensors__is_read():
    torch = pytest.importorskip("torch")
    columns = {"user_id": torch.tensor([4, 5]), "chosen": torch.eye(2), "rejected": np.zeros((2, 2), "f4")}
    found = episodes_from_frame(columns, prompt=None)
    assert found.users.tolist() == [4, 5]
    assert_array_equal(found.features[found.chosen], np.eye(2))


def test__episodes_from_frame__longer_than_a_chunk__same_as_one_by_one():
    n = 2 * ROWS_PER_CHUNK + 7
    rng = np.random.default_rng(0)
    users, a, b = rng.integers(0, 50, n), rng.integers(0, 9, n), rng.integers(0, 9, n)
    columns = {
        "user_id": users.tolist(),
        "prompt": [f"p{i}" for i in a % 4],
        "chosen": [f"r{i}" for i in a],
        "rejected": [f"r{i}" for i in b],
    }
    found = episodes_from_frame(as_arrow(columns))
    assert (found.n_users, found.n_pairs) == (50, n)
    by_user = dict(zip(found.users, range(50), strict=True))
    order = np.argsort([by_user[u] for u in users], kind="stable")
    assert [found.items[row][1] for row in found.chosen] == [f"r{i}" for i in a[order]]
    assert [found.items[row][0] for row in found.rejected] == [f"p{i}" for i in a[order] % 4]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from("uvw"), st.text("ab ", max_size=2), st.text("ab ", max_size=2), st.integers(0, 2)),
        min_size=1,
        max_size=12,
    ),
    st.randoms(),
)
def test__episodes_from_frame__rows_in_another_order__same_pairs_for_each_user(pairs, random):
    names = ("user_id", "chosen", "rejected", "topic")
    rows = [dict(zip(names, pair, strict=True)) for pair in pairs]
    shuffled = random.sample(rows, len(rows))

    def by_user(table):
        found = episodes_from_frame(table, prompt=None, implicit_prompt=False, group="topic")
        return {view.user: sorted(zip(view.chosen, view.rejected, strict=True)) for view in found}

    assert by_user(rows) == by_user(shuffled)


# -- prompts and groups ----------------------------------------------------------------------------------------------


def test__episodes_from_frame__trl_formats__standard_and_conversational_explicit_and_implicit_agree():
    def user(content):
        return {"role": "user", "content": content}

    def assistant(content):
        return {"role": "assistant", "content": content}

    ask, good, bad = "What is the sky?", "It is blue.", "The sea."
    formats = {
        "standard explicit": {"prompt": ask, "chosen": f" {good}", "rejected": f" {bad}"},
        "standard implicit": {"chosen": f"{ask} {good}", "rejected": f"{ask} {bad}"},
        "conversational explicit": {"prompt": [user(ask)], "chosen": [assistant(good)], "rejected": [assistant(bad)]},
        "conversational implicit": {"chosen": [user(ask), assistant(good)], "rejected": [user(ask), assistant(bad)]},
        "text prompt beside whole conversations": {
            "prompt": ask,
            "chosen": [user(ask), assistant(good)],
            "rejected": [user(ask), assistant(bad)],
        },
    }
    sets = {}
    for name, row in formats.items():
        rows = [{"user_id": "a", **row}, {"user_id": "b", **row}]
        sets[name] = episodes_from_frame(rows, prompt="prompt" if "prompt" in row else None)
    for found in sets.values():
        texts = [(str(prompt), str(response).strip()) for prompt, response in found.items]
        assert texts == [(ask, good), (ask, bad)]
        assert_array_equal(found.user, [0, 1])
        assert_array_equal(found.chosen, [0, 0])
        assert_array_equal(found.rejected, [1, 1])
        assert_array_equal(found.group, [0, 0])
    assert sets["standard explicit"] == sets["standard implicit"]
    assert sets["conversational explicit"] == sets["conversational implicit"]
    assert sets["conversational explicit"] == sets["text prompt beside whole conversations"]


def test__episodes_from_frame__implicit_prompt_off__takes_responses_whole():
    rows = [{"user_id": "a", "chosen": "The sky is blue.", "rejected": "The sky is green."}] * 2
    whole = episodes_from_frame(rows, prompt=None, implicit_prompt=False)
    assert whole.items == [("", "The sky is blue."), ("", "The sky is green.")]
    assert partition(whole.group) == [[0], [1]]
    cut = episodes_from_frame(rows, prompt=None)
    assert cut.items == [("The sky is", " blue."), ("The sky is", " green.")]
    assert partition(cut.group) == [[0, 1]]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (None, [[0, 2], [1]]),
        ("topic", [[0, 2], [1]]),
        ("day", [[0, 1], [2]]),
        (["topic", "day"], [[0], [1], [2]]),
        (("day",), [[0, 1], [2]]),
    ],
)
def test__episodes_from_frame__group_columns__tell_groups(group, expected):
    found = episodes_from_frame(as_polars(COLUMNS), group=group)
    assert partition(found.group[:3]) == expected


def test__episodes_from_frame__names_of_any_kind__find_their_columns():
    """A file without a header gives numbers, one with several header lines tuples; and user=0 is a column."""
    import pandas as pd

    named = episodes_from_frame(ROWS, group=["topic", "day"])
    plain = as_pandas(COLUMNS)
    levels = plain.set_axis(pd.MultiIndex.from_tuples([("file", name) for name in plain.columns]), axis=1)
    numbers = plain.set_axis(range(6), axis=1)
    for table in (numbers, dict(enumerate(COLUMNS.values())), numbers.to_dict("records")):
        assert episodes_from_frame(table, 0, 1, 2, 3, group=[4, 5]) == named
        assert episodes_from_frame(table, *np.arange(4), group=np.arange(4, 6)) == named
        assert episodes_from_frame(table, 0, 1, 2, 3, group=4) == episodes_from_frame(ROWS, group="topic")
    of_levels = [("file", name) for name in plain.columns]
    assert episodes_from_frame(levels, *of_levels[:4], group=of_levels[4:]) == named
    assert episodes_from_frame(levels, *of_levels[:4], group=of_levels[4]) == episodes_from_frame(ROWS, group="topic")


def test__episodes_from_frame__names_of_any_kind__are_named_in_errors():
    numbers = as_pandas(COLUMNS).set_axis(range(6), axis=1)
    with pytest.raises(
        EpisodeError, match=r"rejected='3' is not a column .* 0, 1, 2, 3, 4, 5; did you mean rejected=3"
    ):
        episodes_from_frame(numbers, 0, 1, 2, "3")
    twice = as_pandas(COLUMNS).set_axis(["user_id", "prompt", "chosen", "rejected", "day", "day"], axis=1)
    assert episodes_from_frame(twice) == episodes_from_frame(ROWS)
    with pytest.raises(EpisodeError, match="a column to be read needs a name of its own, not so for 'day': rename"):
        episodes_from_frame(twice, group="day")


@pytest.mark.parametrize("ids", [[3, 1, 3, 3], [("a", 1), ("a", 2), ("a", 1), ("a", 1)], [b"x", 1.5, b"x", b"x"]])
def test__episodes_from_frame__ids_of_any_hashable__are_kept(ids):
    found = episodes_from_frame({**COLUMNS, "user_id": ids})
    assert list(found.users) == ids[:2]
    assert_array_equal(found.pairs_per_user, [3, 1])


def test__episodes_from_frame__other_column_names_and_categories__are_read():
    import pandas as pd

    names = {"user_id": "worker", "prompt": "q", "chosen": "best", "rejected": "worst"}
    frame = as_pandas(COLUMNS).rename(columns=names)
    frame["worker"] = pd.Categorical(frame["worker"])
    frame.index = [7, 7, 1, 0]
    found = episodes_from_frame(frame, user="worker", prompt="q", chosen="best", rejected="worst")
    assert found == episodes_from_frame(ROWS)


# -- what is wrong, and all of it ------------------------------------------------------------------------------------


@each_kind
def test__episodes_from_frame__missing_cells__are_counted_with_rows(kind):
    columns = {
        "user_id": ["a", None, "b", "b"],
        "prompt": ["p", "q", None, None],
        "chosen": ["x", "y", "z", None],
        "rejected": ["w", "w", "w", "w"],
        "topic": ["t", "t", None, "t"],
    }
    with pytest.raises(EpisodeError) as caught:
        episodes_from_frame(kind(columns), group="topic")
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    assert "column 'user_id' must be readable in each row, got missing values (1 row: 1): fill" in text
    assert "column 'prompt' must be readable in each row, got missing values (2 rows: 2, 3)" in text
    assert "column 'chosen' must be readable in each row, got missing values (1 row: 3)" in text
    assert "column 'topic' must be readable in each row, got missing values (1 row: 2)" in text


@each_kind
def test__episodes_from_frame__missing_columns__names_those_there_and_the_likely_one(kind):
    columns = {"userid": ["a"], "Prompt": ["p"], "chosen": ["x"], "other": ["y"]}
    with pytest.raises(EpisodeError) as caught:
        episodes_from_frame(kind(columns), "user")
    problems = {problem.split("=")[0]: problem for problem in caught.value.problems}
    assert list(problems) == ["user", "prompt", "rejected"]
    assert "user='user' is not a column of the table, whose columns are" in problems["user"]
    assert "'Prompt', 'chosen', 'other'" in problems["user"]
    assert "did you mean user='userid'?" in problems["user"]
    assert "did you mean prompt='Prompt'?" in problems["prompt"]
    assert problems["rejected"].endswith("'other'")


@pytest.mark.parametrize(
    ("change", "arguments", "match"),
    [
        ({"prompt": ...}, {}, "prompt='prompt' is not a column .*pass prompt=None if"),
        ({}, {"group": ["topic", "dai"]}, r"group\[1\]='dai' is not a column .*did you mean group\[1\]='day'"),
        ({}, {"group": "hour"}, r"group='hour' is not a column"),
        ({}, {"rejected": "chosen"}, "chosen and rejected must be two columns, got 'chosen' for both"),
        (
            {"chosen": [1, 2, 3, "x"]},
            {},
            r"column 'chosen' .*got an int in place of a text \(3 rows: 0, 1, 2\): correct",
        ),
        (
            {"chosen": [[1.0], "x", "y", "z"], "rejected": np.ones((4, 1))},
            {},
            r"column 'chosen' .*got a str among vectors",
        ),
        ({"chosen": ["x", [1.0], "y", "z"]}, {}, r"column 'chosen' .*got a vector of numbers among texts \(1 row: 1\)"),
        ({"chosen": [[1.0], [1.0, 2.0], [1.0], [1.0]]}, {}, r"column 'chosen' .*different lengths \(1, 2\)"),
        ({"chosen": np.ones((4, 2))}, {}, "columns 'chosen' and 'rejected' must hold texts only or features only"),
        ({"chosen": np.ones((4, 2)), "rejected": np.ones((4, 3))}, {}, r"same number of features, got \[2, 3\]"),
        (
            {"chosen": np.full((4, 2), np.nan), "rejected": np.ones((4, 2))},
            {},
            "features must be finite; not so for 'bo'",
        ),
        (
            {"chosen": np.ones((4, 2), complex), "rejected": np.ones((4, 2))},
            {},
            "column 'chosen' .*complex128: convert",
        ),
        (
            {"prompt": np.ones((4, 2))},
            {},
            "column 'prompt' must hold texts or lists of messages, got vectors of numbers",
        ),
        ({"chosen": [[{"role": "user"}]] * 4}, {}, "column 'chosen' .*message 0 has no 'content'"),
        ({"chosen": [[{"role": "user", "content": "x"}]] * 4}, {}, "'chosen' and 'rejected' .*a text on one side"),
        ({"chosen": [[]] * 4}, {}, "column 'chosen' .*a list without messages"),
        ({"user_id": [["a"]] * 4}, {}, "column 'user_id' must hold hashable values"),
        ({"day": [{}] * 4}, {"group": ["topic", "day"]}, "column 'day' must hold hashable values"),
        ({}, {"min_pairs": 2}, r"at least 2 pairs \(min_pairs\); not so for 'ann' \(1 pair\): add pairs, drop"),
    ],
)
def test__episodes_from_frame__bad_table__says_rule_column_and_remedy(change, arguments, match):
    columns = {name: cells for name, cells in {**COLUMNS, **change}.items() if cells is not ...}
    with pytest.raises(EpisodeError, match=match) as caught:
        episodes_from_frame(columns, **arguments)
    assert len(caught.value.problems) == 1


def test__episodes_from_frame__all_problems_of_all_columns__come_at_once():
    rows = [
        {"user_id": None, "prompt": "p", "chosen": "x", "rejected": 3},
        {"user_id": "a", "chosen": None, "rejected": "y"},
    ]
    with pytest.raises(EpisodeError) as caught:
        episodes_from_frame(rows)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("empty", [{"user_id": [], "prompt": [], "chosen": [], "rejected": []}, [], {}])
def test__episodes_from_frame__no_rows__is_an_error(empty):
    with pytest.raises(EpisodeError, match="the table has no rows"):
        episodes_from_frame(empty)


def test__episodes_from_frame__dict_that_is_no_table__says_what_it_needs():
    with pytest.raises(EpisodeError, match="wrap the dict in a list if it is a single row"):
        episodes_from_frame(ROWS[0])
    with pytest.raises(EpisodeError, match="columns must have the same length"):
        episodes_from_frame({"user_id": ["a"], "prompt": ["p"], "chosen": ["x", "y"], "rejected": ["z"]})


def dataset_dict():
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install 'skmrm[text]'")

    return datasets.DatasetDict({"train": as_dataset(COLUMNS), "test": as_dataset(COLUMNS)})


def iterable_dataset():
    return as_dataset(COLUMNS).to_iterable_dataset()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (dataset_dict, r"got a DatasetDict with splits 'train', 'test': pass one, as data\['train'\]"),
        (lambda: as_episode_set([Episode("a", ["x"], ["y"])]), "got an EpisodeSet, which needs no reading"),
        (lambda: [Episode("a", ["x"], ["y"])], "got an Episode at place 0 of the list: pass it on as it is"),
        (
            lambda: [("a", "x", "y")],
            "a list of dicts is needed, got a tuple at place 0 .*give each row its column names",
        ),
        (
            lambda: np.eye(3),
            r"got an array of shape \(3, 3\) and dtype float64: pass a pandas, polars or pyarrow table",
        ),
        (lambda: None, "got None: pass a pandas, polars"),
    ],
)
def test__episodes_from_frame__not_a_table__says_what_came_and_what_to_do(make, match):
    with pytest.raises(TypeError, match=match):
        episodes_from_frame(make())


def arrow_reader():
    pa = pytest.importorskip("pyarrow")
    return pa.RecordBatchReader.from_batches(pa.table(COLUMNS).schema, pa.table(COLUMNS).to_batches(1))


@pytest.mark.parametrize(
    "make",
    [iterable_dataset, lambda: list(iterable_dataset()), lambda: as_polars(COLUMNS).lazy(), arrow_reader],
    ids=["streamed", "streamed as list", "lazy", "arrow reader"],
)
def test__episodes_from_frame__lazy_and_streamed__are_read(make):
    assert episodes_from_frame(make()) == episodes_from_frame(ROWS)


def test__episodes_from_frame__lazy__computes_what_is_read_alone():
    pl = pytest.importorskip("polars")

    def never(column):
        raise AssertionError("a column that nobody asked for")

    lazy = as_polars(COLUMNS).lazy().with_columns(more=pl.col("chosen").map_batches(never, return_dtype=pl.String))
    assert episodes_from_frame(lazy) == episodes_from_frame(ROWS)
    with pytest.raises(EpisodeError, match=r"whose columns are .*'more'"):
        episodes_from_frame(lazy, user="nobody")


# -- real judgements -------------------------------------------------------------------------------------------------


def shared_data(name):
    folder = os.environ.get("SKMRM_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data"
    path = Path(folder) / name
    if not path.exists():
        pytest.skip(f"{name} is not there: set SKMRM_SHARED_DATA to the folder of shared data sets")
    return path


def test__episodes_from_frame__convargs__reads_every_judgement():
    import polars as pl

    frame = pl.read_parquet(shared_data("convargs/pairs.parquet"))
    found = episodes_from_frame(frame, group="topic")
    assert isinstance(found, EpisodeSet)
    distinct = pl.concat([frame.select("prompt", text=name) for name in ("chosen", "rejected")]).unique()
    assert (found.n_users, found.n_pairs, found.n_items) == (1_918, 60_677, len(distinct))
    assert found.pairs_per_user.min() == 4
    assert len(np.unique(found.group)) == 32
    assert found == episodes_from_frame(frame.to_pandas(), group="topic")
