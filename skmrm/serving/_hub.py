"""Folders on the Hugging Face Hub: known by the files in them, fetched by name, pushed in one commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from skmrm._support.wording import name_some, raise_all
from skmrm.exceptions import ModelFileError
from skmrm.serving._bundle import CONFIG_FILE, DATA_FILE, ENCODER_FILE, MODEL_FILE, TOKENIZER_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

__all__ = ["BUNDLE", "CARD_FILE", "MODEL", "USERS", "Contents", "Place", "fetch", "need_hub", "owned", "push"]

CARD_FILE = "README.md"
_MAIN = "main"


@dataclass(frozen=True)
class Contents:
    """Something of this package that a repository may hold.

    Attributes
    ----------
    name : str
        What errors call it.
    reader : str
        What reads it.
    mark : str
        The file that nothing else has.
    others : tuple of str
        Files beside it that it must have.
    optional : tuple of str
        Files beside it that it may have.
    """

    name: str
    reader: str
    mark: str
    others: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """Files without which there is nothing to read."""
        return (*self.others, self.mark)

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are ever fetched."""
        return (*self.needed, *self.optional)


MODEL = Contents(
    "a saved model or user", "from_pretrained of the class that pushed it", "arrays.safetensors", ("config.json",)
)
BUNDLE = Contents(
    "an exported scorer",
    "skmrm.serving.OnnxScorer.from_pretrained",
    MODEL_FILE,
    (CONFIG_FILE,),
    (DATA_FILE, TOKENIZER_FILE, ENCODER_FILE, WEIGHTS_FILE),
)
USERS = Contents("a file of users", "skmrm.UserModels.from_pretrained", "users.sqlite")
_KINDS = (MODEL, BUNDLE, USERS)


@dataclass(frozen=True)
class Place:
    """Where on the Hub, and in whose name.

    Attributes
    ----------
    repo_id : str
    revision : str or None
        Branch, tag or commit; None for the main branch.
    token : str, bool or None
        None takes that of the login, False takes none.
    """

    repo_id: str
    revision: str | None = None
    token: str | bool | None = None

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id} at revision {self.revision!r}"

    @property
    def api(self) -> HfApi:
        """The Hub, as the owner of the token sees it."""
        from huggingface_hub import HfApi

        from skmrm import __version__

        return HfApi(token=self.token, library_name="skmrm", library_version=__version__)


def fetch(
    place: Place,
    contents: Contents,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> tuple[Path, str | None]:
    """Find a folder on this machine, or fetch it from the Hub; nothing but the expected files is fetched.

    Parameters
    ----------
    place : Place
        Its `repo_id` may be a folder instead, which needs no Hub.
    contents : Contents
        What has to be there.
    cache_dir : path, optional
        None is the Hub's own cache (``HF_HOME``).
    local_files_only : bool
        Take what the cache has, and ask nobody.

    Returns
    -------
    folder : Path
    commit : str or None
        None of a folder.

    Raises
    ------
    ImportError
        If huggingface_hub is not installed, and there is no such folder.
    OSError
        If the repository or the revision does not exist, may not be read, or cannot be reached.
    ModelFileError
        If it holds something else.
    """
    folder = Path(place.repo_id).expanduser()
    if folder.is_dir():
        if place.revision is not None:
            raise ValueError(f"{folder} is a folder, which has no revisions: leave revision={place.revision!r} out")
        return folder, None
    need_hub("from_pretrained")
    from huggingface_hub import snapshot_download

    raise_all(_id_problems(place.repo_id, f"repo_or_folder is no folder that exists ({place.repo_id!r}), and"))
    with _told(place, "read"):
        found = snapshot_download(
            place.repo_id,
            revision=place.revision,
            token=place.token,
            cache_dir=None if cache_dir is None else Path(cache_dir).expanduser(),
            local_files_only=local_files_only,
            allow_patterns=list(contents.files),
        )
    snapshot = Path(found)  # .../snapshots/<commit>
    missing = [name for name in contents.needed if not (snapshot / name).is_file()]
    if missing:
        raise ModelFileError(_foreign(place, contents, missing, _listed(place, snapshot)))
    return snapshot, snapshot.name


def push(
    place: Place,
    contents: Contents,
    write: Callable[[Path], None],
    *,
    private: bool | None,
    commit_message: str,
    create_pr: bool = False,
) -> CommitInfo:
    """Write a folder and push it in one commit: the repository has all of it or what it had before.

    Parameters
    ----------
    place : Place
        The repository is made if it is not there, and so is the branch that `revision` names.
    contents : Contents
        What is pushed; files that an earlier push of the same kind had, and this has not, are deleted.
    write : callable
        Given an empty folder, before anything is asked of the Hub.
    private : bool or None
        Of a new repository. True also makes it an error if the repository is there and public.
    commit_message : str
    create_pr : bool
        Propose the commit in place of making it.

    Returns
    -------
    huggingface_hub.CommitInfo

    Raises
    ------
    ValueError
        If a parameter is out of bounds, the repository holds something of another kind, or it is public and should not
        be. Nothing is pushed then.
    OSError
        If it may not be written to, or the Hub cannot be reached.
    """
    raise_all(_push_problems(place, private, create_pr), "push_to_hub")
    with TemporaryDirectory(prefix="skmrm-hub-") as folder:
        write(Path(folder))
        with _told(place, "write to"):
            api = place.api
            repo_id = api.create_repo(place.repo_id, private=private, exist_ok=True).repo_id
            if place.revision not in (None, _MAIN) and not str(place.revision).startswith("refs/"):
                api.create_branch(repo_id, branch=str(place.revision), exist_ok=True)
            found = api.model_info(repo_id, revision=place.revision)
        raise_all(_present_problems(found, contents, private), f"push_to_hub: nothing was pushed to {place}")
        with _told(place, "write to"):
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=place.revision,
                commit_message=commit_message,
                create_pr=create_pr,
                delete_patterns=list(contents.files),
            )


