"""Encoding on Ray: against the local store byte for byte, on two actors of a cluster of this machine."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin

from skmrm import Episode, episodes_from_frame
from skmrm.embeddings import EmbeddingStore
from skmrm.embeddings import encode_dataset as encode_here
from skmrm.encoders import HFEncoder
from skmrm.episodes.messages import Conversation
from skmrm.integrations import _ray_pieces
from skmrm.integrations.ray import encode_dataset

if find_spec("ray") is None:
    pytest.skip("needs Ray Data: pip install 'skmrm[ray]'", allow_module_level=True)

# Ray's own, about its settings, when it makes them
pytestmark = pytest.mark.filterwarnings(r"ignore:`use_\w+` is deprecated:DeprecationWarning:ray.data.context")

ASKED = Conversation([("system", "Be brief."), ("user", "Tea?")])
ITEMS = [
    ("Tea?", "Yes."),
    (ASKED, Conversation([("assistant", "Yes.")])),
    (str(ASKED), "Yes."),  # reads alike
    ("", ""),
    ("Tea?", "odd \ud83d half and \U0001f375"),
    ("Cake?", 'a "quoted"\nline\u2028\x00'),
    *(("Count!", " ".join(map(str, range(n)))) for n in range(14)),
]


FAILING = ITEMS[-3]


class Lengths(TransformerMixin, BaseEstimator):
    """A few numbers of each text; `trouble` is met once, where a file says so."""

    identity_ = {"encoder": "Lengths"}  # noqa: RUF012 (the file comes and goes, and decides about no number)

    def __init__(self, trouble=None, device="cpu"):
        self.trouble = trouble
        self.device = device

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        if self.trouble and Path(self.trouble).exists() and FAILING in X:
            kind = Path(self.trouble).read_text(encoding="utf-8")
            Path(self.trouble).unlink()
            if kind == "dies":
                os._exit(1)
            raise ZeroDivisionError("no more tea")
        return np.array([[len(prompt), len(response), hash_of(response)] for prompt, response in X], np.float32)


class Sight(Lengths):
    """How many GPUs an encoder sees."""

    def transform(self, X):
        return np.full((len(X), 1), len(os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace(",", "")), np.float32)


def hash_of(text):
    return sum(map(ord, text)) % 1009


@pytest.fixture(scope="module")
def cluster():
    """Two CPU cores, and a GPU that is a number alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
        # Actors cannot import tests.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield ray
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        ray.shutdown()


def fitted(*args, **kwargs):
    return Lengths(*args, **kwargs).fit(ITEMS)


def contents(store_folder):
    return {
        file.relative_to(store_folder).as_posix(): file.read_bytes()
        for file in sorted(Path(store_folder).rglob("*"))
        if file.is_file() and file.name != "lock"
    }


def filled(folder, items=ITEMS, encoder=None):
    store = EmbeddingStore(folder, encoder=encoder or fitted(), rows_per_shard=3)
    encode_here(items, store, verbose=False)
    return store


@pytest.fixture
def one_thread():
    """Ray gives an actor as many threads as it has cores; sums over other numbers of threads differ in the last bit."""
    torch = pytest.importorskip("torch")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.mark.full
def test__encode_dataset__two_actors_with_a_network__store_is_the_local_one_to_the_byte(
    cluster, save_reward_model, one_thread, tmp_path
):
    pytest.importorskip("transformers", reason="needs transformers: pip install 'skmrm[text]'")
    save_reward_model(tmp_path / "model")
    encoder = HFEncoder(tmp_path / "model", reward_head=True, max_length=64, device="cpu")
    here = EmbeddingStore(tmp_path / "here", encoder=encoder, rows_per_shard=5)
    there = EmbeddingStore(tmp_path / "there", encoder=encoder, rows_per_shard=5)
    expected = encode_here(ITEMS, here, verbose=False)
    found = encode_dataset(ITEMS, there, concurrency=2, verbose=False)
    assert contents(there.folder) == contents(here.folder)
    assert len(contents(there.folder)) > len(ITEMS) // 5
    for fact in ("n_items", "n_new", "n_tokens", "n_cut"):
        assert getattr(found, fact) == getattr(expected, fact), fact
    assert found.n_new == len(ITEMS)
    assert np.asarray(there.features(ITEMS)).shape == (len(ITEMS), 17)


