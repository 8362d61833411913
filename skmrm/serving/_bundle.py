"""The folder that an exported model is: what is in it, and the checks before anything is made of it."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skmrm._support.files import file_digest, is_intact, json_object
from skmrm.exceptions import ModelFileError, reading
from skmrm.serving._external_data import external_files

__all__ = [
    "CONFIG_FILE",
    "DATA_FILE",
    "ENCODER_FILE",
    "KIND",
    "MODEL_FILE",
    "SCHEMA_VERSION",
    "TOKENIZER_FILE",
    "WEIGHTS_FILE",
    "Bundle",
    "Source",
    "open_bundle",
]

SCHEMA_VERSION = 1
KIND = "skmrm scorer"
CONFIG_FILE = "config.json"
MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"  # numbers of a large graph, mapped into memory instead of read
TOKENIZER_FILE = "tokenizer.json"
ENCODER_FILE = "encoder.safetensors"  # of the offline default encoder
WEIGHTS_FILE = "weights.safetensors"  # users' weights, and what adapting needs

# A folder; its files by name; or the bytes of a zip archive of them.
Source = str | os.PathLike[str] | Mapping[str, bytes] | bytes

_NAMES = {MODEL_FILE, DATA_FILE, TOKENIZER_FILE, ENCODER_FILE, WEIGHTS_FILE}
_FACTS = ("scorer", "inputs", "dtype", "n_features", "n_bases", "encoder", "adaptation", "files")
_AGAIN = "export the model again"
# A bundle is numbers, which hardly shrink: what does so by more was made to fill the memory of who unpacks it.
_MOST_UNPACKED, _SMALL = 200, 1 << 26  # times the archive; bytes that do no harm


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes
    ----------
    config : dict
        What config.json says.
    contents : mapping of str to bytes
        Files by name; the data of a large graph only where there is no folder to map it from.
    folder : Path or None
    commit : str or None
        On the Hub, if it was fetched from there.
    """

    config: dict[str, Any]
    contents: Mapping[str, bytes]
    folder: Path | None
    commit: str | None = None

    def __getitem__(self, name: str) -> bytes:
        if name not in self.contents:
            raise ModelFileError(f"{CONFIG_FILE} of {self.where} lists no {name}, which its scorer needs: {_AGAIN}")
        return self.contents[name]

    @property
    def where(self) -> str:
        """How errors name it."""
        return _where(self.folder)

    def reading(self) -> AbstractContextManager[None]:
        """Say of whatever goes wrong within that the bundle is not what it should be."""
        return _reading(self.where)


def open_bundle(source: Source) -> Bundle:
    """Read a bundle; every file has to be there, and to be what the config says it is.

    Raises
    ------
    ModelFileError
        If a file is missing, truncated or altered, if the schema is not known, or if the graph refers to files that are
        not the bundle's.
    """
    folder, given = _source(source)
    where = _where(folder)
    with _reading(where):
        return _checked(folder, given, where)


def _checked(folder: Path | None, given: Mapping[str, bytes], where: str) -> Bundle:
    config = _config(_content(CONFIG_FILE, folder, given, where), where)
    contents: dict[str, bytes] = {}
    for name, facts in config["files"].items():
        if name not in _NAMES:
            raise ModelFileError(f"{where} lists the file {name!r}, which no bundle has: {_AGAIN}")
        if folder is not None and name == DATA_FILE:
            found = _digest_of_file(folder / name, where)
        else:
            contents[name] = _content(name, folder, given, where)
            found = hashlib.sha256(contents[name]).hexdigest()
        if found != facts["sha256"]:
            raise ModelFileError(f"{name} of {where} is truncated or was altered since it was written: {_AGAIN}")
    bundle = Bundle(config, contents, folder)
    _check_graph(bundle[MODEL_FILE], set(config["files"]), where)
    return bundle


def _where(folder: Path | None) -> str:
    return "the bundle" if folder is None else str(folder)


def _reading(where: str) -> AbstractContextManager[None]:
    return reading(f"{where} does not hold what export_onnx writes", _AGAIN)


def _source(source: Source) -> tuple[Path | None, Mapping[str, bytes]]:
    if isinstance(source, Mapping):
        return None, source
    if not isinstance(source, bytes):
        return Path(source), {}
    with reading(
        "a bundle as bytes is a zip archive of its files, these bytes are none that can be read",
        "pass the folder, the bytes of an archive (shutil.make_archive(name, 'zip', folder)), or a mapping of file "
        "names to bytes",
    ):
        return None, _unpacked(source)


def _unpacked(archived: bytes) -> dict[str, bytes]:
    """The bundle's own files in an archive, in whatever folder of it they are."""
    with zipfile.ZipFile(io.BytesIO(archived)) as archive:
        known = _NAMES | {CONFIG_FILE}
        files = {name: info for info in archive.infolist() if (name := Path(info.filename).name) in known}
        size = sum(info.file_size for info in files.values())  # no more is unpacked than is said here
        if size > max(_SMALL, _MOST_UNPACKED * len(archived)):
            raise ModelFileError(
                f"the archive of {len(archived)} bytes would unpack to {size}, more than {_MOST_UNPACKED} times as "
                "many: find out who made it, or pass the folder"
            )
        return {name: archive.read(info) for name, info in files.items()}


def _content(name: str, folder: Path | None, given: Mapping[str, bytes], where: str) -> bytes:
    try:
        return given[name] if folder is None else (folder / name).read_bytes()
    except (KeyError, FileNotFoundError, NotADirectoryError):
        raise _missing(name, where) from None


def _digest_of_file(file: Path, where: str) -> str:
    """SHA-256 of a file that must be there."""
    try:
        return file_digest(file)
    except FileNotFoundError:
        raise _missing(file.name, where) from None


def _missing(name: str, where: str) -> ModelFileError:
    return ModelFileError(f"{name} is missing from {where}: pass the folder that export_onnx was given, whole")


def _config(text: bytes, where: str) -> dict[str, Any]:
    with reading(f"{CONFIG_FILE} of {where} is not that of an exported model", _AGAIN):
        document = json_object(text)
        kind, version = document["kind"], document["schema_version"]
        altered = not is_intact(document)
    if kind != KIND:
        raise ModelFileError(f"{where} holds a {kind}, not an exported scorer: pass what export_onnx wrote")
    if version != SCHEMA_VERSION:
        raise ModelFileError(
            f"{where} has schema version {version!r}; this skmrm reads version {SCHEMA_VERSION}: install the skmrm "
            f"that wrote it ({document.get('package_version')}), or {_AGAIN}"
        )
    if altered:
        raise ModelFileError(f"{CONFIG_FILE} of {where} was altered since it was written: {_AGAIN}")
    missing = [name for name in _FACTS if name not in document]
    if missing:
        raise ModelFileError(f"{CONFIG_FILE} of {where} does not say {', '.join(missing)}: {_AGAIN}")
    return document


def _check_graph(model: bytes, listed: set[str], where: str) -> None:
    """The graph may refer to the bundle's own data and to no other file, wherever that is."""
    try:
        foreign = external_files(model) - (listed & {DATA_FILE})
    except ValueError:
        raise ModelFileError(f"{MODEL_FILE} of {where} is not an ONNX model: {_AGAIN}") from None
    if foreign:
        raise ModelFileError(
            f"{MODEL_FILE} of {where} refers to files outside of the bundle ({', '.join(sorted(foreign)):.200}), which "
            "are never read: find out who wrote it"
        )
