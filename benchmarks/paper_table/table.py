"""The paper's table from judged models: user-level accuracy over seeds, on average and for the worst tenth of users."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.paper_table.judge import MODELS, Result
from skmrm.metrics import bootstrap_interval, worst_decile

__all__ = ["as_markdown", "table_rows"]

_COLUMNS = {"overall": "All users", "seen": "Seen", "unseen": "Unseen", "worst_decile": "Worst 10 % of all"}


def table_rows(results: dict[str, list[Result]]) -> list[dict[str, Any]]:
    """Summarise every model.

    Parameters
    ----------
    results : dict of str to list
        As `benchmarks.paper_table.judge.judge` returns them.

    Returns
    -------
    list of dict
        One a model: ``[mean, standard deviation]`` over seeds of the accuracies of all users, of seen and of unseen
        users, and of the tenth of all users with the lowest accuracy (fractions); the gain of unseen users over the
        pooled model, ``[estimate, low, high]`` with a 95 % bootstrap interval over users, or None; and parameters.
    """
    pooled = results.get("pooled")
    return [
        {
            "model": name,
            "label": MODELS[name][0],
            **{column: _over_seeds(column, seeds) for column in _COLUMNS},
            "gain_over_pooled": None if pooled is None or name == "pooled" else _gain(seeds, pooled),
            "parameters": seeds[0].parameters,
        }
        for name, seeds in results.items()
    ]


def as_markdown(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """Write rows as a Markdown table under the facts of the run."""
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    header = ["Model", *_COLUMNS.values(), "Unseen, points over pooled"]
    lines += ["", " | ".join(["", *header, ""]).strip(), "|" + " --- |" * len(header)]
    for row in rows:
        cells = [row["label"], *(f"{100 * row[c][0]:.2f} ± {100 * row[c][1]:.2f}" for c in _COLUMNS)]
        gain = row["gain_over_pooled"]
        cells.append("" if gain is None else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * value for value in gain)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _over_seeds(column: str, seeds: list[Result]) -> list[float]:
    values = []
    for result in seeds:
        sides = ("seen", "unseen") if column in ("overall", "worst_decile") else (column,)
        accuracy = np.concatenate([np.fromiter(getattr(result, side).values(), float) for side in sides])
        values.append(worst_decile(accuracy) if column == "worst_decile" else float(accuracy.mean()))
    return [float(np.mean(values)), float(np.std(values))]


def _gain(seeds: list[Result], pooled: list[Result]) -> list[float]:
    """Difference for users who are unseen in at least one split, each averaged over the splits in which it is."""
    gains: dict[str, list[float]] = {}
    for result, other in zip(seeds, pooled, strict=True):
        for user, accuracy in result.unseen.items():
            gains.setdefault(user, []).append(accuracy - other.unseen[user])
    interval = bootstrap_interval([float(np.mean(values)) for values in gains.values()])
    return [interval.estimate, interval.low, interval.high]
