"""What an encoder is made of: whatever decides its numbers changes its identity, and nothing else does."""

import contextlib
import dataclasses
import enum
import importlib
import logging
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from collections import Counter, deque
from functools import cached_property, partial, singledispatchmethod
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmrm.embeddings import EmbeddingStore, encode_dataset
from skmrm.encoders import HashedTextEncoder, TextEncoder
from skmrm.encoders._identity import digest, identity_of

ITEMS = [("Tea?", "Yes, please."), ("Tea?", "No."), ("", "eel"), ("Why?", "")]


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Write modules, and import the first of them anew, as another process would."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = set()

    def import_(source, **others):
        for name, text in {"edited": source, **others}.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
            names.add(name)
        for name in names:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("edited")

    yield import_
    for name in names:
        sys.modules.pop(name, None)


FUNCTION = """
def encode(X):
    return [[len(response)] for _, response in X]
"""
TRANSFORMER = """
from sklearn.base import BaseEstimator, TransformerMixin
class Base(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_ = 1
        return self
    def scaled(self, number):
        return number * 2
class encode(Base):
    weight = 3
    table = {"a": [1, 2]}
    def __init__(self, power=1):
        self.power = power
    @property
    def bias(self):
        return 4
    @staticmethod
    def length(text):
        return len(text) + 5
    def transform(self, X):
        return [[self.scaled(self.length(r)) * self.weight + self.bias] for _, r in X]
"""
USES = """
import functools
import numpy as np
import helper
from helper import count, CONSTANT
LIST, TABLE, SET, ARRAY, NUMBER = ["a", "b"], {"a": 1}, {"a", "b"}, np.arange(9), 1.5
def plus(number):
    def add(other):
        return other + number
    return add
three = plus(3)
power = functools.partial(pow, exp=2)
@functools.lru_cache
def kept(text):
    return len(text) + 7
def decorated(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)
    return call
@decorated
def inner(text):
    return [c for c in text if c != "z"]
def own(text, marks=".,", *, weight=11):
    from other import late
    return sum(text.count(mark) for mark in marks) * weight + late(text)
def encode(X):
    return [[
        LIST.index("a") + TABLE["a"] + ("q" in SET) + ARRAY.sum() + NUMBER + three(1) + power(2) + kept(r)
        + len(inner(r)) + own(r) + helper.size(r) + count(r) + CONSTANT
    ] for _, r in X]
"""
HELPER = """
CONSTANT = 13
FACTOR = 17
def size(text):
    return deeper(text) * FACTOR
def deeper(text):
    return len(text) + 19
def count(text):
    return text.count("e") + 23
"""
OTHER = "def late(text):\n    return len(text) + 29\n"


def encoder_of(module):
    return module.encode() if isinstance(module.encode, type) else FunctionTransformer(module.encode)


def encoded(module, **options):
    return TextEncoder(encoder_of(module), text_statistics=False, **options).fit_transform(ITEMS)


@pytest.mark.parametrize(
    ("source", "before", "after"),
    [
        (FUNCTION, "len(response)", 'response.count("e")'),
        (TRANSFORMER, "number * 2", "number * 4"),
        (TRANSFORMER, "weight = 3", "weight = 4"),
        (TRANSFORMER, '{"a": [1, 2]}', '{"a": [1, 3]}'),
        (TRANSFORMER, "power=1", "power=2"),
        (TRANSFORMER, "return 4", "return 5"),
        (TRANSFORMER, "+ 5", "+ 6"),
        (USES, '["a", "b"]', '["b", "a"]'),
        (USES, '{"a": 1}', '{"a": 2}'),
        (USES, '{"a", "b"}', '{"a", "q"}'),
        (USES, "np.arange(9)", "np.arange(8)"),
        (USES, "1.5", "1.25"),
        (USES, "plus(3)", "plus(4)"),
        (USES, "other + number", "other - number"),
        (USES, "exp=2", "exp=3"),
        (USES, "+ 7", "+ 8"),
        (USES, 'c != "z"', 'c != "e"'),
        (USES, 'marks=".,"', 'marks=".,?"'),
        (USES, "weight=11", "weight=12"),
        (USES, "return function(*args)", "return function(*args) * 2"),
        (HELPER, "CONSTANT = 13", "CONSTANT = 14"),
        (HELPER, "FACTOR = 17", "FACTOR = 18"),
        (HELPER, "+ 19", "- 19"),
        (HELPER, "+ 23", "+ 24"),
        (OTHER, "+ 29", "+ 30"),
    ],
)
def test__identity__whatever_decides_is_edited__another_and_the_cache_gives_new_numbers(
    imported, tmp_path, source, before, after
):
    sources = {"source": source if source in (FUNCTION, TRANSFORMER) else USES, "helper": HELPER, "other": OTHER}
    changed = {name: text.replace(before, after) if text == source else text for name, text in sources.items()}
    assert changed != sources
    cache, found = tmp_path / "cache", []
    for now in (sources, changed, sources, changed):
        module = imported(**now)
        found.append(identity_of(encoder_of(module)))
        assert_array_equal(encoded(module, memory=cache), encoded(module), strict=True)
    assert found[0] == found[2] != found[1] == found[3]
    assert found[0]["python"] == ".".join(map(str, sys.version_info[:2]))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def plus", "# a remark\n\ndef plus"),
        ("def own(text,", "def own(text,\n  "),
        ("def kept(text):\n", 'def kept(text):\n    """Say so."""\n'),
        ("def encode(X):", "UNUSED = [3]\ndef unused(): return UNUSED\ndef encode(X):"),
        ("for c in text if c", "for c in text\n  if c"),
    ],
)
def test__identity__what_decides_nothing_is_edited__stays(imported, before, after):
    first = identity_of(encoder_of(imported(USES, helper=HELPER, other=OTHER)))
    assert before in USES
    assert identity_of(encoder_of(imported(USES.replace(before, after), helper=HELPER, other=OTHER))) == first


