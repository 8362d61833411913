"""A pretrained model of transformers, in a folder or on the Hugging Face Hub: its files, tokenizer and network."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skmrm._support.files import content_digest
from skmrm._support.wording import name_some

__all__ = ["NetworkOptions", "Pretrained", "commit_of", "find_pretrained", "folder_fingerprint", "weights_digest"]

# What decides about the numbers: weights, configurations, vocabularies, chat templates, and code that is trusted.
_DECIDING = (
    *(".safetensors", ".bin", ".gguf", ".json", ".txt", ".model", ".py", ".jinja"),
    *(".spm", ".tiktoken", ".vocab", ".bpe", ".codes"),
)
_COMMIT = "commit "
_REMEDY = (
    "give a folder with config.json, weights and tokenizer files, or the id of a model on the Hugging Face Hub, such "
    "as 'sentence-transformers/all-MiniLM-L6-v2' or 'Skywork/Skywork-Reward-V2-Qwen3-0.6B'"
)


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is loaded.

    Attributes
    ----------
    dtype : str
        Of weights and arithmetic: "float32", "bfloat16" or "float16".
    device : str
        "auto" or a torch device; of no meaning with a `device_map`.
    device_map : str, dict or None
        Of transformers: which part lies on which device.
    attn_implementation : str or None
        Of transformers: which kernel computes attention.
    reward_head : bool
        Whether a scalar head is loaded, too.
    """

    dtype: str = "float32"
    device: str = "auto"
    device_map: Any = None
    attn_implementation: str | None = None
    reward_head: bool = False


