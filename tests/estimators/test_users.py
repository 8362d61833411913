"""Many users in memory and in a file: the laws of a dict, nothing lost, nothing left, nothing of another model."""

import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import uuid
from datetime import date, datetime, timezone
from decimal import Decimal
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skmrm import MetaRewardModel, UserModels, episodes_from_arrays
from skmrm.baselines import PerUserBradleyTerry
from skmrm.datasets import load_style_preferences
from skmrm.episodes.arrays import id_array
from skmrm.episodes.history import History
from skmrm.estimators import user_database, user_file, user_records
from skmrm.estimators.user_ids import id_of, id_texts
from skmrm.exceptions import ModelFileError, StoreInUseError

N_USERS, N_PAIRS = 40, 6
FACTS = ("users_", "weights_", "weights_cov_", "n_pairs_", "start_weights_")


def world(seed=0):
    rng = np.random.default_rng(seed)
    X, user = rng.normal(size=(50, 4)), np.repeat(np.arange(N_USERS), N_PAIRS)
    chosen, rejected = rng.integers(0, 25, len(user)), rng.integers(25, 50, len(user))
    said = {"time": rng.uniform(0, 9, len(user)), "weight": rng.uniform(0.5, 2, len(user))}
    said["outcome"] = rng.integers(0, 3, len(user))
    names = [f"user {row}" for row in range(N_USERS)]
    return episodes_from_arrays(X, chosen, rejected, np.repeat(names, N_PAIRS), **said)


EPISODES = world()
NUMBERED = (f"{number}.users" for number in count())


@pytest.fixture(scope="module")
def model():
    return MetaRewardModel(n_bases=3, max_epochs=1, random_state=0, device="cpu").fit(EPISODES[:20])