parts = st.sampled_from(["len(r)", "r.count('e')", "C", "h(r)", "D['x']", "len(p)"])
edits = st.fixed_dictionaries(
    {
        "body": st.lists(parts, min_size=1, max_size=3).map(" + ".join),
        "constant": st.integers(0, 3),
        "entry": st.integers(0, 3),
        "helper": st.sampled_from(["len(t)", "t.count('s')", "C * len(t)"]),
        "scale": st.integers(1, 3),
    }
)


@given(st.lists(edits, min_size=2, max_size=5))
@settings(max_examples=25)
def test__memory__any_edits_one_after_the_other__numbers_are_those_of_no_memory(tmp_path_factory, drawn):
    cache = tmp_path_factory.mktemp("cache")
    for edit in drawn:
        names: dict = {"__name__": "a_notebook"}
        exec(
            f"C = {edit['constant']}\nD = {{'x': {edit['entry']}}}\ndef h(t): return {edit['helper']}\n"
            f"def f(X, scale=1): return [[scale * ({edit['body']})] for p, r in X]",
            names,
        )
        encoder = FunctionTransformer(names["f"], kw_args={"scale": edit["scale"]})
        plain, kept = (
            TextEncoder(encoder, memory=memory, text_statistics=False).fit_transform(ITEMS) for memory in (None, cache)
        )
        assert_array_equal(kept, plain, strict=True)


def test__store__edited_encoder__is_refused(imported, tmp_path):
    for source, before, after in ((TRANSFORMER, "number * 2", "number * 4"), (SUBCLASS, "* 2", "* 3")):
        folder = tmp_path / f"store{len(source)}"
        made = EmbeddingStore(folder, imported(source).encode().fit(ITEMS))
        encode_dataset(ITEMS, made, verbose=False)
        same = EmbeddingStore(folder, imported("# moved\n" + source).encode().fit(ITEMS))
        assert_array_equal(same.features(ITEMS)[:], same.encoder_.transform(ITEMS))
        with pytest.raises(ValueError, match="was made with another encoder"):
            EmbeddingStore(folder, imported(source.replace(before, after)).encode().fit(ITEMS))


SUBCLASS = """
from skmrm.encoders import HashedTextEncoder
class encode(HashedTextEncoder):
    def transform(self, X):
        return super().transform(X) * 2
"""


# -- parameters and what was learnt ------------------------------------------------------------------------------------


class Scaled(TransformerMixin, BaseEstimator):
    """Lengths, times what is a parameter, an array that was learnt, and what a file says."""

    calls: list[int] = []  # noqa: RUF012 (of all instances)
    memo: dict[str, float] = {}  # noqa: RUF012

    def __init__(self, scale=1.0, path=None):
        self.scale = scale
        self.path = path

    def fit(self, X, y=None):
        self.weights_ = np.ones(2)
        return self

    def transform(self, X):
        type(self).calls.append(len(X))
        factor = 1.0 if self.path is None else float(Path(self.path).read_text())
        self.memo["last"] = factor
        return np.array([[len(p), len(r)] for p, r in X]) * self.weights_ * self.scale * factor


