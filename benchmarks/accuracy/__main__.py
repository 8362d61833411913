"""Is the default model accurate? Against every alternative, on users, groups and topics that training never saw.

    python -m benchmarks.accuracy
    python -m benchmarks.accuracy --quick --only planted,rpo

Nine parts, each with tables and with claims that PASS or FAIL:

convargs   real judgements of new workers on topics their support has none of, and on topics nobody was trained on
polis      real judgements of new residents, on statements that their support has none of
planted    simulated users of sixteen kinds, of ten next to a Bayes oracle that knows the population
style      the bundled texts and simulated tastes for style
outcomes   ties, strengths and rankings as given, next to pairs made of them by hand
questions  the most telling questions, next to random ones and those whose answer is least sure
profiles   what is known of users before their first choice, with and without it
time       a default fit next to a pooled one, from texts on
rpo        what the robust objective does for the worst tenth of users

In all of them every model is fitted on the same users and judged on the same supports and queries of other users; in
one planted kind the users who are judged are those who were learnt from, by other choices. Beside accuracy and its
worst tenth there is the log loss, and in all three it is claimed that the default is below no alternative by more than
the interval. Of so many intervals one in forty lies below zero by chance where two models are equally good.

All of it takes about an hour and ten minutes on one core, ``--quick`` four to five minutes.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks._support.arguments import parts_parser, positive
from benchmarks._support.files import write_json
from benchmarks._support.machine import print_machine
from benchmarks.accuracy.effort import FULL, QUICK
from benchmarks.accuracy.parts import PARTS, Found
from benchmarks.accuracy.verdicts import Verdict

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for, print what they found as it comes, and all claims at the end."""
    options = _parser().parse_args(arguments)
    effort = replace(QUICK if options.quick else FULL, encoder=options.encoder)
    if options.seeds is not None:
        effort = replace(effort, seeds=range(options.seeds))
    began = time.perf_counter()
    here = print_machine()
    results: dict[str, Any] = {"machine": here, "seeds": len(effort.seeds), "parts": {}}
    verdicts: list[tuple[str, Verdict]] = []
    for name in options.only:
        print(f"\n== {name} ==", flush=True)
        part_began = time.perf_counter()
        found = []
        for one in PARTS[name](effort):
            print("\n".join(["", one.title, one.text, *(f"  {verdict}" for verdict in one.verdicts)]), flush=True)
            found.append(one)
            verdicts += [(f"{name}, {one.title.partition(':')[0]}", verdict) for verdict in one.verdicts]
        seconds = time.perf_counter() - part_began
        print(f"\n{name} took {seconds:.0f} s")
        results["parts"][name] = {"seconds": seconds, "found": [_plain(one) for one in found]}
    results["seconds"] = time.perf_counter() - began
    print(f"\n== all claims, {results['seconds'] / 60:.1f} minutes ==\n")
    print("\n".join(f"{verdict!s}  ({where})" for where, verdict in verdicts))
    n_failed = sum(not verdict.passed for _, verdict in verdicts)
    print(f"\n{len(verdicts) - n_failed} PASS, {n_failed} FAIL")
    if options.output is not None:
        write_json(options.output, results)
    return 0


def _plain(found: Found) -> dict[str, Any]:
    verdicts = [asdict(verdict) for verdict in found.verdicts]
    return {"title": found.title, "numbers": _known(found.numbers), "verdicts": verdicts}


def _known(value: Any) -> Any:
    """Numbers as JSON has them: None for what is not known."""
    if isinstance(value, dict):
        return {name: _known(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _parser() -> argparse.ArgumentParser:
    quick = "one seed, fewer models and kinds of users"
    parser = parts_parser("benchmarks.accuracy", __doc__.partition("\n")[0], PARTS, quick)
    add = parser.add_argument
    add("--seeds", type=positive, help="of all parts but rpo (default: 5, or 1 with --quick)")
    add("--encoder", choices=("MiniLM", "default"), default="MiniLM", help="of the judgements' texts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