@pytest.fixture(scope="module")
def users(model):
    return model.adapt_many(EPISODES[20:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("users")


@pytest.fixture
def file(folder):
    return folder / next(NUMBERED)


@pytest.fixture
def loaded(users, model, file):
    users.save(file)
    return UserModels.load(file, model)


def made(model, ids, seed=0):
    """Users with these ids, and random numbers."""
    rng, n = np.random.default_rng(seed), len(ids)
    n_bases = model.base_rewards_.n_bases
    weights, covariance = rng.normal(size=(n, n_bases)), rng.normal(size=(n, n_bases, n_bases))
    user = np.sort(rng.integers(0, n, 2 * n)) if n else np.empty(0, np.intp)
    history = History(rng.normal(size=(2 * n, n_bases)), user, n, {"time": rng.uniform(size=2 * n)})
    facts = weights, covariance, history.pairs_per_user, model.start_weights_, model._inner, history
    return UserModels(model.base_rewards_, id_array(ids), *facts)


def as_dict(users):
    return {user: (*one.weights_, *one.weights_cov_.ravel(), one.n_pairs_) for user, one in users.items()}


def same(users, expected):
    """Equal to a dict, in its order, with keys of its types."""
    found = as_dict(users)
    assert list(map(repr, found)) == list(map(repr, expected))
    assert found == expected
    assert len(users) == len(expected)


def same_facts(one, other):
    for name in FACTS:
        assert_array_equal(getattr(one, name), getattr(other, name))
    first, second = (users._table.all(whole=True).history for users in (one, other))
    assert_array_equal(first.gaps, second.gaps)
    assert_array_equal(first.user, second.user)
    assert first.said.keys() == second.said.keys()
    for name in first.said:
        assert_array_equal(first.said[name], second.said[name])
        assert first.said[name].dtype == second.said[name].dtype


zones = st.sampled_from([None, timezone.utc])
atoms = st.one_of(
    st.text(max_size=5),
    st.integers(),
    st.integers(-2, 2),
    st.sampled_from([0.0, -0.0, 1.0, 2.5, True, False, Decimal("1.00"), Decimal("0.1"), 0.1, "1", b"1"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=4),
    st.dates(),
    st.datetimes(timezones=zones).map(lambda moment: moment.replace(fold=0)),  # which makes no other moment of it
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False, allow_infinity=False),
)
ids = st.recursive(atoms, lambda some: st.lists(some, max_size=3).map(tuple), max_leaves=4)
id_lists = st.lists(ids, max_size=6, unique=True)


# -- a dict --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(ours=id_lists, theirs=id_lists, is_in_file=st.booleans(), seed=st.integers(0, 99), data=st.data())
def test__users__any_ids__are_a_dict_in_memory_and_in_a_file(folder, model, ours, theirs, is_in_file, seed, data):
    file = folder / next(NUMBERED)
    users, others = made(model, ours, seed), made(model, theirs, seed + 1)
    expected, more = as_dict(users), as_dict(others)
    if is_in_file:
        users.save(file)
        users = UserModels.load(file, model)
    same(users, expected)
    for user in [*ours, *theirs]:
        assert (user in users) == (user in expected)
    same(users | others, expected | more)
    same(others | users, more | expected)
    some = data.draw(st.lists(st.sampled_from(ours), unique=True)) if ours else []
    same(users[some], {user: expected[user] for user in some})
    same(users.drop(some), {user: value for user, value in expected.items() if user not in some})
    same(users, expected)
    if is_in_file:
        again = users
        again |= others
        assert again is users
        assert again._file is not None
        for user in some:
            users.forget(user)
        expected = {user: value for user, value in (expected | more).items() if user not in some}
        same(users, expected)
        same(UserModels.load(file, model), expected)


@settings(max_examples=200, deadline=None)
@given(one=ids, other=ids)
def test__id_texts__any_two_ids__have_one_key_where_they_are_equal_and_come_back(one, other):
    (key, text), (other_key, _) = id_texts(one), id_texts(other)
    assert (key == other_key) == (one == other)
    assert repr(id_of(text)) == repr(one)


@pytest.mark.parametrize(
    "wrong", [None, float("nan"), float("inf"), ("a", None), frozenset("a"), 1j, Decimal("1e9999")]
)
def test__save__id_that_no_file_gives_back__is_refused_and_named(model, file, wrong):
    with pytest.raises(ValueError, match="ids of users in a file are texts.* got .*" + type(wrong).__name__):
        made(model, ["a", wrong]).save(file)
    assert list(file.parent.glob(file.name + "*")) == []


@pytest.mark.parametrize("kind", [list, np.array, set])
def test__getitem__several_ids_of_any_column__are_users(users, kind):
    pd = pytest.importorskip("pandas")
    some = ["user 25", "user 31"]
    expected = {user: users[user].weights_.tolist() for user in some}
    for several in (kind(some), pd.Series(some), pd.Index(some)):
        assert {user: one.weights_.tolist() for user, one in users[several].items()} == expected
    with pytest.raises(KeyError, match="no user 'x' among 20 adapted users"):
        users[["user 25", "x"]]
    with pytest.raises(KeyError, match="'x'"):
        users.drop("x")


def test__unknown_id__that_a_reader_of_tables_may_have_changed__is_named(model, file):
    made(model, ["007", 8, "zoe"]).save(file)
    for users in (made(model, ["007", 8, "zoe"]), UserModels.load(file, model)):
        for asked, meant in ((7, "'007', a str"), ("7", "'007', a str"), ("008", "8, an int")):
            with pytest.raises(KeyError, match=f"no user {asked!r} .*; did you mean {meant}"):
                users[asked]
        for asked in (9, "9", "zo", "²", True):
            with pytest.raises(KeyError) as raised:
                users[asked]
            assert "did you mean" not in str(raised.value)


def test__numpy_ids__are_python_s(model, file):
    made(model, [1, 2, "a"]).save(file)
    users = UserModels.load(file, model)
    assert np.int64(2) in users
    assert np.str_("a") in users
    assert users[np.array([2, 1])].users_.tolist() == [2, 1]
    assert None not in users
    assert users.get(float("nan")) is None


# -- nothing is lost -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        MetaRewardModel(random_state=0, kernel=None, device="cpu"),
        MetaRewardModel(n_bases=2, adaptation="gradient", max_epochs=1, random_state=0),
        PerUserBradleyTerry(random_state=0),
    ],
    ids=["mixture", "gradient", "per user"],
)
def test__save_and_load__any_rule__gives_the_same_bits(other, file):
    users = other.fit(EPISODES[:20]).adapt_many(EPISODES[20:])
    users.save(file)
    loaded = UserModels.load(file, other)
    same_facts(loaded, users)
    for user in ("user 20", "user 39"):
        assert_array_equal(loaded[user].weights_, users[user].weights_)
        assert_array_equal(loaded[user].predict(EPISODES.features), users[user].predict(EPISODES.features))