def owned(place: Place) -> Place:
    """The same with an owner before the repository's name: the owner of the token, if nobody is named."""
    raise_all(_id_problems(place.repo_id, "repo_id"), "push_to_hub")
    if "/" in place.repo_id:
        return place
    with _told(place, "write to"):
        return replace(place, repo_id=f"{place.api.whoami()['name']}/{place.repo_id}")


def need_hub(caller: str) -> None:
    """Raise an ImportError where huggingface_hub is not installed."""
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} needs huggingface_hub, which is not installed: pip install 'skmrm[hub]'"
        ) from error


def _push_problems(place: Place, private: Any, create_pr: bool) -> list[str]:
    problems = []
    if private is not None and not isinstance(private, bool):
        problems.append(f"private must be True, False or None, got {private!r}")
    if create_pr and place.revision not in (None, _MAIN):
        problems.append(
            f"create_pr=True proposes a change of the main branch, and revision={place.revision!r} names another: "
            "leave one of them out"
        )
    return problems


def _id_problems(repo_id: Any, name: str) -> list[str]:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    problem = f"{name} must be the id of a repository on the Hub, such as 'anna/style-rewards', got {repo_id!r}"
    if not isinstance(repo_id, str):
        return [problem]
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        return [problem]
    return []


def _present_problems(found: Any, contents: Contents, private: bool | None) -> list[str]:
    """What stands against a push to a repository that is there."""
    problems = []
    if private and not found.private:
        problems.append(
            "it is public, and this may be read by everybody then: make it private in its settings on the Hub, choose "
            "another repository, or pass private=False"
        )
    names = {one.rfilename for one in found.siblings or ()}
    problems.extend(
        f"it holds {kind.name} ({kind.mark}), and this is {contents.name}, whose card would take the place of the "
        "other's: choose another repository"
        for kind in _KINDS
        if kind is not contents and kind.mark in names
    )
    return problems


def _listed(place: Place, snapshot: Path) -> list[str]:
    """Names of the files of a repository; offline of those that are in the cache."""
    with suppress(Exception):  # it is for an error's words alone
        return list(place.api.list_repo_files(place.repo_id, revision=snapshot.name))
    return [file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()]


def _foreign(place: Place, contents: Contents, missing: Sequence[str], found: Sequence[str]) -> str:
    """What is there instead, and what reads it if that is known."""
    names = sorted(name for name in found if not name.startswith("."))
    seen = f"it has {name_some(names, 6)}" if names else "it is empty"
    said = f"{place} does not hold {contents.name} of skmrm: {' and '.join(missing)} missing; {seen}"
    others = [kind for kind in _KINDS if kind is not contents and set(kind.needed) <= set(names)]
    if others:
        return f"{said}. That is {others[0].name}: {others[0].reader} reads it"
    return f"{said}: pass a repository that push_to_hub of skmrm wrote, or another revision of it"


@contextmanager
def _told(place: Place, act: str) -> Iterator[None]:
    """Errors of the Hub in words of ours: what was asked of which repository, and the remedy."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    login = "log in (hf auth login), or pass a token that may"
    try:
        yield
    except GatedRepoError as error:
        raise OSError(f"{place} is gated, and this token has no access yet: ask for it on the Hub") from error
    except RepositoryNotFoundError as error:
        raise OSError(
            f"there is no repository {place.repo_id} on {constants.ENDPOINT}, or it is private and the token may not "
            f"{act} it: check the id, or {login}"
        ) from error
    except RevisionNotFoundError as error:
        raise OSError(
            f"{place.repo_id} has no revision {place.revision!r}: pass a branch, tag or commit that it has"
        ) from error
    except LocalTokenNotFoundError as error:
        raise OSError(f"token=True needs a login on this machine, and there is none: {login}") from error
    except OfflineModeIsEnabled as error:
        raise OSError(f"cannot {act} {place}, since HF_HUB_OFFLINE is set: unset it") from error
    except LocalEntryNotFoundError as error:
        raise OSError(
            f"{place} is not in the cache, and the Hub was not asked or not reached ({_first_line(error)}): connect "
            "once (without HF_HUB_OFFLINE and local_files_only), or pass a folder"
        ) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        remedy = login if status in (401, 403) else "see what it says, and try again later"
        raise OSError(f"the Hub refused to {act} {place} ({status}: {_first_line(error)}): {remedy}") from error
    except Exception as error:  # of connections: their classes depend on huggingface_hub's version
        raise OSError(
            f"cannot {act} {place} on {constants.ENDPOINT} ({type(error).__name__}: {_first_line(error)}): check the "
            "network, and the room on the disk"
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip()[:200] for line in str(error).splitlines() if line.strip()), "no reason given")
