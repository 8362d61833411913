"""``skmrm export``: what is served without torch."""

from __future__ import annotations

import argparse
from typing import Any

from skmrm.cli.files import folder_problems, kind_of, missing_problems, open_model, say
from skmrm.cli.fit import add_quiet
from skmrm.cli.parser import CommandParser, UsageError

__all__ = ["add_arguments", "problems", "run"]


def add_arguments(parser: CommandParser) -> None:
    """Options of the command."""
    parser.describe(
        "MODEL -o BUNDLE [options]",
        """
        Write a folder that is served on a CPU without torch: of a model, which adapts new people there, of one person,
        or of many. What it computes is compared with the model first, and nothing is written if it differs.
        """,
        """
        skmrm export model/ -o bundle/
        skmrm export ann/ -o ann_bundle/
        """,
    )
    parser.add_argument("model", metavar="MODEL", help="a folder that skmrm fit or adapt wrote")
    parser.add_argument("--users", metavar="FILE", help="people adapted by MODEL, to be a table in the bundle")
    parser.add_argument("--quantize", action="store_true", help="transformers in 8 bits: smaller, faster, a little off")
    result = parser.add_argument_group("result")
    result.add_argument("-o", "--output", metavar="BUNDLE", required=True, help="the folder to write")
    add_quiet(result)


def problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with a call."""
    return missing_problems(options.model, options.users) + folder_problems(options.output)


def run(options: argparse.Namespace) -> None:
    """Export and say how exact it is."""
    found = _exported(options).export_onnx(options.output, quantize="int8" if options.quantize else None)
    exact = found.quantized or found.parity
    say(
        options,
        f"wrote {options.output}: rewards differ by up to {exact.largest_difference:.1g} logits from the model's on "
        f"{exact.n_inputs} inputs, {exact.pair_order_agreement:.1%} of pairs are in the same order",
    )


def _exported(options: argparse.Namespace) -> Any:
    from skmrm import UserModels, UserRewardModel

    kind = kind_of(options.model)
    if kind == "bundle" or (kind == "user" and options.users is not None):
        raise UsageError([f"{options.model!r} holds a {kind}: pass the folder that skmrm fit wrote"])
    if kind == "user":
        return UserRewardModel.load(options.model)
    model = open_model(options.model)
    return model if options.users is None else UserModels.load(options.users, model)
