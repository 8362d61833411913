"""The table of "One Adapts to Any: Meta Reward Modeling for Personalized LLM Alignment" (arXiv 2601.18731), end to end.

    python -m benchmarks.paper_table --dataset prism --out results/prism

It fetches the data, encodes all texts with a reward model, fits and judges every model on five splits, and writes
``table.md`` and ``table.json``. It needs the network (or copies: ``--data-dir``, ``--encoder FOLDER``) and, for a
model of eight billion parameters, a GPU with 24 GB. Each stage can be run by itself (``--stage``), elsewhere if need
be, and goes on where it was interrupted: everything lies in the output folder.

What differs from the paper's own code: no choice is made on test users (theirs keeps the epoch that is best on them),
and on Reddit TL;DR news articles and posts that a worker has in both parts are left out.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.utils import Bunch

import skmrm
from benchmarks._support.arguments import positive
from benchmarks._support.files import read_json, write_json
from benchmarks.paper_table.encode import encode, load_encoded, reward_model
from benchmarks.paper_table.judge import MODELS, Setting, judge, load_results
from benchmarks.paper_table.table import as_markdown, table_rows
from skmrm.datasets import fetch_prism, fetch_reddit_tldr
from skmrm.embeddings import EmbeddingStore

__all__ = ["main"]

# Data set, and learning rate of both loops (scripts/ of https://github.com/ModalityDance/MRM).
DATASETS: dict[str, tuple[Callable[..., Bunch], dict[str, Any], float]] = {
    "prism": (fetch_prism, {"ties": "choice"}, 1e-3),
    "reddit-tldr-100": (fetch_reddit_tldr, {"seen_limit": 100}, 5e-3),
    "reddit-tldr-150": (fetch_reddit_tldr, {"seen_limit": 150}, 5e-3),
}
STAGES = ("fetch", "encode", "judge", "table")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages asked for; 1 if something is missing that the user can provide."""
    options = _parser().parse_args(arguments)
    stages = STAGES if options.stage == "all" else (options.stage,)
    run = {"fetch": _fetch, "encode": _encode, "judge": _judge, "table": _table}
    try:
        for stage in stages:
            run[stage](options)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        print(f"{stage}: {error}", file=sys.stderr)
        return 1
    return 0


def _fetch(options: argparse.Namespace) -> Bunch:
    fetch, extra, _ = DATASETS[options.dataset]
    data = fetch(
        data_home=options.data_home,
        data_dir=options.data_dir,
        n_splits=options.seeds,
        random_state=0,
        **({"revision": options.data_revision} if options.data_revision else {}),
        **extra,
    )
    facts = {
        "dataset": options.dataset,
        "revision": data.revision or "local files",
        "users": data.episodes.n_users,
        "pairs": data.episodes.n_pairs,
        "texts": data.episodes.n_items,
        "dropped": data.dropped,
    }
    write_json(options.out / "data.json", facts)
    print(", ".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    return data


def _encode(options: argparse.Namespace) -> None:
    encoder = reward_model(options.encoder, options.encoder_revision, options.device, options.max_batch_tokens)
    encode(_fetch(options).episodes.items, encoder, _features(options))


def _judge(options: argparse.Namespace) -> None:
    data = _fetch(options)
    encoded = load_encoded(data.episodes.items, _features(options))
    setting = Setting(DATASETS[options.dataset][2], epochs=options.epochs, device=options.fit_device)
    judge(data.episodes, data.splits, encoded, setting, options.models, options.out / "results")


def _table(options: argparse.Namespace) -> None:
    results = load_results(options.models, options.seeds, options.out / "results")
    rows = table_rows(results)
    made_by = EmbeddingStore(_features(options)).identity if _features(options).exists() else {}
    facts = {
        **(read_json(options.out / "data.json") or {}),
        "encoder": made_by.get("model", "a local folder"),
        "encoder files": made_by.get("files"),
        "encoder precision": made_by.get("dtype"),
        "seeds": options.seeds,
        "epochs of the paper's setting": results["paper"][0].parameters["max_epochs"] if "paper" in results else None,
        "versions": f"skmrm {skmrm.__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}",
    }
    markdown = as_markdown(rows, facts)
    write_json(options.out / "table.json", {"facts": facts, "rows": rows})
    (options.out / "table.md").write_text(markdown, encoding="utf-8")
    print(markdown)


def _features(options: argparse.Namespace) -> Path:
    return Path(options.features or options.out / "features")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_table", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--dataset", choices=sorted(DATASETS), required=True)
    add("--out", type=Path, required=True, help="folder for everything that is made")
    add("--stage", choices=("all", *STAGES), default="all")
    add("--data-home", type=Path, help="folder of the download cache")
    add("--data-dir", type=Path, help="folder with the data set's files, in place of a download")
    add("--data-revision", help="branch, tag or commit of the data set")
    add("--encoder", default="Skywork/Skywork-Reward-V2-Llama-3.1-8B", help="reward model on the Hub, or a folder")
    add("--encoder-revision", default="main")
    add("--features", type=Path, help="folder of features, to share them among outputs of one encoder")
    add("--device", default="cuda", help="where to encode")
    add("--max-batch-tokens", type=positive, default=16_384)
    add("--fit-device", default="auto", help="where to fit")
    add("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    add("--seeds", type=positive, default=5)
    add("--epochs", type=positive, default=200, help="epochs of the paper's setting")
    return parser


if __name__ == "__main__":
    sys.exit(main())