def changes(tmp_path):
    """Encoders that were fitted, and what is done to them."""
    file = tmp_path / "factor.txt"
    file.write_text("2.5")

    def altered():
        before = file.stat()
        file.write_text("7.5")  # as long, and as old
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def within(encoder):
        encoder[0].weights_[1] = 5

    return [
        (Scaled(), lambda encoder: encoder.set_params(scale=2.0)),
        (Scaled(), lambda encoder: encoder.weights_.__setitem__(0, 3)),
        (make_pipeline(Scaled(), StandardScaler()), within),
        (make_pipeline(Scaled(), StandardScaler()), lambda encoder: encoder[1].mean_.__iadd__(1)),
        (Scaled(path=str(file)), lambda encoder: altered()),
        (make_pipeline(FunctionTransformer(_scaled, kw_args={"path": file})), lambda encoder: altered()),
    ]


def _scaled(X, path):
    return np.array([[len(r)] for _, r in X]) * float(path.read_text())


@pytest.mark.parametrize("number", range(6))
def test__fitted_encoder__changed_afterwards__neither_cache_nor_store_gives_what_it_made_before(tmp_path, number):
    encoder, change = changes(tmp_path)[number]
    kept = TextEncoder(encoder, memory=tmp_path / "cache", text_statistics=False).fit(ITEMS)
    store = EmbeddingStore(tmp_path / "store", pickle.loads(pickle.dumps(kept.encoder_)))
    stored = TextEncoder(memory=store, text_statistics=False).fit(ITEMS)
    before = kept.transform(ITEMS)
    assert_array_equal(stored.transform(ITEMS), before)
    change(kept.encoder_)
    after = kept.transform(ITEMS)
    assert_array_equal(after, np.asarray(kept.encoder_.transform(ITEMS), np.float32))
    assert not np.array_equal(after, before)
    if number < 4:
        change(store.encoder_)
    for use in (lambda: stored.transform(ITEMS), lambda: encode_dataset([("new", "text")], store, verbose=False)):
        with pytest.raises(ValueError, match=r"was changed since the store was opened.*in another folder"):
            use()


def test__identity__of_folders__is_of_their_files_and_not_of_caches(tmp_path):
    (tmp_path / "model" / "deep").mkdir(parents=True)
    weights = tmp_path / "model" / "deep" / "weights.bin"
    weights.write_bytes(b"1")
    for path in (str(tmp_path / "model"), tmp_path / "model"):
        first = identity_of(Scaled(path=path))
        (tmp_path / "model" / ".hidden").write_text(str(path))
        assert identity_of(Scaled(path=path)) == first
        weights.write_bytes(b"%d" % len(first["digest"] + str(type(path))))
        assert identity_of(Scaled(path=path)) != first
    encoder = Scaled()
    encoder.cache_folder = str(tmp_path)
    first = identity_of(encoder)
    weights.write_bytes(b"3")
    assert identity_of(encoder) == first


@pytest.mark.parametrize(
    "encoder",
    [
        Scaled(),
        make_pipeline(Scaled(), StandardScaler()),
        HashedTextEncoder(n_components=2),
        TfidfVectorizer(preprocessor=str, tokenizer=str.split, token_pattern=None),
        FunctionTransformer(lambda X: [[len(X)]] * len(X)),
        FunctionTransformer(partial(np.reshape, shape=(-1, 2)), kw_args={}),
    ],
    ids=lambda encoder: type(encoder).__name__,
)
def test__identity__used_pickled_and_in_another_process__is_the_same(encoder):
    encoder = encoder.fit(ITEMS)
    first = identity_of(encoder)
    encoder.transform(ITEMS)
    assert identity_of(encoder) == first
    if "lambda" not in str(encoder):
        assert identity_of(pickle.loads(pickle.dumps(encoder))) == first


def test__identity__in_processes_that_hash_strings_differently__is_the_same(tmp_path):
    (tmp_path / "edited.py").write_text(USES)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "other.py").write_text(OTHER)
    code = (
        "import edited; from sklearn.preprocessing import FunctionTransformer; from skmrm.encoders import *; "
        "from skmrm.encoders._identity import identity_of; "
        "print(identity_of(FunctionTransformer(edited.encode))['digest'], "
        "identity_of(HashedTextEncoder(2).fit([('', 'a b'), ('', 'c')]))['digest'])"
    )
    found = set()
    for seed in ("1", "2"):
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), os.getcwd()])  # noqa: PTH109
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        found.add(run.stdout)
    assert len(found) == 1


LOGGER, LOCK, PATTERN = logging.getLogger(__name__), threading.Lock(), re.compile("a+")


class Kind(enum.Enum):
    ONE = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    size: int = 3
    words: tuple[str, ...] = ("a",)


