"""Sharing on the Hub: what is pushed, what is read again, and what never goes up."""

import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("huggingface_hub", reason="needs huggingface_hub: pip install 'skmrm[hub]'")

from huggingface_hub import ModelCard, constants, utils

from skmrm import Episode, MetaRewardModel, UserModels, UserRewardModel, personalization_report
from skmrm.baselines import PooledBradleyTerry
from skmrm.encoders import HFEncoder
from skmrm.estimators import saving
from skmrm.exceptions import ModelFileError
from skmrm.export import bundle
from skmrm.export.card_facts import encoder_problems
from skmrm.serving import OnnxScorer, _bundle
from skmrm.serving import _hub as places

WORDS = ("zinnia", "quokka", "fjordland", "marzipan", "obsidian")
RESPONSES = [f"{word} {'please, with pleasure! ' * (i % 2)}{'and so on ' * i}" for i, word in enumerate(WORDS)]


def of_texts(n_users):
    """Users whose ids and texts are found wherever they are."""
    rng = np.random.default_rng(0)
    pairs = [rng.permutation(len(WORDS))[:2] for _ in range(6)]
    return [
        Episode(
            f"patient-{user}-x",
            chosen=[RESPONSES[(i, j)[user % 2]] for i, j in pairs],
            rejected=[RESPONSES[(j, i)[user % 2]] for i, j in pairs],
            prompts=[f"Tell {WORDS[-i]} {number}?" for number, (i, _) in enumerate(pairs)],
        )
        for user in range(n_users)
    ]


@pytest.fixture(scope="module")
def texts():
    return of_texts(24)


@pytest.fixture(scope="module")
def text_model(texts):
    return MetaRewardModel(n_bases=2, max_epochs=0, random_state=0, device="cpu").fit(texts)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'skmrm[onnx]'")
    folder = tmp_path_factory.mktemp("scorer")
    model.export_onnx(folder)
    return folder


def test__contents__of_each_kind__are_the_files_that_are_written():
    assert set(places.MODEL.files) == {saving.CONFIG_FILE, saving.ARRAYS_FILE}
    assert set(places.BUNDLE.files) == _bundle._NAMES | {_bundle.CONFIG_FILE}


def test__model__pushed_and_read_again__is_the_same_to_the_bit(hub, model, episodes):
    commit = model.push_to_hub("anna/rewards")
    found = MetaRewardModel.from_pretrained("anna/rewards", device="cpu")
    assert (found.decision_function(episodes) == model.decision_function(episodes)).all()
    assert (found.adapt(episodes[3]).weights_ == model.adapt(episodes[3]).weights_).all()
    assert found.hub_commit_ == commit.oid == hub.repos["anna/rewards"].refs["main"]
    assert set(hub.files("anna/rewards")) == {".gitattributes", "README.md", "config.json", "arrays.safetensors"}
    assert model.hub_commit_ is None
    assert found.fit(episodes[:9]).hub_commit_ is None  # it is no longer what was read


def test__baseline__pushed_by_a_bare_name__belongs_to_the_owner_of_the_token(hub, few_episodes):
    pooled = PooledBradleyTerry(random_state=0, device="cpu").fit(few_episodes)
    pooled.push_to_hub("pooled")
    found = PooledBradleyTerry.from_pretrained("anna/pooled", device="cpu")
    assert (found.decision_function(few_episodes) == pooled.decision_function(few_episodes)).all()
    with pytest.raises(ModelFileError, match=r"holds a skmrm pooled.*not a skmrm model: load it with the class"):
        MetaRewardModel.from_pretrained("anna/pooled")


def test__from_pretrained__of_a_folder__needs_no_hub(model, few_episodes, tmp_path):
    model.save(tmp_path)
    found = MetaRewardModel.from_pretrained(tmp_path, device="cpu")
    assert (found.decision_function(few_episodes) == model.decision_function(few_episodes)).all()
    assert found.hub_commit_ is None
    with pytest.raises(ValueError, match="is a folder, which has no revisions"):
        MetaRewardModel.from_pretrained(tmp_path, revision="main")


def test__revision__an_older_commit_or_a_branch__is_what_was_pushed_there(hub, model, gradient_model, episodes):
    first = model.push_to_hub("anna/rewards")
    gradient_model.push_to_hub("anna/rewards", commit_message="gradient steps")
    model.push_to_hub("anna/rewards", revision="trial")
    for revision, pushed in ((first.oid, model), (None, gradient_model), ("trial", model), ("main", gradient_model)):
        found = MetaRewardModel.from_pretrained("anna/rewards", revision=revision, device="cpu")
        assert (found.start_weights_ == pushed.start_weights_).all()
    assert hub.repos["anna/rewards"].messages[1:] == [
        "Push MetaRewardModel with skmrm",
        "gradient steps",
        "Push MetaRewardModel with skmrm",
    ]


