"""The embedding store: nothing is lost, doubled or mixed up, whenever a writer is killed and in whatever order."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skmrm import EpisodeSet, MetaRewardModel
from skmrm._support.files import sealed
from skmrm.baselines import PooledBradleyTerry
from skmrm.embeddings import EmbeddingStore, Summary, _shards, encode_dataset
from skmrm.embeddings._facts import StoreFacts
from skmrm.embeddings._filling import fill
from skmrm.embeddings._index import load_index
from skmrm.embeddings._keys import content_keys
from skmrm.embeddings._rows import StoredRows
from skmrm.embeddings._shards import read_shard, shard_name, write_shard
from skmrm.encoders import HashedTextEncoder, HFEncoder, TextEncoder, TextStatistics
from skmrm.encoders._encoded import Encoded, encode_pieces
from skmrm.episodes.episode_set import in_stored_order
from skmrm.episodes.messages import Conversation
from skmrm.episodes.rows import JoinedRows, RowView
from skmrm.estimators import streaming
from skmrm.exceptions import EpisodeError, ModelFileError, StoreInUseError

ITEMS = [(f"Prompt {i // 3}?", f"answer {i} {'x' * (i % 7)}") for i in range(23)]
SORTED = sorted(ITEMS)


class Letters(TransformerMixin, BaseEstimator):
    """Three numbers a text that differ between texts, learnt from nothing; it knows how often it was asked."""

    calls: list[int] = []  # noqa: RUF012 (of all instances)

    def __init__(self, scale=1.0, template=None):
        self.scale = scale
        self.template = template

    def fit(self, X, y=None):
        self.n_features_out_ = 3
        return self

    @property
    def identity_(self):
        return {"encoder": "Letters", "scale": self.scale, "template": self.template, "limits": {"tokens": 9}}

    def encode(self, X):
        type(self).calls.append(len(X))
        features = [[sum(map(ord, p)), sum(map(ord, r)), len(p) - len(r)] for p, r in X]
        n_tokens = sum(len(r.split()) for _, r in X)
        return Encoded(np.array(features, np.float32) / 1000 * self.scale, n_tokens, sum(len(r) > 13 for _, r in X))

    def transform(self, X):
        return self.encode(X).features


class Plain:
    """No estimator of scikit-learn."""

    def fit(self, X, y=None):
        self.width_ = 2
        return self

    def transform(self, X):
        return np.ones((len(X), self.width_))


class Vectors(CountVectorizer):
    """Learns words, and has an `encode` that has nothing to do with ours."""

    def encode(self, sentences):
        raise AssertionError("anything may be called encode")


def _response(item):
    return item[1]


@pytest.fixture(autouse=True)
def _forget_calls():
    Letters.calls.clear()


@pytest.fixture
def store(tmp_path):
    """Five full pieces and a short one."""
    made = EmbeddingStore(tmp_path / "store", Letters(), rows_per_shard=4)
    encode_dataset(ITEMS, made, verbose=False)
    Letters.calls.clear()
    return made


def contents(folder):
    """All files but the lock by name."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(Path(folder).rglob("*"))
        if file.is_file() and file.name != "lock"
    }


def expected(items):
    return Letters().fit(items).transform(items)


# -- keys ----------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec=None), max_size=4)  # halves of surrogate pairs, too
conversations = st.lists(st.tuples(st.sampled_from(["user", "assistant", "u"]), texts), min_size=1, max_size=2).map(
    Conversation
)
parts = texts | conversations


@given(items=st.lists(st.tuples(parts, parts), min_size=1, max_size=30))
@settings(max_examples=200)
def test__content_keys__any_items__are_equal_for_equal_items_only(items):
    keys = [bytes(key) for key in content_keys(items)]
    assert len(set(keys)) == len(set(items))
    assert dict(zip(items, keys, strict=True)) == dict(zip(items[::-1], keys[::-1], strict=True))


def test__content_keys__texts_that_run_into_each_other__differ():
    items = [
        ("ab", "c"),
        ("a", "bc"),
        ("", "abc"),
        ("abc", ""),
        ("a\0b", "c"),
        ("a", "\0bc"),
        (Conversation([("user", "ab")]), "c"),
        (Conversation([("usera", "b")]), "c"),
        (Conversation([("user", "ab")]), Conversation([("user", "c")])),
        (Conversation([("user", "ab"), ("user", "c")]), ""),
        ("ab", Conversation([("assistant", "c")])),
        ("\ud83d\ude00", ""),
        ("\U0001f600", ""),
        ("?", ""),
    ]
    assert len({bytes(key) for key in content_keys(items)}) == len(items)


def test__content_keys__known_items__never_change():
    keys = content_keys([("Tea?", "Yes."), (Conversation([("user", "Tea?")]), "Yes.")])
    known = ["2275e999ec892632a1332abdedd80de4", "8a8476cbf39fb4aa12198763a1c61279"]
    assert [bytes(key).hex() for key in keys] == known


# -- rows ----------------------------------------------------------------------------------------------------------


@given(data=st.data(), sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6), half=st.booleans())
@settings(max_examples=60)
def test__stored_rows__any_slice_and_order__are_those_of_the_array(tmp_path_factory, data, sizes, half):
    folder, dtype = tmp_path_factory.mktemp("rows"), "float16" if half else "float32"
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((sum(sizes), 3)).astype(dtype)
    shards = []
    for part in np.split(whole, np.cumsum(sizes)[:-1]):
        keys = rng.integers(0, 256, (len(part), 16), np.uint8)
        file = folder / shard_name(keys)
        write_shard(file, keys, part)
        shards.append(read_shard(file, 3, dtype))
    rows = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=30)), np.int64)
    array = whole[rows]
    stored = pickle.loads(pickle.dumps(StoredRows(tuple(shards), rows, 3, dtype)))
    beside = np.arange(2.0 * len(rows), dtype=np.float32).reshape(-1, 2)
    for lazy, plain in ((stored, array), (JoinedRows(stored, beside), np.hstack([array, beside], dtype=array.dtype))):
        assert (lazy.shape, lazy.dtype, lazy.ndim, len(lazy)) == (plain.shape, plain.dtype, 2, len(plain))
        assert_array_equal(np.asarray(lazy), plain, strict=True)
        assert_array_equal(np.asarray(lazy, np.float64), plain.astype(np.float64), strict=True)
        start, stop = (data.draw(st.none() | st.integers(-40, 40)) for _ in range(2))
        key = slice(start, stop, data.draw(st.sampled_from([None, 1, 3, -2])))
        assert_array_equal(lazy[key], plain[key], strict=True)
        if len(rows):
            places = np.array(data.draw(st.lists(st.integers(-len(rows), len(rows) - 1), max_size=9)), np.int64)
            assert_array_equal(lazy[places], plain[places], strict=True)
            assert_array_equal(lazy[places[0] if len(places) else 0], plain[places[0] if len(places) else 0])
            assert_array_equal(lazy.taken(places)[:], plain[places], strict=True)
            mask = rng.random(len(rows)) < 0.5
            assert_array_equal(lazy[mask], plain[mask], strict=True)
            assert_array_equal(RowView(lazy, np.flatnonzero(mask))[:], plain[mask], strict=True)
    assert repr(stored) == f"StoredRows(shape={array.shape}, dtype={dtype})"


