"""Serving without torch: what is imported, what is checked, and that a scorer is the model it came from."""

from __future__ import annotations

import copy
import io
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from skmrm import Episode, MetaRewardModel, split_users
from skmrm._support.files import sealed
from skmrm.datasets import load_style_preferences
from skmrm.exceptions import EpisodeError, ModelFileError
from skmrm.meta.adaptation import GradientAdaptation, MapAdaptation
from skmrm.meta.adaptation.mixture import MixtureAdaptation
from skmrm.meta.adaptation.registry import rule_config
from skmrm.serving._adaptation import Sides, posterior, sides_of_choices
from skmrm.serving._external_data import external_files

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from skmrm.serving import OnnxScorer  # noqa: E402

BLOCKED = ("torch", "sklearn", "transformers", "scipy", "onnx", "joblib", "pandas", "narwhals")
ALLOWED = {"numpy", "onnxruntime", "tokenizers", "threadpoolctl", "skmrm", "lazy_loader", "safetensors"}
ALLOWED |= {"cython_runtime"}  # of an older numpy
ALLOWED |= {"sitecustomize", "usercustomize"}  # of the machine: some systems' Python brings them


@pytest.fixture(scope="module")
def known_and_new():
    return split_users(load_style_preferences(n_users=60, random_state=0).episodes, random_state=0)


@pytest.fixture(scope="module")
def text_model(known_and_new):
    return MetaRewardModel(n_bases=4, max_epochs=1, random_state=0, device="cpu").fit(known_and_new[0])


