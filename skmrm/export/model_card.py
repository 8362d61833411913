"""The card of what is pushed to the Hub: what it is, how to load it, what was chosen, how well it does, its limits."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skmrm.base_rewards import BaseRewards
from skmrm.encoders import HashedTextEncoder
from skmrm.export.card_facts import REPO, CardFacts, network_of, plain
from skmrm.export.onnx import ExportReport
from skmrm.serving._hub import CARD_FILE

__all__ = ["write_card"]

_TAGS = ("skmrm", "reward-model", "personalization", "preference-learning")
_PAPER = "[arXiv 2601.18731](https://arxiv.org/abs/2601.18731)"


def write_card(
    facts: CardFacts,
    repo_id: str,
    folder: Path,
    exported: ExportReport | None,
    report: str | None,
    description: str,
    license: str | None,
    metadata: Mapping[str, Any],
) -> str:
    """Write the card of the files in a folder.

    Parameters
    ----------
    facts : CardFacts
    repo_id : str
    folder : Path
    exported : ExportReport or None
        Of an exported scorer.
    report : str or None
        What was found on other users, in Markdown.
    description : str
        Markdown of the user's own.
    license : str or None
    metadata : mapping
        Of the card, over what is known.

    Returns
    -------
    str
        Markdown, with the metadata in YAML before it.
    """
    install = "skmrm[hub]" if exported is None else "skmrm[hub,onnx]"
    parts = [
        f"# {repo_id.rpartition('/')[2]}",
        description.strip(),
        f"{facts.intro} Made with skmrm, after {_PAPER}.",
        "## How to use",
        f"```sh\npip install '{install}'\n```\n\n```python\n{facts.code.replace(REPO, repo_id)}\n```",
        "`revision=` takes a commit, and reads the same files for ever. Nothing in them is executed.",
        "## What it was made of",
        _bullets(f"{name}: {value}" for name, value in _made_of(facts)),
        *_chosen(facts.selection),
        "## How well it does",
        _words_of_report(report),
        *_parity(exported),
        "## Intended use",
        "Ranking and scoring responses as one person would: best of several answers, rewards for preference training, "
        "routing, analysis of what people prefer. New people are adapted to from a few of their choices.",
        "## Limits",
        _bullets(_limits(facts, exported is not None)),
        "## What the files hold",
        _bullets([*_files(folder), *facts.holds, *_of_items(facts.base)]),
        "## Versions",
        _bullets(_versions()),
    ]
    return f"---\n{_yaml(facts, exported, license, metadata)}\n---\n\n" + "\n\n".join(filter(None, parts)) + "\n"


def _yaml(facts: CardFacts, exported: ExportReport | None, license: str | None, metadata: Mapping[str, Any]) -> str:
    """The metadata that the Hub reads."""
    from huggingface_hub import ModelCardData

    network = network_of(facts.base.encoder)
    known: dict[str, Any] = {
        "library_name": "skmrm",
        "pipeline_tag": "text-classification" if facts.base.kind == "text" else "tabular-regression",
        "tags": [*_TAGS, *(["onnx"] if exported else [])],
        "license": license,
        "base_model": network if network is not None and not Path(network).is_dir() else None,
    }
    given = dict(metadata)
    tags = given.pop("tags", ())
    known["tags"] += [tag for tag in ([tags] if isinstance(tags, str) else tags) if tag not in known["tags"]]
    return ModelCardData(**(known | given)).to_yaml()


def _made_of(facts: CardFacts) -> list[tuple[str, str]]:
    base = facts.base
    rows = [("class", f"`{facts.class_name}`")]
    rows += [(name, f"{count:,}") for name, count in facts.sizes.items() if count is not None]
    rows += [("features of a response", f"{base.n_features:,}"), ("features from", _encoder_words(base))]
    rows += [("base reward functions", f"{base.n_bases:,}")]
    if facts.rule is not None:
        rows += [("inner rule", f"`{type(facts.rule).__name__}`")]
    if base.thresholds is not None:
        rows += [("ties and strengths", f"{len(base.thresholds)} learnt thresholds")]
    if base.cuts is not None:
        rows += [("ratings", f"{len(base.cuts) + 1} levels")]
    return rows


def _encoder_words(base: BaseRewards) -> str:
    encoder = base.encoder
    if encoder is None:
        return "vectors that the caller passes"
    network = network_of(encoder)
    if network is not None:
        found = "a network in a folder" if Path(network).is_dir() else plain(network)
    else:
        inner = getattr(encoder, "encoder_", encoder)
        found = f"`{type(inner).__name__}`"
    return found + (" and statistics of style" if getattr(encoder, "statistics_", None) is not None else "")


def _chosen(selection: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was tried on users left out; numbers that no row has are no column."""
    if not selection:
        return []
    names = {
        "setting": "setting",
        "validation_loss": "loss, nats a pair",
        "change": "change against none",
        "standard_error": "standard error",
        "weight": "weight in the model",
        "chosen": "chosen",
    }
    shown = [name for name in names if any(row.get(name) is not None for row in selection)]
    rows = [[_value(row.get(name)) for name in shown] for row in selection]
    return [
        "## What was chosen",
        "Losses on users left out, of what was tried:",
        _table([names[name] for name in shown], rows),
    ]


