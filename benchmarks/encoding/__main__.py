"""What encoding costs: sentences, shared prompts, a GPU's use, a store on disk, odd texts; next to what others do.

python -m benchmarks.encoding [--quick] [--only sentences,prefixes,...] [--output FILE]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks._support.areas import Found, run_parts
from benchmarks._support.arguments import parts_parser
from benchmarks.encoding.gpu import gpu
from benchmarks.encoding.odd_texts import odd
from benchmarks.encoding.prefixes import prefixes
from benchmarks.encoding.sentences import sentences
from benchmarks.encoding.stores import lookup, store

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[Path, bool], Found]] = {
    "sentences": sentences,
    "prefixes": prefixes,
    "gpu": gpu,
    "store": store,
    "lookup": lookup,
    "odd": odd,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for and print a table of each."""
    from transformers.utils.logging import disable_progress_bar

    options = parts_parser("benchmarks.encoding", __doc__.partition("\n")[0], PARTS).parse_args(arguments)
    disable_progress_bar()  # of loading and saving
    with tempfile.TemporaryDirectory() as folder:
        parts = {name: partial(part, Path(folder), options.quick) for name, part in PARTS.items()}
        return run_parts(options, parts, "medians, all sides in turn in one run", {})


if __name__ == "__main__":
    sys.exit(main())