def test__create_pr__leaves_the_main_branch_as_it_was(hub, model, gradient_model):
    model.push_to_hub("anna/rewards")
    found = gradient_model.push_to_hub("anna/rewards", create_pr=True)
    assert found.pr_url.startswith(f"{hub.endpoint}/anna/rewards/discussions/")
    assert MetaRewardModel.from_pretrained("anna/rewards").adaptation_ == model.adaptation_
    proposed = MetaRewardModel.from_pretrained("anna/rewards", revision=f"refs/pr/{found.pr_url.rpartition('/')[2]}")
    assert proposed.adaptation_ == gradient_model.adaptation_


def test__user__pushed__keeps_what_it_said_only_where_asked(hub, model, episodes):
    user = model.adapt(episodes[0])
    user.push_to_hub("anna/one")
    found = UserRewardModel.from_pretrained("anna/one", device="cpu")
    assert (found.weights_ == user.weights_).all()
    assert (found.weights_cov_ == user.weights_cov_).all()
    assert pickle.loads(pickle.dumps(found)).hub_commit_ == found.hub_commit_ == hub.repos["anna/one"].refs["main"]
    with pytest.raises(ValueError, match="earlier choices"):
        found.update(episodes[1])
    user.push_to_hub("anna/one", include=["history"])
    found = UserRewardModel.from_pretrained("anna/one", device="cpu").update(episodes[1])
    assert (found.weights_ == user.update(episodes[1]).weights_).all()
    assert found.hub_commit_ is None  # it is no longer what was read


def test__users__pushed__have_numbers_for_ids_unless_asked(hub, model, episodes):
    users = model.adapt_many(episodes)
    users.push_to_hub("anna/users")
    found = UserModels.from_pretrained("anna/users", model)
    assert list(found) == list(range(len(users)))
    assert (found.weights_ == users.weights_).all()
    assert (found.weights_cov_ == users.weights_cov_).all()
    assert (found.n_pairs_ == users.n_pairs_).all()
    with pytest.raises(ValueError, match="earlier choices"):
        found.update([Episode(0, chosen=[[0.0] * 4], rejected=[[1.0] * 4])])
    users.push_to_hub("anna/users", include=["ids", "history"])
    found = UserModels.from_pretrained("anna/users", model)
    assert list(found) == list(users)
    assert (found.update(episodes[:5]).weights_ == users.update(episodes[:5]).weights_).all()


def test__users__read__leave_the_cache_as_it_is(hub, model, few_episodes, tmp_path):
    model.adapt_many(few_episodes).push_to_hub("anna/users", include=["history"])
    found = UserModels.from_pretrained("anna/users", model)
    before = {file: file.read_bytes() for file in (tmp_path / "hub_cache").rglob("*") if file.is_file()}
    found |= model.adapt_many([Episode("late", chosen=[[0.0] * 4], rejected=[[1.0] * 4])])
    found.save(tmp_path / "own.sqlite")
    UserModels.load(tmp_path / "own.sqlite", model).forget("late")
    assert {file: file.read_bytes() for file in (tmp_path / "hub_cache").rglob("*") if file.is_file()} == before


def test__users__of_another_model__are_refused_by_the_name_of_the_repository(hub, model, gradient_model, few_episodes):
    model.adapt_many(few_episodes).push_to_hub("anna/users")
    with pytest.raises(ModelFileError, match=r"anna--users.*users\.sqlite has users of another model"):
        UserModels.from_pretrained("anna/users", gradient_model)
    with pytest.raises(TypeError, match="from_pretrained needs the fitted model"):
        UserModels.from_pretrained("anna/users", "anna/rewards")


@pytest.mark.parametrize("large", [False, True])
def test__bundle__pushed_and_read_again__scores_to_the_bit(hub, model, exported, episodes, monkeypatch, large):
    if large:
        monkeypatch.setattr(bundle, "_LARGE", 0)
        monkeypatch.setattr(bundle, "_SMALL_TENSOR", 64)
    commit = model.push_to_hub("anna/scorer", onnx={"atol": 1e-4})
    found = OnnxScorer.from_pretrained("anna/scorer")
    assert (_bundle.DATA_FILE in hub.files("anna/scorer")) == large
    here, items = OnnxScorer(exported), np.asarray(episodes.features)
    assert (found.predict(items) == here.predict(items)).all()
    assert (found.adapt(episodes[0]) == here.adapt(episodes[0])).all()
    assert (pickle.loads(pickle.dumps(found)).hub_commit, here.hub_commit) == (commit.oid, None)


