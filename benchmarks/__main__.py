"""Every area of the benchmarks, one table after the other, and all numbers in one JSON file.

    python -m benchmarks [--quick] [--only speed,accuracy] [--output FILE]

More of an area by its own command, such as ``python -m benchmarks.accuracy --help``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks._support.arguments import parts_parser
from benchmarks._support.files import read_json, write_json
from benchmarks.accuracy import __main__ as accuracy
from benchmarks.encoding import __main__ as encoding
from benchmarks.serving import __main__ as serving
from benchmarks.speed import __main__ as speed
from benchmarks.users import __main__ as users

__all__ = ["AREAS", "main"]

AREAS = {
    "speed": speed.main,
    "serving": serving.main,
    "users": users.main,
    "encoding": encoding.main,
    "accuracy": accuracy.main,
}
# Shows that everything runs, in less than two minutes on two cores; its numbers say little.
_QUICK = {
    "speed": ["--quick"],
    "serving": ["--quick"],
    "users": ["--quick"],
    "encoding": ["--quick"],
    "accuracy": ["--quick", "--only", "style,outcomes", "--seeds", "1"],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the areas asked for; the status is that of the worst."""
    parser = parts_parser("benchmarks", __doc__.partition("\n")[0], AREAS)
    parser.set_defaults(output=Path("benchmarks.json"))
    options = parser.parse_args(arguments)
    status, found = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            print(f"\n==== {name} ====\n", flush=True)
            part = Path(folder) / f"{name}.json"
            status = max(status, AREAS[name]([*(_QUICK[name] if options.quick else []), "--output", str(part)]))
            found[name] = read_json(part)
    write_json(options.output, found)
    print(f"\nall numbers are in {options.output}")
    return status


if __name__ == "__main__":
    sys.exit(main())
