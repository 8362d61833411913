"""Where the files of a public data set are: a folder of the user's, or a snapshot of a Hub repository."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from skmrm._support.wording import counted
from skmrm.datasets._simulated import integer_problems, random_state_problems

__all__ = ["Files", "Source", "find_files", "option_problems"]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Source:
    """A data set on the Hugging Face Hub.

    Attributes
    ----------
    loader : str
        The public function that reads it, for error messages.
    repo : str
        ``owner/name`` on the Hub.
    parts : dict of str to str
        Name of each part, and the pattern that its files match, relative to the top of the repository.
    optional : tuple of str
        Parts that may be missing.
    """

    loader: str
    repo: str
    parts: dict[str, str]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """The files of a data set on this machine.

    Attributes
    ----------
    source : Source
        What they are files of.
    paths : dict of str to list of Path
        Files of each part, in order of their names.
    revision : str or None
        Commit that the Hub's name for the revision stood for; None for a folder of the user's.
    """

    source: Source
    paths: dict[str, list[Path]]
    revision: str | None

    @property
    def origin(self) -> str:
        """What the files are a copy of, for error messages."""
        return f"{self.source.repo} at {self.revision}" if self.revision else f"the local copy of {self.source.repo}"


def find_files(
    source: Source, data_home: PathLike | None, data_dir: PathLike | None, revision: str, download_if_missing: bool
) -> Files:
    """Find the files of a data set, downloading what is not there yet.

    Parameters
    ----------
    source : Source
        The data set.
    data_home : path, optional
        Folder of the download cache; None is the Hub's own (``HF_HOME``).
    data_dir : path, optional
        Folder with the files; nothing is then downloaded.
    revision : str
        Branch, tag or commit of the repository.
    download_if_missing : bool
        False reads from the cache only.

    Returns
    -------
    Files
        Every part with at least one file, but for those that are optional.

    Raises
    ------
    OSError
        If the Hub cannot be reached, the revision does not exist, or files are missing.
    """
    if data_dir is None:
        folder = _snapshot(source, data_home, revision, download_if_missing)
        commit: str | None = folder.name  # a snapshot is kept in a folder named for its commit
    else:
        folder, commit = Path(data_dir).expanduser(), None
        if not folder.is_dir():
            raise FileNotFoundError(f"{source.loader}: data_dir must be an existing folder, got {str(data_dir)!r}")
    paths = {part: sorted(folder.glob(pattern)) for part, pattern in source.parts.items()}
    missing = [f"{source.parts[part]!r}" for part, found in paths.items() if not found and part not in source.optional]
    if missing:
        remedy = "" if data_dir is None else f": copy the files of https://huggingface.co/datasets/{source.repo} there"
        raise FileNotFoundError(f"{source.loader}: {folder} must hold files {', '.join(missing)}, found none{remedy}")
    return Files(source, paths, commit)


def option_problems(min_pairs: object, n_splits: object, random_state: object) -> list[str]:
    """Sentences about the parameters that all loaders share."""
    return [
        *integer_problems("min_pairs", min_pairs),
        *integer_problems("n_splits", n_splits, low=0),
        *random_state_problems(random_state),
    ]


def _snapshot(source: Source, data_home: PathLike | None, revision: str, download_if_missing: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(
            f"{source.loader} downloads with huggingface_hub, which is not installed: pip install 'skmrm[text]', or "
            "pass data_dir with the files"
        ) from error
    try:
        folder = snapshot_download(
            source.repo,
            repo_type="dataset",
            revision=revision,
            cache_dir=None if data_home is None else str(Path(data_home).expanduser()),
            allow_patterns=list(source.parts.values()),
            local_files_only=not download_if_missing,
        )
    except LocalEntryNotFoundError as error:
        if not download_if_missing:
            raise OSError(
                f"{source.loader}: {source.repo} at revision {revision!r} is not in the cache, and download_if_missing "
                "is False: pass download_if_missing=True, or data_dir with the files"
            ) from error
        raise OSError(_unreachable(source, revision, error)) from error
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise OSError(_unreachable(source, revision, error)) from error
    return Path(folder)


def _unreachable(source: Source, revision: str, error: Exception) -> str:
    parts = counted(len(source.parts), "part")
    reason = str(error).strip().partition("\n")[0]
    return (
        f"{source.loader}: could not download {source.repo} ({parts}) at revision {revision!r} from the Hugging Face "
        f"Hub ({type(error).__name__}: {reason}): check the network and the revision, or copy the files from "
        f"https://huggingface.co/datasets/{source.repo} by other means and pass their folder as data_dir"
    )
