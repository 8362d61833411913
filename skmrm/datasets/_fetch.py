"""Where the files of a public data set are: a folder of the user's, a snapshot of a Hub repository, or a cache."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from skmrm._support.files import write_whole
from skmrm._support.wording import counted
from skmrm.datasets._simulated import integer_problems, random_state_problems

__all__ = ["Files", "Source", "find_files", "option_problems"]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Source:
    """A data set on the Hugging Face Hub, or in a repository on GitHub.

    Attributes
    ----------
    loader : str
        The public function that reads it, for error messages.
    repo : str
        ``owner/name``.
    parts : dict of str to str
        Name of each part, and the pattern that its files match, relative to the top of the repository.
    optional : tuple of str
        Parts that may be missing.
    url : str
        Of a data set that is not on the Hub: the folder to download from, with ``{revision}`` in it. `parts` are then
        names of files in that folder.
    sha256 : dict of str to str
        Digests of such files, by name, where the revision is one whose files are known.
    """

    loader: str
    repo: str
    parts: dict[str, str]
    optional: tuple[str, ...] = ()
    url: str = ""
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def page(self) -> str:
        """Where a person finds it."""
        return f"https://github.com/{self.repo}" if self.url else f"https://huggingface.co/datasets/{self.repo}"


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
        Commit that the Hub's name for the revision stood for, or the revision asked for where it is not on the Hub;
        None for a folder of the user's.
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
        Folder of the download cache; None is the Hub's own (``HF_HOME``), and the user's (``XDG_CACHE_HOME``) for what
        is not on the Hub.
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
        If the source cannot be reached, the revision does not exist, or files are missing or not those that are known.
    """
    commit: str | None
    if data_dir is None and source.url:
        folder, commit = _downloaded(source, data_home, revision, download_if_missing), revision
    elif data_dir is None:
        folder = _snapshot(source, data_home, revision, download_if_missing)
        commit = folder.name  # a snapshot is kept in a folder named for its commit
    else:
        folder, commit = Path(data_dir).expanduser(), None
        if not folder.is_dir():
            raise FileNotFoundError(f"{source.loader}: data_dir must be an existing folder, got {str(data_dir)!r}")
    paths = {part: sorted(folder.glob(pattern)) for part, pattern in source.parts.items()}
    missing = [f"{source.parts[part]!r}" for part, found in paths.items() if not found and part not in source.optional]
    if missing:
        remedy = "" if data_dir is None else f": copy the files of {source.page} there"
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
        f"{source.page} by other means and pass their folder as data_dir"
    )


def _downloaded(source: Source, data_home: PathLike | None, revision: str, download_if_missing: bool) -> Path:
    """Folder of the cache with all files of a source that is not on the Hub; its path is that of the address."""
    url = source.url.replace("{revision}", revision)
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "skmrm") if data_home is None else Path(data_home)
    folder = home.expanduser().joinpath(*url.partition("://")[2].split("/"))
    missing = [name for name in source.parts.values() if not (folder / name).exists()]
    if missing and not download_if_missing:
        raise OSError(
            f"{source.loader}: {', '.join(map(repr, missing))} of {url} not in the cache, {folder}, and "
            "download_if_missing is False: pass download_if_missing=True, or data_dir with the files"
        )
    for name in missing:
        data = _download(source, f"{url}/{name}", source.sha256.get(name))
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, data)
    return folder


def _download(source: Source, url: str, sha256: str | None) -> bytes:
    """Bytes at an address, all of them, and those that are known."""
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=60) as response:
            data: bytes = response.read()
    except (OSError, HTTPException) as error:  # the latter where the connection was cut
        reason = f"{type(error).__name__}: {error}"
    else:
        found = hashlib.sha256(data).hexdigest()
        if sha256 in (None, found):
            return data
        reason = f"its SHA-256 is {found} and must be {sha256}, so something on the way changed it"
    name = url.rpartition("/")[2]
    raise OSError(
        f"{source.loader}: could not download {name!r} from {url} ({reason}): check the network and the revision, or "
        f"download {', '.join(map(repr, source.parts.values()))} by hand and pass their folder as data_dir"
    )
