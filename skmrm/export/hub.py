"""Models and users on the Hugging Face Hub, each with a card that says what they are."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from skmrm._support.wording import name_some, raise_all
from skmrm.export.onnx import OnnxExport
from skmrm.serving._hub import BUNDLE, CARD_FILE, MODEL, Contents, Place, fetch, need_hub, owned, push

if TYPE_CHECKING:
    from typing import Self

    from huggingface_hub import CommitInfo

    from skmrm.export.card_facts import CardFacts

__all__ = ["HubModel", "HubPush"]


class Report(Protocol):
    """What is needed of a :class:`skmrm.report.PersonalizationReport`."""

    def to_markdown(self, *, names: bool = True) -> str:
        """Verdict, table and warnings."""
        ...


class HubPush(OnnxExport):
    """What can be pushed; a subclass writes its files, and says what is in them.

    Attributes
    ----------
    hub_commit_ : str or None
        The commit on the Hub that this was read from; None of anything else.
    """

    hub_commit_: str | None = None

    _hub_contents: ClassVar[Contents] = MODEL
    _hub_options: ClassVar[frozenset[str]] = frozenset()  # what else of its users may go up
    _of_persons: ClassVar[bool] = True

    def push_to_hub(
        self,
        repo_id: str,
        *,
        report: Report | None = None,
        description: str = "",
        license: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        include: Collection[Literal["ids", "history"]] = (),
        onnx: bool | Mapping[str, Any] = False,
        private: bool | None = None,
        commit_message: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        token: str | bool | None = None,
    ) -> CommitInfo:
        """Share on the Hugging Face Hub, in one commit, with a card (README.md) written from what was fitted.

        No text goes up, and no id of a user but those that are asked for; the card says what the files hold. A push
        writes the card anew: words of your own belong into `description`.

        Parameters
        ----------
        repo_id : str
            Such as "anna/style-rewards"; made if it is not there.
        report : PersonalizationReport, optional
            What :func:`skmrm.personalization_report` found, for the card.
        description : str, default=""
            Markdown that the card begins with: what the model was made of, and what for.
        license : str, optional
            The Hub's name of a licence, such as "mit"; it is for you to say.
        metadata : mapping, optional
            More of the card's metadata, such as ``{"language": "en", "datasets": ["anna/choices"]}``.
        include : collection of {"ids", "history"}, default=()
            What else of the users goes up. "ids" (many users): their ids; without, users are numbered from 0 in the
            order of ``users_``. "history" (one user, or many): what each said, as gaps of base rewards with their
            times, which ``update`` needs. A model has neither.
        onnx : bool or mapping, default=False
            Push the folder that :meth:`export_onnx` writes, for :class:`skmrm.serving.OnnxScorer`, in place of files
            that this class reads. A mapping has options of that method, such as ``{"quantize": "int8"}``.
        private : bool, optional
            Whether a new repository can be read by its owners alone. None leaves it to the Hub's default for a model,
            which knows nobody; what is of users is private, and pushed to a public repository with False alone.
        commit_message : str, optional
            None says what is pushed.
        revision : str, optional
            Branch to push to, made if it is not there; None is the main one.
        create_pr : bool, default=False
            Open a pull request instead.
        token : str or bool, optional
            None takes that of the login.

        Returns
        -------
        huggingface_hub.CommitInfo
            The commit: ``oid`` names it, as `revision` of ``from_pretrained`` takes it; ``pr_url`` is that of a pull
            request.

        Raises
        ------
        ImportError
            If huggingface_hub is not installed (``pip install 'skmrm[hub]'``).
        ValueError
            If what there is cannot be saved, parameters are out of bounds, an encoder lies in a folder of this machine,
            the repository holds something of another kind, or it is public and should not be. Nothing is pushed then.
        OSError
            If the token may not write there, or the Hub cannot be reached.
        """
        need_hub("push_to_hub")
        from skmrm.export.model_card import write_card

        raise_all(self._push_problems(report, metadata, include, onnx), "push_to_hub")
        place = owned(Place(repo_id, revision, token))
        facts = self._card_facts(frozenset(include), bool(onnx))
        options = dict(onnx) if isinstance(onnx, Mapping) else {}

        def write(folder: Path) -> None:
            exported = self.export_onnx(folder, **options) if onnx else None
            if exported is None:
                self._write_files(folder, frozenset(include))
            found = None if report is None else report.to_markdown(names=False)
            card = write_card(facts, place.repo_id, folder, exported, found, description, license, metadata or {})
            (folder / CARD_FILE).write_text(card, encoding="utf-8")

        return push(
            place,
            BUNDLE if onnx else self._hub_contents,
            write,
            private=True if private is None and self._of_persons else private,
            commit_message=commit_message or f"Push {type(self).__name__}{' as ONNX' if onnx else ''} with skmrm",
            create_pr=create_pr,
        )

    def _push_problems(self, report: Any, metadata: Any, include: Any, onnx: Any) -> list[str]:
        problems = []
        if report is not None and not hasattr(report, "to_markdown"):
            problems.append(f"report must be what personalization_report returns, got {type(report).__name__}")
        if metadata is not None and not isinstance(metadata, Mapping):
            problems.append(f"metadata must be a mapping, got {type(metadata).__name__}")
        allowed = frozenset() if onnx else self._hub_options
        asked = [include] if isinstance(include, str) else list(include)
        if isinstance(include, str) or not allowed.issuperset(asked):
            what = f"{type(self).__name__} as ONNX" if onnx else type(self).__name__
            known = f"a collection of {name_some(sorted(allowed))}" if allowed else "empty: there is nothing else"
            problems.append(f"include of {what} must be {known}, got {include!r}")
        if not onnx:
            problems.extend(self._sharing_problems())
        return problems

    def _sharing_problems(self) -> list[str]:
        """What others could not read."""
        return []

    def _write_files(self, folder: Path, include: frozenset[str]) -> None:
        """Write what ``from_pretrained`` reads."""
        raise NotImplementedError

    def _card_facts(self, include: frozenset[str], onnx: bool) -> CardFacts:
        raise NotImplementedError


class HubModel(HubPush):
    """What is pushed, and read again without anything else."""

    @classmethod
    def load(cls, path: Any, device: str = "auto") -> Self:
        """Read a folder."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        repo_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        device: str = "auto",
    ) -> Self:
        """Read what :meth:`push_to_hub` pushed, or what :meth:`save` wrote; nothing in the files is executed.

        Only the files that are expected are fetched, each once: they stay in the Hub's cache, and are found there
        without a network (``HF_HUB_OFFLINE=1``).

        Parameters
        ----------
        repo_or_folder : str or path
            A folder, if there is one of that name; or a repository, such as "anna/style-rewards".
        revision : str, optional
            Branch, tag or commit; None is the main branch as it is now. With a commit the same is read for ever.
        token : str or bool, optional
            Of private repositories; None takes that of the login.
        cache_dir : path, optional
            None is the Hub's own cache (``HF_HOME``).
        local_files_only : bool, default=False
            Take what the cache has, and ask nobody.
        device : str, default="auto"
            Where to compute, as for :meth:`load`.

        Returns
        -------
        object of this class
            Its `hub_commit_` is the commit that was read; None of a folder.

        Raises
        ------
        ImportError
            If huggingface_hub is not installed (``pip install 'skmrm[hub]'``), and there is no such folder.
        OSError
            If the repository or the revision does not exist, may not be read, or cannot be reached.
        ModelFileError
            If it holds something else, or files are truncated, altered, or of a newer schema.
        """
        place = Place(os.fspath(repo_or_folder), revision, token)
        folder, commit = fetch(place, cls._hub_contents, cache_dir, local_files_only)
        found = cls.load(folder, device)
        object.__setattr__(found, "hub_commit_", commit)  # users never change otherwise
        return found