def test__load__model_that_was_saved_itself__is_the_same_model(users, model, file, tmp_path):
    users.save(file)
    model.save(tmp_path)
    same_facts(UserModels.load(file, MetaRewardModel.load(tmp_path)), users)
    again = MetaRewardModel(**model.get_params()).fit(EPISODES[:20])
    same_facts(UserModels.load(file, again), users)


def test__load__model_of_texts_that_was_saved_itself__is_the_same_model(file, tmp_path):
    texts = load_style_preferences(n_users=20, n_pairs=8, random_state=0).episodes
    model = MetaRewardModel(max_epochs=0, random_state=0).fit(texts[:18])
    model.adapt_many(texts[18:]).save(file)
    model.save(tmp_path)
    loaded = UserModels.load(file, MetaRewardModel.load(tmp_path))
    assert_array_equal(loaded.decision_function(texts[18:]), model.adapt_many(texts[18:]).decision_function(texts[18:]))
    other = MetaRewardModel(max_epochs=0, random_state=0, text_statistics=False).fit(texts[:18])
    with pytest.raises(ModelFileError, match="users of another model"):
        UserModels.load(file, other)


def halves():
    early = np.random.default_rng(0).random(EPISODES.n_pairs) < 0.5
    return EPISODES.take_pairs(early & (EPISODES.user < 30))[20:30], EPISODES.take_pairs(
        ~early | (EPISODES.user >= 30)
    )[20:]


@pytest.mark.parametrize("half_life", [None, 3.0])
def test__update__of_a_file__equals_adapting_on_everything_and_is_there_afterwards(model, file, half_life):
    first, second = halves()
    model.adapt_many(first, half_life=half_life).save(file)
    loaded = UserModels.load(file, model)
    assert loaded.update(second, half_life=half_life) is loaded
    expected = model.adapt_many(EPISODES[20:], half_life=half_life)
    for found in (loaded, UserModels.load(file, model)):
        assert sorted(found) == sorted(expected)
        for user in expected:
            assert_allclose(found[user].weights_, expected[user].weights_, atol=1e-6)
            assert_allclose(found[user].weights_cov_, expected[user].weights_cov_, atol=1e-6)
            assert found[user].n_pairs_ == expected[user].n_pairs_ == N_PAIRS
    one = loaded["user 22"].update(EPISODES[[22]])
    assert one.n_pairs_ == 2 * N_PAIRS
    assert loaded["user 22"].n_pairs_ == N_PAIRS  # that user alone knows