@dataclass(frozen=True)
class Pretrained:
    """Where a model is.

    Attributes
    ----------
    model : str
        A folder, or an id on the Hub.
    revision : str or None
        Commit of a model on the Hub; of no meaning for a folder.
    trust_remote_code : bool
        Whether Python files that come with the model may be run.
    """

    model: str
    revision: str | None
    trust_remote_code: bool

    @property
    def is_folder(self) -> bool:
        """Whether the files are the user's, and can change."""
        return Path(self.model).is_dir()

    def fingerprint(self) -> str:
        """What tells these files from others: their contents in a folder, the commit on the Hub."""
        return folder_fingerprint(self.model) or f"{_COMMIT}{self.revision}"

    def read_json(self, name: str) -> Any:
        """What a file holds; None if the model has no such file.

        Raises
        ------
        OSError
            If nobody can tell, because the Hub cannot be reached.
        """
        file = Path(self.model) / name if self.is_folder else self._downloaded(name)
        if file is None or not file.is_file():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{file} is no JSON ({error}): download or save the model again") from None

    def load_config(self) -> Any:
        """The configuration of the network."""
        from transformers import AutoConfig

        return self._load(AutoConfig.from_pretrained)

    def load_tokenizer(self, lower_case: bool) -> Any:
        """The tokenizer; it makes text lower-case first, where asked for."""
        from transformers import AutoTokenizer

        tokenizer = self._load(AutoTokenizer.from_pretrained)
        if lower_case:
            _make_lower_case(tokenizer)
        return tokenizer

    def load_network(self, options: NetworkOptions) -> tuple[Any, Any]:
        """The network for inference, and its reward head where that is asked for, else None.

        Raises
        ------
        ValueError
            If weights are missing, or there is no reward head.
        """
        import torch
        from transformers import AutoModel, AutoModelForSequenceClassification

        from skmrm._support.device import resolve_device

        kind = AutoModelForSequenceClassification if options.reward_head else AutoModel
        asked = {"device_map": options.device_map, "attn_implementation": options.attn_implementation}
        with torch.random.fork_rng(devices=[]):  # a head that is not there is drawn at random, and not used
            network, found = self._load(
                kind.from_pretrained,
                dtype=getattr(torch, options.dtype),
                output_loading_info=True,
                **{name: value for name, value in asked.items() if value is not None},
            )
        missing = sorted(name for name in found["missing_keys"] if "pooler" not in name.split("."))
        if missing:
            raise ValueError(
                f"the weights of {self.model!r} lack {name_some(missing)} of a {type(network).__name__}: download or "
                "save the model again, weights and config.json together"
            )
        if options.device_map is None:
            network = network.to(resolve_device(options.device))
        head = _reward_head(network.eval(), self.model) if options.reward_head else None
        return (network if head is None else network.base_model), head

    def _load(self, from_pretrained: Callable[..., Any], **options: Any) -> Any:
        options |= {"revision": self.revision, "trust_remote_code": self.trust_remote_code}
        with _told_by(self.model), _quietly(self.is_folder):
            return from_pretrained(self.model, **options)

    def _downloaded(self, name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache
        from transformers.utils import cached_file

        with _told_by(self.model):
            found = cached_file(self.model, name, revision=self.revision, _raise_exceptions_for_missing_entries=False)
        if found is None and try_to_load_from_cache(self.model, name, revision=self.revision) is None:
            raise OSError(
                f"whether {self.model!r} has a {name} cannot be told, since the Hub cannot be reached and that was not "
                "asked before: connect once, or give the folder of a full download"
            )
        return None if found is None else Path(found)


def find_pretrained(model: str | os.PathLike[str], revision: str | None, trust_remote_code: bool) -> Pretrained:
    """Check that there is such a model, and settle which version of it.

    Parameters
    ----------
    model : str or path
        A folder, or an id on the Hub.
    revision : str or None
        Branch, tag or commit on the Hub; None for the main branch.
    trust_remote_code : bool
        Whether Python files that come with the model may be run.

    Returns
    -------
    Pretrained
        With the commit as its revision, on the Hub.

    Raises
    ------
    ImportError
        If transformers is not installed.
    OSError
        If there is no such model, or it cannot be reached.
    """
    try:
        from transformers.utils import cached_file
    except ImportError as error:
        raise ImportError("HFEncoder needs transformers, which is not installed: pip install 'skmrm[text]'") from error
    source = Pretrained(os.fspath(model), revision, trust_remote_code)
    if source.model and source.is_folder:
        return source
    if _looks_like_folder(model):
        raise FileNotFoundError(f"the folder {source.model!r} does not exist: {_REMEDY}")
    with _told_by(source.model):
        config = cached_file(source.model, "config.json", revision=revision)
        if config is None:
            raise OSError("it has no config.json")
    return replace(source, revision=Path(config).parent.name)  # .../snapshots/<commit>/config.json


def folder_fingerprint(model: object) -> str | None:
    """What tells the files of a folder from others, copies of them excepted; None if it is no folder."""
    if not isinstance(model, str | os.PathLike) or not os.fspath(model) or not Path(model).is_dir():
        return None
    folder = Path(model)
    files = [file for file in folder.iterdir() if file.suffix in _DECIDING and file.is_file()]
    contents = [
        f"{file.relative_to(folder).as_posix()} {content_digest(file)}"
        for file in [*files, *folder.glob("*/config.json")]  # the second of modules of sentence-transformers
    ]
    return "sha256 " + hashlib.sha256("\n".join(sorted(contents)).encode()).hexdigest()


def weights_digest(loaded: tuple[Any, ...]) -> str:
    """What tells a loaded tokenizer, network and head from themselves after they were trained or edited in memory.

    The sum of each tensor's bits is taken where the tensor lies, and depends on no order.
    """
    import torch

    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    tokenizer, *networks = loaded
    found = [repr((getattr(tokenizer, "chat_template", None), len(tokenizer)))]
    for network in networks:
        for name, tensor in network.state_dict(keep_vars=True).items() if network is not None else ():
            bits = tensor.detach()
            if bits.layout == torch.strided and not bits.is_meta and bits.element_size() in integers:
                whole = bits.contiguous().view(integers[bits.element_size()]).sum(dtype=torch.int64).item()
                found.append(f"{name} {tuple(bits.shape)} {whole}")
    return hashlib.sha256("\n".join(found).encode("utf-8", "surrogatepass")).hexdigest()


def commit_of(fingerprint: str) -> str | None:
    """The commit on the Hub that a fingerprint stands for; None if it is of a folder."""
    return fingerprint.removeprefix(_COMMIT) if fingerprint.startswith(_COMMIT) else None


def _looks_like_folder(model: str | os.PathLike[str]) -> bool:
    """Whether only a folder can be meant, and no id on the Hub."""
    name = os.fspath(model)
    return not isinstance(model, str) or not name or name.count("/") > 1 or name[:1] in "./~" or "\\" in name


@contextmanager
def _told_by(model: str) -> Iterator[None]:
    """Name the model in what transformers says when it cannot load one, and say what to give."""
    try:
        yield
    except ImportError:  # names the package to install
        raise
    except Exception as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"the model {model!r} cannot be loaded: {error}\n{_REMEDY[0].upper()}{_REMEDY[1:]}") from error


@contextmanager
def _quietly(without_bars: bool) -> Iterator[None]:
    """Keep remarks about heads that are not used from the user, and bars too, where nothing is downloaded."""
    from transformers.utils import logging

    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if without_bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if without_bars and had_bars:
            logging.enable_progress_bar()


def _reward_head(network: Any, model: str) -> Any:
    """The layer that makes a reward of a hidden state."""
    head = getattr(network, "score", None)
    if network.config.num_labels != 1 or head is None or network.base_model is network:
        raise ValueError(
            f"reward_head=True needs a reward model: a classifier with one output, from a layer named 'score'; "
            f"{model!r} is a {type(network).__name__} with {network.config.num_labels} outputs: use "
            "reward_head=False, or another model"
        )
    return head


def _make_lower_case(tokenizer: Any) -> None:
    from tokenizers.normalizers import Lowercase, Sequence

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(
            f"the model wants text in lower case, which the tokenizer {type(tokenizer).__name__} cannot be told: use a "
            "model with a fast tokenizer"
        )
    backend.normalizer = Sequence([Lowercase(), *([backend.normalizer] if backend.normalizer else [])])