class Odd(Scaled):
    """Members and globals of many kinds, none of which is a number or a plain function."""

    kind, settings, lock, alias = Kind.ONE, Settings(), threading.RLock(), list[int] | None
    proxy, counts, queue = MappingProxyType({"a": 1}), Counter("abc"), deque([1])
    generator, ufunc, sparse = np.random.default_rng(0), np.add, sp.csr_array(np.eye(2))
    pick, span, local = itemgetter(1), slice(1, 2), threading.local()

    @cached_property
    def once(self):
        return 1

    @singledispatchmethod
    def by_type(self, value):
        return value

    @classmethod
    @contextlib.contextmanager
    def entered(cls):
        yield cls.kind

    def transform(self, X):
        LOGGER.debug("%s", LOCK)
        try:
            import nothing_of_this_name
        except ImportError:
            nothing_of_this_name = None
        return super().transform(X) * len(PATTERN.findall("aa b")) + (nothing_of_this_name is not None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", None),
        ("settings", Settings(4)),
        ("settings", Settings(words=("b",))),
        ("alias", list[str]),
        ("proxy", MappingProxyType({"a": 2})),
        ("counts", Counter("ab")),
        ("queue", deque([2])),
        ("generator", np.random.default_rng(1)),
        ("ufunc", np.multiply),
        ("sparse", sp.csr_array(np.eye(2) * 2)),
        ("pick", itemgetter(2)),
        ("span", slice(1, 3)),
        ("once", cached_property(lambda self: 2)),
    ],
)
def test__identity__members_of_any_kind__decide(monkeypatch, name, value):
    first = identity_of(Odd())
    assert identity_of(Odd()) == first
    monkeypatch.setattr(Odd, name, value)
    assert identity_of(Odd()) != first


def test__identity__globals_of_any_kind__decide(monkeypatch):
    first = identity_of(Odd())
    monkeypatch.setattr(sys.modules[__name__], "PATTERN", re.compile("a"))
    assert identity_of(Odd()) != first


# -- one's own word, and what nobody can tell --------------------------------------------------------------------------


class Handle(Scaled):
    """Holds what cannot be looked into."""

    def __init__(self, scale=1.0, path=None):
        super().__init__(scale, path)
        self.stream = (number for number in range(3))


class Declared(Handle):
    """Says itself what decides."""

    @property
    def identity_(self):
        return {"encoder": "Declared", "scale": self.scale}


class After(Declared):
    """Does more than whoever it comes from knows of."""

    def transform(self, X):
        return super().transform(X) * 2


def test__encoder__that_nobody_can_tell_from_others__is_refused_with_what_to_do(tmp_path):
    message = (
        r"nobody can tell what the Handle is made of \(.*generator.*\): give it a property identity_.*without memory"
    )
    with pytest.raises(ValueError, match=message):
        EmbeddingStore(tmp_path / "store", Handle().fit(ITEMS))
    with pytest.raises(ValueError, match=message):
        TextEncoder(Handle(), memory=tmp_path / "cache").fit(ITEMS)
    assert_array_equal(TextEncoder(Handle()).fit(ITEMS).transform(ITEMS)[:, :2], Scaled().fit([]).transform(ITEMS))


def test__declared_identity__is_the_word_of_its_class_and_not_of_a_later_one(tmp_path):
    own = identity_of(Declared(2.0).fit(ITEMS))
    assert own == {"encoder": "Declared", "scale": 2.0}
    later = identity_of(After(2.0).fit(ITEMS))
    assert set(later) == {"encoder", "scale", "code", "python"}
    store = EmbeddingStore(tmp_path, Declared().fit(ITEMS))
    with pytest.raises(ValueError, match=r"code: nothing in the store, .* asked for"):
        EmbeddingStore(tmp_path, After().fit(ITEMS))
    encode_dataset(ITEMS, store, verbose=False)
    encode_dataset([("new", "text")], store, verbose=False)
    assert len(store) == len(ITEMS) + 1


def test__identity__locks_and_loops__are_no_hindrance():
    def one(number):
        return other(number - 1) if number and lock else 0

    def other(number):
        return one(number)

    lock, loop = threading.Lock(), [1]
    loop.append(loop)
    assert digest(one, loop) == digest(one, loop) != digest(other, loop)
    assert digest(loop) != digest([1, [1]])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3)
        | st.frozensets(st.integers() | st.text(max_size=2), max_size=3)
    ),
    max_leaves=8,
)


@given(values, values)
@settings(max_examples=200)
def test__digest__any_values__is_equal_where_they_spell_the_same(one, other):
    def spelt(value):
        if isinstance(value, dict):
            return "dict", sorted((repr(spelt(key)), spelt(entry)) for key, entry in value.items())
        if isinstance(value, frozenset):
            return "set", sorted(map(repr, value))
        if isinstance(value, list | tuple):
            return type(value).__name__, [spelt(entry) for entry in value]
        return type(value).__name__, repr(value)

    assert digest(pickle.loads(pickle.dumps(one))) == digest(one)
    assert (digest(one) == digest(other)) == (repr(spelt(one)) == repr(spelt(other)))