def test__methods__of_a_file__are_those_in_memory(users, loaded, file, tmp_path):
    some = EPISODES[[25, 38, 21]]
    for method in ("decision_function", "predict_proba", "predict_outcomes", "held_against", "outcomes_of"):
        assert_array_equal(getattr(loaded, method)(some), getattr(users, method)(some))
    with pytest.raises(KeyError, match="'user 3' were not adapted"):
        loaded.decision_function(EPISODES[[3]])
    rewards = loaded.predict(EPISODES.features)
    assert_array_equal(rewards, users.predict(EPISODES.features))
    for row, one in enumerate(users.values()):
        assert_allclose(rewards[row], one.predict(EPISODES.features), rtol=1e-9, atol=1e-12)
    same_facts(pickle.loads(pickle.dumps(loaded)), users)
    same_facts(pickle.loads(pickle.dumps(users)), users)
    assert repr(loaded) == f"UserModels(n_users=20, n_bases=3, file={str(file)!r})"
    loaded.save(file)  # where it is
    loaded.save(tmp_path / "copy")
    same_facts(loaded, users)
    pytest.importorskip("onnxruntime")
    assert loaded.export_onnx(tmp_path / "onnx").parity.largest_difference < 1e-5


def test__compact__of_a_file__is_in_memory_and_update_says_why(loaded, model, file, folder):
    small = loaded.compact()
    assert_array_equal(small.weights_cov_, loaded.weights_cov_)
    small.save(folder / "small")
    for compacted in (small, UserModels.load(folder / "small", model)):
        assert compacted["user 21"].n_pairs_ == N_PAIRS
        for act in (compacted.update, compacted["user 21"].update):
            with pytest.raises(ValueError, match=r"update needs .*dropped by compact\(\)"):
                act(EPISODES[[21]])
    loaded |= small[["user 21"]]  # whose choices are gone, too
    with pytest.raises(ValueError, match=r"'user 21' were dropped by compact\(\)"):
        loaded.update(EPISODES[[21, 22]])
    with pytest.raises(ValueError, match="earlier choices"):
        loaded["user 21"].update([])
    loaded.update(EPISODES[[22]])
    assert loaded["user 22"].n_pairs_ == 2 * N_PAIRS


def test__tables__ids_and_weights__come_back(users, loaded, model, tmp_path):
    pd, pq = pytest.importorskip("pandas"), pytest.importorskip("pyarrow.parquet")
    for some in (users, loaded):
        frame = some.to_frame()
        assert list(frame) == ["user", "n_pairs", "weight_0", "weight_1", "weight_2"]
        assert list(frame["user"]) == list(users)
        assert_array_equal(frame.iloc[:, 2:], users.weights_)
        some.to_parquet(tmp_path / "users.parquet")
        pd.testing.assert_frame_equal(pq.read_table(tmp_path / "users.parquet").to_pandas(), frame, check_dtype=False)
    with pytest.raises(ValueError, match="ids of users of one kind"):
        made(model, [1, "a"]).to_parquet(tmp_path / "mixed.parquet")
    made(model, []).to_parquet(tmp_path / "nobody.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nobody.parquet", "users.parquet"]


