"""``skmrm report``: whether personalising pays on a file of choices, judged on people that no fit has seen."""

from __future__ import annotations

import argparse
import base64
import io
import json
from collections.abc import Callable
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skmrm.cli.choices import add_choices, choices_problems, read_choices
from skmrm.cli.files import missing_problems, open_model, output_problems, say, write_text
from skmrm.cli.fit import add_fitting, add_quiet, described, unfitted
from skmrm.cli.parser import CommandParser, UsageError, number, whole

if TYPE_CHECKING:
    from skmrm.episodes import EpisodeSet
    from skmrm.report import PersonalizationReport

__all__ = ["add_arguments", "problems", "run"]

_PICTURES = (".png", ".svg", ".pdf")
_ENDINGS = (".txt", ".html", ".json", *_PICTURES)


def add_arguments(parser: CommandParser) -> None:
    """Options of the command."""
    parser.describe(
        "[MODEL] CHOICES [-o REPORT ...] [options]",
        """
        Say whether personalising pays on these choices, with how many, and for how many people. Without MODEL, half
        of the people are fitted on and the others judged. With MODEL, all people in CHOICES are judged; they must not
        have been in its fit. Whoever is judged is adapted on some of their choices and predicted on the others, against
        one reward for everybody.
        """,
        """
        skmrm report choices.csv --user who
        skmrm report model/ new_people.csv --user who -o report.html -o curve.png
        """,
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="the folder that skmrm fit wrote")
    add_choices(parser)
    add_fitting(parser)
    judged = parser.add_argument_group("judging")
    judged.add_argument(
        "--test-size",
        metavar="SHARE",
        type=number(0, 1),
        default=0.5,
        help="of people, without MODEL (default: 0.5)",
    )
    judged.add_argument("--n-splits", metavar="N", type=whole(1), default=3, help="splits of choices (default: 3)")
    judged.add_argument("--support-sizes", metavar="N,...", help="numbers of choices to adapt on, such as 0,3,10,all")
    judged.add_argument("--by-time", action="store_true", help="adapt on the past, judge on the future (--time)")
    result = parser.add_argument_group("result")
    result.add_argument(
        "-o",
        "--output",
        metavar="REPORT",
        action="append",
        default=[],
        help=f"also write a file; its ending says what ({', '.join(_ENDINGS)}); may be given several times",
    )
    add_quiet(result)


def problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with a call."""
    problems = missing_problems(options.model) + choices_problems(options)
    for path in options.output:
        problems += output_problems(path, _ENDINGS, options.choices)
    if options.by_time and options.time is None and options.format is None:
        problems.append("--by-time needs --time, the column that says when choices were made")
    if options.model is not None and (options.encoder or options.memory):
        problems.append("--encoder and --memory are for fitting, and MODEL is fitted: leave the one or the others out")
    try:
        _sizes(options.support_sizes)
    except ValueError:
        problems.append(f"--support-sizes takes numbers and 'all', as in 0,3,10,all, got {options.support_sizes!r}")
    return problems


def run(options: argparse.Namespace) -> None:
    """Judge, print and write."""
    sizes = _sizes(options.support_sizes)
    if any(Path(path).suffix.lower() in _PICTURES for path in options.output):
        from skmrm._support.axes import pyplot

        pyplot("skmrm report")
    found = _judged(options, {"support_sizes": sizes} if sizes else {})
    print(found)
    for path in options.output:
        _write(found, path)
        say(options, f"wrote {path}")


def _sizes(text: str | None) -> list[int | None]:
    return [None if size.strip() == "all" else int(size) for size in text.split(",")] if text else []


def _judged(options: argparse.Namespace, settings: dict[str, Any]) -> PersonalizationReport:
    from skmrm import personalization_report

    settings |= {"n_splits": options.n_splits, "by_time": options.by_time, "random_state": options.random_state}
    if options.model is not None:
        model = open_model(options.model, options.device)
        judged = read_choices(options, scale=model.rating_scale_)
        say(options, f"judging on {described(judged)}")
        return personalization_report(model, judged, **settings)
    choices = read_choices(options)
    model, judged = _fitted_on_some(choices, options)
    return personalization_report(model, judged, **settings)


def _fitted_on_some(choices: EpisodeSet, options: argparse.Namespace) -> tuple[Any, EpisodeSet]:
    """A model of some of the people, and the others."""
    from skmrm import split_users

    if choices.n_users < 2:
        raise UsageError(["some people are fitted on and others judged, so that two are needed: is --user right?"])
    known, new = split_users(choices, options.test_size, random_state=options.random_state)
    say(options, f"fitting on {described(known)}, judging on {described(new)}")
    return unfitted(options).fit(known), new


def _write(report: PersonalizationReport, path: str) -> None:
    ending = Path(path).suffix.lower()
    if ending in _PICTURES:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _draw(report, path, ending[1:])
        return
    forms: dict[str, Callable[[], str]] = {
        ".txt": lambda: f"{report}\n",
        ".json": lambda: json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        ".html": lambda: _as_page(report),
    }
    write_text(path, forms[ending]())


def _as_page(report: PersonalizationReport) -> str:
    """The report as a page that stands alone, light or dark as its reader has it, on a phone, too."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape('Is it worth personalising?')}</title>"
        "<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;"
        "margin:2rem auto;padding:0 1rem}</style></head>\n"
        f"<body><h1>Is it worth personalising?</h1>\n{report._repr_html_()}\n{_picture(report)}</body></html>\n"
    )


def _picture(report: PersonalizationReport) -> str:
    """The curves as part of a page; nothing where nothing can be drawn."""
    if find_spec("matplotlib") is None:
        return ""
    drawn = io.BytesIO()
    _draw(report, drawn, "png")
    image = base64.b64encode(drawn.getvalue()).decode()
    words = "Accuracy, and its gain over the reference, against numbers of choices adapted on"
    return f'<p><img src="data:image/png;base64,{image}" alt="{words}" style="max-width:100%;background:white"></p>\n'


def _draw(report: PersonalizationReport, target: Any, form: str) -> None:
    from skmrm._support.axes import pyplot

    plt = pyplot("skmrm report")
    plt.switch_backend("Agg")
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    report.plot(axes[0])
    report.plot(axes[1], gain=True)
    figure.savefig(target, dpi=120, format=form)
    plt.close(figure)