def test__features__out_of_range__are_an_index_error(store):
    with pytest.raises(IndexError):
        store.features(ITEMS)[[0, len(ITEMS)]]


def test__features__shard_gone_after_the_store_was_opened__is_said(store):
    features = store.features(ITEMS)
    next((store.folder / "shards").iterdir()).unlink()
    with pytest.raises(ModelFileError, match="no longer what it was when the store was opened"):
        features[:]


# -- encoding ------------------------------------------------------------------------------------------------------


def test__encode_dataset__new_texts__are_found_again_as_they_were_encoded(tmp_path):
    store = EmbeddingStore(tmp_path / "a" / "b", Letters(), rows_per_shard=4)
    assert (len(store), store.n_features, store.dtype, bool(store)) == (0, 3, "float32", True)
    summary = encode_dataset([*ITEMS, *ITEMS[:5]], store, verbose=False)
    counted = Letters().encode(ITEMS)
    assert summary == Summary(23, 23, counted.n_tokens, counted.n_cut, summary.seconds)
    assert Letters.calls[:6] == [4, 4, 4, 4, 4, 3]
    assert len(store) == len(ITEMS)
    assert all(item in store for item in ITEMS)
    assert ("Prompt 0?", "another") not in store
    wanted = [*ITEMS[::-2], *ITEMS[3:6], ITEMS[0]]
    for reader in (store, EmbeddingStore(str(store.folder)), pickle.loads(pickle.dumps(store))):
        assert_array_equal(np.asarray(reader.features(wanted)), expected(wanted), strict=True)
        assert reader.features([])[:].shape == (0, 3)


def test__encode_dataset__all_there__asks_the_encoder_for_nothing(store):
    before = contents(store.folder)
    summary = encode_dataset(ITEMS, EmbeddingStore(store.folder, Letters()), verbose=False)
    assert Letters.calls == []
    assert (summary.n_items, summary.n_new, summary.n_tokens, summary.n_cut) == (23, 0, 0, 0)
    assert contents(store.folder) == before


def test__encode_dataset__further_texts__encodes_those_alone(store):
    more = [("New?", "yes"), ITEMS[3], ("New?", "no")]
    assert store.missing(more) == [("New?", "no"), ("New?", "yes")]
    assert encode_dataset(more, store, verbose=False).n_new == 2
    assert Letters.calls == [2]
    assert_array_equal(store.features(more + ITEMS)[:], expected(more + ITEMS))


