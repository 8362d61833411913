"""How fast fit, adapt and score are, next to a plain loop over users and to what the machine can read from memory.

python -m benchmarks.speed [--quick] [--only fit,adapt,...] [--output FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks._support.areas import Found, run_parts
from benchmarks._support.arguments import parts_parser
from benchmarks._support.timing import read_bandwidth
from benchmarks.speed.adapting import adapt, single
from benchmarks.speed.capacity import capacity
from benchmarks.speed.forms import forms
from benchmarks.speed.gpu import gpu
from benchmarks.speed.instead import instead
from benchmarks.speed.neighbours import neighbours
from benchmarks.speed.training import fit, growth

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[float, bool], Found]] = {
    "fit": fit,
    "instead": instead,
    "adapt": adapt,
    "single": single,
    "growth": growth,
    "capacity": capacity,
    "forms": forms,
    "neighbours": neighbours,
    "gpu": gpu,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for and print a table of each."""
    options = parts_parser("benchmarks.speed", __doc__.partition("\n")[0], PARTS).parse_args(arguments)
    bandwidth = read_bandwidth(64 if options.quick else 512)
    parts = {name: partial(part, bandwidth, options.quick) for name, part in PARTS.items()}
    note = f"memory is read at {bandwidth / 1e9:.1f} GB/s; medians, all sides in turn in one run"
    return run_parts(options, parts, note, {"bytes_per_second": bandwidth})


if __name__ == "__main__":
    sys.exit(main())
