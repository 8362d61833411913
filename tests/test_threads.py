"""Small work computes on one thread, whoever asks for it and however it ends; the settings stay the caller's."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin, clone
from threadpoolctl import threadpool_info, threadpool_limits

from skmrm import MetaRewardModel, episodes_from_frame
from skmrm._support import threads
from skmrm._support.threads import in_threads, one_thread, threads_for
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.callbacks import FitCallback
from skmrm.encoders import HashedTextEncoder
from skmrm.meta.adaptation import MapAdaptation

N = 3  # threads of the caller in these tests, whatever the machine has


def settings():
    """Numbers of threads as this Python thread sees them: torch's first, then each library's."""
    return [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())]


def openmp():
    return torch.get_num_threads(), {i["num_threads"] for i in threadpool_info() if i["user_api"] == "openmp"}


@pytest.fixture(autouse=True)
def caller():
    """A caller who left everything several threads, and finds it so again."""
    n_before = torch.get_num_threads()
    with threadpool_limits(N):
        torch.set_num_threads(N)
        assert set(settings()) == {N}
        yield
        assert set(settings()) == {N}
        torch.set_num_threads(n_before)


class Spy(MapAdaptation):
    """An inner rule that notes the settings that it is called under."""

    seen: ClassVar[list] = []  # rules are copied

    def adapt(self, *arguments):
        self.seen.append(settings())
        return super().adapt(*arguments)


@pytest.fixture
def torch_settings(monkeypatch):
    """What torch's threads are whenever base rewards are computed or users adapted."""
    from skmrm import base_rewards
    from skmrm.estimators import core_data

    seen = []
    for module, name in ((base_rewards, "item_rewards"), (base_rewards, "standardise"), (core_data, "adapt_users")):
        function = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *given, function=function, **named: seen.append(settings()) or function(*given, **named),
        )
    return seen


def test__fit_and_all_after_it__inside__one_thread(few_episodes, small, monkeypatch):
    monkeypatch.setattr(Spy, "seen", [])
    model = clone(small).set_params(adaptation=Spy(), max_epochs=1).fit(few_episodes)
    n_seen = len(Spy.seen)
    assert n_seen > 3
    for use in (
        lambda: model.adapt(few_episodes[0]),
        lambda: model.adapt_many(few_episodes),
        lambda: model.score(few_episodes),
    ):
        use()
        assert len(Spy.seen) > n_seen
        n_seen = len(Spy.seen)
    assert {n for seen in Spy.seen for n in seen} == {1}