def test__blocks__however_small__give_the_same(users, loaded, monkeypatch):
    monkeypatch.setattr(user_file, "rows_at_a_time", lambda *_: 3)
    monkeypatch.setattr(user_file, "_IDS_AT_A_TIME", 2)
    monkeypatch.setattr(user_file, "_KEYS_AT_A_TIME", 4)
    same_facts(loaded, users)
    assert list(loaded) == list(users)
    assert_array_equal(loaded[list(users)[::-1]].weights_, users.weights_[::-1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="nobody counts what is read here")
def test__lookup__among_many__reads_one_row(model, file):
    made(model, list(range(20_000))).save(file)

    def read():
        return int(Path("/proc/self/io").read_text().split()[1])

    before = read()
    users = UserModels.load(file, model)
    opened = read()
    assert users[17_000].weights_.shape == (3,)
    looked_up = read()
    assert file.stat().st_size > 5_000_000
    assert opened - before < 100_000
    assert looked_up - opened < 100_000


# -- nothing is left -----------------------------------------------------------------------------------------------


def traces(users, user):
    """Bytes that would give the user away: the id, and numbers of 16 bytes wherever they might be cut."""
    one = users[user]
    arrays = (one.weights_, one.weights_cov_, *one._history.arrays.values())
    data = [np.ascontiguousarray(array).tobytes() for array in arrays]
    parts = {part[start : start + 16] for part in data for start in range(0, len(part) - 15, 8)}
    return {user.encode(), *(part for part in parts if len(set(part)) > 8)}  # others may have zeros, too


def left(folder, marks):
    files = {file: file.read_bytes() for file in folder.iterdir()}
    return [(file.name, mark) for file, data in files.items() for mark in marks if mark in data]


def test__forget__user_of_a_file_that_was_much_changed__leaves_no_byte(model, tmp_path):
    file, rng = tmp_path / "users", random.Random(0)
    names = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(3000)]
    made(model, names[:1000]).save(file)
    users = UserModels.load(file, model)
    for start in range(1000, 3000, 100):
        users |= made(model, [*names[start : start + 100], *rng.sample(names[:start], 100)], start)
    data = file.read_bytes()
    copied = [user for user in names if data.count(user.encode()) > 2]  # left where SQLite moved rows between pages
    forgotten = [*copied, *(user for user in names[3::300] if user not in copied)]
    marks = {user: traces(users, user) for user in forgotten}
    assert all(mark in data for some in marks.values() for mark in some)
    (tmp_path / f"users.{uuid.uuid4().hex}.partial").write_bytes(data)  # of a killed save
    users.forget(forgotten[0])
    assert left(tmp_path, marks[forgotten[0]]) == []
    users.forget(forgotten[1:])
    for user, some in marks.items():
        assert left(tmp_path, some) == []
        assert user not in users
        with pytest.raises(KeyError, match=user):
            users.forget(user)
    assert len(users) == len(names) - len(forgotten)
    assert [path.name for path in tmp_path.iterdir()] == ["users"]