def test__encode_dataset__every_form_of_the_same_texts__encodes_the_same(tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = [{"user_id": f"u{i % 2}", "prompt": f"p{i}", "chosen": f"c{i}", "rejected": f"r{i}"} for i in range(6)]
    items = [(row["prompt"], row[kind]) for row in rows for kind in ("chosen", "rejected")]
    place = {item: row for row, item in enumerate(items)}
    episodes = EpisodeSet(
        users=["u0", "u1", "nobody"],
        user=np.repeat([0, 1], 3),
        chosen=[place[row["prompt"], row["chosen"]] for row in rows],
        rejected=[place[row["prompt"], row["rejected"]] for row in rows],
        group=np.arange(6),
        items=[*items, ("of no pair", "left out")],
    )
    forms = [rows, pandas.DataFrame(rows), episodes, list(episodes)[:2], items, np.array(items, object), items[::-1]]
    found = []
    for number, form in enumerate(forms):
        store = EmbeddingStore(tmp_path / str(number), Letters())
        encode_dataset(form, store, verbose=False)
        found.append(contents(store.folder))
    assert all(one == found[0] for one in found)
    store = EmbeddingStore(tmp_path / "0", Letters())
    assert encode_dataset(episodes[0], store, verbose=False).n_items == 6
    assert encode_dataset([], store, verbose=False).n_items == 0


def test__encode_dataset__messages__are_other_texts_than_what_they_read_like(tmp_path):
    store = EmbeddingStore(tmp_path, Letters())
    chat = [([{"role": "user", "content": "Tea?"}], [{"role": "assistant", "content": "Yes."}])]
    assert encode_dataset(chat, store, verbose=False).n_new == 1
    assert ("Tea?", "Yes.") not in store
    assert (Conversation([("user", "Tea?")]), Conversation([("assistant", "Yes.")])) in store


def test__missing__conversations_that_read_alike__have_an_order_of_their_own(store):
    alike = [(Conversation([(role, "Hi")]), "Hello") for role in ("user", "assistant")]
    items = [*alike, ("Hi", "Hello")]
    found = [store.missing(order) for order in (items, items[::-1])]
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test__encode_dataset__what_cannot_be_read__is_refused_before_any_work(store):
    arrays = EpisodeSet(users=["a"], user=[0], chosen=[0], rejected=[1], group=[0], features=np.eye(2))
    with pytest.raises(EpisodeError, match="encode_dataset needs texts"):
        encode_dataset(arrays, store)
    with pytest.raises(ValueError, match="each item must be a"):
        encode_dataset(["text"], store)
    reader = EmbeddingStore(store.folder)
    with pytest.raises(ValueError, match=r"2 texts are not in .* opened for reading: open it with its encoder"):
        encode_dataset([("a", "b"), ("c", "d"), ITEMS[0]], reader)
    assert Letters.calls == []


def test__encode_dataset__encoder_whose_output_cannot_be_used__keeps_what_was_written(store):
    class Broken(Letters):
        identity_ = Letters.identity_  # its own word for what it is

        def encode(self, X):
            encoded = super().encode(X)
            return Encoded(encoded.features * (np.nan if ("New?", "5") in X else 1), 0, 0)

    new = [("New?", str(number)) for number in range(10)]
    with pytest.raises(ValueError, match="the output of Broken cannot be used: all values must be finite"):
        encode_dataset(new, EmbeddingStore(store.folder, Broken()), verbose=False)
    assert store.missing(new) == new[4:]


def test__encode_dataset__learnt_encoder_with_encode_of_its_own__is_asked_to_transform(tmp_path):
    encoder = Vectors(preprocessor=_response).fit(ITEMS)
    store = EmbeddingStore(tmp_path, encoder)
    summary = encode_dataset(ITEMS, store, verbose=False)
    assert summary.n_tokens == 0
    assert "token" not in repr(summary)
    assert_array_equal(store.features(ITEMS)[:], encoder.transform(ITEMS).toarray())


def test__encode_dataset__verbose__shows_texts_tokens_and_cuts(tmp_path, capsys):
    encode_dataset(ITEMS, EmbeddingStore(tmp_path, Letters()), verbose=1)
    shown = capsys.readouterr().err
    assert "23/23" in shown
    assert "tokens/s" in shown
    assert f"{Letters().encode(ITEMS).n_cut} cut" in shown


def test__summary__repr__reads_as_a_sentence():
    assert repr(Summary(2000, 1500, 300_000, 2, 10.0)) == (
        "Summary(2,000 texts, 1,500 new, 300,000 tokens at 30,000 a second, 2 cut, 10.0 s)"
    )


@given(order=st.permutations(range(6)), killed_after=st.integers(0, 6))
@settings(max_examples=25)
def test__pieces__in_any_order_with_a_stop_between__leave_the_same_bytes(tmp_path_factory, order, killed_after):
    folder = tmp_path_factory.mktemp("order")
    straight = EmbeddingStore(folder / "straight", Letters(), rows_per_shard=4)
    encode_dataset(ITEMS, straight, verbose=False)
    store = EmbeddingStore(folder / "shuffled", Letters(), rows_per_shard=4)
    pieces = store.chunks(ITEMS[::-1])
    assert pieces == [SORTED[start : start + 4] for start in range(0, 23, 4)]
    for place in order[:killed_after]:
        store.add(pieces[place], expected(pieces[place]))
    assert store.chunks(ITEMS) == [piece for place, piece in enumerate(pieces) if place not in order[:killed_after]]
    fill(store, ITEMS, lambda left: reversed(list(encode_pieces(Letters().fit(ITEMS), left))), verbose=False)
    assert contents(store.folder) == contents(straight.folder)


def test__encode_dataset__interrupted__keeps_what_was_written(tmp_path):
    class Interrupted(Letters):
        identity_ = Letters.identity_

        def encode(self, X):
            if len(Letters.calls) == 2:
                raise KeyboardInterrupt
            return super().encode(X)

    with pytest.raises(KeyboardInterrupt):
        encode_dataset(ITEMS, EmbeddingStore(tmp_path, Interrupted(), rows_per_shard=4), verbose=False)
    store = EmbeddingStore(tmp_path, Letters())
    assert store.missing(ITEMS) == SORTED[8:]
    with store.writing():  # nobody holds it
        pass


def test__shards_of_two_stores__put_together__double_no_text(tmp_path):
    stores = [EmbeddingStore(tmp_path / name, Letters(), rows_per_shard=size) for name, size in (("a", 4), ("b", 5))]
    encode_dataset(ITEMS[:15], stores[0], verbose=False)
    encode_dataset(ITEMS[8:], stores[1], verbose=False)
    for file in (stores[1].folder / "shards").iterdir():
        (stores[0].folder / "shards" / file.name).write_bytes(file.read_bytes())
    for merged in (stores[0], EmbeddingStore(stores[0].folder)):
        assert len(merged) == len(ITEMS)
        assert_array_equal(merged.features(ITEMS)[:], expected(ITEMS))


def test__two_shards_with_one_text__the_first_by_name_counts(tmp_path):
    shards = []
    for size in (1, 2, 3):
        keys = content_keys(ITEMS[:size])
        write_shard(tmp_path / shard_name(keys), keys, np.full((size, 1), size, np.float32))
        shards.append(read_shard(tmp_path / shard_name(keys), 1, "float32"))
    shards.sort(key=lambda shard: shard.file.name)
    index, _ = load_index(tmp_path, tuple(shards))
    rows = StoredRows(index.shards, index.find(content_keys(ITEMS[:1])), 1, "float32")
    assert rows[0] == shards[0].n_rows
    assert len(index.keys) == 3


# -- kills ---------------------------------------------------------------------------------------------------------

SCRIPT = """
    import os, signal, sys
    from itertools import count
    from pathlib import Path
    import numpy as np
    from skmrm.embeddings import EmbeddingStore, encode_dataset

    ITEMS = [(f"Prompt {i // 3}?", f"answer {i}") for i in range(14)]

    class Lengths:
        identity_ = {"encoder": "Lengths"}
        n_features_out_ = 2
        after_piece = staticmethod(lambda: None)
        fit = transform = lambda self, X: self

        def transform(self, X):
            self.after_piece()
            return np.array([[len(p), len(r) + int(r.split()[1])] for p, r in X], float)

    def fill(folder):
        encode_dataset(ITEMS, EmbeddingStore(folder, Lengths().fit(None), rows_per_shard=4), verbose=False)

    def contents(folder):
        files = (file for file in folder.rglob("*") if file.is_file() and file.name != "lock")
        return {str(file.relative_to(folder)): file.read_bytes() for file in files}
"""

EVERY_MOMENT = """
    def kill_at(moment):
        def passed():
            passed.moments += 1
            if passed.moments == moment:
                os.kill(os.getpid(), signal.SIGKILL)
        passed.moments = 0
        sync, replace, write = os.fsync, os.replace, Path.write_bytes
        def half_written(file, data):
            write(file, data[: len(data) // 2])
            passed()
            write(file, data)
        def replaced(*args, **kwargs):
            passed()
            replace(*args, **kwargs)
            passed()
        def synced(handle):
            passed()
            sync(handle)
        os.fsync, os.replace, Path.write_bytes = synced, replaced, half_written

    base = Path(sys.argv[1])
    fill(base / "whole")
    whole = contents(base / "whole")
    assert len(whole) == 6  # store, index, four shards
    for moment in count(1):
        folder = base / str(moment)
        child = os.fork()
        if child == 0:
            kill_at(moment)
            fill(folder)
            os._exit(0)
        killed = os.waitpid(child, 0)[1] == signal.SIGKILL
        there = contents(folder)
        for name in set(there) & set(whole):
            assert there[name] == whole[name], (moment, name)
        if "store.json" in there:
            reader = EmbeddingStore(folder)
            kept = [item for item in ITEMS if item in reader]
            assert len(kept) == min(14, 4 * sum(name in whole for name in there if name.startswith("shards")))
            made = Lengths().transform(kept) if kept else np.empty((0, 2))
            np.testing.assert_array_equal(reader.features(kept)[:], made)
        fill(folder)
        assert contents(folder) == whole, moment
        if not killed:
            break
    print(moment)
"""

IN_THE_MIDDLE = """
    def stop():
        Lengths.n_pieces = getattr(Lengths, "n_pieces", 0) + 1
        if Lengths.n_pieces == 3:
            print("third piece", flush=True)
            sys.stdin.read()  # until killed, or left alone

    if sys.argv[2] == "stop":
        fill(Path(sys.argv[1]).parent / "whole")
        Lengths.after_piece = staticmethod(stop)
    fill(Path(sys.argv[1]))
"""


def script(body, *arguments):
    code = textwrap.dedent(SCRIPT) + textwrap.dedent(body)
    return [sys.executable, "-c", code, *map(str, arguments)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks at every moment")
def test__kill__at_every_write_sync_and_rename__loses_and_doubles_nothing(tmp_path):
    done = subprocess.run(script(EVERY_MOMENT, tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 6 * 5  # six files, each written, synced, renamed and its folder synced


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test__kill__while_a_piece_is_encoded__frees_the_store_and_resumes_to_the_same_bytes(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(script(IN_THE_MIDDLE, tmp_path / "killed", "stop"), **pipes) as writer:
        writer.stdout.readline()
        reader = EmbeddingStore(tmp_path / "killed")
        assert len(reader) == 8
        with pytest.raises(StoreInUseError, match="one process at a time may write"), reader.writing():
            pass
        assert not (reader.folder / "index.safetensors").exists()
        os.kill(writer.pid, signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert len(reader) == 8
    with reader.writing():
        pass
    subprocess.run(script(IN_THE_MIDDLE, tmp_path / "killed", "go on"), check=True)
    assert len(reader) == 14
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test__writing__leftovers_of_a_killed_writer__are_removed_by_the_next(store):
    leftovers = [store.folder / "store.json.partial", store.folder / "shards" / "ab.safetensors.partial"]
    for file in leftovers:
        file.write_bytes(b"half")
    assert len(EmbeddingStore(store.folder)) == len(ITEMS)
    with store.writing():
        assert not any(file.exists() for file in leftovers)
    assert len(store) == len(ITEMS)


def test__writing__twice__is_refused_to_others_and_nests_for_the_same(store):
    other = EmbeddingStore(store.folder, Letters())
    with store.writing(), store.writing():
        with pytest.raises(StoreInUseError, match="another one is writing"):
            encode_dataset([("New?", "yes")], other)
        assert encode_dataset(ITEMS, other, verbose=False).n_new == 0  # reading
        assert Letters.calls == []
    encode_dataset([("New?", "yes")], other, verbose=False)
    assert ("New?", "yes") in store


# -- files ---------------------------------------------------------------------------------------------------------


def test__files__of_a_store__hold_no_text_and_no_user(store):
    users = [f"user-{number}-secret" for number in range(4)]
    episodes = EpisodeSet(
        users=users, user=range(4), chosen=range(4), rejected=range(4, 8), group=range(4), items=ITEMS[:8]
    )
    encode_dataset(episodes, store, verbose=False)
    everything = b"".join(contents(store.folder).values())
    for words in (b"answer", b"Prompt", b"secret"):
        assert words not in everything


def test__shards__read_by_safetensors__hold_features_and_keys(store):
    from safetensors.numpy import load_file

    tables = [load_file(file) for file in (store.folder / "shards").iterdir()]
    assert sorted(len(table["keys"]) for table in tables) == [3, 4, 4, 4, 4, 4]
    assert {(table["features"].dtype.name, table["keys"].dtype.name) for table in tables} == {("float32", "uint8")}
    found = {bytes(key): row for table in tables for key, row in zip(table["keys"], table["features"], strict=True)}
    assert_array_equal([found[bytes(key)] for key in content_keys(ITEMS)], expected(ITEMS))


def damage_middle(file):
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        damage_middle,
        lambda file: file.write_bytes(file.read_bytes()[:-7]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"\xff" * 100),
    ],
    ids=["absent", "altered", "truncated", "empty", "nonsense"],
)
def test__index__absent_or_damaged__is_made_again(store, damage):
    before = contents(store.folder)
    damage(store.folder / "index.safetensors")
    reader = EmbeddingStore(store.folder)
    assert_array_equal(reader.features(ITEMS)[:], expected(ITEMS))
    encode_dataset(ITEMS, reader, verbose=False)
    assert contents(store.folder) == before


def test__index__of_other_shards__is_made_again(store):
    next((store.folder / "shards").iterdir()).unlink()
    assert len(EmbeddingStore(store.folder)) in (len(ITEMS) - 4, len(ITEMS) - 3)
    reader = EmbeddingStore(store.folder, Letters())
    encode_dataset(ITEMS, reader, verbose=False)
    assert_array_equal(reader.features(ITEMS)[:], expected(ITEMS))


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda data: data[:-5], "bytes instead of"),
        (lambda data: data + b"x", "bytes instead of"),
        (lambda data: data[:40], "no shard that can be read"),
        (lambda data: b"", "no shard that can be read"),
        (lambda data: b"\x02" + bytes(7) + b"[]" + data, "no shard that can be read"),
        (lambda data: data.replace(b"F32", b"I32"), "a shard of this store holds"),
        (lambda data: data.replace(b'"shape":[4,3]', b'"shape":[3,4]'), "a shard of this store holds"),
        (lambda data: data.replace(b'"features"', b'"mistakes"'), "no shard that can be read|a shard of this store"),
        (lambda data: data.replace(b"features_crc32", b"mistakes_crc32"), "features_crc32 is needed"),
    ],
)
def test__shard__truncated_or_damaged__is_reported_on_opening(store, damage, match):
    file = max((store.folder / "shards").iterdir(), key=lambda file: file.stat().st_size)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ModelFileError, match=match) as error:
        EmbeddingStore(store.folder)
    assert str(file) in str(error.value)
    assert "remove this file, and encode its texts again" in str(error.value)
    file.unlink()
    repaired = EmbeddingStore(store.folder, Letters())
    encode_dataset(ITEMS, repaired, verbose=False)
    assert_array_equal(repaired.features(ITEMS)[:], expected(ITEMS))