@pytest.mark.parametrize(
    "estimator",
    [
        MetaRewardModel(n_bases=2, max_epochs=1, validation_fraction=0.5, random_state=0, device="cpu"),
        PooledBradleyTerry(random_state=0, device="cpu"),
        LowRankRewards(n_bases=2, ridge=0.1, max_epochs=1, random_state=0, device="cpu"),
        PerUserBradleyTerry(ridge=1.0, random_state=0, device="cpu"),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test__estimators__fit_adapt_and_predict__compute_on_one_thread(estimator, few_episodes, torch_settings):
    model = clone(estimator).fit(few_episodes)
    user = model.adapt(few_episodes[0])
    user.predict(few_episodes.features)
    user.predict_proba(few_episodes[0])
    model.transform(few_episodes.features)
    model.adapt_many(few_episodes).predict_proba(few_episodes)
    assert len(torch_settings) >= 7
    assert {n for seen in torch_settings for n in seen} == {1}


def test__fit_and_adapt__whatever_the_callers_threads__are_the_same_bits(few_episodes, small):
    found = clone(small).fit(few_episodes)
    with one_thread():
        alone = clone(small).fit(few_episodes)
    assert found.start_weights_.tobytes() == alone.start_weights_.tobytes()
    for name, values in alone.base_rewards_.params.items():
        assert found.base_rewards_.params[name].tobytes() == values.tobytes()
    assert found.adapt_many(few_episodes).weights_.tobytes() == alone.adapt_many(few_episodes).weights_.tobytes()


def test__callback_of_a_fit__epochs__sees_one_thread(few_episodes, small):
    seen = []

    class Looks(FitCallback):
        def on_epoch_end(self, record):
            seen.append(settings())

    clone(small).fit(few_episodes, callbacks=[Looks()])
    assert seen
    assert {n for one in seen for n in one} == {1}


class Lengths(TransformerMixin, BaseEstimator):
    """An encoder of the caller's own, with a network or whatever else inside."""

    seen: ClassVar[list] = []  # encoders are cloned

    def fit(self, X, y=None):
        self.seen.append(settings())
        return self

    def transform(self, X):
        self.seen.append(settings())
        return np.array([[len(response), response.count("e")] for _, response in X], np.float32)


@pytest.fixture
def choices():
    rng = np.random.default_rng(0)
    words = ["tea", "with", "milk", "and", "some", "honey", "please", "never"]
    texts = [" ".join(rng.choice(words, 4)) for _ in range(40)]
    rows = [
        {"user": user, "prompt": f"p{n}", "chosen": texts[a], "rejected": texts[b]}
        for user in range(10)
        for n, (a, b) in enumerate(rng.permutation(40)[:8].reshape(4, 2).tolist())
    ]
    return episodes_from_frame(rows, user="user", prompt="prompt", chosen="chosen", rejected="rejected")


def test__encoder_of_the_callers_own__fit_and_score__has_the_callers_threads(choices, monkeypatch):
    monkeypatch.setattr(Lengths, "seen", [])
    model = MetaRewardModel(Lengths(), n_bases=2, max_epochs=0, random_state=0, device="cpu").fit(choices)
    model.adapt(choices[0]).score("p0", "tea")
    assert len(Lengths.seen) >= 4
    assert {n for seen in Lengths.seen for n in seen} == {N}


def test__hashed_encoder__fit_and_transform__one_thread(choices, monkeypatch):
    from skmrm.encoders.hashed import _hashed, _ngrams

    seen = []
    decompose, encode = _hashed.TruncatedSVD.fit, _ngrams.HashedNgrams._encode
    monkeypatch.setattr(_hashed.TruncatedSVD, "fit", lambda *given: seen.append(settings()) or decompose(*given))
    monkeypatch.setattr(_ngrams.HashedNgrams, "_encode", lambda *given: seen.append(settings()) or encode(*given))
    HashedTextEncoder(n_components=3).fit_transform(choices.items)
    assert len(seen) == 2
    assert {n for one in seen for n in one} == {1}
    monkeypatch.setattr(threads, "LARGE", 1)  # as with thousands of components
    HashedTextEncoder(n_components=3).fit(choices.items)
    assert set(seen[-1]) == {N}


def test__onnx_scorer__adapt__one_thread(model, few_episodes, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'skmrm[onnx]'")
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install 'skmrm[onnx]'")
    from skmrm.serving import OnnxScorer, _scorer

    seen = []
    adapt = _scorer.posterior
    monkeypatch.setattr(_scorer, "posterior", lambda *given: seen.append(settings()) or adapt(*given))
    model.export_onnx(tmp_path / "scorer")
    scorer = OnnxScorer(tmp_path / "scorer")  # which tries its rule
    seen.clear()
    weights = scorer.adapt(few_episodes[0])
    np.testing.assert_allclose(weights, model.adapt(few_episodes[0]).weights_, rtol=1e-3, atol=1e-4)
    assert {n for one in seen for n in one} == {1}
    assert len(seen) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test__fit__that_raises__leaves_the_settings_as_they_were(error, few_episodes, small):
    class Broken(MapAdaptation):
        def adapt(self, *arguments):
            raise error("broken")

    with pytest.raises(error, match="broken"):
        clone(small).set_params(adaptation=Broken(), max_epochs=1).fit(few_episodes)
    assert set(settings()) == {N}


@pytest.mark.parametrize("n", [1, 2])
def test__caller_with_fewer_threads__large_product__has_no_more(n):
    torch.set_num_threads(n)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
            with threads_for(threads.LARGE):
                assert torch.get_num_threads() == n
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(N)


def test__threads_for__small_and_large_products__inside_and_outside():
    with threads_for(threads.LARGE - 1):
        assert set(settings()) == {1}
    with threads_for(threads.LARGE):
        assert set(settings()) == {N}
    with one_thread(), one_thread():
        with threads_for(threads.LARGE - 1):
            assert set(settings()) == {1}
        with threads_for(threads.LARGE):
            assert openmp() == (N, {N})
            with one_thread():
                assert set(settings()) == {1}
            assert openmp() == (N, {N})
        assert set(settings()) == {1}


@pytest.mark.parametrize(("large", "expected"), [(threads.LARGE, 1), (1, N)])
def test__fit__products_with_the_table__have_the_callers_threads_where_large(
    large, expected, few_episodes, small, monkeypatch
):
    monkeypatch.setattr(threads, "LARGE", large)
    seen, multiply = [], torch.sparse.mm
    monkeypatch.setattr(torch.sparse, "mm", lambda *given: seen.append(torch.get_num_threads()) or multiply(*given))
    clone(small).fit(few_episodes)
    assert set(seen) == {expected}


def test__mkl__after_torch_set_num_threads__computes_on_one_too():
    """MKL has a setting of its own in torch, once somebody has set torch's."""
    settings = threads._settings().own
    mkl = [setting for setting in settings if hasattr(setting.get, "args")]
    if not mkl:
        pytest.skip("this torch has no MKL")
    with one_thread():
        assert mkl[-1].set(1) == 1
    assert mkl[-1].set(N) == N


class Workers:
    """Python threads that do what they are told, one after the other."""

    def __init__(self, n):
        self._orders = [SimpleQueue() for _ in range(n)]
        self._answers = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(orders,)) for orders in self._orders]
        for thread in self._threads:
            thread.start()

    def _work(self, orders):
        while (order := orders.get()) is not None:
            self._answers.put(order())

    def ask(self, number, order):
        self._orders[number].put(order)
        return self._answers.get()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for orders in self._orders:
            orders.put(None)
        for thread in self._threads:
            thread.join()


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=14))
@example([(0, True), (1, True), (0, False), (1, False)])
@example([(0, True), (1, True), (1, True), (0, False), (2, True), (1, False), (1, False), (2, False)])
def test__one_thread__entered_and_left_by_python_threads_in_any_order__ends_as_it_began(steps):
    """Inside, a thread has one everywhere; outside, OpenMP has what it had; and all have it in the end."""
    with Workers(3) as workers:
        inside = [[], [], []]

        def step(number, enters):
            if enters:
                inside[number].append(one_thread())
                workers.ask(number, inside[number][-1].__enter__)
            elif inside[number]:
                context = inside[number].pop()
                workers.ask(number, lambda: context.__exit__(None, None, None))

        for number, enters in steps:
            step(number, enters)
            for other, contexts in enumerate(inside):
                if contexts:
                    assert set(workers.ask(other, settings)) == {1}
                else:
                    assert workers.ask(other, torch.get_num_threads) == N
        for number, contexts in enumerate(inside):
            while contexts:
                step(number, False)
        assert [workers.ask(number, torch.get_num_threads) for number in range(3)] == [N] * 3
    assert set(settings()) == {N}