@pytest.fixture(scope="module")
def text_bundle(text_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text") / "model"
    text_model.export_onnx(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features") / "model"
    model.export_onnx(folder)
    return folder


def run_without_torch(code, **environment):
    """What a fresh interpreter prints in which the heavy libraries cannot be imported."""
    block = f"import sys\nfor name in {BLOCKED}: sys.modules[name] = None\n"
    run = subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True, env=environment or None)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test__scorer__process_without_torch_and_sklearn__scores_and_adapts_texts(text_bundle, text_model, known_and_new):
    user = known_and_new[1][0]
    pairs = list(zip(user.prompts, user.chosen, user.rejected, strict=True))
    code = f"""
import json
from skmrm.serving import OnnxScorer
scorer = OnnxScorer({str(text_bundle)!r})
weights = scorer.adapt([tuple(pair) for pair in json.loads({json.dumps(json.dumps(pairs))})])
loaded = {{name.partition(".")[0] for name, module in sys.modules.items() if module is not None}}
third_party = [n for n in loaded - set(sys.stdlib_module_names) if not n.startswith("_")]
print(json.dumps([weights.tolist(), scorer.score("Tea?", ["Yes.", "No!"], weights=weights).tolist(), third_party]))
"""
    weights, rewards, loaded = json.loads(run_without_torch(code))
    adapted = text_model.adapt(user)
    np.testing.assert_allclose(weights, adapted.weights_, atol=1e-4)
    np.testing.assert_allclose(rewards, adapted.score("Tea?", ["Yes.", "No!"]), atol=1e-4)
    assert set(loaded) <= ALLOWED


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0")])
def test__scorer__telemetry_of_onnxruntime__is_off_unless_the_environment_says(bundle, given, kept):
    code = f"""
import os
from skmrm.serving import OnnxScorer
assert "onnxruntime" not in sys.modules
OnnxScorer({str(bundle)!r})
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    if given is not None:
        environment["ORT_DISABLE_TELEMETRY"] = given
    assert run_without_torch(code, **environment).strip() == kept


def test__scorer__texts__mean_what_they_mean_to_the_user_model(text_model, known_and_new, tmp_path):
    user = text_model.adapt(known_and_new[1][0])
    user.export_onnx(tmp_path)
    scorer, other = OnnxScorer(tmp_path), known_and_new[1][1]
    responses = [*other.chosen, *other.rejected, "", "Ça va? 👍"]
    np.testing.assert_allclose(scorer.score("Why?", responses), user.score("Why?", responses), atol=1e-5)
    assert isinstance(scorer.score("Why?", "Because."), float)
    assert scorer.score("Why?", "Because.") == pytest.approx(user.score("Why?", "Because."), abs=1e-5)
    assert scorer.rank("Why?", responses).tolist() == user.rank("Why?", responses).tolist()
    messages = [{"role": "user", "content": "Why?"}]
    items = [(messages, "Because."), ("Why?", "So.")]
    np.testing.assert_allclose(scorer.predict(items), user.predict(items), atol=1e-5)
    assert scorer.predict([]).shape == user.predict([]).shape == (0,)
    for call in (lambda m: m.predict("text"), lambda m: m.score(["a", "b"], "c"), lambda m: m.rank("a", "b")):
        with pytest.raises(TypeError) as live:
            call(user)
        with pytest.raises(TypeError) as served:
            call(scorer)
        assert str(live.value) == str(served.value)


def test__scorer__statistics_alone_and_twice__are_encoded_as_fit_did(known_and_new, tmp_path):
    from skmrm.encoders import TextStatistics

    for both in (True, False):
        model = MetaRewardModel(TextStatistics(), text_statistics=both, max_epochs=0, random_state=0, device="cpu")
        model.fit(known_and_new[0][:12]).export_onnx(tmp_path)
        assert OnnxScorer(tmp_path).score("a", "b c") == pytest.approx(model.score("a", "b c"), abs=1e-5)


def test__scorer__from_bytes_and_archives__is_that_from_the_folder(bundle, model, tmp_path):
    X = np.random.default_rng(0).normal(size=(5, model.n_features_in_))
    files = {file.name: file.read_bytes() for file in bundle.iterdir()}
    archive = Path(shutil.make_archive(str(tmp_path / "flat"), "zip", bundle)).read_bytes()
    nested = Path(shutil.make_archive(str(tmp_path / "nested"), "zip", bundle.parent, "model")).read_bytes()
    for source in (bundle, str(bundle), files, archive, nested):
        np.testing.assert_allclose(OnnxScorer(source).predict(X), model.predict(X), atol=1e-9)


def test__scorer__many_threads__give_what_one_gives(text_bundle, known_and_new):
    scorer, user = OnnxScorer(text_bundle, max_batch=3), known_and_new[1][0]
    items = [(p, c) for p, c in zip(user.prompts, user.chosen, strict=True)] * 3
    expected = scorer.predict(items)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: scorer.predict(items), range(40)):
            np.testing.assert_array_equal(found, expected)


def test__scorer__weights__one_user_or_a_row_each(bundle, model):
    scorer = OnnxScorer(bundle)
    X = np.random.default_rng(0).normal(size=(4, model.n_features_in_))
    weights = np.random.default_rng(1).normal(size=(4, scorer.n_bases))
    expected = np.einsum("nk,nk->n", model.transform(X), weights)
    np.testing.assert_allclose(scorer.predict(X, weights=weights), expected, atol=1e-9)
    np.testing.assert_allclose(scorer.predict(X, weights=weights[1])[1], expected[1], atol=1e-9)
    assert scorer.rank(None, X, weights=weights[1]).tolist() == np.argsort(-model.transform(X) @ weights[1]).tolist()
    with pytest.raises(ValueError, match=r"weights must be numbers of shape \(3,\), or \(4, 3\).*shape \(2, 3\)"):
        scorer.predict(X, weights=weights[:2])
    with pytest.raises(ValueError, match="weights must be finite"):
        scorer.predict(X, weights=np.full(3, np.nan))
    with pytest.raises(ValueError, match="dtype <U"):
        scorer.predict(X, weights=["a", "b", "c"])
    with pytest.raises(ValueError, match="read-only"):
        scorer.weights[0] = 1


def test__scorer__whose_reward__has_to_be_clear(model, episodes, tmp_path):
    user, users = model.adapt(episodes[0]), model.adapt_many(episodes[:3])
    user.export_onnx(tmp_path / "user")
    users.export_onnx(tmp_path / "users")
    X = np.zeros((2, 4))
    with pytest.raises(TypeError, match=r"of 3 users: say whose reward is wanted, with weights=scorer.weights\[row\]"):
        OnnxScorer(tmp_path / "users").predict(X)
    with pytest.raises(TypeError, match=r"cannot adapt .it was exported from users"):
        OnnxScorer(tmp_path / "users").adapt(episodes[0])
    one = OnnxScorer(tmp_path / "user")
    with pytest.raises(TypeError, match="of one user, whose weights are in its graph"):
        one.predict(X, weights=np.ones(3))
    with pytest.raises(TypeError, match="export the model, or the users"):
        one.transform(X)
    with pytest.raises(TypeError, match="cannot adapt"):
        one.adapt(episodes[0])


def test__scorer__features_that_cannot_be__are_refused_as_by_the_model(bundle, model):
    scorer = OnnxScorer(bundle)
    for X in (np.zeros((2, 3)), np.zeros(4), [["a"] * 4], np.full((3, 4), np.nan), "text", [[1.0, np.inf, 0, 0]]):
        with pytest.raises((TypeError, ValueError)) as live:
            model.predict(X)
        with pytest.raises(type(live.value)) as served:
            scorer.predict(X)
        assert str(served.value) == str(live.value).replace("MetaRewardModel", "OnnxScorer")
    with pytest.raises(TypeError, match="needs a model fitted on texts"):
        scorer.score("prompt", "response")
    large = np.full((2, 4), 1e300)
    np.testing.assert_allclose(scorer.predict(large), model.predict(large))
    assert scorer.predict(np.zeros((1, 4), int)).dtype == np.float64


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"intra_op_threads": -1, "max_batch": 0}, r"intra_op_threads must be .* -1; max_batch must be .* 0"),
        ({"max_length": 16}, "max_length is of models that read tokens, got max_length=16 for one that reads feature"),
    ],
)
def test__scorer__parameters_out_of_bounds__are_all_said(bundle, parameter, message):
    with pytest.raises(ValueError, match=message):
        OnnxScorer(bundle, **parameter)


def same_explanation(found, wanted):
    """Numbers to 1e-5, all else the same, in the same order."""
    assert_alike(asdict(found), asdict(wanted))
    assert (len(found.stated), len(found.leanings)) == (len(wanted.stated), len(wanted.leanings))


def assert_alike(found, wanted):
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name in wanted:
            assert_alike(found[name], wanted[name])
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_alike(one, other)
    elif isinstance(wanted, float):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    else:
        assert found == wanted


def test__explain__texts__is_that_of_the_live_user(text_bundle, text_model, known_and_new):
    scorer, new = OnnxScorer(text_bundle), known_and_new[1]
    for user in (new[0], []):
        live, history = text_model.adapt(user), scorer.history(user)
        for items in (None, list(new.items[:40]), new[1]):
            same_explanation(scorer.explain(items, earlier=history), live.explain(items))
    same_explanation(scorer.explain(n=2, level=0.5), text_model.adapt([]).explain(n=2, level=0.5))


def test__explain__feature_vectors__is_that_of_the_live_user(bundle, model, episodes):
    scorer, history = OnnxScorer(bundle), None
    for some in (episodes[0], episodes[1]):  # told apart, explained together
        history = scorer.history(some, earlier=history)
    live = model.adapt(episodes[0]).update(episodes[1])
    assert live.explain(level=0.8).stated
    for items in (None, episodes[2].chosen, episodes[2]):
        same_explanation(scorer.explain(items, earlier=history, level=0.8), live.explain(items, level=0.8))


def test__explain__process_without_torch_and_sklearn__explains(text_bundle, text_model, known_and_new):
    user = known_and_new[1][0]
    pairs = list(zip(user.prompts, user.chosen, user.rejected, strict=True))
    code = f"""
import json
from skmrm.serving import OnnxScorer
scorer = OnnxScorer({str(text_bundle)!r})
history = scorer.history([tuple(pair) for pair in json.loads({json.dumps(json.dumps(pairs))})])
items = [("Tea?", "Yes, please!"), ("Tea?", "I don't think that I should."), ("Tea?", "No.")]
print(scorer.explain(earlier=history))
print(scorer.explain(items, earlier=history))
"""
    live = text_model.adapt(user)
    items = [("Tea?", "Yes, please!"), ("Tea?", "I don't think that I should."), ("Tea?", "No.")]
    assert run_without_torch(code) == f"{live.explain()}\n{live.explain(items)}\n"


def test__explain__gradient_rule__has_no_intervals(episodes, tmp_path):
    model = MetaRewardModel(n_bases=2, adaptation="gradient", max_epochs=1, random_state=0, device="cpu").fit(episodes)
    model.export_onnx(tmp_path / "bundle")
    scorer = OnnxScorer(tmp_path / "bundle")
    found = scorer.explain(earlier=scorer.history(episodes[0]))
    same_explanation(found, model.adapt(episodes[0]).explain())
    assert found.level is None


def test__explain__what_cannot_be__is_refused(bundle, model, episodes, tmp_path):
    def change(target, config):
        arrays = load_file(target / "weights.safetensors")
        kept = {name: array for name, array in arrays.items() if not name.startswith("crowd.")}
        save_file(kept, target / "weights.safetensors")
        rehashed(target, config, "weights.safetensors")
        return config

    scorer = OnnxScorer(altered(bundle, tmp_path / "earlier", change))  # as an earlier version wrote it
    with pytest.raises(ValueError, match=r"pass some responses, explain\(items\)"):
        scorer.explain()
    same_explanation(scorer.explain(episodes[0].chosen), model.adapt([]).explain(episodes[0].chosen))
    with pytest.raises(ValueError, match=r"n must be .* level must"):
        scorer.explain(n=0, level=2)
    model.adapt_many(episodes[:2]).export_onnx(tmp_path / "users")
    with pytest.raises(TypeError, match="cannot adapt"):
        OnnxScorer(tmp_path / "users").explain()


def test__posterior__of_what_a_user_said__is_that_of_the_live_user(bundle, model, episodes):
    scorer = OnnxScorer(bundle)
    for live, earlier in ((model.adapt([]), None), (model.adapt(episodes[5]), scorer.history(episodes[5]))):
        weights, covariance = scorer.posterior(earlier)
        np.testing.assert_allclose(weights, live.weights_, atol=1e-6)
        np.testing.assert_allclose(covariance, live.weights_cov_, atol=1e-6)


def test__adapt__pairs_that_cannot_be__are_refused(bundle, text_bundle):
    with pytest.raises(ValueError, match="features"):
        OnnxScorer(bundle).adapt([(np.zeros(3), np.ones(3))])
    with pytest.raises(EpisodeError, match="rejected must hold a text"):
        OnnxScorer(text_bundle).adapt([("prompt", "", None)])


@pytest.mark.parametrize("size", [1e3, 1e5])
def test__adapt__features_far_from_those_of_fit__is_the_models_mode(bundle, model, size):
    draw = np.random.default_rng(0).normal(size=(2, 6, 4))
    pairs = Episode("u", *(size * draw))
    weights = OnnxScorer(bundle).adapt(pairs)
    np.testing.assert_allclose(weights, model.adapt(pairs).weights_, rtol=1e-4)


def test__adapt__features_of_another_scale__are_refused_by_model_and_scorer(bundle, model):
    pairs = Episode("u", *(1e12 * np.random.default_rng(0).normal(size=(2, 6, 4))))
    for adapt in (OnnxScorer(bundle).adapt, model.adapt, lambda episode: model.adapt_many([episode])):
        with pytest.raises(EpisodeError, match=r"adapt needs features of the size of those in fit.*'u' \(6 pairs"):
            adapt(pairs)


GAPS = st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=0, max_size=12)
RULES = [
    MapAdaptation(),
    MixtureAdaptation(n_components=2),
    GradientAdaptation(steps=3, step_size=0.3),
    GradientAdaptation(steps=2, step_size=0.3, optimizer="adam"),
    GradientAdaptation(steps=2, step_size=0.3, optimizer="adam", simplex=True),
    GradientAdaptation(steps=2, learn_step_size=True, simplex=True),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule).__name__}{RULES.index(rule)}")
@given(gaps=GAPS, scale=st.sampled_from([0.0, 0.01, 1.0, -2.0, 30.0, 1e4]), seed=st.none() | st.integers(0, 10**6))
def test__posterior__any_gaps__are_the_torch_rules_weights(rule, gaps, scale, seed):
    table = np.array(gaps).reshape(-1, 3)
    rng = np.random.default_rng(seed or 0)
    held, weight = rng.normal(size=len(table)), rng.uniform(0.1, 3, len(table))
    if seed is None:  # plain choices
        held, weight = np.zeros(len(table)), np.ones(len(table))
    start = np.array([1.0, 0.2, -0.5])
    params = rule.init(3, torch.zeros(1, dtype=torch.float64))
    if "prior_scale" in params:
        params["prior_scale"] = torch.tensor([0.0, scale, 0.7], dtype=torch.float64)
    if "centres" in params:
        params["centres"] = torch.tensor([[0.0, 1.0, 2.0], [0.5, -1.0, 0.3]], dtype=torch.float64)
        params["logits"] = torch.tensor([0.4, -0.6], dtype=torch.float64)
    given_pairs = torch.tensor(table)[None], torch.tensor(weight)[None], params, torch.tensor(held)[None]
    expected = rule.adapt(torch.tensor(start), *given_pairs) if gaps else rule.constrain(torch.tensor(start))[None]
    config = rule_config(rule, []) | {name: value.numpy() for name, value in params.items()}
    found, covariance = posterior(config, start, Sides(table, held, weight))
    np.testing.assert_allclose(found, expected[0].numpy(), rtol=1e-6, atol=1e-7 + 1e-9 * abs(scale))
    of_torch = rule.covariance(expected, torch.tensor(start), *given_pairs)
    assert (covariance is None) == (of_torch is None)
    if covariance is not None:
        np.testing.assert_allclose(covariance, of_torch[0].numpy(), rtol=1e-5, atol=1e-6 * max(1, scale**2))


@given(gaps=GAPS, seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test__posterior__several_priors__are_the_torch_rules_weights(gaps, seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    n_components = sum(sizes)
    rule = MixtureAdaptation(n_components=n_components)
    shapes = {"factors": (n_components, 3, 3), "centres": (n_components, 3), "logits": (n_components,)}
    shapes |= {"weights": (len(sizes),), "means": (len(sizes), 3)}
    params = {name: torch.randn(*shape, dtype=torch.float64, generator=generator) for name, shape in shapes.items()}
    params["priors"] = torch.repeat_interleave(torch.tensor(sizes))
    table, start = torch.tensor(gaps, dtype=torch.float64).reshape(-1, 3), torch.tensor([1.0, 0.2, -0.5]).double()
    given_pairs = table[None], torch.ones(1, len(table), dtype=torch.float64), params
    expected = rule.adapt(start, *given_pairs)
    config = rule_config(rule, []) | {name: value.numpy() for name, value in params.items()}
    found, covariance = posterior(config, start.numpy(), sides_of_choices(table.numpy(), None, None, None))
    np.testing.assert_allclose(found, expected[0].numpy(), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(covariance, rule.covariance(expected, start, *given_pairs)[0], rtol=1e-5, atol=1e-6)


def altered(folder, target, change):
    """A copy of a bundle in which something is different, with hashes that are right unless `change` makes them not."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    config.pop("config_sha256")
    document = change(target, config) or config
    (target / "config.json").write_bytes(sealed(document))
    return target


def rehashed(target, config, name):
    import hashlib

    config["files"][name] = {"sha256": hashlib.sha256((target / name).read_bytes()).hexdigest(), "bytes": 0}


def test__bundle__missing_and_altered_files__are_named(bundle, tmp_path):
    with pytest.raises(ModelFileError, match=r"config.json is missing from .*nowhere"):
        OnnxScorer(tmp_path / "nowhere")
    for name in ("config.json", "model.onnx", "weights.safetensors"):
        shutil.copytree(bundle, tmp_path / "whole", dirs_exist_ok=True)
        (tmp_path / "whole" / name).unlink()
        with pytest.raises(ModelFileError, match=f"{name} is missing"):
            OnnxScorer(tmp_path / "whole")
        content = (bundle / name).read_bytes()
        for other in (content[:-1], content[:-3] + b"000", b""):
            (tmp_path / "whole" / name).write_bytes(other)
            with pytest.raises(ModelFileError, match=rf"{name} of .*(altered|not that of an exported model)"):
                OnnxScorer(tmp_path / "whole")
        shutil.rmtree(tmp_path / "whole")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"schema_version": 2}, "schema version 2; this skmrm reads version 1: install the skmrm that wrote it"),
        ({"schema_version": "1"}, "schema version '1'"),
        ({"kind": "skmrm model"}, "holds a skmrm model, not an exported scorer"),
        ({"files": {"../model.onnx": {"sha256": ""}}}, r"lists the file '\.\./model\.onnx', which no bundle has"),
        ({"files": {"/etc/passwd": {"sha256": ""}}}, "lists the file '/etc/passwd'"),
        ({"files": {}}, "lists no model.onnx, which its scorer needs"),
        ({"files": {"model.onnx.data": {"sha256": ""}}}, "model.onnx.data is missing from"),
        ({"adaptation": {"kind": "map", "tempering": 0.5}}, "inner rule has tempering=0.5: fit and export again"),
    ],
)
def test__bundle__facts_that_cannot_be__are_refused(bundle, tmp_path, facts, message):
    with pytest.raises(ModelFileError, match=message):
        OnnxScorer(altered(bundle, tmp_path / "bundle", lambda _, config: config | facts))