def test__forget__that_was_stopped_before_wiping__is_finished_by_the_next_load(model, tmp_path, monkeypatch):
    users = made(model, [f"user {row}" for row in range(20, 40)])
    users.save(tmp_path / "users")
    loaded, marks = UserModels.load(tmp_path / "users", model), traces(users, "user 30")
    with monkeypatch.context() as patch:
        patch.setattr(
            user_file, "wipe", lambda _: (_ for _ in ()).throw(sqlite3.OperationalError("database is locked"))
        )
        with pytest.raises(StoreInUseError, match=r"copies are left .* forget them again"):
            loaded.forget("user 30")
        assert "user 30" not in loaded
    loaded.forget("user 30")  # again
    assert left(tmp_path, marks) == []
    with pytest.raises(KeyError, match="no user 'user 30' in"):
        loaded.forget("user 30")
    with monkeypatch.context() as patch:
        patch.setattr(user_file, "wipe", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            loaded.forget("user 31")
    assert user_file.is_to_wipe(loaded._table._database)
    again = UserModels.load(tmp_path / "users", model)
    assert not user_file.is_to_wipe(again._table._database)
    assert len(again) == 18


def test__forget__of_several_with_a_stranger__deletes_none(loaded):
    with pytest.raises(KeyError, match="no user 'x' in"):
        loaded.forget(["user 20", "x"])
    assert "user 20" in loaded


def test__forget__users_in_memory__names_drop(users):
    with pytest.raises(ValueError, match=r"these are in memory: drop\(ids\)"):
        users.forget("user 20")


def test__drop_and_subset__of_a_file__leave_it_as_it_is(users, loaded):
    assert len(loaded.drop(["user 20", "user 21"])) == 18
    assert len(loaded | users.drop("user 22")) == 20
    loaded[["user 20"]].update(EPISODES[[20]])
    same_facts(loaded, users)


# -- other files and models ----------------------------------------------------------------------------------------


def test__load__what_is_no_file_of_users__is_a_clear_error(model, users, file, tmp_path):
    with pytest.raises(ModelFileError, match="is missing"):
        UserModels.load(file, model)
    file.write_bytes(b"something else " * 1000)
    with pytest.raises(ModelFileError, match="no file of users"):
        UserModels.load(file, model)
    file.write_bytes(b"")
    with pytest.raises(ModelFileError, match="database of something else"):
        UserModels.load(file, model)
    with sqlite3.connect(tmp_path / "other") as database:
        database.execute("CREATE TABLE meta (a)")
    database.close()
    with pytest.raises(ModelFileError, match="is not a file of users"):
        UserModels.load(tmp_path / "other", model)
    with pytest.raises(TypeError, match="fitted model that adapted the users, got UserModels"):
        UserModels.load(tmp_path / "other", users)
    with pytest.raises(IsADirectoryError, match="name of a file"):
        users.save(tmp_path)


def changed(file, sql, *values):
    database = sqlite3.connect(file)
    with database:
        database.execute(sql, values)
    database.close()


def test__load__newer_altered_or_with_code__is_refused(model, users, file):
    users.save(file)
    good = file.read_bytes()
    changed(file, "UPDATE meta SET value = replace(value, '\"schema_version\": 1', '\"schema_version\": 2')")
    with pytest.raises(ModelFileError, match="schema version 2; this skmrm reads up to 1: upgrade"):
        UserModels.load(file, model)
    for sql in (
        "UPDATE meta SET value = replace(value, '<f8', '<f4')",
        "CREATE TRIGGER t AFTER UPDATE ON users BEGIN DELETE FROM users; END",
        "CREATE VIEW v AS SELECT * FROM users",
        "DROP INDEX by_key",
    ):
        file.write_bytes(good)
        changed(file, sql)
        with pytest.raises(ModelFileError, match="was altered since it was written"):
            UserModels.load(file, model)


def test__load__users_of_another_model__is_refused(users, model, file, tmp_path):
    users.save(file)
    others = [
        MetaRewardModel(n_bases=3, max_epochs=1, random_state=0, device="cpu").fit(EPISODES[:19]),
        MetaRewardModel(n_bases=3, adaptation="gradient", max_epochs=1, random_state=0).fit(EPISODES[:20]),
        PerUserBradleyTerry(random_state=0).fit(EPISODES[:20]),
    ]
    for other in others:
        with pytest.raises(ModelFileError, match=r"users of another model, .* weights mean nothing under this one"):
            UserModels.load(file, other)
        with pytest.raises(ValueError, match="one model adapted them all"):
            users | other.adapt_many(EPISODES[20:])
        with pytest.raises(ValueError, match="one model adapted them all"):
            UserModels.load(file, model).__ior__(other.adapt_many(EPISODES[20:]))
    with pytest.raises(TypeError):
        users | {}
    bare = UserModels(users._base, users.users_, users.weights_, None, users.n_pairs_)
    with pytest.raises(ValueError, match="do not know the model"):
        bare.save(tmp_path / "bare")
    assert len(bare | bare[["user 20"]]) == 20


@settings(max_examples=150, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), is_cut=st.booleans())
def test__damaged_file__anywhere__never_gives_other_numbers(users, model, folder, share, bit, is_cut):
    file = folder / next(NUMBERED)
    users.save(file)
    data = bytearray(file.read_bytes())
    place = int(share * len(data))
    data[place] ^= 1 << bit
    file.write_bytes(data[:place] if is_cut else data)
    expected = {user: one.weights_.tobytes() + one.weights_cov_.tobytes() for user, one in users.items()}
    try:
        loaded = UserModels.load(file, model)
    except (ModelFileError, StoreInUseError):
        return
    for user in users:
        try:
            one = loaded[user]
        except (KeyError, ModelFileError):
            continue
        assert one.weights_.tobytes() + one.weights_cov_.tobytes() == expected[user]
    try:
        rows = loaded._table.all(whole=True)
    except ModelFileError:
        return
    for user, weights, own in zip(rows.users, rows.weights, rows.covariance, strict=True):
        assert weights.tobytes() + own.tobytes() == expected[user]


