"""Tables read from files, and columns that go by other names."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmrm.episodes import Episode, episodes_from_frame, episodes_from_rankings, episodes_from_ratings
from skmrm.episodes.from_user import read_user_pairs
from skmrm.exceptions import EpisodeError

NAMES = ("user_id", "prompt", "chosen", "rejected")
CELLS = [("01", "Tea?", "Yes.", "No."), ("1", "Tea?", "No.", 'Yes, "please".'), ("01", "Cake?", "Yes.", "Perhaps.")]
ROWS = [dict(zip(NAMES, cells, strict=True)) for cells in CELLS]


def as_csv(rows, separator=","):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(rows).to_csv(index=False, sep=separator).encode()


def as_parquet(rows):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


WRITERS = {
    "a.csv": as_csv,
    "a.csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "a.tsv": lambda rows: as_csv(rows, "\t"),
    "a.json": lambda rows: json.dumps(rows).encode(),
    "a.jsonl": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
    "a.parquet": as_parquet,
}


@pytest.fixture
def written(tmp_path):
    def write(name, rows):
        path = tmp_path / name
        path.write_bytes(WRITERS[name](rows))
        return path

    return write


@pytest.mark.parametrize("name", WRITERS)
def test__episodes_from_frame__path__reads_the_file_as_its_rows(name, written):
    path = written(name, ROWS)
    expected = episodes_from_frame(ROWS)
    assert expected.users.tolist() == ["01", "1"]  # ids of files are texts
    assert episodes_from_frame(path) == episodes_from_frame(str(path)) == expected


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test__path__numbers_that_a_file_spells__are_numbers(name, written):
    said = {"strength": [1, 3, 0], "weight": [0.5, 2, 1], "time": [10, 20, 30.5]}
    rows = [row | {role: values[k] for role, values in said.items()} for k, row in enumerate(ROWS)]
    columns = {role: role for role in said}
    assert episodes_from_frame(written(name, rows), **columns) == episodes_from_frame(rows, **columns)


def test__ratings_and_rankings__path__reads_the_file(written):
    rated = [{"user_id": "a", "prompt": "Tea?", "response": f"{k}", "rating": k, "liked": k > 2} for k in range(1, 5)]
    for column in ("rating", "liked"):
        found = episodes_from_ratings(written("a.csv", rated), rating=column)
        assert found == episodes_from_ratings(rated, rating=column)
    ranked = [{"user_id": "a", "prompt": "Tea?", "responses": ["Yes.", "No.", "Hm."]}]
    assert episodes_from_rankings(written("a.jsonl", ranked)) == episodes_from_rankings(ranked)


def test__path__of_nothing_and_of_something_else__is_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder '.*votes\.csv'"):
        episodes_from_frame(tmp_path / "votes.csv")
    (tmp_path / "votes.xlsx").write_bytes(b"PK")
    with pytest.raises(EpisodeError, match=r"a file that ends in \.csv, .* is needed, got '\.xlsx'"):
        episodes_from_frame(tmp_path / "votes.xlsx")


def read(pairs, **columns):
    return read_user_pairs(pairs, "text", 0, "adapt", None, columns)


PAIRS = [
    {"question": "Tea?", "good": "Yes.", "bad": "No.", "n": 2.0},
    {"question": "Cake?", "good": "No.", "bad": "Yes.", "n": 1.0},
]
PLAIN = [{"prompt": row["question"], "chosen": row["good"], "rejected": row["bad"]} for row in PAIRS]
NAMED = {"prompt": "question", "chosen": "good", "rejected": "bad"}


def as_columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("form", [list, as_columns, lambda rows: pytest.importorskip("pandas").DataFrame(rows)])
def test__user_pairs__named_columns__are_those_of_the_usual_names(form):
    assert read(form(PAIRS), **NAMED) == read(form(PLAIN))
    assert read(form(PAIRS), **NAMED, weight="n").weight.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("form", [list, as_columns])
def test__user_pairs__named_columns__come_before_others_of_the_usual_names(form):
    rows = [row | {"prompt": "wrong", "chosen": "wrong", "rejected": "wrong"} for row in PAIRS]
    assert read(form(rows), **NAMED) == read(form(PLAIN))
    turned = [{"chosen": row["rejected"], "rejected": row["chosen"], "prompt": row["prompt"]} for row in PLAIN]
    assert read(form(turned), chosen="rejected", rejected="chosen") == read(form(PLAIN))
    assert read(form(PLAIN), prompt=None) == read([(row["chosen"], row["rejected"]) for row in PLAIN])


@pytest.mark.parametrize("form", [list, as_columns])
def test__user_pairs__named_votes_and_ratings__are_read_as_such(form):
    votes = [{"prompt": "Tea?", "one": "Yes.", "two": "No.", "vote": "b", "chosen": "x", "rejected": "y"}]
    expected = read([{"prompt": "Tea?", "response_a": "Yes.", "response_b": "No.", "winner": "b"}])
    assert read(form(votes), response_a="one", response_b="two", winner="vote") == expected
    rated = [{"prompt": "Tea?", "text": "Yes.", "stars": True, "chosen": "x"}]
    expected = read([{"prompt": "Tea?", "response": "Yes.", "rating": True}])
    assert read(form(rated), response="text", rating="stars") == expected


@given(st.permutations(range(5)))
def test__user_pairs__any_names__give_the_same(order):
    names = [f"column {k}" for k in order]
    roles = ("prompt", "chosen", "rejected", "weight", "time")
    rows = [("Tea?", "Yes.", "No.", 2.0, 5.0), ("Cake?", "No.", "Yes.", 1.0, 7.0)]
    named, plain = ([dict(zip(keys, row, strict=True)) for row in rows] for keys in (names, roles))
    assert read(named, **dict(zip(roles, names, strict=True))) == read(plain)


def test__user_pairs__path__is_read(written):
    path = written("a.jsonl", PAIRS[:1])
    assert read(path, **NAMED) == read(PLAIN[:1])


@pytest.mark.parametrize(
    ("caller", "remedy"),
    [("adapt", "name them, as in adapt(..., prompt='question', chosen="), ("predict_proba", "rename them")],
)
def test__user_pairs__columns_without_known_names__remedy_is_what_the_caller_takes(caller, remedy):
    with pytest.raises(EpisodeError) as raised:
        read_user_pairs(PAIRS, "text", 0, caller)
    assert remedy in str(raised.value)


@pytest.mark.parametrize("form", [list, as_columns])
def test__user_pairs__columns_that_are_not_there__are_all_named(form):
    with pytest.raises(EpisodeError) as raised:
        read(form(PAIRS), chosen="goood", rejected="worse", prompt="question")
    assert "adapt: chosen='goood' is not a column of the table" in str(raised.value)
    assert "did you mean chosen='good'?" in str(raised.value)
    assert "rejected='worse'" in str(raised.value)


@pytest.mark.parametrize("pairs", [Episode("a", ["x"], ["y"]), [("Tea?", "Yes.", "No.")]])
def test__user_pairs__columns_named_of_what_has_none__is_an_error(pairs):
    with pytest.raises(TypeError, match=r"takes names of columns \(chosen\) with a table or a list of dicts, got "):
        read(pairs, chosen="good")


def test__adapt_and_update__named_columns__are_read_and_misspelt_ones_refused(model, episodes):
    features = np.asarray(episodes.features)
    rows = [{"good": features[k], "bad": features[k + 1]} for k in range(4)]
    plain = [{"chosen": row["good"], "rejected": row["bad"]} for row in rows]
    user = model.adapt(rows[:2], chosen="good", rejected="bad").update(rows[2:], chosen="good", rejected="bad")
    assert np.array_equal(user.weights_, model.adapt(plain[:2]).update(plain[2:]).weights_)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'chosn'.*did you mean 'chosen'\?"):
        model.adapt(rows, chosn="good")
    with pytest.raises(TypeError, match=r"did you mean 'half_life'\?"):
        model.adapt(plain, half_live=3)