@pytest.mark.parametrize(
    ("facts", "weights", "message"),
    [
        ({"n_features": 5}, {}, "onnxruntime|INVALID_ARGUMENT|InvalidArgument"),
        ({"n_bases": 2}, {}, "InvalidArgument"),
        ({"dtype": "float32"}, {}, "InvalidArgument"),
        ({"scorer": "evil"}, {}, "KeyError: 'evil'"),
        ({"feature_names": ["a"]}, {}, r"feature_names must be 4 texts or none, got \['a'\]"),
        ({"adaptation": {"kind": "evil"}}, {}, "KeyError: 'evil'"),
        ({"adaptation": {"kind": "gradient", "steps": 10**9}}, {}, "an inner rule of 1000000000 steps would not end"),
        ({}, {"weights": np.ones((1, 2))}, r"weights of shape \(1, 2\) for 3 base reward functions"),
        ({}, {"start": np.ones(2)}, "ValueError"),
        ({}, {"rule.prior_scale": np.ones(2)}, "ValueError"),
        ({}, {"crowd.moments": np.ones((6, 6))}, r"moments of shape \(6, 6\), for 4 statistics and 3 base rewards"),
        ({}, {"crowd.moments": np.full((7, 7), np.nan)}, "moments of shape"),
        ({}, {"crowd.n_items": np.ones(2)}, "moments of shape"),
    ],
)
def test__bundle__parts_that_do_not_fit_together__are_found_out_at_once(bundle, tmp_path, facts, weights, message):
    def change(target, config):
        arrays = load_file(target / "weights.safetensors") | weights
        save_file(arrays, target / "weights.safetensors")
        rehashed(target, config, "weights.safetensors")
        return config | facts

    with pytest.raises(ModelFileError, match=message) as error:
        OnnxScorer(altered(bundle, tmp_path / "bundle", change))
    assert f"{tmp_path / 'bundle'} does not hold what export_onnx writes" in str(error.value)
    assert str(error.value).endswith(": export the model again")