# -- several at once -----------------------------------------------------------------------------------------------


def test__save__over_a_file_that_is_open__does_not_mix_the_two(users, loaded, model, file):
    users[["user 20"]].save(file)
    assert len(loaded) == 20  # what it opened
    with pytest.raises(ModelFileError, match="replaced since: load it again"):
        loaded.update(EPISODES[[20]])
    assert list(UserModels.load(file, model)) == ["user 20"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test__save__over_a_file_whose_writer_was_killed__is_not_undone_by_what_that_left(users, model, file):
    made(model, [f"user {row}" for row in range(3000)]).save(file)
    script = """
        import os, pickle, signal, sys
        users, others = (pickle.load(open(name, "rb")) for name in sys.argv[1:])
        with users._table.changing():
            users._table._database.execute("PRAGMA cache_size = 5")  # pages go to the file before the end
            users._table.put(others._table.all(whole=True))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    pickles = file.with_suffix(".old"), file.with_suffix(".new")
    pickles[0].write_bytes(pickle.dumps(UserModels.load(file, model)))
    pickles[1].write_bytes(pickle.dumps(made(model, [f"user {row}" for row in range(3000)], 1)))
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script), *pickles])
    assert killed.returncode == -signal.SIGKILL
    journal = file.with_name(file.name + "-journal")
    assert journal.stat().st_size > 10_000
    users.save(file)
    assert not journal.exists()
    same_facts(UserModels.load(file, model), users)


def test__update__while_somebody_writes__waits_and_says_so(loaded, model, file, monkeypatch):
    monkeypatch.setattr(user_database, "PATIENCE", 0.1)
    other = UserModels.load(file, model)
    with loaded._table.changing():
        assert len(other) == 20  # readers go on
        with pytest.raises(StoreInUseError, match="is being written by somebody else"):
            other.update(EPISODES[[20]])
    other.update(EPISODES[[20]])
    assert loaded["user 20"].n_pairs_ == 2 * N_PAIRS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test__file__of_threads_and_forks__is_read_and_written_by_all(users, model, file):
    users.save(file)
    script = """
        import os, pickle, sys
        from concurrent.futures import ThreadPoolExecutor
        users = pickle.load(open(sys.argv[1], "rb"))
        ids = list(users)
        parts = [users[[user]] for user in ids]

        def touch(place):
            users.__ior__(parts[place % 20])
            return users[ids[-1 - place % 20]].n_pairs_

        with ThreadPoolExecutor(4) as threads:
            counts = list(threads.map(touch, range(30)))
        child = os.fork()
        users.__ior__(users[["user 20"]])
        assert [one.n_pairs_ for one in users.values()] == 20 * [6] and counts == 30 * [6]
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """
    saved = file.with_suffix(".pickle")
    saved.write_bytes(pickle.dumps(UserModels.load(file, model)))
    subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), saved], check=True)
    same_facts(UserModels.load(file, model), users)


def test__put__that_fails_midway__changes_nothing(users, loaded, monkeypatch):
    monkeypatch.setattr(user_records, "_blobs", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        loaded.update(EPISODES[[20]])
    monkeypatch.undo()
    same_facts(loaded, users)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everybody may write everything")
def test__file_that_cannot_be_written__is_read(users, loaded, file, model):
    file.chmod(0o400)
    same_facts(UserModels.load(file, model), users)
    with pytest.raises(ModelFileError, match="cannot be written"):
        UserModels.load(file, model).update(EPISODES[[20]])


KILLS = """
    import os, random, signal, sys, time
    from pathlib import Path
    import numpy as np
    from skmrm import MetaRewardModel, UserModels
    from skmrm.datasets import make_user_preferences

    def killed_while(act):
        # In the middle of one of the first times, however fast this machine is, and whatever else it does.
        heard, told = os.pipe()
        child = os.fork()
        if child == 0:
            for _ in act():
                os.write(told, b".")
            os._exit(0)
        os.close(told)
        for _ in range(moments.randint(1, 3)):
            began = time.perf_counter()
            os.read(heard, 1)
            took = time.perf_counter() - began
        time.sleep(moments.uniform(0, 1.2 * took))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(heard)

    def state(users):
        rows = users._table.all(whole=True)
        arrays = rows.users, rows.n_pairs, rows.weights, rows.covariance, rows.history.gaps
        return [array.tolist() for array in arrays]

    def begun():
        return len(list(folder.iterdir())) > 1  # a journal, or a part of a file

    folder = Path(sys.argv[1])
    file, moments = folder / "users", random.Random(0)
    episodes = make_user_preferences(n_users=320, n_pairs=4, n_features=3, n_bases=2, random_state=0).episodes
    model = MetaRewardModel(n_bases=2, max_epochs=1, kernel=None, random_state=0, device="cpu").fit(episodes[:20])
    some, others = model.adapt_many(episodes[20:]), model.adapt_many(episodes[20:300:2])

    def save_for_ever():
        yield  # ready
        while True:
            others.save(file)
            yield
            some.save(file)
            yield

    some.save(file)
    seen, n_begun = [], 0
    for _ in range(25):
        killed_while(save_for_ever)
        n_begun += begun()
        seen.append(state(UserModels.load(file, model)))
    known = [state(some), state(others)]
    assert all(one in known for one in seen)
    print(n_begun, sum(one == known[0] for one in seen), sum(one == known[1] for one in seen))
    some.save(file)
    assert not begun()

    more = episodes[250:340]
    states = [some]

    def update_for_ever():
        users = UserModels.load(file, model)
        yield
        while True:
            users.update(more)
            yield

    n_begun = 0
    for trial in range(25):
        killed_while(update_for_ever)
        n_begun += begun()
        if trial % 4 == 3:
            some.save(file)  # over what was left half done
        found = UserModels.load(file, model)
        counts = {found[user].n_pairs_ for user in more.users.tolist() if user in some}
        assert len(counts) == 1
        n_updates = (counts.pop() - 4) // 4
        while len(states) <= n_updates:
            states.append(states[-1].update(more))
        expected = states[n_updates]
        assert list(found) == list(expected)
        (_, *ours), (_, *theirs) = state(found), state(expected)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    print(n_begun, len(states) - 1, 0)

    some.save(file)
    names = some.users_.tolist()

    def forget_for_ever():
        users = UserModels.load(file, model)
        yield
        for user in list(users):
            users.forget(user)
            yield

    n_begun, n_left = 0, []
    for _ in range(25):
        killed_while(forget_for_ever)
        n_begun += begun()
        found = UserModels.load(file, model)
        n_left.append(len(found))
        rest = some[names[len(names) - len(found):]]
        assert state(found) == state(rest)
        data = b"".join(path.read_bytes() for path in folder.iterdir())
        assert not [user for user in names[: len(names) - len(found)] if f'"{user}"'.encode() in data]
    assert n_left == sorted(n_left, reverse=True)
    print(n_begun, len(names) - n_left[-1], 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork") or not hasattr(signal, "SIGKILL"), reason="forks and kills")
def test__kill__at_any_moment_of_save_update_and_forget__leaves_the_old_state_or_the_new(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(KILLS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    saves, updates, forgets = (list(map(int, line.split())) for line in done.stdout.splitlines())
    assert saves[0] + updates[0] + forgets[0] > 0  # kills in the middle
    assert min(saves[1], saves[2], updates[1], forgets[1]) > 0  # old states and new ones


def test__date_ids__are_dates(model, file):
    days = [date(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone.utc), ("a", date(1, 1, 1))]
    made(model, days).save(file)
    assert list(UserModels.load(file, model)) == days