def _value(value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    return f"{value:.3f}" if isinstance(value, float) else plain(str(value))


def _words_of_report(report: str | None) -> str:
    return report or "Not said: the push had no report of `personalization_report` on users who were not in fit."


def _parity(exported: ExportReport | None) -> list[str]:
    if exported is None:
        return []
    found = exported.quantized or exported.parity
    words = "The graph's" if exported.quantized is None else "After quantisation to 8 bits, the graph's"
    return [
        f"{words} rewards differ from those of the model that it was exported from by {found.largest_difference:.2g} "
        f"logits at most, on {found.n_inputs} calibration inputs; {found.pair_order_agreement:.1%} of their pairs keep "
        "their order."
    ]


def _limits(facts: CardFacts, in_graph: bool) -> list[str]:
    limits = [
        "Rewards are logits: a difference of 1 is odds of e. They have no natural zero, and only differences under one "
        "person's weights mean anything.",
        "It predicts choices. It knows nothing of what is true, safe or good for the person, and a policy that is "
        "trained against it will find what it overrates: keep a reference reward, and look at what wins.",
        "It is as good as the people in fit are like those it is used for; people with few choices get little more "
        "than the reward of the crowd.",
        "A person's weights say what the person prefers: treat them as personal data.",
    ]
    network = network_of(facts.base.encoder)
    if facts.base.kind == "text" and network is None:
        limits.append("Texts are read as words, pieces of words and style; nothing here understands what they say.")
    if network is not None and not in_graph:
        limits.append("The encoder's network is not in these files, and comes from where it came from in fit.")
    return limits


def _files(folder: Path) -> Iterable[str]:
    for file in sorted(folder.iterdir()):
        if file.name != CARD_FILE:
            yield f"`{file.name}`: {_bytes(file.stat().st_size)}"


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def _of_items(base: BaseRewards) -> list[str]:
    """What the files have of the responses in fit."""
    found = []
    if "kernel.points" in base.params:
        found.append(
            f"Feature vectors of {len(base.params['kernel.points'])} responses in fit, around which the kernel lies; "
            "embeddings can give away much of their text."
        )
    if isinstance(getattr(base.encoder, "encoder_", base.encoder), HashedTextEncoder):
        found.append(
            "How often hashed pieces of words occurred in fit: a word can be guessed and looked up, a text not read."
        )
    if base.feature_names is not None:
        found.append(f"Names of the {len(base.feature_names)} columns of features.")
    return found


def _versions() -> list[str]:
    from importlib.metadata import version

    from skmrm import __version__

    names = ("torch", "scikit-learn", "numpy", "safetensors")
    return [
        f"skmrm {__version__}",
        *(f"{name} {version(name)}" for name in names),
        f"Python {platform.python_version()}",
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
