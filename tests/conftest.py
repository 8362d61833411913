"""What all tests share: their settings, and small data and models; whoever needs a variation makes it from these."""

import copy
import math
import os
import pickle
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

# Before anything that reads them is imported: sums in one order on every machine, and nothing asked of a network.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", ORT_DISABLE_TELEMETRY="1")

import joblib
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.meta.prior.stacking import StackOptions, stack_priors

torch.set_num_threads(1)  # should something have imported it before
threadpool_limits(1)  # and numpy
# No law is about time.
_TIMELESS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("skmrm", max_examples=50, **_TIMELESS)
settings.register_profile("campaign", max_examples=16_000, print_blob=True, **_TIMELESS)  # of test_campaign.py
settings.load_profile("skmrm")

TESTS = Path(__file__).parent
LONG = (
    "integrations/test_ray.py",
    "examples",
    "service",
    "test_docs.py",
    "integrations/test_trl.py",
    "test_convargs.py",
    "benchmarks",
)

# They subclass what these libraries have, and hold no doctests.
NEED = {
    "transformers": ("export/huggingface.py", "export/modeling_user_reward.py", "integrations/huggingface.py"),
    "fastapi": ("service",),
}


def pytest_addoption(parser):
    parser.addoption(
        "--full",
        action="store_true",
        help="also what repeats at length a law that shorter tests show, or needs size: the real MiniLM where a tiny "
        "encoder serves (export, int8, serving and encoding benchmarks, the shared judgements), more families of "
        "encoders exported, a network, data sets and dying actors in Ray, a policy trained with TRL, memory of a "
        "fit in half precision, quick runs of the benchmarks, and what the quickstart, README's first command, says",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "full: repeats at length what a shorter test shows; runs with --full")
    package = TESTS.parent / "skmrm"
    for library, names in NEED.items():
        if find_spec(library) is None:
            config.option.ignore = [*(config.option.ignore or []), *(str(package / name) for name in names)]


def pytest_collection_modifyitems(config, items):
    """What takes long comes first, and what shares models or heavy libraries side by side.

    Workers that steal from each other's ends (``-n 2 --dist worksteal``) then start Ray and fit a page's model once,
    and have short tests left to share when the rest is done.
    """

    def place(item):
        within = item.path.relative_to(TESTS).as_posix() if item.path.is_relative_to(TESTS) else ""
        return next((number for number, start in enumerate(LONG) if within.startswith(start)), len(LONG))

    items.sort(key=place)
    if not config.getoption("full"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="repeats at length what a shorter test shows: --full"))


@pytest.fixture(scope="session")
def planted():
    """Forty users with two base functions over four features, and what made their choices."""
    return make_user_preferences(n_users=40, n_pairs=12, n_features=4, n_bases=2, random_state=0)


@pytest.fixture(scope="session")
def episodes(planted):
    return planted.episodes


@pytest.fixture(scope="session")
def few_episodes(planted):
    """Enough users to choose by, few enough to fit many times."""
    return planted.episodes[:16]


@pytest.fixture(scope="session")
def small():
    """An unfitted model whose fit takes a fraction of a second, and which does adapt."""
    # On the CPU, where sums have an order: tests that compare bits must pass on machines with a GPU, too.
    return MetaRewardModel(n_bases=3, max_epochs=2, validation_fraction=0.5, random_state=0, device="cpu")


def one_gaussian(learners, data, options, *tell):
    """In place of `stack_priors`: believe in one Gaussian prior, as it was learnt."""
    candidates = StackOptions(flat=(), wide=(1.0,), narrow=(), kinds=(), required_gain=-math.inf)
    found = stack_priors(learners, data, candidates)
    return replace(found, weights=torch.tensor([0.0, 1.0]))


@pytest.fixture(scope="session")
def model(small, episodes):
    """Fitted on all of `episodes`, MAP adaptation under one Gaussian, and not to be changed."""
    from sklearn.base import clone

    with pytest.MonkeyPatch.context() as patch:
        # one prior, so that tests can compute posteriors by hand; test_mixture.py has models of several
        patch.setattr("skmrm.meta.start.stack_priors", one_gaussian)
        fitted = clone(small).fit(episodes)
    assert fitted.prior_scale_.any()  # "none" chosen on validation users would make tests of adaptation say nothing
    return fitted


@pytest.fixture(scope="session")
def gradient_model(few_episodes):
    """Fitted by gradient adaptation from a random start, and not to be changed."""
    return MetaRewardModel(
        n_bases=2,
        adaptation="gradient",
        spectral_init=False,
        max_epochs=3,
        users_per_batch=8,
        learning_rate=0.05,
        validation_fraction=0.25,
        random_state=0,
        device="cpu",
    ).fit(few_episodes)


