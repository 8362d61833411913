"""How fast fit, adapt and score are, next to a plain loop over users and to what the machine can read from memory.

python -m benchmarks.speed [--quick] [--only fit,adapt,...] [--output FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._arguments import names_out_of
from benchmarks._files import write_json
from benchmarks._layout import as_columns, machine
from benchmarks._speed_parts import PARTS, Found
from benchmarks._timing import read_bandwidth

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for and print a table of each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats: shows that it runs")
    parser.add_argument(
        "--only", type=names_out_of(PARTS), default=list(PARTS), help=f"comma-separated, out of {', '.join(PARTS)}"
    )
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    options = parser.parse_args(arguments)
    here = machine()
    bandwidth = read_bandwidth(64 if options.quick else 512)
    print("\n".join(f"{name}: {value}" for name, value in here.items()))
    print(f"memory is read at {bandwidth / 1e9:.1f} GB/s; medians, all sides in turn in one run")
    results: dict[str, Any] = {"machine": here, "bytes_per_second": bandwidth, "parts": {}}
    for name in options.only:
        found: Found = PARTS[name](bandwidth, options.quick)
        table = [as_columns(found.header, found.cells())] if found.rows else []
        print("", found.title, *table, sep="\n", flush=True)
        results["parts"][name] = {"title": found.title, "rows": found.rows}
    if options.output is not None:
        write_json(options.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
