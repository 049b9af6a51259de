"""What the figures of the chapters share: panels with titles, points with intervals, bands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..report.look import plain_numbers, tidy
from .estimates import Mean, Spread


def panels(columns: int, height: float, rows: int = 1, **shared: Any) -> tuple[Figure, np.ndarray]:
    """A figure as wide as its panels need, and its axes (rows, columns).

    Args:
        columns: one is 6 inches wide, several share 9.2.
        height: of the figure, in inches.
        rows: of panels.
        shared: for `Figure.subplots`, such as sharex.
    """
    width = 6.0 if columns == 1 else 9.2
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def entitle(axes: Axes, title: str, width: int = 52) -> None:
    """A title over a panel, in lines of at most `width` characters."""
    axes.set_title("\n".join(textwrap.wrap(title, width)), fontsize=9, loc="left")


def finish(panels: Iterable[Axes], *, plain: bool = False, legend: Sequence[Axes] = ()) -> None:
    """Makes panels tidy.

    Args:
        panels: that were drawn on.
        plain: with numbers such as 0.5 on a logarithmic upright axis.
        legend: of the panels, those that have one.
    """
    for axes in panels:
        if plain:
            plain_numbers(axes.yaxis)
        tidy(axes)
    for axes in legend:
        axes.legend(fontsize=7.5, frameon=False)


def points(axes: Axes, at: Sequence[float], means: Sequence[Mean], **look: Any) -> None:
    """Means with their intervals, joined by a line."""
    values = [mean["value"] for mean in means]
    ends = [
        [abs(mean["value"] - mean["low"]) for mean in means],
        [abs(mean["value"] - mean["high"]) for mean in means],
    ]
    look = {"marker": "o", "markersize": 3.5, **look}
    axes.errorbar(at, values, yerr=ends, **look)


def band(
    axes: Axes, at: Sequence[float], spreads: Sequence[Spread], colour: str, alpha: float
) -> None:
    """The middle 90% of values over samples."""
    low, high = ([spread[end] for spread in spreads] for end in ("low", "high"))
    axes.fill_between(at, low, high, color=colour, alpha=alpha, linewidth=0)


def medians(spreads: Iterable[Spread]) -> list[float]:
    """The medians of spreads."""
    return [spread["median"] for spread in spreads]