@pytest.fixture(scope="session")
def altered_folder():
    """Make a copy of a folder of files in which hypothesis changes something, and say what."""

    def alter(data, folder, target):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
        files = sorted(path for path in target.rglob("*") if path.is_file() and path.stat().st_size)
        file = data.draw(st.sampled_from(files), label="file")
        content = file.read_bytes()
        place = data.draw(st.integers(0, len(content) - 1), label="place")
        how = data.draw(
            st.sampled_from(["bit", "cut", "grow", "piece", "swap", "gone", "folder", "pickle"]), label="how"
        )
        if how == "bit":
            file.write_bytes(content[:place] + bytes([content[place] ^ (1 << (place % 8))]) + content[place + 1 :])
        elif how == "cut":
            file.write_bytes(content[:place])
        elif how == "grow":
            file.write_bytes(content + data.draw(st.binary(min_size=1, max_size=9)))
        elif how == "piece":
            file.write_bytes(content[:place] + data.draw(st.binary(max_size=9)) + content[place + 4 :])
        elif how == "swap":
            other = data.draw(st.sampled_from(files))
            file.write_bytes(other.read_bytes())
            other.write_bytes(content)
        elif how == "pickle":
            file.write_bytes(pickle.dumps(RunsCode(target / "code was run")))
        else:
            file.unlink()
            if how == "folder":
                file.mkdir()
        return target

    return alter


class RunsCode:
    """Whoever unpickles this makes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.fixture(scope="session")
def altered_document():
    """A JSON document of which hypothesis replaced or left out one value, wherever it stands."""

    def alter(data, document):
        document = copy.deepcopy(document)
        places = list(_places(document))
        within, key = data.draw(st.sampled_from(places), label="place")
        if data.draw(st.integers(0, 9)) == 0:
            del within[key]
        else:
            within[key] = copy.deepcopy(data.draw(st.sampled_from(ODD_VALUES), label="value"))
        return document

    return alter


ODD_VALUES = [
    *(None, True, False, 0, -1, 3, 10**30, 1e308, float("nan"), float("inf"), 0.5, "", "cuda", "float16"),
    *("../../etc/passwd", "/etc/passwd", "os.system", "a" * 10**4, [], {}, [[]], [0, None], {"a": {"b": []}}),
    *({"class": "os.system", "params": {}}, {"class": "HFEncoder", "params": {"model": "/nowhere"}}),
    *({"class": "TextStatistics", "params": {}}, {"kind": "map"}, {"kind": "gradient", "steps": 10**30}),
]


def _places(document):
    """(what holds it, its key) of every value in a document."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield document, key
        if isinstance(value, dict | list):
            yield from _places(value)


@pytest.fixture(scope="session")
def fits_done():
    """What fits under `shared_fits` found, by their parameters and data."""
    return {}


@pytest.fixture
def shared_fits(fits_done, monkeypatch):
    """Pages and examples that fit one model on the same data do it once, where its seed decides what a fit does."""
    fit = MetaRewardModel.fit

    def fit_once(self, episodes, y=None, **options):
        if options or self.memory is not None or self.verbose or self.random_state is None:
            return fit(self, episodes, y, **options)
        key = joblib.hash((self.get_params(), episodes))
        if key not in fits_done:
            fits_done[key] = copy.deepcopy(vars(fit(self, episodes, y)))
        vars(self).update(copy.deepcopy(fits_done[key]))
        return self

    monkeypatch.setattr(MetaRewardModel, "fit", fit_once)


@pytest.fixture(scope="session")
def save_reward_model():
    """Make a tiny random reward model with a chat template in a folder: sixteen features."""

    def save(folder):
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForSequenceClassification

        words = ["<pad>", "<unk>", "user", "assistant", "system", "the", "a", "you", "is", "it", ".", ",", "1", "2"]
        spelling = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
        spelling.pre_tokenizer = pre_tokenizers.Whitespace()
        template = "{% for message in messages %}{{ message.role }} {{ message.content }} {% endfor %}"
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=spelling, pad_token="<pad>", unk_token="<unk>", chat_template=template
        )
        tokenizer.save_pretrained(folder)
        config = Qwen3Config(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            num_labels=1,
            pad_token_id=0,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            Qwen3ForSequenceClassification(config).save_pretrained(folder)

    return save


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub on this machine, empty, where whoever has no other token is "anna"."""
    pytest.importorskip("huggingface_hub", reason="needs huggingface_hub: pip install 'skmrm[hub]'")
    import huggingface_hub
    from huggingface_hub import constants, file_download

    spec = spec_from_file_location("fake_hub", TESTS / "fake_hub.py")  # tests are no package
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fake_hub", module)
    spec.loader.exec_module(module)
    found = module.FakeHub()
    template = found.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)  # up to version 0.x
    for name, value in {
        "ENDPOINT": found.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(tmp_path / "hub_cache"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value, raising=False)  # not every version has all
    monkeypatch.setenv("HF_TOKEN", "hf_anna")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    reset = getattr(huggingface_hub.utils, "reset_sessions", lambda: None)  # sessions of 0.x know whether to be offline
    reset()
    yield found
    reset()
    found.close()