TOKENS = {"kind": "tokens", "max_length": 8, "pad_id": 0, "statistics": False, "truncation_side": "right"}


@pytest.mark.parametrize(("library", "facts"), [("onnxruntime", {}), ("tokenizers", {"encoder": TOKENS})])
def test__bundle__library_that_is_not_installed__is_named(bundle, tmp_path, monkeypatch, library, facts):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"pip install {library}"):
        OnnxScorer(altered(bundle, tmp_path / "bundle", lambda _, config: config | facts))


def test__bundle__config_without_a_fact__is_refused(bundle, tmp_path):
    def change(_, config):
        del config["n_bases"], config["dtype"]

    with pytest.raises(ModelFileError, match="does not say dtype, n_bases"):
        OnnxScorer(altered(bundle, tmp_path / "bundle", change))


SOURCES = {"features": "bundle", "texts": "text_bundle", "user": "user_bundle"}


@pytest.fixture(scope="module")
def user_bundle(model, episodes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("of a user") / "user"
    model.adapt(episodes[0]).export_onnx(folder)
    return folder


def answers(source):
    """What a scorer says, and the weights that it gives a new user, if it does."""
    scorer = OnnxScorer(source)
    X = [("Why?", "Because."), ("", "")] if scorer.kind == "text" else np.eye(scorer.n_features)
    pairs = [(X[0], X[1])] if scorer.kind == "features" else [("Why?", "Because.", "No.")]
    weights = scorer.adapt(pairs) if "kind" in (scorer.config["adaptation"] or {}) else ()
    assert repr(scorer)
    return np.concatenate([scorer.predict(X, weights=weights if len(weights) else None), weights])


expected_answers = cache(answers)


def holds(source, name, expected=None):
    """Whether a bundle answers (as expected), or is refused by an error with its name and a remedy."""
    try:
        found = answers(source)
    except ModelFileError as error:
        return name in str(error) and ": " in str(error).rpartition(name)[2]
    except EpisodeError:  # base rewards too large to learn from
        return expected is None
    return expected is None or np.array_equal(found, expected)


@pytest.mark.parametrize("kind", SOURCES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(data=st.data())
def test__bundle__any_altered_file__is_an_error_that_names_it_or_changes_no_number(
    request, altered_folder, tmp_path, kind, data
):
    whole = request.getfixturevalue(SOURCES[kind])
    folder = altered_folder(data, whole, tmp_path / "altered")
    assert holds(folder, str(folder), expected_answers(whole))
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    assert holds(files, "the bundle", expected_answers(whole))
    assert not (folder / "code was run").exists()


@pytest.mark.parametrize("kind", SOURCES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(data=st.data())
def test__bundle__any_value_in_a_config_that_was_sealed_again__is_an_error_or_a_scorer_that_works(
    request, altered_document, tmp_path, kind, data
):
    folder = request.getfixturevalue(SOURCES[kind])
    shutil.rmtree(tmp_path / "altered", ignore_errors=True)
    altered(folder, tmp_path / "altered", lambda _, config: altered_document(data, config))
    assert holds(tmp_path / "altered", str(tmp_path / "altered"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(data=st.data())
def test__bundle__graph_that_was_altered_and_hashed_again__is_an_error_or_runs(bundle, tmp_path, data):
    """Whoever can do so could write any graph; it must not crash the interpreter all the same."""
    content = (bundle / "model.onnx").read_bytes()
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))

    def change(target, config):
        graph = content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
        (target / "model.onnx").write_bytes(graph)
        rehashed(target, config, "model.onnx")

    shutil.rmtree(tmp_path / "altered", ignore_errors=True)
    assert holds(altered(bundle, tmp_path / "altered", change), str(tmp_path / "altered"))


@given(data=st.data())
def test__bundle__altered_archive__is_an_error_or_changes_no_number(bundle, data):
    archive = archived({file.name: file.read_bytes() for file in bundle.iterdir()})
    place, bit = data.draw(st.integers(0, len(archive) - 1)), data.draw(st.integers(0, 7))
    cut = data.draw(st.sampled_from([0, 0, 0, place]))
    other = archive[cut:place] + bytes([archive[place] ^ (1 << bit)]) + archive[place + 1 :]
    assert holds(other, "bundle", expected_answers(bundle))


def archived(files):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def test__bundle__archive__is_unpacked_as_far_as_it_is_a_bundle(bundle, tmp_path):
    files = {file.name: file.read_bytes() for file in bundle.iterdir()}
    others = {"../../escaped": b"x", "/etc/escaped": b"x", "large.bin": bytes(1 << 28)}
    source = archived({f"../../model/{name}": content for name, content in files.items()} | others)
    assert np.array_equal(answers(source), expected_answers(bundle))  # what is not of a bundle is not unpacked
    assert not list(tmp_path.parent.rglob("escaped"))
    with pytest.raises(ModelFileError, match=r"archive of \d+ bytes would unpack to \d+, more than 200 times"):
        OnnxScorer(archived(files | {"model.onnx": bytes(1 << 27)}))


def test__bundle__what_is_no_bundle__is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelFileError, match="not that of an exported model"):
        OnnxScorer(tmp_path)
    with pytest.raises(ModelFileError, match="bytes is a zip archive"):
        OnnxScorer(b"no archive")
    with pytest.raises(ModelFileError, match=r"config.json is missing from the bundle"):
        OnnxScorer({})


def test__session__old_onnxruntime_and_bytes_of_a_large_graph__says_what_to_do():
    from skmrm.serving._session import _hand_over_data

    with pytest.raises(ImportError, match=r"onnxruntime 1.24 or later to be loaded from bytes: pass its folder"):
        _hand_over_data(object(), b"")


def external_tensor(location, name="matrix"):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4, 3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "model.onnx.data", "deep/er.bin", ""])
def test__bundle__graph_that_reads_other_files__is_refused_before_it_is_loaded(bundle, tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(bytes(48))

    def change(target, config):
        model = onnx.load(target / "model.onnx")
        model.graph.initializer.append(external_tensor(location))
        (target / "model.onnx").write_bytes(model.SerializeToString())
        rehashed(target, config, "model.onnx")

    with pytest.raises(ModelFileError, match=r"refers to files outside of the bundle .* never read"):
        OnnxScorer(altered(bundle, tmp_path / "bundle", change))


def test__bundle__graph_that_is_none__is_refused(bundle, tmp_path):
    def change(content):
        def write(target, config):
            (target / "model.onnx").write_bytes(content)
            rehashed(target, config, "model.onnx")

        return write

    with pytest.raises(ModelFileError, match="is not an ONNX model"):
        OnnxScorer(altered(bundle, tmp_path / "a", change(b"\xff\xff\xff")))
    with pytest.raises(ModelFileError, match=r"cannot run model.onnx"):
        OnnxScorer(altered(bundle, tmp_path / "b", change(b"")))


def test__external_files__wherever_a_tensor_can_be__are_found():
    branch = helper.make_graph([], "branch", [], [], [external_tensor("branch")])
    nodes = [
        helper.make_node("If", ["c"], ["x"], then_branch=branch, else_branch=helper.make_graph([], "else", [], [])),
        helper.make_node("Constant", [], ["y"], value=external_tensor("constant")),
        helper.make_node("Some", [], ["z"], values=[external_tensor("list")], domain="d"),
        helper.make_node("Some", [], ["w"], graphs=[branch], domain="d"),
    ]
    sparse = onnx.SparseTensorProto(values=external_tensor("values"), indices=external_tensor("indices"))
    graph = helper.make_graph(nodes, "g", [], [], [external_tensor("initializer")], sparse_initializer=[sparse])
    function = helper.make_function("d", "f", [], [], [helper.make_node("C", [], [], value=external_tensor("f"))], [])
    function.attribute_proto.append(helper.make_attribute("a", external_tensor("default")))
    model = helper.make_model(graph, functions=[function])
    training = model.training_info.add()
    training.algorithm.CopyFrom(helper.make_graph([], "t", [], [], [external_tensor("training")]))
    expected = {"branch", "constant", "list", "values", "indices", "initializer", "f", "default", "training"}
    assert external_files(model.SerializeToString()) == expected


@given(st.binary(max_size=60))
@example(b"\xff" * 12)
def test__external_files__any_bytes__are_an_answer_or_a_value_error(content):
    try:
        found = external_files(content)
    except ValueError:
        return
    assert all(isinstance(name, str) for name in found)


# -- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["model", "users", "user", "texts"])
def test__scorer__pickled_and_copied__scores_as_before_without_its_folder(
    source, model, text_model, episodes, tmp_path
):
    made = {"model": model, "users": model.adapt_many(episodes), "user": model.adapt(episodes[0]), "texts": text_model}
    made[source].export_onnx(tmp_path / "bundle")
    scorer = OnnxScorer(tmp_path / "bundle", intra_op_threads=np.int64(1), max_batch=np.int64(3))
    shutil.rmtree(tmp_path / "bundle")
    items = [("Tea?", "Yes."), ("Tea?", "No, thanks.")] * 4 if source == "texts" else np.asarray(episodes.features)[:8]
    options = {"weights": scorer.weights[1]} if source == "users" else {}
    expected = scorer.predict(items, **options)
    joblib.dump(scorer, tmp_path / "scorer")
    for found in (
        pickle.loads(pickle.dumps(scorer)),
        copy.deepcopy(scorer),
        copy.copy(scorer),
        joblib.load(tmp_path / "scorer"),
    ):
        assert np.array_equal(found.predict(items, **options), expected)
        assert repr(found) == repr(scorer)
        assert dict(found.config) == dict(scorer.config)
        if scorer.weights is not None:
            assert np.array_equal(found.weights, scorer.weights)
            assert not found.weights.flags.writeable
    if source == "model":
        assert np.array_equal(pickle.loads(pickle.dumps(scorer)).adapt(episodes[3]), scorer.adapt(episodes[3]))