def test__python_thread__that_begins_while_another_is_inside__has_all_threads_then_and_later():
    with Workers(1) as workers:
        with one_thread():
            assert workers.ask(0, torch.get_num_threads) == N
        assert workers.ask(0, torch.get_num_threads) == N


def test__in_threads__parts__each_on_one_thread_in_their_order_and_errors_come_through():
    seen = in_threads(lambda part: (part, torch.get_num_threads(), threading.get_ident()), [1, 2, 3])
    assert [(part, n) for part, n, _ in seen] == [(1, 1), (2, 1), (3, 1)]
    assert threading.get_ident() not in {ident for _, _, ident in seen}
    assert in_threads(lambda part: (part, torch.get_num_threads(), threading.get_ident()), [7]) == [
        (7, 1, threading.get_ident())
    ]
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 / part, [1, 0, 2])


def test__adapt_many__many_users__are_parted_among_the_callers_threads(model, episodes, monkeypatch):
    from skmrm.estimators import core_data

    expected = model.adapt_many(episodes)
    parts = []
    adapt = core_data.adapt_users
    monkeypatch.setattr(
        core_data, "adapt_users", lambda *given, **named: parts.append(given[3].n_users) or adapt(*given, **named)
    )
    monkeypatch.setattr(core_data, "_USERS_PER_JOB", 10)
    found = model.adapt_many(episodes)
    assert sorted(parts) == [13, 13, 14]
    np.testing.assert_allclose(found.weights_, expected.weights_, rtol=1e-5, atol=1e-6)
    parts.clear()
    with one_thread():  # a caller who has one thread
        model.adapt_many(episodes)
    assert parts == [40]