def test__shard__altered_keys__are_noticed_when_the_index_is_made(store):
    file = next((store.folder / "shards").iterdir())
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    (store.folder / "index.safetensors").unlink()
    with pytest.raises(ModelFileError, match="is not named after its keys"):
        EmbeddingStore(store.folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The bytes of a store, of which copies are damaged."""
    made = EmbeddingStore(tmp_path_factory.mktemp("files"), Letters(), rows_per_shard=8)
    encode_dataset(ITEMS, made, verbose=False)
    return contents(made.folder)


def write_files(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def damages(files):
    """Some files with bits turned over, among the first 200 bytes (the header) as often as anywhere; perhaps cut."""

    def of_file(name):
        n_bits = 8 * len(files[name])
        places = st.integers(0, n_bits - 1) | st.integers(0, 1600).map(lambda bit: bit % n_bits)
        return st.tuples(
            st.just(name), st.lists(places, min_size=1, max_size=4), st.none() | st.integers(0, len(files[name]))
        )

    return st.lists(
        st.sampled_from(sorted(files)).flatmap(of_file), min_size=1, max_size=2, unique_by=lambda drawn: drawn[0]
    )


def features_or_error(folder, encoder):
    """What a store gives, and once more after it was filled; None after an error that says what to do."""
    try:
        store = EmbeddingStore(folder, encoder)
        found = store.features(ITEMS)[:]
    except ModelFileError as error:
        message = str(error)
        assert str(folder) in message
        assert re.search("encode its texts again|put the file back|upgrade skmrm", message)
        return None
    if encoder is not None:
        encode_dataset(ITEMS, store, verbose=False)
        assert_array_equal(store.features(ITEMS)[:], found, strict=True)
    return found


@given(data=st.data())
@settings(max_examples=200)
def test__files__altered_anywhere__give_the_same_numbers_or_a_clear_error(tmp_path_factory, files, data):
    altered = dict(files)
    for name, bits, end in data.draw(damages(files)):
        content = bytearray(files[name])
        for bit in bits:
            content[bit // 8] ^= 1 << bit % 8
        altered[name] = bytes(content[:end])
    folder = write_files(tmp_path_factory.mktemp("altered"), altered)
    for encoder in (None, Letters()):
        found = features_or_error(folder, encoder)
        if found is not None:
            assert_array_equal(found, expected(ITEMS), strict=True)


def test__shards__put_in_place_of_each_other__are_noticed_when_they_are_read(tmp_path, files):
    one, other = [name for name, data in files.items() if b'"shape":[8,3]' in data]
    folder = write_files(tmp_path, {**files, one: files[other], other: files[one]})
    store = EmbeddingStore(folder)  # the index is right, and names are all that opening looks at
    for read in (lambda: store.features(ITEMS)[:], store.verify):
        with pytest.raises(ModelFileError, match="is not named after its keys"):
            read()


def test__verify__names_all_shards_that_are_damaged(store):
    assert store.verify() == len(ITEMS)
    shards = sorted((store.folder / "shards").iterdir())
    for file in shards[1:3]:
        content = bytearray(file.read_bytes())
        content[-100] ^= 16
        file.write_bytes(content)
    with pytest.raises(ModelFileError, match="features that were altered after they were written") as error:
        store.verify()
    assert [str(file) in str(error.value) for file in shards] == [False, True, True, False, False, False]


def test__shard__altered_after_it_was_read__is_noticed_by_whoever_opens_it(store):
    rows = store.features(ITEMS)
    read = rows[:]
    file = next((store.folder / "shards").iterdir())
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    for later in (pickle.loads(pickle.dumps(rows)), EmbeddingStore(store.folder).features(ITEMS)):
        with pytest.raises(ModelFileError, match=r"were altered .* remove this file, and encode its texts again"):
            later[:]
    file.unlink()
    repaired = EmbeddingStore(store.folder, Letters())
    encode_dataset(ITEMS, repaired, verbose=False)
    assert_array_equal(repaired.features(ITEMS)[:], read)


def test__store__that_grows__compares_each_shard_once(store, monkeypatch):
    compared = []
    checksum = _shards._checksum
    monkeypatch.setattr(_shards, "_checksum", lambda features: compared.append(len(features)) or checksum(features))
    store.features(ITEMS)[:]
    assert sorted(compared) == [3, 4, 4, 4, 4, 4]
    compared.clear()
    store.add([("New?", "yes")], np.ones((1, 3)))
    store.features([*ITEMS, ("New?", "yes")])[:]
    store.features(ITEMS)[:]
    assert compared == [1, 1]  # written, and read


def test__shards__from_before_there_were_checksums__are_read_and_not_counted_as_verified(store):
    from safetensors.numpy import load_file, save_file

    for file in (store.folder / "shards").iterdir():
        save_file(load_file(file), file)
    reader = EmbeddingStore(store.folder)
    assert_array_equal(reader.features(ITEMS)[:], expected(ITEMS))
    assert reader.verify() == 0
    encode_dataset([("New?", "yes")], EmbeddingStore(store.folder, Letters()), verbose=False)
    assert reader.verify() == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text.replace('"Letters"', '"Lettres"'), "was altered after it was written"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "upgrade skmrm"),
        (lambda text: text[:30], "cannot be read"),
        (lambda text: "[]", "cannot be read"),
    ],
)
def test__store_file__damaged_or_newer__is_reported_on_opening(store, change, match):
    file = store.folder / "store.json"
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ModelFileError, match=match):
        EmbeddingStore(store.folder, Letters())


def readings(folder):
    """What a store gives for all texts, or the error that it cannot be read; None where there is no store any more."""
    try:
        opened = EmbeddingStore(folder)
        return opened.features(ITEMS)[:] if opened.missing(ITEMS) == [] else None
    except ValueError as error:
        return str(error)


def is_right(folder, found):
    if isinstance(found, str):
        return str(folder) in found
    return found is None or np.array_equal(found, expected(ITEMS))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(data=st.data())
def test__store__any_file_replaced_or_gone__is_an_error_that_names_it_or_changes_no_number(
    store, altered_folder, tmp_path, data
):
    folder = altered_folder(data, store.folder, tmp_path / "altered")
    assert is_right(folder, readings(folder))
    assert not (folder / "code was run").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(data=st.data())
def test__store_file__any_value_that_was_sealed_again__is_an_error_or_opens(store, altered_document, tmp_path, data):
    shutil.copytree(store.folder, tmp_path / "altered", dirs_exist_ok=True)
    document = json.loads((store.folder / "store.json").read_text())
    del document["config_sha256"]
    (tmp_path / "altered" / "store.json").write_bytes(sealed(altered_document(data, document)))
    assert is_right(tmp_path / "altered", readings(tmp_path / "altered"))


# -- opening -------------------------------------------------------------------------------------------------------


def test__open__other_encoder_or_form__names_what_differs_with_both_values(store):
    template = "{% for message in messages %}" + "x" * 200
    with pytest.raises(ValueError) as error:
        EmbeddingStore(store.folder, Letters(scale=2.0, template=template), dtype="float16", rows_per_shard=8)
    message = str(error.value)
    for part in (
        "scale: 1.0 in the store, 2.0 asked for",
        "template: None in the store, '{% for message in messages %}xxx",
        "dtype: 'float32' in the store, 'float16' asked for",
        "rows_per_shard: 4 in the store, 8 asked for",
        "another folder",
    ):
        assert part in message
    assert len(message) < 700
    assert "limits" not in message
    assert len(EmbeddingStore(store.folder, Letters(), dtype="float32", rows_per_shard=4)) == len(ITEMS)


def test__differences__long_values__are_cut_to_where_they_differ():
    facts = StoreFacts({"template": "a" * 300 + "b" + "c" * 300, "files": {"one": 1, "two": 2}}, 3, "float32", 4)
    asked = {"identity": {"template": "a" * 300 + "d" + "c" * 300, "files": {"one": 1}}}
    first, second = facts.differences(asked)
    assert first == f"template: …{'a' * 10}b{'c' * 29}… in the store, …{'a' * 10}d{'c' * 29}… asked for"
    assert second == "files.two: 2 in the store, nothing asked for"
    assert facts.differences({"identity": facts.identity, "dtype": None}) == []


def test__open__folder_without_a_store__is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no store in .*: pass an encoder to make one"):
        EmbeddingStore(tmp_path)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"has no store.json and holds 'thesis.tex': pass another folder"):
        EmbeddingStore(tmp_path, Letters())
    with pytest.raises(ValueError, match="there is no store in"):
        EmbeddingStore(tmp_path / "nothing")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test__open__bad_parameters__are_said_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"dtype must be .* got 'int8'; rows_per_shard must be .* got 0"):
        EmbeddingStore(tmp_path, Letters(), dtype="int8", rows_per_shard=0)
    with pytest.raises(ValueError, match=r"encoder must be None .* got the class Letters"):
        EmbeddingStore(tmp_path, Letters)
    assert list(tmp_path.iterdir()) == []


def test__open__encoder_that_learns__must_be_fitted_and_is_told_from_others(tmp_path):
    for unfitted in (HashedTextEncoder(), make_pipeline(CountVectorizer()), TextEncoder(text_statistics=False)):
        with pytest.raises(ValueError, match="must be fitted before a store is made or opened with it"):
            EmbeddingStore(tmp_path, unfitted)
    encoder = HashedTextEncoder(n_components=3).fit(ITEMS)
    store = EmbeddingStore(tmp_path, encoder)
    encode_dataset(ITEMS, store, verbose=False)
    assert store.encoder_ is encoder
    assert_array_equal(store.features(ITEMS)[:], encoder.transform(ITEMS))
    assert len(EmbeddingStore(tmp_path, pickle.loads(pickle.dumps(encoder)))) == len(ITEMS)
    assert len(EmbeddingStore(tmp_path, HashedTextEncoder(n_components=3).fit(ITEMS))) == len(ITEMS)
    with pytest.raises(ValueError, match=r"digest: .* in the store, .* asked for"):
        EmbeddingStore(tmp_path, HashedTextEncoder(n_components=3).fit(ITEMS[:9]))


def test__open__text_encoder__gives_its_inner_one_and_no_statistics(tmp_path):
    with pytest.raises(ValueError, match=r"without statistics of style.*pass its inner encoder"):
        EmbeddingStore(tmp_path, TextEncoder(Letters()))
    assert EmbeddingStore(tmp_path, TextEncoder(Letters(), text_statistics=False)).identity["encoder"] == "Letters"
    fitted = TextEncoder(HashedTextEncoder(n_components=3), text_statistics=False).fit(ITEMS)
    assert EmbeddingStore(tmp_path / "other", fitted).encoder_ is fitted.encoder_


def test__open__encoder_of_no_class_of_scikit_learn__is_fitted_or_not(tmp_path):
    with pytest.raises(ValueError, match="got a Plain that is not"):
        EmbeddingStore(tmp_path, Plain())
    assert EmbeddingStore(tmp_path, Plain().fit(ITEMS)).n_features == 2
    encoder = CountVectorizer(preprocessor=lambda item: item[1]).fit(ITEMS)
    assert EmbeddingStore(tmp_path / "vectorizer", encoder).n_features == len(encoder.vocabulary_)
    encoder.source_ = (word for word in "a")
    with pytest.raises(ValueError, match=r"what the CountVectorizer is made of .*generator.* property identity_"):
        EmbeddingStore(tmp_path / "vectorizer", encoder)


def test__open__unfitted_encoder_that_learns_nothing__is_not_changed(tmp_path):
    encoder = Letters()
    store = EmbeddingStore(tmp_path, encoder)
    assert not hasattr(encoder, "n_features_out_")
    assert store.encoder_.n_features_out_ == 3
    assert repr(store).startswith(f"EmbeddingStore({str(tmp_path)!r}, encoder=Letters(")


def test__open__relative_folder__survives_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = EmbeddingStore("here", Letters())
    encode_dataset(ITEMS, store, verbose=False)
    monkeypatch.chdir(tmp_path.parent)
    assert len(pickle.loads(pickle.dumps(store))) == len(ITEMS)


# -- adding and asking ---------------------------------------------------------------------------------------------


def test__add__what_cannot_be_the_features__is_refused_at_once(store):
    with pytest.raises(ValueError, match=r"must be distinct.*; features of shape \(2, 3\) are needed, got \(2, 2\)"):
        store.add([("a", "b"), ("a", "b")], np.ones((2, 2)))
    with pytest.raises(ValueError, match="finite in float32, 1 row are not: mend the encoder"):
        store.add([("a", "b"), ("c", "d")], [[1, 2, 3], [1, np.nan, 3]])
    assert len(store) == len(ITEMS)


def test__add__a_piece_that_is_there__changes_nothing(store):
    before = contents(store.folder)
    store.add(SORTED[:4], np.zeros((4, 3)))
    assert contents(store.folder) == before


def test__float16__is_kept_rounded_and_refuses_what_is_too_large(tmp_path):
    store = EmbeddingStore(tmp_path, Letters(), dtype="float16")
    encode_dataset(ITEMS, store, verbose=False)
    assert_array_equal(store.features(ITEMS)[:], expected(ITEMS).astype(np.float16), strict=True)
    with pytest.raises(ValueError, match=r"finite in float16, .* or make a store of dtype='float32'"):
        store.add([("a", "b")], [[1e6, 0, 0]])


def test__features__missing_texts__say_how_many(store):
    with pytest.raises(KeyError, match=r"2 of 4 texts are not in the store .*: encode_dataset"):
        store.features([ITEMS[0], ("a", "b"), ITEMS[1], ("c", "d")])


# -- models --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def choices(planted):
    """Planted choices between texts that say their features, and items of no pair."""
    compact = planted.episodes.compact()
    answers = [" ".join(f"{number:.3f}" for number in row) for row in np.asarray(compact.features)]
    items = [(f"Prompt {row % 50}?", answer) for row, answer in enumerate(answers)]
    columns = {name: getattr(compact, name) for name in ("users", "user", "chosen", "rejected", "group")}
    return EpisodeSet(**columns, items=[*items, ("Nobody", "asked for this")])


class Numbers(Letters):
    """The numbers that a text says."""

    def fit(self, X, y=None):
        self.n_features_out_ = 4
        return self

    @property
    def identity_(self):
        return {"encoder": "Numbers"}

    def encode(self, X):
        type(self).calls.append(len(X))
        return Encoded(np.array([list(map(float, response.split())) for _, response in X], np.float32), 4 * len(X), 0)


@pytest.fixture(scope="module")
def filled(choices, tmp_path_factory):
    made = EmbeddingStore(tmp_path_factory.mktemp("filled"), Numbers(), rows_per_shard=100)
    encode_dataset(choices, made, verbose=False)
    return made


def same_bits(one, other):
    """Whether two models have learnt the same, but for moments, which are of features that have names."""
    moments = ("crowd.moments", "crowd.n_items")
    ours, theirs = (
        {name: value for name, value in (one.base_rewards_.params | one._rule_params).items() if name not in moments}
        for one in (one, other)
    )
    return set(ours) == set(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def streaming_limit(n_features, n_rows):
    return n_rows * 4 * n_features / streaming._SAMPLE_SHARE / 2**30


def test__attach__any_episodes__are_the_same_choices_in_the_order_of_the_files(choices, filled):
    attached = filled.attach(choices)
    assert attached.n_items == choices.n_items - 1
    assert np.all(np.diff(attached.features.rows) > 0)
    assert attached.is_checked
    for name in ("chosen", "rejected"):
        asked = [choices.items[row] for row in getattr(choices, name)]
        assert [attached.items[row] for row in getattr(attached, name)] == asked
        assert_array_equal(attached.features[getattr(attached, name)], Numbers().transform(asked))
    assert_array_equal(attached.user, choices.user)
    assert_array_equal(attached.group, choices.group)
    assert in_stored_order(choices) is choices
    again = pickle.loads(pickle.dumps(attached[:3]))
    assert_array_equal(again.compact().features[:], attached[:3].compact().features[:])


def test__attach__what_is_not_there__is_refused(choices, filled, episodes):
    with pytest.raises(ValueError, match="attach needs episodes of texts"):
        filled.attach(episodes)
    other = [*choices.items[1:], ("a", "b")]
    with pytest.raises(KeyError, match="are not in the store"):
        filled.attach(EpisodeSet(**{**choices.__getstate__(), "items": other}))


@pytest.mark.parametrize("n_rows", [None, 200])
def test__fit__attached_episodes__give_the_model_of_the_loaded_arrays(small, choices, filled, n_rows):
    attached = filled.attach(choices)
    loaded = attached.with_features(np.asarray(attached.features))
    model = clone(small).set_params(max_memory=None if n_rows is None else streaming_limit(4, n_rows))
    one, other = clone(model).fit(attached), clone(model).fit(loaded)
    assert same_bits(one, other)
    assert one.score(attached) == other.score(loaded)
    assert set(one.adapt_many(attached)) == set(choices.users)


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("kind", [MetaRewardModel, PooledBradleyTerry])
def test__memory__a_store__gives_the_model_of_no_memory(small, choices, tmp_path, statistics, kind):
    params = {"random_state": 0, "device": "cpu", "text_statistics": statistics, "validation_fraction": 0.5}
    store = EmbeddingStore(tmp_path, Numbers(), rows_per_shard=64)
    model = kind(memory=store, **params).fit(choices)
    n_texts = sum(Letters.calls)
    assert n_texts == choices.n_items - 1 == len(store)
    assert max(Letters.calls) == 64
    plain = kind(Numbers(), **params).fit(choices)
    assert same_bits(model, plain)
    Letters.calls.clear()
    assert model.score(choices) == plain.score(choices)
    assert_array_equal(model.encoder_.get_feature_names_out(), plain.encoder_.get_feature_names_out())
    n_asked = sum(Letters.calls)  # all by the plain model
    assert_array_equal(clone(model).fit(choices).start_weights_, model.start_weights_)
    assert sum(Letters.calls) == n_asked


def test__memory__new_texts__are_added_when_they_are_asked_for(small, choices, tmp_path):
    store = EmbeddingStore(tmp_path, Numbers())
    model = clone(small).set_params(memory=store).fit(choices)
    new = [("New?", "1 2 3 4"), ("New?", "0 0 1 0")]
    Letters.calls.clear()
    first, second = model.predict(new), model.predict(new[::-1])[::-1]
    assert Letters.calls == [2]
    assert_array_equal(first, second)
    assert new[0] in store


@pytest.mark.parametrize("statistics", [True, False])
def test__memory__a_store_and_max_memory__reads_a_part_at_a_time(small, choices, filled, monkeypatch, statistics):
    reads = []
    read = StoredRows._read
    monkeypatch.setattr(StoredRows, "_read", lambda self, rows: reads.append(len(rows)) or read(self, rows))
    width = 4 + statistics * len(TextStatistics().get_feature_names_out())
    limit = streaming_limit(width, 200)
    model = clone(small).set_params(memory=filled, text_statistics=statistics, max_memory=limit).fit(choices)
    assert 0 < max(reads) <= 200
    assert model.n_features_in_ == width
    assert model.encoder_.n_features_out_ == width
    if not statistics:
        assert same_bits(model, clone(small).set_params(max_memory=limit).fit(filled.attach(choices)))
    assert model.score(choices) > 0.5


def test__memory__opened_for_reading__looks_up_and_refuses_new_texts(small, choices, filled):
    reader = EmbeddingStore(filled.folder)
    model = clone(small).set_params(memory=reader, text_statistics=False).fit(choices)
    assert same_bits(model, clone(small).set_params(memory=filled, text_statistics=False).fit(choices))
    with pytest.raises(ValueError, match="opened for reading"):
        model.predict([("New?", "1 2 3 4")])
    with pytest.raises(ValueError, match="opened for reading, so there is no encoder to save"):
        model.save(filled.folder.parent / "model")
    with_encoder = TextEncoder(Numbers(), memory=reader, text_statistics=False).fit_transform(choices.items[:5])
    assert_array_equal(with_encoder, Numbers().transform(choices.items[:5]))


def test__memory__another_encoder_than_that_of_the_store__is_refused(small, choices, filled):
    with pytest.raises(ValueError, match="encoder: 'Numbers' in the store, 'Letters' asked for"):
        clone(small).set_params(memory=filled, encoder=Letters()).fit(choices)
    with pytest.raises(ValueError, match="memory=store and encoder=None takes the encoder of the store"):
        clone(small).set_params(memory=filled, encoder=HashedTextEncoder()).fit(choices)
    assert clone(small).set_params(memory=filled, encoder=Numbers()).fit(choices).encoder_.encoder_.n_features_out_ == 4


def test__memory__set_after_fit__is_used_from_then_on(tmp_path):
    encoder = TextEncoder(Letters(), text_statistics=False).fit(ITEMS)
    plain = encoder.transform(ITEMS)
    encoder.set_params(memory=EmbeddingStore(tmp_path / "one", Letters()))
    assert_array_equal(encoder.transform(ITEMS), plain, strict=True)
    assert len(encoder.memory) == len(ITEMS)
    encoder.set_params(memory=EmbeddingStore(tmp_path / "another", Letters()))
    assert_array_equal(encoder.transform(ITEMS[:2]), plain[:2])
    assert len(encoder.memory) == 2
    encoder.set_params(memory=None)
    assert_array_equal(encoder.transform(ITEMS), plain)
    with pytest.raises(ValueError, match="fit_stored needs an EmbeddingStore as memory, got None"):
        encoder.fit_stored(ITEMS)


@pytest.mark.parametrize("statistics", [True, False])
def test__text_encoder__memory_a_store__gives_what_none_gives(tmp_path, statistics):
    repeated = [*ITEMS, *ITEMS[:4]]
    store = EmbeddingStore(tmp_path, Letters(), rows_per_shard=4)
    encoder = TextEncoder(memory=store, text_statistics=statistics, n_jobs=2)
    plain = TextEncoder(Letters(), text_statistics=statistics)
    assert encoder.fit(ITEMS).n_features_out_ == plain.fit(ITEMS).n_features_out_
    assert len(store) == 0
    assert_array_equal(encoder.fit_transform(repeated), plain.fit_transform(repeated), strict=True)
    assert_array_equal(encoder.transform(repeated[::-1]), plain.transform(repeated[::-1]), strict=True)
    assert_array_equal(encoder.fit_stored(repeated)[:], plain.transform(repeated))
    assert encoder.transform([]).shape == (0, plain.n_features_out_)
    assert encoder.encoder is None


def test__memory__float16_store__gives_single_precision(tmp_path):
    encoder = TextEncoder(memory=EmbeddingStore(tmp_path, Letters(), dtype="float16"), text_statistics=False)
    assert_array_equal(encoder.fit_transform(ITEMS), expected(ITEMS).astype(np.float16).astype(np.float32), strict=True)


def test__memory__a_store_of_two_learners__waits_for_the_other(store):
    encoder = TextEncoder(memory=EmbeddingStore(store.folder, Letters()), text_statistics=False)
    with joblib.Parallel(n_jobs=2, backend="threading") as parallel:
        new = [("New?", str(number)) for number in range(40)]
        made = parallel(joblib.delayed(clone(encoder).fit_transform)(new) for _ in range(4))
    for features in made:
        assert_array_equal(features, expected(new))


def test__store__as_a_parameter__is_a_handle_that_is_cheap_to_copy(small, store):
    model = clone(small).set_params(memory=store)
    assert clone(model).get_params()["memory"] is store
    assert len(pickle.dumps(store)) < 2000
    assert "EmbeddingStore(" in repr(model)


@pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")
def test__grid_search__two_processes_over_a_store__give_the_scores_of_one(small, choices, tmp_path):
    used = choices.compact()
    store = EmbeddingStore(tmp_path, HashedTextEncoder(n_components=6).fit(used.items))
    model = clone(small).set_params(memory=store, text_statistics=False, max_epochs=0)
    searches = [
        GridSearchCV(model, {"n_bases": [1, 2]}, cv=2, n_jobs=n_jobs, refit=n_jobs is None).fit(choices)
        for n_jobs in (2, None)
    ]
    assert len(store) == used.n_items
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    assert_array_equal(*scores)
    assert searches[1].best_estimator_.memory is store


@pytest.mark.parametrize("as_parameter", [False, True])
def test__save__a_model_whose_encoder_came_from_a_store__is_loaded_without_the_store(
    small, choices, tmp_path, as_parameter
):
    store = EmbeddingStore(tmp_path / "store", HashedTextEncoder(n_components=6).fit(choices.items))
    params = {"encoder": TextEncoder(memory=store)} if as_parameter else {"memory": store}
    model = clone(small).set_params(**params).fit(choices)
    model.save(tmp_path / "model")
    pickled = pickle.dumps(model)
    new = [("New?", "1 2 3 4"), ("New?", "0 0 1 0")]
    rewards = model.predict(new)
    loaded = MetaRewardModel.load(tmp_path / "model")
    assert loaded.memory is None
    encoder = loaded.encoder.encoder if as_parameter else loaded.encoder
    assert (type(encoder), encoder.n_components) == (HashedTextEncoder, 6)  # what a fit of it takes, too
    assert_array_equal(loaded.predict(new), rewards)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    unpickled = pickle.loads(pickled)
    with pytest.raises(ModelFileError, match=r"there is no store in .* any more.*set_params\(memory=None\)"):
        unpickled.predict(new)
    unpickled.encoder_.set_params(memory=None)
    assert_array_equal(unpickled.predict(new), rewards)


def test__checkpoint__fit_over_a_store__goes_on_to_the_same_model(small, choices, filled, tmp_path):
    model = clone(small).set_params(memory=filled, max_memory=streaming_limit(60, 400))
    first = clone(model).fit(choices, checkpoint_dir=tmp_path)
    assert same_bits(clone(model).fit(choices, checkpoint_dir=tmp_path), first)


# -- progress ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"n_jobs": 2}, {"memory": "cache"}], ids=["plain", "jobs", "cache"])
def test__text_encoder__verbose__says_how_many_texts_were_cut(tmp_path, capsys, options):
    if "memory" in options:
        options = {"memory": tmp_path}
    n_cut = Letters().encode(ITEMS).n_cut
    for _ in range(2):  # the second time from the cache, where there is one
        TextEncoder(Letters(), chunk_size=5, verbose=True, **options).fit_transform(ITEMS)
        assert f"{n_cut} cut" in capsys.readouterr().err


def test__text_encoder__verbose__says_nothing_where_nothing_is_counted(capsys):
    TextEncoder(HashedTextEncoder(n_components=2), verbose=True).fit_transform(ITEMS)
    assert "cut" not in capsys.readouterr().err


# -- networks ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A random sentence encoder of two layers over a few words."""
    torch, transformers = (
        pytest.importorskip("torch"),
        pytest.importorskip("transformers", reason="needs transformers: pip install 'skmrm[text]'"),
    )
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("network")
    words = ["[PAD]", "[UNK]", *(f"{number}" for number in range(24)), "answer", "x"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder


def test__hf_encoder__in_a_store__is_told_by_files_and_pooling(network, tmp_path, monkeypatch):
    store = EmbeddingStore(tmp_path / "store", HFEncoder(network))
    summary = encode_dataset(ITEMS, store, verbose=False)
    assert summary.n_tokens > len(ITEMS)
    assert_array_equal(store.features(SORTED)[:], HFEncoder(network).fit(ITEMS).transform(SORTED))
    for other in (HFEncoder(network, normalize=True, batch_tokens=64), HFEncoder(network, max_length=2)):
        with pytest.raises(ValueError, match=r"(normalize|max_length): .* in the store, .* asked for"):
            EmbeddingStore(store.folder, other)
    assert len(EmbeddingStore(store.folder, str(network))) == len(ITEMS)
    loaded = pickle.loads(pickle.dumps(store))
    monkeypatch.setattr(HFEncoder, "_load", lambda self: pytest.fail("no network is needed"))
    assert encode_dataset(ITEMS, loaded, verbose=False).n_new == 0
    assert_array_equal(loaded.features(ITEMS)[:], store.features(ITEMS)[:])


def test__hf_encoder__new_weights_in_the_folder__are_never_read_as_the_old(network, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(network, tmp_path / "network")
    store = EmbeddingStore(tmp_path / "store", HFEncoder(folder))
    encode_dataset(ITEMS, store, verbose=False)
    file = folder / "model.safetensors"
    save_file({name: 2 * value for name, value in load_file(file).items()}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"files.* in the store, .* asked for"):
        EmbeddingStore(store.folder, HFEncoder(folder))


# -- encoders that learn nothing -------------------------------------------------------------------------------------


class Remote:
    """Calls a service: there is nothing to learn, and nothing that says that it was fitted."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([[len(response), response.count(" ")] for _, response in X], float)


class RemoteEstimator(TransformerMixin, BaseEstimator):
    """The same, as scikit-learn has it."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return self.scale * Remote().transform(X)


class RemoteInSlots(Remote):
    __slots__ = ()


class Learns:
    """A plain class that does learn, under names that do not end in an underscore."""

    def fit(self, X, y=None):
        self.longest = max(len(response) for _, response in X)
        return self

    def transform(self, X):
        return np.array([[len(response) / self.longest] for _, response in X])


@pytest.mark.parametrize(
    "encoder", [Remote(), RemoteEstimator(2.0), RemoteInSlots(), TextEncoder(Remote(), text_statistics=False)]
)
def test__store__encoder_without_state__is_taken_fitted_or_not(encoder, tmp_path):
    for place, one in enumerate([encoder, encoder.fit(ITEMS)]):
        store = EmbeddingStore(tmp_path / str(place), one)
        assert encode_dataset(ITEMS, store, verbose=False).n_new == len(ITEMS)
        scale = 2 if isinstance(encoder, RemoteEstimator) else 1
        assert_array_equal(np.asarray(store.features(ITEMS)), scale * Remote().transform(ITEMS))
    again = EmbeddingStore(tmp_path / "0", encoder)
    assert len(again) == len(ITEMS)


def test__store__encoder_without_state__serves_a_model(tmp_path):
    episodes = EpisodeSet(
        users=list("abcdefgh"),
        user=np.repeat(np.arange(8), 4),
        chosen=np.arange(32) % 23,
        rejected=(np.arange(32) + 5) % 23,
        group=np.arange(32),
        items=ITEMS,
    )
    plain = PooledBradleyTerry(Remote(), text_statistics=False, ridge=0.1, random_state=0).fit(episodes)
    store = EmbeddingStore(tmp_path, Remote())
    stored = PooledBradleyTerry(memory=store, text_statistics=False, ridge=0.1, random_state=0).fit(episodes)
    np.testing.assert_allclose(stored.predict(ITEMS), plain.predict(ITEMS), rtol=1e-5)


@pytest.mark.parametrize("encoder", [Learns(), CountVectorizer(preprocessor=str)])
def test__store__encoder_that_learns__still_must_be_fitted(encoder, tmp_path):
    with pytest.raises(ValueError, match="must be fitted before a store is made or opened with it"):
        EmbeddingStore(tmp_path, encoder)
