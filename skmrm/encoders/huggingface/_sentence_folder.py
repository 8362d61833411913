"""What sentence-transformers writes beside a model: how its tokens become one vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["SentenceFacts", "read_sentence_facts"]

_PACKAGE = "sentence_transformers."
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_CONFIGS = [
    f"sentence_{kind}_config.json"  # the first since version 2, all others before
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]


@dataclass(frozen=True)
class SentenceFacts:
    """How sentence-transformers would encode.

    Attributes
    ----------
    pooling : str
        "mean", "cls", "last", or what this package does not do, of which `problems` says so.
    normalize : bool
        Whether vectors get unit length.
    max_length : int or None
        Most tokens of a text.
    lower_case : bool
        Whether texts are made lower-case first.
    problems : tuple of str
        All that this package does not do.
    """

    pooling: str
    normalize: bool
    max_length: int | None
    lower_case: bool
    problems: tuple[str, ...]


def read_sentence_facts(read_json: Callable[[str], Any]) -> SentenceFacts | None:
    """Read the files.

    Parameters
    ----------
    read_json : callable
        From a file's name to what it holds, None where there is no such file.

    Returns
    -------
    SentenceFacts or None
        None for a model that sentence-transformers did not write.
    """
    modules = read_json("modules.json")
    if modules is None:
        return None
    kinds = [module["type"] for module in modules]
    names = [kind.rpartition(".")[2] if kind.startswith(_PACKAGE) else kind for kind in kinds]
    config: dict[str, Any] = next((found for name in _CONFIGS if (found := read_json(name)) is not None), {})
    pooling: dict[str, Any] = {}
    if "Pooling" in names:
        pooling = read_json(f"{modules[names.index('Pooling')]['path']}/config.json") or {}
    modes = _modes(pooling)
    problems = [
        *_module_problems(modules, names),
        *([] if modes in (["mean"], ["cls"], ["last"]) else [f"pools by {' and '.join(modes)}"]),
        *_config_problems(config),
        *_prompt_problems(read_json("config_sentence_transformers.json") or {}),
    ]
    return SentenceFacts(
        pooling=modes[0],
        normalize=names[-1:] == ["Normalize"],
        max_length=config.get("max_seq_length"),
        lower_case=bool(config.get("do_lower_case")),
        problems=tuple(problems),
    )


def _modes(pooling: Mapping[str, Any]) -> list[str]:
    """What the tokens are pooled by; sentence-transformers' default is the mean."""
    modes = pooling.get("pooling_mode") or [mode for flag, mode in _FLAGS.items() if pooling.get(flag)] or ["mean"]
    named = [modes] if isinstance(modes, str) else list(modes)
    return ["last" if mode == "lasttoken" else mode for mode in named]


def _module_problems(modules: list[dict[str, str]], names: list[str]) -> list[str]:
    known = ("Transformer", "Pooling", "Normalize")
    if unknown := [name for name in names if name not in known]:
        return [f"has a module {' and '.join(unknown)}"]
    if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        return [f"has the modules {', '.join(names)}, and not a Transformer and a Pooling"]
    return [f"has its transformer in a folder {path!r} of its own" for path in (modules[0]["path"],) if path]


def _config_problems(config: Mapping[str, Any]) -> list[str]:
    problems = []
    task = config.get("transformer_task", "feature-extraction")
    output = config.get("modality_config", {}).get("text", {}).get("method_output_name", "last_hidden_state")
    if task != "feature-extraction" or output != "last_hidden_state":
        problems.append(f"takes the {output} of a transformer for {task}")
    if config.get("processing_kwargs"):
        problems.append("has tokens made with processing_kwargs")
    return problems


def _prompt_problems(config: Mapping[str, Any]) -> list[str]:
    name = config.get("default_prompt_name")
    prompt = (config.get("prompts") or {}).get(name)
    return [f"puts {prompt!r} before each text"] if prompt else []