def test__bundle__smaller_than_the_one_before__leaves_no_file_of_it(hub, model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(bundle, "_LARGE", 0)
        patch.setattr(bundle, "_SMALL_TENSOR", 64)
        model.push_to_hub("anna/scorer", onnx=True)
    model.adapt([]).push_to_hub("anna/scorer", onnx=True, private=False)
    names = {".gitattributes", "README.md", "config.json", "model.onnx"}
    assert set(hub.files("anna/scorer")) == names


def test__scorer__read_where_there_is_no_torch__imports_none(hub, model, tmp_path):
    model.push_to_hub("anna/scorer", onnx=True)
    code = (
        "import sys\nfrom skmrm.serving import OnnxScorer\n"
        "found = OnnxScorer.from_pretrained('anna/scorer')\n"
        "print(found.n_bases, {'torch', 'sklearn', 'transformers'} & {*sys.modules})"
    )
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | settings)
    assert done.stdout == f"{model.base_rewards_.n_bases} set()\n", done.stderr


def test__push__whatever_it_is_of__has_no_id_and_no_text(hub, text_model, texts):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'skmrm[onnx]'")
    users, report = text_model.adapt_many(texts), personalization_report(text_model, texts)
    text_model.push_to_hub("anna/rewards", report=report)
    text_model.push_to_hub("anna/scorer", onnx=True)
    users.push_to_hub("anna/users", report=report, include=["history"])
    users.push_to_hub("anna/users_scorer", onnx=True)
    users["patient-3-x"].push_to_hub("anna/one", include=["history"])
    users["patient-3-x"].push_to_hub("anna/one_scorer", onnx=True)
    sent = b"\n".join(hub.uploaded)
    assert len(hub.repos) == 6
    assert b"With pleasure" in sent  # of a card: bytes are looked at as they are
    assert [word for word in ("patient", "3-x", *WORDS, "and so on") if word.encode() in sent] == []
    assert [path for path in hub.requests if "patient" in str(path)] == []
    users.push_to_hub("anna/users", include=["ids"])
    assert b"patient-3-x" in b"\n".join(hub.uploaded)


def test__private__of_what_is_of_persons__is_the_default(hub, model, few_episodes):
    users = model.adapt_many(few_episodes)
    model.push_to_hub("anna/rewards")
    users.push_to_hub("anna/users")
    users[users.users_[0]].push_to_hub("anna/one")
    users.push_to_hub("anna/open", private=False)
    model.push_to_hub("anna/closed", private=True)
    private = {name.removeprefix("anna/"): repo.private for name, repo in hub.repos.items()}
    assert private == {"rewards": False, "users": True, "one": True, "open": False, "closed": True}


def test__users__to_a_public_repository__are_not_pushed_unless_asked(hub, model, few_episodes):
    hub.add("anna/open", {})
    users = model.adapt_many(few_episodes)
    with pytest.raises(ValueError, match=r"nothing was pushed to anna/open: it is public.*pass private=False"):
        users.push_to_hub("anna/open")
    assert hub.files("anna/open") == {}
    users.push_to_hub("anna/open", private=False)
    assert "users.sqlite" in hub.files("anna/open")


def test__private_repository__without_a_token__is_an_error_that_says_so(hub, model):
    model.push_to_hub("anna/closed", private=True)
    with pytest.raises(OSError, match=r"no repository anna/closed on http.*or it is private.*hf auth login"):
        MetaRewardModel.from_pretrained("anna/closed", token=False)
    with pytest.raises(OSError, match=r"no repository anna/nothing"):
        MetaRewardModel.from_pretrained("anna/nothing")
    assert MetaRewardModel.from_pretrained("anna/closed", token="hf_anna").n_users_ == model.n_users_


def test__push__without_the_right_to__is_an_error_that_says_so(hub, model):
    with pytest.raises(OSError, match=r"refused to write to anna/mine \(401.*log in"):
        model.push_to_hub("anna/mine", token="hf_somebody")
    with pytest.raises(OSError, match=r"refused to write to bo/theirs \(401"):
        model.push_to_hub("bo/theirs")
    assert hub.repos == {}


