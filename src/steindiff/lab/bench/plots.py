"""Figures of a benchmark. Figure objects without global state; nothing is shown or saved here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from ..report.look import BLACK, BLUE, FAINT, GREEN, GREY, ORANGE, PURPLE, SKY, tidy
from .judging import Effect, distance, distinct, effect_of, matching, ratio_of, result_of
from .results import BASE, PRODUCT, Band, CellResult, Interval, Measured, Results, Steps
from .tables import mean_text
from .titles import cell_title, coefficient_title, schedule_title, solver_title

COLOURS = {BASE: GREY, PRODUCT: BLUE, "constant": ORANGE, "random": PURPLE, "oracle": GREEN}
OTHER_COLOURS = (SKY, BLACK, "#e69f00")
LOOKS = {
    Effect.BETTER: (BLUE, "v", BLUE),
    Effect.NEUTRAL: (GREY, "o", "white"),
    Effect.WORSE: (ORANGE, "^", ORANGE),
}
"""Colour, marker and fill of a ratio."""
LOST = {
    Effect.DIVERGED: ("✕ diverged", ORANGE),
    Effect.RESCUED: ("◇ base diverged", GREY),
    Effect.BOTH: ("✕ both diverged", GREY),
}
"""What stands in the place of a ratio."""
LOWEST, HIGHEST = 0.2, 5.0  # ratios that the overview shows to scale; others stand at its edge
TICKS = (0.2, 0.3, 0.5, 0.7, 0.85, 1.2, 1.5, 2, 3, 5)

Panel = tuple[str, float, str]
"""Model, guidance and schedule."""


# --- every cell's ratio --------------------------------------------------------------------------


def overview(results: Results, coefficient: str = PRODUCT) -> Figure:
    """Every cell's ratio to the base with its interval: a panel for each setting, a row a solver.

    A marker left of 1 is an improvement. Triangles are significant, circles are not.
    """
    cells = results.cells
    blocks = _blocks(distinct(cells, "model", "guidance", "schedule"))  # type: ignore[arg-type]
    columns = max(map(len, blocks))
    slots = [distinct([c for p in b for c in _of(cells, p)], "solver", "nfe") for b in blocks]
    heights = [0.62 + 0.17 * len(rows) for rows in slots]
    size = (max(6.5, 2.2 + 3.1 * columns), sum(heights) + 0.75)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    grid = figure.subplots(
        len(blocks), columns, squeeze=False, sharex=True, height_ratios=heights
    )  # fmt: skip
    for row, (block, rows) in enumerate(zip(blocks, slots, strict=True)):
        for axes in grid[row, len(block) :]:
            axes.set_visible(False)
        for column, panel in enumerate(block):
            _overview_panel(grid[row, column], cells, panel, rows, coefficient, column == 0)
    _overview_axis(grid[0, 0], cells, coefficient)
    figure.supxlabel("Fréchet distance relative to the solver alone (95% interval)", fontsize=9)
    figure.legend(
        handles=_overview_legend(), loc="outside upper center", ncols=2 if columns == 1 else 4,
        fontsize=8, frameon=False,
    )  # fmt: skip
    return figure


def _blocks(panels: list[Panel]) -> list[list[Panel]]:
    """Panels in rows: the schedules of one model and guidance beside each other where they fit."""
    groups: dict[tuple[str, float], list[Panel]] = {}
    for panel in panels:
        groups.setdefault(panel[:2], []).append(panel)
    most = max(map(len, groups.values()))
    rows = list(groups.values()) if most > 1 else [panels]
    columns = most if 1 < most <= 4 else 3
    return [row[k : k + columns] for row in rows for k in range(0, len(row), columns)]


def _of(cells: Sequence[CellResult], panel: Panel) -> list[CellResult]:
    return matching(cells, model=panel[0], guidance=panel[1], schedule=panel[2])


def _panel_title(panel: Panel) -> str:
    return f"{panel[0]}, guidance {panel[1]:g}, {schedule_title(panel[2])}"


def _overview_panel(
    axes: Axes,
    cells: Sequence[CellResult],
    panel: Panel,
    slots: Sequence[tuple[Any, ...]],
    coefficient: str,
    labelled: bool,
) -> None:
    """One panel: a stripe for every other solver, a row a slot; labels on the left only."""
    axes.set_ylim(len(slots) - 0.4, -0.6)
    for solver in list(dict.fromkeys(solver for solver, _ in slots))[::2]:
        rows = [k for k, slot in enumerate(slots) if slot[0] == solver]
        axes.axhspan(rows[0] - 0.5, rows[-1] + 0.5, color="#f3f3f3", zorder=0)
    axes.axvline(1, color=BLACK, linewidth=0.9, zorder=1)
    for cell in _of(cells, panel):
        _overview_mark(axes, cell, slots.index((cell.solver, cell.nfe)), coefficient)
    axes.set_yticks(range(len(slots)) if labelled else [], _slot_labels(slots) if labelled else [])
    axes.tick_params(axis="y", labelsize=7.5, length=0, pad=7)
    axes.tick_params(axis="x", labelbottom=True, labelsize=8)
    axes.set_title(_panel_title(panel), fontsize=9, loc="left")
    axes.spines[["top", "right", "left"]].set_visible(False)


def _slot_labels(slots: Sequence[tuple[Any, ...]]) -> list[str]:
    """The solver once, before the first of its NFEs."""
    if len({nfe for _, nfe in slots}) == 1:
        return [solver_title(solver) for solver, _ in slots]
    before = [None, *(solver for solver, _ in slots)]
    return [
        f"{nfe:>2}" if solver == last else f"{solver_title(solver)}   {nfe:>2}"
        for last, (solver, nfe) in zip(before, slots, strict=False)
    ]


def _overview_mark(axes: Axes, cell: CellResult, y: int, coefficient: str) -> None:
    found, ratio = effect_of(cell, coefficient), ratio_of(cell, coefficient)
    if ratio is None:
        if found in LOST:
            text, colour = LOST[found]
            axes.text(0.52, y, text, transform=axes.get_yaxis_transform(), fontsize=6.5,
                      color=colour, va="center")  # fmt: skip
        return
    colour, marker, fill = LOOKS[found]
    value, *ends = (min(max(x, LOWEST), HIGHEST) for x in (ratio.value, ratio.low, ratio.high))
    if value != ratio.value:
        left = value == LOWEST
        axes.plot(value, y, marker="<" if left else ">", color=colour, markersize=5, clip_on=False)
        axes.annotate(mean_text(ratio.value), (value, y), (5 if left else -5, 0),
                      textcoords="offset points", fontsize=6.5, color=colour, va="center",
                      ha="left" if left else "right")  # fmt: skip
        return
    axes.plot(ends, [y, y], color=colour, linewidth=1.4, zorder=2)
    axes.plot(value, y, marker=marker, color=colour, markerfacecolor=fill, markersize=4.5, zorder=3)


def _overview_axis(axes: Axes, cells: Sequence[CellResult], coefficient: str) -> None:
    """Log axis just wide enough; shared by all panels."""
    ratios = [ratio for cell in cells if (ratio := ratio_of(cell, coefficient))]
    low = max(LOWEST, min([0.8, *(ratio.low for ratio in ratios)]) / 1.08)
    high = min(HIGHEST, max([1.25, *(ratio.high for ratio in ratios)]) * 1.08)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    gap = math.log(high / low) / 9  # closer labels would touch
    shown = [1.0]
    for tick in sorted(TICKS, key=lambda t: abs(math.log(t))):
        if low <= tick <= high and all(abs(math.log(tick / other)) >= gap for other in shown):
            shown.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(sorted(shown)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _percent(x)))


def _percent(ratio: float) -> str:
    change = 100 * (ratio - 1)
    return "±0" if abs(change) < 0.5 else f"{change:+.0f}%"


def _overview_legend() -> list[Line2D]:
    marks = [(*look, found.value) for found, look in LOOKS.items()]
    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, markerfacecolor=fill,
               markersize=5, label=label)
        for colour, marker, fill, label in (*marks, (BLUE, "<", BLUE, "beyond the axis"))
    ]  # fmt: skip


# --- distance against NFE ------------------------------------------------------------------------


def quality_against_nfe(
    results: Results, model: str, guidance: float, schedule: str, coefficient: str = PRODUCT
) -> Figure:
    """Fréchet distance against NFE, base dashed and relaxed solid, an axis for each solver.

    Every axis has its own range: solvers lie decades apart, and coefficients percents.
    With a single NFE there are no curves: each solver is then a row, with both distances.

    Raises:
        ValueError: the results hold no such cell.
    """
    cells = matching(results.cells, model=model, guidance=guidance, schedule=schedule)
    if not cells:
        raise ValueError(
            f"no cell has model {model!r}, guidance {guidance!r} and schedule {schedule!r}; "
            "a setting that was run is needed"
        )
    panel = _panel_title((model, guidance, schedule))
    if len({cell.nfe for cell in cells}) == 1:
        return _dumbbells(cells, panel, coefficient)
    return _curves(cells, panel, coefficient)


def _curves(cells: Sequence[CellResult], panel: str, coefficient: str) -> Figure:
    solvers = list(dict.fromkeys(cell.solver for cell in cells))
    columns = min(4, len(solvers))
    rows = math.ceil(len(solvers) / columns)
    size = (max(5.0, 2.45 * columns + 0.5), 2.0 * rows + 1.1)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for index, axes in enumerate(grid.flat):
        if index >= len(solvers):
            axes.set_visible(False)
            continue
        for other in solvers:
            points = _points(matching(cells, solver=other), BASE)
            axes.plot(*_xy(points), color=FAINT, linewidth=0.8, zorder=1)
        own = matching(cells, solver=solvers[index])
        _curve(axes, own, BASE, "--")
        _curve(axes, own, coefficient, "-")
        axes.set_title(solver_title(solvers[index]), fontsize=9, loc="left")
        lowest = index + columns >= len(solvers)
        axes.tick_params(labelbottom=lowest)
        axes.set_xlabel("NFE" if lowest else "", fontsize=8)
        _log_distance(axes, "y", own, coefficient)
        tidy(axes)
    grid[0, 0].set_xticks(sorted({cell.nfe for cell in cells}))
    figure.suptitle(panel, fontsize=10)
    figure.supylabel("Fréchet distance", fontsize=9)
    figure.legend(handles=_curve_legend(cells, coefficient), loc="outside lower center", ncols=4,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure


def _points(cells: Iterable[CellResult], coefficient: str) -> list[tuple[int, Interval]]:
    found = [(cell.nfe, fd) for cell in cells if (fd := distance(result_of(cell, coefficient)))]
    return sorted(
        [(nfe, fd) for nfe, fd in found if math.isfinite(fd.value) and fd.value > 0],
        key=lambda point: point[0],
    )


def _xy(points: list[tuple[int, Interval]]) -> tuple[list[int], list[float]]:
    return [nfe for nfe, _ in points], [fd.value for _, fd in points]


def _curve(axes: Axes, cells: Sequence[CellResult], coefficient: str, style: str) -> None:
    points, colour = _points(cells, coefficient), COLOURS.get(coefficient, BLUE)
    x, y = _xy(points)
    fill = "white" if coefficient == BASE else colour
    axes.errorbar(
        x, y, yerr=_errors([fd for _, fd in points]), color=colour, linestyle=style,
        linewidth=1.5, marker="o", markersize=3.6, markerfacecolor=fill, capsize=0, zorder=3,
    )  # fmt: skip
    lost = [cell.nfe for cell in cells if _is_lost(cell, coefficient)]
    height = 0.98 if coefficient == BASE else 0.9  # both can be lost at the same NFE
    if lost:
        axes.plot(lost, [height] * len(lost), "x", color=colour, markersize=5, markeredgewidth=1.5,
                  transform=axes.get_xaxis_transform())  # fmt: skip


def _errors(figures: Sequence[Interval]) -> np.ndarray:
    """(2, n) lengths below and above; a percentile interval need not hold the value itself."""
    pairs = [(max(0.0, fd.value - fd.low), max(0.0, fd.high - fd.value)) for fd in figures]
    return np.array(pairs, dtype=float).reshape(-1, 2).T


def _curve_legend(cells: Sequence[CellResult], coefficient: str) -> list[Line2D]:
    colour, name = COLOURS.get(coefficient, BLUE), coefficient_title(coefficient)
    handles = [
        Line2D([], [], color=GREY, linestyle="--", marker="o", markerfacecolor="white",
               markersize=4, label="base"),
        Line2D([], [], color=colour, marker="o", markersize=4, label=name),
        Line2D([], [], color=FAINT, label="the other solvers' bases"),
    ]  # fmt: skip
    if any(_is_lost(cell, name) for cell in cells for name in (BASE, coefficient)):
        handles.append(Line2D([], [], color=BLACK, linestyle="", marker="x", label="diverged"))
    return handles


def _is_lost(cell: CellResult, coefficient: str) -> bool:
    """Whether it was run and has no distance."""
    return coefficient in cell.coefficients and not _points([cell], coefficient)


def _dumbbells(cells: Sequence[CellResult], panel: str, coefficient: str) -> Figure:
    figure = Figure(figsize=(7.2, 1.35 + 0.3 * len(cells)), dpi=110, layout="constrained")
    axes = figure.subplots()
    for y, cell in enumerate(cells):
        ends = []
        for name, offset in ((BASE, -0.12), (coefficient, 0.12)):
            for _, fd in _points([cell], name):
                colour = COLOURS.get(name, BLUE)
                fill = "white" if name == BASE else colour
                axes.errorbar(fd.value, y + offset, xerr=_errors([fd]), color=colour,
                              marker="o", markersize=5, markerfacecolor=fill, zorder=3)  # fmt: skip
                ends.append(fd.value)
        if len(ends) == 2:
            axes.plot(ends, [y - 0.12, y + 0.12], color=FAINT, linewidth=1.2, zorder=1)
        lost = [coefficient_title(n) for n in (BASE, coefficient) if _is_lost(cell, n)]
        if lost:
            axes.text(0.99, y, f"✕ {' and '.join(lost)} diverged", fontsize=7.5, color=GREY,
                      transform=axes.get_yaxis_transform(), ha="right", va="center")  # fmt: skip
    axes.set_yticks(range(len(cells)), [solver_title(cell.solver) for cell in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    _log_distance(axes, "x", cells, coefficient)
    axes.set_xlabel("Fréchet distance", fontsize=9)
    tidy(axes)
    figure.suptitle(f"{panel}, {cells[0].nfe} NFE", fontsize=10)
    figure.legend(handles=_curve_legend([], coefficient)[:2], loc="outside lower center", ncols=2,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure


def _log_distance(axes: Axes, which: str, cells: Sequence[CellResult], coefficient: str) -> None:
    """A log scale that is labelled also where it spans less than a decade."""
    values = [fd.value for name in (BASE, coefficient) for _, fd in _points(cells, name)]
    if not values:
        return
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    (axes.set_ylim if which == "y" else axes.set_xlim)(min(values) / 1.5, max(values) * 1.5)
    few = max(values) / min(values) < 30
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


# --- gamma and energy ----------------------------------------------------------------------------


def gamma_and_energy(cell: CellResult, coefficients: Sequence[str] | None = None) -> Figure:
    """gamma and energy after each step: mean, and the 5th to 95th percentile as a band.

    Args:
        cell: to show.
        coefficients: those to draw; all that have measurements if not given.

    Raises:
        ValueError: no coefficient has any measurement.
    """
    steps = recorded_steps(cell, coefficients)
    if not steps:
        raise ValueError(f"cell {cell.id} has no measurements of its steps")
    figure = Figure(figsize=(8.4, 2.7), dpi=90)  # laid out by hand: there is one for every cell
    figure.subplots_adjust(left=0.075, right=0.985, top=0.83, bottom=0.31, wspace=0.2)
    left, right = figure.subplots(1, 2)
    for position, (name, found) in enumerate(steps.items()):
        colour = colour_of(name, list(steps))
        if name != BASE:
            _band(left, found.gamma, colour, name, position)
        _band(right, found.energy_over_fine, colour, name, position)
    for axes, label in ((left, "γ"), (right, "energy over the fine solution's")):
        axes.axhline(1, color=BLACK, linewidth=0.7, zorder=1)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_title(label, fontsize=9, loc="left")
        axes.set_xlabel("step", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
    handles = [
        Line2D([], [], color=colour_of(name, list(steps)), label=coefficient_title(name),
               linestyle="--" if name == BASE else "-")
        for name in steps
    ]  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=6, fontsize=8, frameon=False)
    figure.suptitle(cell_title(cell), fontsize=9.5)
    return figure


def recorded_steps(cell: CellResult, coefficients: Sequence[str] | None = None) -> dict[str, Steps]:
    """The measurements of each coefficient that has any."""
    names = list(cell.coefficients) if coefficients is None else coefficients
    found = {name: cell.coefficients.get(name) for name in names}
    return {n: x.steps for n, x in found.items() if isinstance(x, Measured) and x.steps}


def colour_of(coefficient: str, coefficients: Sequence[str]) -> str:
    """Its colour among those that are drawn."""
    others = [name for name in coefficients if name not in COLOURS]
    if coefficient in COLOURS:
        return COLOURS[coefficient]
    return OTHER_COLOURS[others.index(coefficient) % len(OTHER_COLOURS)]


def _band(axes: Axes, band: Band, colour: str, coefficient: str, position: int) -> None:
    """Only the base and the product get a band: more of them would hide each other."""
    x = np.arange(1, len(band.mean) + 1)
    if coefficient in (BASE, PRODUCT) and len(band.low) == len(band.high) == len(band.mean):
        axes.fill_between(x, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
    style, main = "--" if coefficient == BASE else "-", coefficient == PRODUCT
    axes.plot(x, band.mean, style, color=colour, linewidth=2 if main else 1.2, marker="o",
              markersize=3.5 if main else 2.5, zorder=10 if main else 3 + position)  # fmt: skip
