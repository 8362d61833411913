"""The speed benchmark: the plain loop agrees with the package, and every part runs."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
import torch

from benchmarks import __main__ as every
from benchmarks._support import timing
from benchmarks.speed import __main__ as speed
from benchmarks.speed.capacity import Size, plant
from benchmarks.speed.forms import forms_of
from benchmarks.speed.instead import cpu_seconds, fit_by_scikit_learn
from benchmarks.speed.neighbours import busy
from benchmarks.speed.plain_loop import PlainModel, plain_adapt, plain_map_adapt, plain_map_by_autograd
from benchmarks.speed.training import train, train_plainly
from benchmarks.speed.world import World, make_world
from skmrm.episodes import as_episode_set
from skmrm.meta.adaptation import GradientAdaptation, MapAdaptation
from skmrm.meta.adaptation.users import adapt_users


@pytest.mark.parametrize("users_per_batch", [2, 5])
def test__plain_loop__an_epoch__ends_where_the_package_does(users_per_batch):
    world = make_world(11, 12, 6, torch.float64)
    found = train(world, 2, users_per_batch, 1)
    plain = train_plainly(world, users_per_batch, 1)
    assert (found["bases"] - make_start(6)["bases"]).abs().max() > 1e-3
    torch.testing.assert_close(plain.bases.weight.detach(), found["bases"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(plain.logits.detach(), found["start"], rtol=1e-9, atol=1e-12)


def make_start(d):
    generator = torch.Generator().manual_seed(1)
    return {"bases": torch.randn(2, d, generator=generator, dtype=torch.float64) / d**0.5}


def test__plain_adapt__users_one_by_one__have_the_packages_weights():
    world = make_world(5, 8, 6, torch.float64)
    start = make_start(6) | {"start": torch.tensor([0.3, -0.1], dtype=torch.float64)}
    rule = GradientAdaptation(step_size=0.2, optimizer="adam", simplex=True)
    rewards = world.table @ start["bases"].T
    expected, _ = adapt_users(start, rule, rewards, world.pairs)
    plain = PlainModel(start["bases"], start["start"], inner_lr=0.2)
    torch.testing.assert_close(plain_adapt(plain, world.table, world.pairs, range(5)), expected)


def test__plain_map_adapt__users_one_by_one__have_the_packages_modes_and_covariances():
    world = make_world(7, 8, 6, torch.float64)
    params = make_start(6) | {
        "start": torch.tensor([0.3, -0.1], dtype=torch.float64),
        "rule.prior_scale": torch.tensor([0.5, 2.0], dtype=torch.float64),
    }
    rewards = world.table @ params["bases"].T
    expected = adapt_users(params, MapAdaptation(), rewards, world.pairs, with_covariance=True)
    assert (expected[0] - params["start"]).abs().max() > 0.1
    found = plain_map_adapt(params, world.table, world.pairs, range(7), with_covariance=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    modes, nothing = plain_map_adapt(params, world.table, world.pairs, range(7))
    assert torch.equal(modes, found[0])
    assert nothing is None
    by_autograd = plain_map_by_autograd(params, world.table, world.pairs, range(7))
    torch.testing.assert_close(by_autograd, expected[0], rtol=0, atol=2e-3)  # where LBFGS stops by itself


def test__in_turn__runs__are_interleaved_and_the_first_round_is_not_counted(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    calls = []
    found = timing.in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert found == {"a": 1, "b": 1}


def test__busy__processes__are_there_and_end_also_after_an_error(monkeypatch):
    started, start = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *given: started.append(start(*given)) or started[-1])

    def look():
        assert [process.poll() for process in started] == [None, None]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), busy(2):
        look()
    assert [process.poll() is None for process in started] == [False, False]


@pytest.mark.full
def test__benchmarks__quick__prints_a_table_of_each_part_and_writes_all_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(every.AREAS, "accuracy", lambda arguments: pytest.fail("not asked for"))
    assert every.main(["--quick", "--only", "speed", "--output", str(tmp_path / "found.json")]) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())["speed"]
    assert found["bytes_per_second"] > 0
    names = ["fit", "instead", "adapt", "single", "growth", "capacity", "forms", "neighbours", "gpu"]
    assert list(found["parts"]) == names
    for name, part in found["parts"].items():
        assert part["title"] in printed
        assert len(part["rows"]) > 0 or (name == "gpu" and "nothing was measured" in part["title"])
    assert "processor" in printed


@pytest.mark.parametrize("run", [every.main, speed.main])
def test__benchmarks__unknown_part__is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run(["--only", "haste"])
    assert "must be out of" in capsys.readouterr().err


def test__train__bfloat16_features__learn_as_from_single_precision():
    """The path of a GPU's half precision, on whatever there is."""
    half = make_world(30, 10, 8, torch.bfloat16, n_items=50)
    found = train(half, 2, 8, 2)
    expected = train(World(half.table.float(), half.pairs, half.split), 2, 8, 2)
    assert found["bases"].dtype == torch.float32
    torch.testing.assert_close(found["bases"], expected["bases"], atol=1e-5, rtol=1e-4)


def test__forms__read__are_the_same_choices(episodes):
    user, ends = episodes.user, np.stack([episodes.chosen, episodes.rejected], axis=1)
    sets = [as_episode_set(read()).canonical() for read in forms_of(episodes.features, ends, user).values()]
    assert len(sets) == 5
    assert all(one == sets[0] for one in sets)
    assert sets[0].n_pairs == episodes.n_pairs


def test__fit_by_scikit_learn__few_users__finds_what_they_share(episodes):
    model = fit_by_scikit_learn(episodes)
    gaps = np.asarray(episodes.features)[episodes.chosen] - np.asarray(episodes.features)[episodes.rejected]
    assert (model.decision_function(gaps) > 0).mean() > 0.6
    assert cpu_seconds(lambda data: [data] * 10**6, episodes) > 0


@pytest.mark.parametrize("n_items", [None, 12])
def test__plant__choices__are_told_by_features_and_of_two_items(n_items):
    episodes = plant(Size(30, 40, 6, n_items))
    assert (episodes.n_users, episodes.n_pairs) == (30, 1200)
    assert len(episodes.features) == (n_items or 2400)
    assert (episodes.chosen != episodes.rejected).all()
    gaps = episodes.features[episodes.chosen] - episodes.features[episodes.rejected]
    own = [gaps[episodes.user == user] for user in range(30)]
    told = np.mean([np.linalg.norm(gap.mean(0)) for gap in own])
    by_chance = np.mean([np.linalg.norm((gap[::2] - gap[1::2]).mean(0)) / 2 for gap in own])
    assert told > 1.5 * by_chance
