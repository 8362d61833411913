"""What serving costs without torch: a call, a process, a text, an adaptation; next to bare onnxruntime and to torch.

python -m benchmarks.serving [--quick] [--only head,shared,...] [--output FILE]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks._support.areas import Found, run_parts
from benchmarks._support.arguments import parts_parser
from benchmarks.serving.head import head, shared
from benchmarks.serving.processes import start
from benchmarks.serving.service import service
from benchmarks.serving.texts import texts

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[Path, bool], Found]] = {
    "head": head,
    "shared": shared,
    "start": start,
    "texts": texts,
    "service": service,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for and print a table of each."""
    options = parts_parser("benchmarks.serving", __doc__.partition("\n")[0], PARTS).parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        parts = {name: partial(part, Path(folder), options.quick) for name, part in PARTS.items()}
        return run_parts(options, parts, "medians, all sides in turn in one run; one thread a call", {})


if __name__ == "__main__":
    sys.exit(main())
