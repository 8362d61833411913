"""Files and folders in all their forms: what can be read gives the same rows, and what cannot is one clear error."""

import contextlib
import gzip
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmrm.datasets import read_preferences
from skmrm.exceptions import EpisodeError

ENDINGS = [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".csv.gz", ".jsonl.gz"]
NAMES = ("user_id", "prompt", "chosen", "rejected")
CELLS = [("ann", "Tea?", "Yes.", "No."), ("bo", "Tea?", "No.", "Yes."), ("ann", "Cake?", "Yes.", "Perhaps.")]
ROWS = [dict(zip(NAMES, cells, strict=True)) for cells in CELLS]


def read(source):
    return read_preferences(source, verbose=False)


def written(path, document):
    lines = path.suffix == ".jsonl"
    path.write_text("\n".join(map(json.dumps, document)) if lines else json.dumps(document), encoding="utf-8")
    return path


def test__read__half_of_a_folder_each__is_the_whole(tmp_path):
    rows = ROWS
    (tmp_path / ".argilla").mkdir()
    for place, half in enumerate((rows[:2], rows[2:])):
        written(tmp_path / f"part-{place}.jsonl", half)
    written(tmp_path / "dataset_info.json", {"builder_name": "json"})
    written(tmp_path / ".argilla" / "settings.json", {"guidelines": ""})
    assert read(tmp_path) == read(rows)


def test__read__packed_file__is_read(tmp_path):
    text = "\n".join(map(json.dumps, ROWS))
    with gzip.open(tmp_path / "train.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    assert read(tmp_path / "train.jsonl.gz") == read(ROWS)


@pytest.mark.parametrize("kind", ["stream", "file"])
def test__read__arrow__as_datasets_saves_it(kind, tmp_path):
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pylist(ROWS)
    writer = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with writer(str(tmp_path / "data-00000-of-00001.arrow"), table.schema) as file:
        file.write_table(table)
    written(tmp_path / "state.json", [{"a": 1}])
    assert read(str(tmp_path)) == read(ROWS)


@pytest.mark.parametrize(
    "document",
    [
        lambda rows: {"version": "1", "rows": rows},
        lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
        lambda rows: {name: {str(place): row[name] for place, row in enumerate(rows)} for name in rows[0]},
        lambda rows: {f"record {place}": row for place, row in enumerate(rows)},
    ],
    ids=["under a key", "columns", "columns of pandas", "rows under ids"],
)
def test__read__json__in_whatever_form_rows_are(document, tmp_path):
    assert read(written(tmp_path / "votes.json", document(ROWS))) == read(ROWS)


def test__read__json_of_lines__is_read_whatever_its_name(tmp_path):
    (tmp_path / "votes.json").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    assert read(tmp_path / "votes.json") == read(ROWS)


@pytest.mark.parametrize(("ending", "separator"), [("csv", ";"), ("tsv", "\t")])
def test__read__csv_of_other_separators__keeps_ids_and_quoted_lines(ending, separator, tmp_path):
    lines = [
        ["user_id", "prompt", "chosen", "rejected"],
        ["001", "Tea?", '"Yes,\nplease."', "No."],
        ["1", "Tea?", "No.", "Yes."],
    ]
    path = tmp_path / f"votes.{ending}"
    path.write_text("\ufeff" + "\n".join(map(separator.join, lines)), encoding="utf-8")
    episodes = read(path)
    assert list(episodes.users) == ["001", "1"]
    assert episodes.items[0] == ("Tea?", "Yes,\nplease.")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("votes.csv", "", "votes.csv has no rows: at least one is needed"),
        ("votes.csv", "chosen,rejected\n", "votes.csv has no rows: at least one is needed"),
        ("votes.jsonl", "\n\n", "votes.jsonl has no rows: at least one is needed"),
        ("votes.json", "[]", "votes.json has no rows: at least one is needed"),
        ("votes.json", "", "votes.json has no rows: at least one is needed"),
        (
            "votes.csv",
            "chosen,rejected\na,b,c\n",
            "votes.csv: line 2 must have 2 cells, as many as there are names of ",
        ),
        ("votes.csv", "chosen,chosen\na,b\n", "votes.csv: each column needs a name of its own, not so for 'chosen'"),
        (
            "votes.csv",
            'chosen,rejected\na,"b\n',
            "votes.csv cannot be read as CSV (Error: unexpected end of data): it was ",
        ),
        ("votes.json", '[{"chosen": "a"', "votes.json cannot be read as JSON (JSONDecodeError: "),
        ("votes.json", "3", "votes.json must hold a list of JSON objects, got an int"),
        (
            "votes.json",
            '[{"chosen": "a"}, 3]',
            "votes.json must hold a list of JSON objects, got an int at place 1 of it",
        ),
        ("votes.jsonl", '{"chosen": "a"}\n{"chos', "votes.jsonl: line 2 is not JSON (Unterminated string"),
        ("votes.jsonl", '{"chosen": "a"}\n[1]', "votes.jsonl: line 2 must be a JSON object, got a list"),
        ("votes.jsonl", "[" * 10**5, "votes.jsonl: line 1 is not JSON ("),
        ("votes.json", "[" * 10**5, "votes.json cannot be read as JSON (RecursionError: "),
        ("votes.jsonl.gz", "no archive", "votes.jsonl.gz cannot be read as JSON lines (BadGzipFile: "),
        ("votes.parquet", "PAR1", "votes.parquet cannot be read as Parquet (ArrowInvalid: "),
        ("votes.arrow", "ARROW1", "votes.arrow cannot be read as Arrow (ArrowInvalid: "),
        ("votes.jsonl", b"\xff\xfe{}", "votes.jsonl cannot be read as JSON lines (UnicodeDecodeError: "),
        (
            "votes.xlsx",
            "PK",
            "votes.xlsx: a file that ends in .csv, .tsv, .json, .jsonl, .ndjson, .parquet, .arrow (or .gz ",
        ),
    ],
)
def test__read__wrong_file__is_one_clear_error(name, content, message, tmp_path):
    if name.endswith((".parquet", ".arrow")):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(EpisodeError) as raised:
        read(path)
    assert str(raised.value).startswith(message)


def test__read__file_that_is_not_there__is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder '.*votes\.csv'"):
        read(tmp_path / "votes.csv")


def test__read__folder_of_other_things__is_one_clear_error(tmp_path):
    with pytest.raises(EpisodeError, match=r"must hold files that end in \.csv, .*, found nothing"):
        read(tmp_path)
    written(tmp_path / "conversations.jsonl", ROWS)
    written(tmp_path / "survey.jsonl", [{"user_id": "a", "age": 30}])
    with pytest.raises(EpisodeError, match=r"conversations\.jsonl has .*, and survey\.jsonl has .*: pass one of them"):
        read(tmp_path)


def test__read__file_of_parquet_without_pyarrow__says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "votes.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"votes.parquet is read with pyarrow, .*: pip install 'skmrm\[text\]'"):
        read(path)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:;a1\n\t', max_size=30).map(str.encode), st.data())
def test__read__any_bytes__are_read_or_are_an_error_of_ours(tmp_path_factory, content, data):
    path = tmp_path_factory.mktemp("any") / f"votes{data.draw(st.sampled_from(ENDINGS))}"
    path.write_bytes(content)
    with contextlib.suppress(EpisodeError):
        read(path)