def test__base_rewards__many_rows__are_parted_among_the_callers_threads_to_the_same_bits(model, monkeypatch):
    from skmrm import base_rewards

    X = np.random.default_rng(0).standard_normal((1000, 4))
    monkeypatch.setattr("skmrm.meta.tensors.tables.CHUNK_CELLS", 4 * 7)  # chunks of seven rows
    expected = model.transform(X)
    sizes = []
    rewards = base_rewards.item_rewards
    monkeypatch.setattr(
        base_rewards, "item_rewards", lambda params, rows: sizes.append(len(rows)) or rewards(params, rows)
    )
    monkeypatch.setattr(base_rewards, "_NUMBERS_PER_THREAD", 1000)
    assert np.array_equal(model.transform(X), expected)
    assert sorted(sizes) == [328, 336, 336]
    sizes.clear()
    assert model.transform(X[:0]).shape == (0, 3)
    assert sizes in ([], [0])


def test__adapt_and_score__from_many_python_threads__are_the_same_numbers(model, episodes):
    def numbers(user):
        adapted = model.adapt(episodes[user])
        return adapted.weights_, adapted.predict(episodes.features[:50]), adapted.predict_proba(episodes[user])

    expected = [numbers(user) for user in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(numbers, list(range(40)) * 3))
    for number, arrays in enumerate(found):
        for one, other in zip(arrays, expected[number % 40], strict=True):
            assert np.array_equal(one, other)


def test__fits__in_two_python_threads__are_those_one_after_the_other(few_episodes, small):
    expected = clone(small).fit(few_episodes)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: clone(small).fit(few_episodes), range(2)))
    for one in found:
        assert np.array_equal(one.base_rewards_.params["bases"], expected.base_rewards_.params["bases"])
        assert np.array_equal(one.start_weights_, expected.start_weights_)


class Scores(torch.utils.data.Dataset):
    def __init__(self, user, X):
        self.user, self.X = user, X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, row):
        return float(self.user.predict(self.X[row : row + 1])[0])


def test__workers_of_a_data_loader__score_as_their_parent_does(model, episodes):
    user, X = model.adapt(episodes[0]), episodes.features[:6]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python's later versions, about every fork with threads
        loader = torch.utils.data.DataLoader(Scores(user, X), batch_size=3, num_workers=2)
        found = torch.cat([batch.double() for batch in loader])
    np.testing.assert_allclose(found.numpy(), user.predict(X), rtol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test__process_forked__while_another_thread_is_entering__computes_and_has_its_threads():
    def child():
        signal.alarm(120)  # ends a child that waits for what its parent holds
        first = set(settings()) == {N}
        with one_thread():
            inside = set(settings()) == {1}
        return first and inside and set(settings()) == {N}

    with Workers(1) as workers:
        context = one_thread()
        workers.ask(0, context.__enter__)
        threads._shared._lock.acquire()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
        if process == 0:
            right = False
            try:
                right = child()
            finally:
                os._exit(0 if right else 1)
        threads._shared._lock.release()
        _, status = os.waitpid(process, 0)
        workers.ask(0, lambda: context.__exit__(None, None, None))
    assert os.waitstatus_to_exitcode(status) == 0