def test__revision__that_is_not_there__is_an_error_that_names_it(hub, model):
    model.push_to_hub("anna/rewards")
    with pytest.raises(OSError, match="anna/rewards has no revision 'v9'"):
        MetaRewardModel.from_pretrained("anna/rewards", revision="v9")


def test__repository__of_something_else__is_an_error_that_says_what_it_has(hub, model, few_episodes):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'skmrm[onnx]'")
    hub.add("bo/bert", {"config.json": b"{}", "model.safetensors": b"", "vocab.txt": b""})
    hub.add("bo/empty", {".gitattributes": b""})
    with pytest.raises(
        ModelFileError, match=r"bo/bert does not.*arrays\.safetensors missing; it has 'config.json', 'm"
    ):
        MetaRewardModel.from_pretrained("bo/bert")
    with pytest.raises(ModelFileError, match=r"bo/empty.*config\.json and model\.onnx missing; it is empty"):
        OnnxScorer.from_pretrained("bo/empty")
    model.push_to_hub("anna/scorer", onnx=True)
    with pytest.raises(
        ModelFileError, match=r"That is an exported scorer: skmrm\.serving\.OnnxScorer\.from_pretrained"
    ):
        MetaRewardModel.from_pretrained("anna/scorer")
    model.push_to_hub("anna/rewards")
    with pytest.raises(ModelFileError, match="holds a skmrm model, not a skmrm user model"):
        UserRewardModel.from_pretrained("anna/rewards")
    with pytest.raises(ValueError, match=r"it holds a saved model or user \(arrays\.safetensors\).*choose another"):
        model.adapt_many(few_episodes).push_to_hub("anna/rewards", private=False)


def test__from_pretrained__of_a_repository_with_more_files__fetches_none_of_them(hub, model, tmp_path):
    model.push_to_hub("anna/rewards")
    files = hub.files("anna/rewards") | {"modeling.py": b"raise SystemExit", "pytorch_model.bin": b"cos\nsystem\n"}
    hub.add("anna/rewards", files)
    hub.requests.clear()
    MetaRewardModel.from_pretrained("anna/rewards")
    fetched = {path.rpartition("/")[2] for _, path in hub.requests if "/resolve/" in path}
    assert fetched == {"config.json", "arrays.safetensors"}


def test__file__altered_on_the_hub__is_refused(hub, model):
    model.push_to_hub("anna/rewards")
    files = dict(hub.files("anna/rewards"))
    files["arrays.safetensors"] = files["arrays.safetensors"][:-1] + b"?"
    hub.add("anna/rewards", files)
    with pytest.raises(ModelFileError, match="truncated or was altered"):
        MetaRewardModel.from_pretrained("anna/rewards")


def test__offline__what_was_fetched_once__is_read_and_all_else_is_an_error(hub, model, few_episodes, monkeypatch):
    commit = model.push_to_hub("anna/rewards")
    MetaRewardModel.from_pretrained("anna/rewards")
    hub.requests.clear()
    found = MetaRewardModel.from_pretrained("anna/rewards", local_files_only=True, device="cpu")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    getattr(utils, "reset_sessions", lambda: None)()  # of 0.x, which ask once
    again = MetaRewardModel.from_pretrained("anna/rewards", revision=commit.oid, device="cpu")
    assert hub.requests == []
    assert found.hub_commit_ == again.hub_commit_ == commit.oid
    assert (again.decision_function(few_episodes) == model.decision_function(few_episodes)).all()
    with pytest.raises(OSError, match=r"anna/other is not in the cache.*connect once \(without HF_HUB_OFFLINE"):
        MetaRewardModel.from_pretrained("anna/other")
    with pytest.raises(OSError, match="cannot write to anna/rewards, since HF_HUB_OFFLINE is set"):
        model.push_to_hub("anna/rewards")


@pytest.mark.parametrize("what", ["/lfs/", "/commit/", "/preupload/"])
def test__push__that_fails_on_the_way__leaves_the_repository_as_it_was(hub, model, gradient_model, what, monkeypatch):
    model.push_to_hub("anna/rewards")
    before = hub.files("anna/rewards")
    hub.fails[what] = 400
    with pytest.raises(OSError, match="write to anna/rewards"):
        gradient_model.push_to_hub("anna/rewards")
    assert hub.files("anna/rewards") is before
    hub.fails.clear()
    gradient_model.push_to_hub("anna/rewards")
    assert len(hub.repos["anna/rewards"].messages) == 3  # when it was made, and one for each push


