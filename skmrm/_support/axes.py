"""What all pictures share: matplotlib when it is needed, axes to draw into, one look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["GREY", "axes_for", "finish", "options", "pyplot"]

GREY = "0.4"  # reference lines: what a curve is held against, never a curve


def pyplot(caller: str) -> Any:
    """Import ``matplotlib.pyplot``, or raise an error that names the remedy; call it before any work."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} draws with matplotlib, which is not installed: pip install 'skmrm[plot]'"
        ) from error
    return plt


def axes_for(ax: Any, caller: str) -> tuple[Any, Any]:
    """Figure and axes to draw into: those given, or new ones."""
    plt = pyplot(caller)
    if ax is None:
        return plt.subplots(layout="constrained")
    return ax.figure, ax


def options(artist: str, given: Mapping[str, Any] | None, **defaults: Any) -> dict[str, Any]:
    """Keyword arguments of an artist: the defaults, and what the caller gave instead of them.

    Aliases count: `lw` given replaces the default `linewidth` instead of standing beside it.
    """
    from matplotlib import collections, lines
    from matplotlib.cbook import normalize_kwargs

    kind = {"line": lines.Line2D, "area": collections.PolyCollection}[artist]
    return {**defaults, **normalize_kwargs(dict(given or {}), kind)}


def finish(ax: Any, **legend: Any) -> None:
    """Keep only the lines of the box that carry a scale, and set the legend."""
    ax.spines[["top", "right"]].set_visible(False)
    # A frame without a border: what must lie below the legend shines through, and the words stay legible.
    ax.legend(frameon=True, fancybox=False, edgecolor="none", framealpha=0.5, alignment="left", **legend)
