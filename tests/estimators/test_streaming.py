"""Features larger than the memory allowed: nothing is read twice at once, and what is learnt is learnt from all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.out_of_core import __main__ as out_of_core
from benchmarks.out_of_core import memory_limit
from skmrm import EpisodeSet, MetaRewardModel
from skmrm.callbacks import FitCallback
from skmrm.datasets import make_user_preferences
from skmrm.episodes.rows import RowView, read_rows, row_chunks
from skmrm.estimators import streaming
from skmrm.estimators.streaming import Streamed, divide, fits
from skmrm.meta.basis import init_standardisation, standardise
from skmrm.meta.outer.streaming import refine_pooled
from skmrm.meta.pooled.features import PooledReward
from skmrm.meta.pooled.newton import fit_pooled
from skmrm.meta.tensors.pairs import Pairs


class Recorded:
    """An array-like that is no array, and knows what was read of it."""

    def __init__(self, array):
        self.array, self.reads = array, []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key):
        found = self.array[key]
        self.reads.append(len(found))
        return found


def by_user(n_users=60, n_pairs=8, d=5, seed=0, dtype=np.float32):
    """Planted users whose rows lie in a file in the order of the users: (episodes, array)."""
    data = make_user_preferences(n_users=n_users, n_pairs=n_pairs, n_features=d, n_bases=2, random_state=seed).episodes
    ends = np.stack([data.chosen, data.rejected], 1).reshape(-1)
    table = np.asarray(data.features, dtype)[ends]
    first = 2 * np.arange(data.n_pairs)
    columns = {"users": data.users, "user": data.user, "group": data.group}
    return EpisodeSet(chosen=first, rejected=first + 1, features=table, **columns), table


def over(episodes, features):
    return episodes.with_features(features)


def limit_for(episodes, n_rows):
    """Gibibytes of which the sample gets so many rows."""
    return n_rows * streaming._row_bytes(episodes) / streaming._SAMPLE_SHARE / 2**30


@given(
    rows=st.lists(st.integers(0, 49), unique=True, max_size=50).map(sorted),
    start=st.integers(0, 50),
    length=st.integers(0, 50),
)
@settings(max_examples=50)
def test__row_view__any_rows__are_those_of_the_array(rows, start, length):
    array = np.arange(150.0).reshape(50, 3)
    rows = np.array(rows, np.int64)
    np.testing.assert_array_equal(read_rows(array, rows), array[rows])
    view = RowView(array, rows)
    assert view.shape == (len(rows), 3)
    np.testing.assert_array_equal(view[start : start + length], array[rows][start : start + length])
    np.testing.assert_array_equal(np.asarray(RowView(view, np.arange(len(rows))[::2])), array[rows[::2]])
    chunks = [chunk for _, chunk in row_chunks(view)]
    np.testing.assert_array_equal(np.concatenate([*chunks, array[:0]]), array[rows])


def test__read_rows__close_together__is_one_read_and_far_apart_reads_no_more_than_asked():
    array = Recorded(np.arange(3000.0).reshape(1000, 3))
    read_rows(array, np.arange(100, 160, 1))
    read_rows(array, np.array([0, 999]))
    assert array.reads == [60, 2]


def test__divide__sample_and_others__are_all_users_once_and_the_sample_fits():
    episodes, table = by_user()
    limit = limit_for(episodes, 200)
    assert not fits(episodes, limit)
    assert fits(episodes, limit_for(episodes, episodes.n_items))
    sample, others = divide(episodes, limit, np.random.default_rng(0))
    assert sorted([*sample.users, *others.users]) == sorted(episodes.users)
    assert 100 < sample.n_items <= 200
    assert others.features is episodes.features
    for found in (sample, others):
        for row, user in enumerate(found.users):
            own, whole = found.user == row, episodes.user == episodes.users.tolist().index(user)
            np.testing.assert_array_equal(found.features[found.chosen[own]], table[episodes.chosen[whole]])
            np.testing.assert_array_equal(found.features[found.rejected[own]], table[episodes.rejected[whole]])


def test__streamed__blocks__hold_each_user_once_read_in_one_piece_each_of_bounded_size():
    episodes, table = by_user(200)
    array = Recorded(table)
    limit = limit_for(episodes, 400)
    stream = Streamed(over(episodes, array), limit, None, np.random.default_rng(0), "cpu")
    orders = []
    for _ in range(2):
        array.reads.clear()
        blocks = list(stream.blocks())
        assert len(blocks) > 10
        assert sum(block.pairs.n_users for block in blocks) == sum(stream.block_sizes) == 200
        assert sum(block.pairs.chosen.numel() for block in blocks) == int(stream.totals.sum())
        assert max(array.reads) <= 200 + 16  # half of the sample's, and the user that fills it
        assert len(array.reads) == len(blocks)
        gaps = torch.cat([block.pairs.gaps(block.features) for block in blocks])
        expected = torch.tensor(table[0::2] - table[1::2])
        torch.testing.assert_close(gaps.sort(0).values, expected.sort(0).values)
        orders.append([float(block.features[0, 0]) for block in blocks])
        assert sorted(block.pairs.n_users for block in blocks) == sorted(stream.block_sizes)
        split = blocks[0].draw_split()
        assert split.judged(blocks[0].pairs).all()
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test__streamed__totals__are_those_of_the_blocks_with_ties_strengths_and_weights():
    episodes, table = by_user(200)
    rng = np.random.default_rng(0)
    said = {"outcome": rng.integers(0, 3, episodes.n_pairs), "weight": rng.uniform(0.5, 2, episodes.n_pairs)}
    episodes = episodes._with(**said)
    stream = Streamed(episodes, limit_for(episodes, 400), None, np.random.default_rng(0), "cpu", (2, 0))
    found = torch.cat([block.pairs.totals for block in stream.blocks()])
    torch.testing.assert_close(found.sort().values, stream.totals.sort().values)
    assert len(table) == episodes.n_items


def test__refine_pooled__sample_and_blocks__is_the_solution_of_all_pairs():
    episodes, table = by_user(400, dtype=np.float64)
    limit = limit_for(episodes, 1500)
    sample, others = divide(episodes, limit, np.random.default_rng(0))
    standardisation = init_standardisation(torch.tensor(sample.features))
    z, everything = (standardise(standardisation, torch.tensor(found)) for found in (sample.features, table))
    pairs, every_pair = (
        Pairs(*(torch.tensor(np.asarray(c)) for c in (found.chosen, found.rejected, found.offsets)))
        for found in (sample, episodes)
    )
    start = fit_pooled(z, pairs, 0.05)
    stream = Streamed(others, limit, None, np.random.default_rng(1), "cpu")
    pooled = PooledReward(z, start, torch.eye(z.shape[1], dtype=z.dtype))
    found = refine_pooled(pooled, standardisation, pairs, stream, 0.05)
    expected = fit_pooled(everything, every_pair, 0.05, tolerance=1e-10)
    assert (found - expected).norm() < 0.01 * (start - expected).norm()


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    episodes, table = by_user(300, 12, 6, seed=1)
    path = tmp_path_factory.mktemp("features") / "table.npy"
    np.save(path, table)
    return over(episodes, np.load(path, mmap_mode="r"))


RANDOM = {"spectral_init": False, "n_bases": 2, "max_epochs": 12, "learning_rate": 0.03, "users_per_batch": 16}


@pytest.mark.parametrize("params", [{}, RANDOM], ids=["map", "random"])
def test__fit__more_features_than_memory__is_about_as_good_as_all_at_once(mapped, params):
    limit = limit_for(mapped, 2000)
    model = MetaRewardModel(max_memory=limit, random_state=0, **params).fit(mapped[:250])
    whole = MetaRewardModel(random_state=0, kernel=None, **params).fit(mapped[:250])
    assert model.n_users_ == 250
    assert model.kernel_ is None
    assert model.score(mapped[250:]) == pytest.approx(whole.score(mapped[250:]), abs=0.05)
    again = MetaRewardModel(max_memory=limit, random_state=0, **params).fit(mapped[:250])
    np.testing.assert_array_equal(again.base_rewards_.params["bases"], model.base_rewards_.params["bases"])


def test__fit__kernel_asked_for_and_features_streamed__warns_that_the_model_stays_linear(mapped, recwarn):
    params = {"max_memory": limit_for(mapped, 600), "n_bases": 1, "max_epochs": 0, "random_state": 0}
    few = mapped[:60]
    with pytest.warns(UserWarning, match=r"kernel='rbf' needs .* max_memory=.* streamed.*linear.*kernel=None") as found:
        model = MetaRewardModel(kernel="rbf", **params).fit(few)
    assert found[0].filename == __file__
    assert model.kernel_ is None
    MetaRewardModel(**params).fit(few)  # "auto" and None ask for nothing
    assert MetaRewardModel(kernel="rbf", **params | {"max_memory": 1.0}).fit(few).kernel_ == "rbf"
    assert len(recwarn) == 0


def test__fit__max_memory_that_is_enough__changes_nothing(mapped):
    params = {"n_bases": 2, "max_epochs": 1, "random_state": 0}
    found, expected = (MetaRewardModel(max_memory=limit, **params).fit(mapped[:60]) for limit in (1.0, None))
    np.testing.assert_array_equal(found.base_rewards_.params["bases"], expected.base_rewards_.params["bases"])


def test__fit__streamed_and_stopped__goes_on_from_its_checkpoint(mapped, tmp_path):
    params = {"n_bases": 2, "spectral_init": False, "max_epochs": 4, "random_state": 0}
    params["max_memory"] = limit_for(mapped, 2000)
    expected = MetaRewardModel(**params).fit(mapped)

    class Stops(FitCallback):
        def on_epoch_end(self, record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted after 2 epochs"):
        MetaRewardModel(**params).fit(mapped, checkpoint_dir=tmp_path, callbacks=[Stops()])
    found = MetaRewardModel(**params).fit(mapped, checkpoint_dir=tmp_path)
    assert found.history_ == expected.history_
    np.testing.assert_array_equal(found.base_rewards_.params["bases"], expected.base_rewards_.params["bases"])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test__adapt_many_and_score__features_on_disk__equal_those_in_memory(mapped, dtype, monkeypatch):
    monkeypatch.setattr("skmrm.episodes.rows._CHUNK_BYTES", 5000)  # several reads
    table = np.asarray(mapped.features).astype(dtype)
    model = MetaRewardModel(n_bases=3, kernel=None, max_epochs=0, random_state=0).fit(over(mapped, table)[:60])
    array = Recorded(table)
    inside, outside = over(mapped, table)[100:140], over(mapped, array)[100:140]
    array.reads.clear()
    np.testing.assert_allclose(
        model.adapt_many(outside).weights_, model.adapt_many(inside).weights_, rtol=1e-4, atol=1e-6
    )
    assert max(array.reads[-3:]) < 400  # the rows of forty users, some at a time; not the others'
    assert model.score(outside) == model.score(inside)
    np.testing.assert_allclose(model.transform(outside), model.transform(inside), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("limit", [0, -1.0, "2GB"])
def test__max_memory__no_positive_number__is_refused(mapped, limit):
    with pytest.raises(ValueError, match="'max_memory' parameter of MetaRewardModel must be"):
        MetaRewardModel(max_memory=limit).fit(mapped)


def test__out_of_core_benchmark__small__fits_adapts_and_scores(tmp_path, capsys, monkeypatch):
    planted = out_of_core.Planted(40, 6, 8)
    path = tmp_path / "features.f32"
    out_of_core.make_file(planted, path)
    assert path.stat().st_size == planted.n_items * 8 * 4
    found = out_of_core.work(planted, path, 5e-5)
    assert found["users adapted"] == 40
    assert found["peak, GB"] > 0
    assert 0 <= found["accuracy, %"] <= 100
    monkeypatch.setattr(memory_limit.MemoryGroup, "__enter__", lambda self: self)  # no group: it has to say so
    assert out_of_core.main(["--gigabytes", "0.004", "--max-memory", "0.008", "--folder", str(tmp_path)]) == 0
    assert "NOT limited" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [path]