@pytest.mark.full
def test__encode_dataset__encoder_that_raises_and_an_actor_that_dies__nothing_lost(cluster, tmp_path):
    trouble = tmp_path / "trouble"
    there = EmbeddingStore(tmp_path / "there", encoder=fitted(trouble), rows_per_shard=3)
    trouble.write_text("raises", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"on piece 5 of 7 \(3 texts; the first response is '0 1 .* 9'\)") as caught:
        encode_dataset(ITEMS, there, verbose=False)
    assert "ZeroDivisionError: no more tea; what was written before is in the store" in str(caught.value)
    assert "in transform" in str(caught.value.__cause__)
    n_kept = len(EmbeddingStore(tmp_path / "there"))
    assert n_kept % 3 == 0
    assert 0 < n_kept < len(ITEMS)

    trouble.write_text("dies", encoding="utf-8")
    found = encode_dataset(ITEMS, there, concurrency=(1, 2), verbose=False)
    assert not trouble.exists()
    assert found.n_new == len(ITEMS) - n_kept
    assert contents(there.folder) == contents(filled(tmp_path / "here", encoder=fitted(trouble)).folder)


@pytest.mark.full
def test__encode_dataset__data_sets_of_ray__same_items_as_episodes(cluster, tmp_path):
    import ray.data

    def said(role, text):
        return [{"role": role, "content": text}]

    rows = [
        {"prompt": said("user", "Tea?"), "chosen": said("assistant", "Yes."), "rejected": said("assistant", "No.")},
        {"prompt": said("user", "Cake?"), "chosen": said("assistant", "No."), "rejected": said("assistant", "Yes.")},
    ]
    episodes = episodes_from_frame([{"user": "ann", **row} for row in rows], user="user")
    store = EmbeddingStore(tmp_path / "pairs", encoder=fitted(), rows_per_shard=3)
    found = encode_dataset(ray.data.from_items(rows), store, verbose=False)
    assert found.n_items == found.n_new == episodes.n_items == 4
    assert all(item in store for item in episodes.items)
    assert contents(store.folder) == contents(filled(tmp_path / "local", episodes).folder)

    texts = ray.data.from_items([{"prompt": prompt, "response": response, "more": 1} for prompt, response in ITEMS[6:]])
    store = filled(tmp_path / "texts", ITEMS[6:])
    assert encode_dataset(texts, store, verbose=False).n_new == 0
    with pytest.raises(ValueError, match=r"columns 'prompt' and 'response', .* its columns are 'prompt', 'answer'"):
        encode_dataset(ray.data.from_items([{"prompt": "a", "answer": "b"}]), store)


def test__encode_dataset__gpus_not_asked_for__one_where_there_is_one_and_settings_of_ray_stay(cluster, tmp_path):
    import ray.data

    context = ray.data.DataContext.get_current()
    before = context.copy()
    store = EmbeddingStore(tmp_path, encoder=Sight(device="auto").fit(ITEMS))
    encode_dataset(ITEMS[:2], store, verbose=False)
    assert np.asarray(store.features(ITEMS[:2])).tolist() == [[1], [1]]
    assert ray.data.DataContext.get_current() is context
    assert context == before


def test__piece_encoder__without_a_gpu__sees_none_of_others(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    encoder = _ray_pieces.PieceEncoder(Sight(), has_gpu=True).encoder
    assert encoder.transform(ITEMS[:1]).tolist() == [[2]]
    encoder = _ray_pieces.PieceEncoder(Sight(), has_gpu=False).encoder
    assert encoder.transform(ITEMS[:1]).tolist() == [[0]]


def test__encode_dataset__nothing_to_do__starts_no_actor(tmp_path, monkeypatch):
    import ray

    was_running = ray.is_initialized()
    monkeypatch.setattr(ray, "put", pytest.fail)
    store = filled(tmp_path)
    episodes = [Episode("ann", ["Yes."], ["Yes."], prompts=["Tea?"])]
    found = encode_dataset(episodes, store, verbose=False)
    assert (found.n_items, found.n_new) == (1, 0)
    assert ray.is_initialized() == was_running


def test__encode_dataset__wrong_parameters__all_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(_ray_pieces, "encode_pieces", pytest.fail)
    store = EmbeddingStore(tmp_path / "cuda", encoder=fitted(device="cuda:1"))
    with pytest.raises(ValueError) as caught:
        encode_dataset(
            ITEMS, store, concurrency=(2, 1), num_gpus=-1, num_cpus="all", ray_remote_args={"num_gpus": 1, "memory": 1}
        )
    for words in (
        r"at least 1, got (2, 1): write 4",
        "num_gpus must be None or a number, 0 or more, got -1",
        "num_cpus must be None or a number, 0 or more, got 'all'",
        "ray_remote_args may not have 'num_gpus', which are settled already",
        "the encoder asks for 'cuda:1': give it device='auto'",
    ):
        assert words in str(caught.value)
    assert len(store) == 0
    store = EmbeddingStore(tmp_path / "cpu", encoder=fitted(device="cpu"))
    with pytest.raises(ValueError, match="num_gpus=1 would lie idle"):
        encode_dataset(ITEMS, store, num_gpus=1)
    assert len(store) == 0


def test__encode_dataset__without_ray__says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ImportError, match=r"pip install 'skmrm\[ray\]'"):
        encode_dataset(ITEMS, EmbeddingStore(tmp_path, encoder=fitted()))