def test__push__of_what_cannot_be_saved__asks_nothing_of_the_hub(hub, model, tmp_path):
    class Own:
        init = constrain = adapt = covariance = None

    unsaved = MetaRewardModel.from_pretrained(_saved(model, tmp_path))
    unsaved.adaptation_ = Own()
    with pytest.raises(ValueError, match="inner rule Own is not one of the package's"):
        unsaved.push_to_hub("anna/rewards")
    assert hub.requests == []
    with pytest.raises(Exception, match="not fitted"):
        MetaRewardModel().push_to_hub("anna/rewards")


def _saved(model, folder):
    model.save(folder)
    return folder


def test__parameters__that_are_wrong__are_told_together(hub, model, few_episodes):
    with pytest.raises(ValueError) as told:
        model.push_to_hub("anna/x", report="good", metadata=["en"], include=["ids"])
    assert "report must be what personalization_report returns, got str" in str(told.value)
    assert "metadata must be a mapping, got list" in str(told.value)
    assert "include of MetaRewardModel must be empty" in str(told.value)
    users = model.adapt_many(few_episodes)
    with pytest.raises(ValueError, match="must be a collection of 'history', 'ids', got 'ids'"):
        users.push_to_hub("anna/x", include="ids")
    with pytest.raises(ValueError, match="include of UserModels as ONNX must be empty"):
        users.push_to_hub("anna/x", include=["ids"], onnx=True)
    with pytest.raises(ValueError, match="private must be True, False or None, got 'no'; create_pr=True proposes"):
        model.push_to_hub("anna/x", private="no", create_pr=True, revision="trial")
    for wrong in ("a/b/c", "anna/", "", None):
        with pytest.raises(ValueError, match="repo_id must be the id of a repository"):
            model.push_to_hub(wrong)
    with pytest.raises(ValueError, match="repo_or_folder is no folder that exists"):
        MetaRewardModel.from_pretrained("./nothing/here")
    assert hub.requests == []


def test__encoder__in_a_folder_of_this_machine__is_not_shared(tmp_path):
    (problem,) = encoder_problems(HFEncoder(str(tmp_path)))
    assert "which others do not have" in problem
    assert encoder_problems(HFEncoder("anna/encoder")) == encoder_problems(None) == []


def card_of(hub, name):
    return ModelCard(hub.files(name)["README.md"].decode())


def test__card__of_a_model__says_what_it_is_made_of_and_what_was_found(hub, text_model, texts):
    report = personalization_report(text_model, texts)
    text_model.push_to_hub(
        "anna/rewards",
        report=report,
        description="Made of *choices*.",
        license="mit",
        metadata={"language": "en", "tags": ["english"]},
    )
    card = card_of(hub, "anna/rewards")
    assert card.data.library_name == "skmrm"
    assert card.data.pipeline_tag == "text-classification"
    assert (card.data.license, card.data.language) == ("mit", "en")
    assert {"skmrm", "reward-model", "english"} <= set(card.data.tags)
    assert card.text.strip().startswith("# rewards\n\nMade of *choices*.")
    assert report.to_markdown(names=False) in card.text
    assert f"- people in fit: {len(texts)}\n" in card.text
    for row in text_model.selection_:
        assert row["setting"].replace("_", "\\_") in card.text
        assert f"{row['validation_loss']:.3f}" in card.text
    assert "No id and no text of anybody in fit" in card.text


def test__card__of_names_that_are_markup__shows_them_as_they_are(hub, few_episodes):
    names = ["<script>alert(1)</script>", "a|b"]
    known = {user: {name: float(i % 3) for name in names} for i, user in enumerate(few_episodes.users.tolist())}
    small = MetaRewardModel(n_bases=2, max_epochs=0, random_state=0, device="cpu")
    small.fit(few_episodes, user_features=known).push_to_hub("anna/rewards")
    card = card_of(hub, "anna/rewards").text
    assert "<script" not in card
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, a\\|b" in card


@pytest.mark.parametrize("kind", ["text", "features"])
def test__card__its_code__runs(hub, model, text_model, texts, episodes, kind, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'skmrm[onnx]'")
    pushed, of = (text_model, texts) if kind == "text" else (model, episodes)
    users = pushed.adapt_many(of)
    for thing in (pushed, users, next(iter(users.values()))):
        name = f"anna/{type(thing).__name__}"
        thing.push_to_hub(name)
        thing.push_to_hub(name + "_onnx", onnx=True)
    for name in hub.repos:
        (code,) = re.findall(r"```python\n(.*?)```", card_of(hub, name).text, flags=re.DOTALL)
        exec(code.replace('"..."', '"anna/MetaRewardModel"'), {})
