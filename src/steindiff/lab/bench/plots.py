"""Figures of a benchmark. Figure objects without global state; nothing is shown or saved here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
from PIL import Image, ImageDraw, ImageFont

from ..report.look import BLACK, BLUE, FAINT, GREEN, GREY, ORANGE, PURPLE, SKY, tidy
from .tables import mean_text
from .verdicts import (
    BASE,
    PRODUCT,
    Cell,
    Results,
    Verdict,
    cell_title,
    distance,
    distinct,
    matching,
    outcome_of,
    ratio_of,
    rule_title,
    schedule_title,
    title,
    verdict,
)

RULE_COLOURS = {BASE: GREY, PRODUCT: BLUE, "constant": ORANGE, "random": PURPLE, "oracle": GREEN}
OTHER_COLOURS = (SKY, BLACK, "#e69f00")
LOOKS = {
    Verdict.BETTER: (BLUE, "v", BLUE),
    Verdict.WORSE: (ORANGE, "^", ORANGE),
    Verdict.NEUTRAL: (GREY, "o", "white"),
}
LOWEST, HIGHEST = 0.2, 5.0  # ratios that the overview shows to scale; others stand at its edge


def overview(results: Results, rule: str = PRODUCT) -> Figure:
    """Every cell's ratio to the base with its interval: a panel for each setting, a row a solver.

    A marker left of 1 is an improvement. Triangles are significant, circles are not.
    """
    cells = results["cells"]
    blocks = _blocks(distinct(cells, "model", "guidance", "schedule"))
    columns = max(map(len, blocks))
    slots = [_slots([c for p in block for c in _of_panel(cells, p)]) for block in blocks]
    heights = [0.62 + 0.17 * len(rows) for rows in slots]
    figure = Figure(
        figsize=(max(6.5, 2.2 + 3.1 * columns), sum(heights) + 0.75), dpi=120, layout="constrained"
    )
    grid = figure.subplots(
        len(blocks), columns, squeeze=False, sharex=True, height_ratios=heights
    )  # fmt: skip
    for row, (block, slot) in enumerate(zip(blocks, slots, strict=True)):
        for column in range(columns):
            axes = grid[row, column]
            if column >= len(block):
                axes.set_visible(False)
                continue
            _overview_panel(axes, _of_panel(cells, block[column]), slot, rule, column == 0)
            axes.set_title(_panel_title(block[column]), fontsize=9, loc="left")
            axes.tick_params(axis="x", labelbottom=True, labelsize=8)
    _overview_axis(grid[0, 0], cells, rule)
    figure.supxlabel("Fréchet distance relative to the solver alone (95% interval)", fontsize=9)
    figure.legend(
        handles=_overview_legend(), loc="outside upper center", ncols=2 if columns == 1 else 4,
        fontsize=8, frameon=False,
    )  # fmt: skip
    return figure


def _blocks(panels: list[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """Panels in rows: the schedules of one model and guidance beside each other where they fit."""
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for panel in panels:
        groups.setdefault(panel[:2], []).append(panel)
    most = max(map(len, groups.values()))
    rows = list(groups.values()) if most > 1 else [panels]
    columns = most if 1 < most <= 4 else 3
    return [row[k : k + columns] for row in rows for k in range(0, len(row), columns)]


def _of_panel(cells: Sequence[Cell], panel: tuple[Any, ...]) -> list[Cell]:
    return matching(cells, model=panel[0], guidance=panel[1], schedule=panel[2])


def _panel_title(panel: tuple[Any, ...]) -> str:
    return f"{panel[0]}, guidance {panel[1]:g}, {schedule_title(panel[2])}"


def _slots(cells: Sequence[Cell]) -> list[tuple[str, int]]:
    return distinct(cells, "solver", "nfe")  # type: ignore[return-value]


def _overview_panel(
    axes: Axes, cells: Sequence[Cell], slots: list[tuple[str, int]], rule: str, labelled: bool
) -> None:
    solvers = list(dict.fromkeys(solver for solver, _ in slots))
    axes.set_ylim(len(slots) - 0.4, -0.6)
    for index, solver in enumerate(solvers):
        rows = [k for k, slot in enumerate(slots) if slot[0] == solver]
        if index % 2 == 0:
            axes.axhspan(rows[0] - 0.5, rows[-1] + 0.5, color="#f3f3f3", zorder=0)
    axes.axvline(1, color=BLACK, linewidth=0.9, zorder=1)
    for cell in cells:
        _overview_mark(axes, cell, slots.index((cell["solver"], cell["nfe"])), rule)
    if labelled:
        many = len({nfe for _, nfe in slots}) > 1
        axes.set_yticks(range(len(slots)), [_slot_label(slots, k, many) for k in range(len(slots))])
        axes.tick_params(axis="y", labelsize=7.5, length=0, pad=7)
    else:
        axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _slot_label(slots: list[tuple[str, int]], k: int, many: bool) -> str:
    """The solver once, before the first of its NFEs."""
    solver, nfe = slots[k]
    first = k == 0 or slots[k - 1][0] != solver
    if not many:
        return title(solver)
    return f"{title(solver)}   {nfe:>2}" if first else f"{nfe:>2}"


def _overview_mark(axes: Axes, cell: Cell, y: int, rule: str) -> None:
    found, ratio = verdict(cell, rule), ratio_of(cell, rule)
    if ratio is None:
        text = {
            Verdict.DIVERGED: "✕ diverged",
            Verdict.RESCUED: "◇ base diverged",
            Verdict.BOTH: "✕ both diverged",
        }.get(found)
        if text:
            colour = ORANGE if found is Verdict.DIVERGED else GREY
            axes.text(0.52, y, text, transform=axes.get_yaxis_transform(), fontsize=6.5,
                      color=colour, va="center")  # fmt: skip
        return
    colour, marker, fill = LOOKS[found]
    value = min(max(ratio["value"], LOWEST), HIGHEST)
    if value != ratio["value"]:
        beyond, left = mean_text(ratio["value"]), value == LOWEST
        axes.plot(value, y, marker="<" if left else ">", color=colour, markersize=5, clip_on=False)
        axes.annotate(beyond, (value, y), (5 if left else -5, 0), textcoords="offset points",
                      fontsize=6.5, color=colour, va="center",
                      ha="left" if left else "right")  # fmt: skip
        return
    ends = [min(max(ratio[end], LOWEST), HIGHEST) for end in ("low", "high")]
    axes.plot(ends, [y, y], color=colour, linewidth=1.4, zorder=2)
    axes.plot(value, y, marker=marker, color=colour, markerfacecolor=fill, markersize=4.5, zorder=3)


def _overview_axis(axes: Axes, cells: Sequence[Cell], rule: str) -> None:
    """Log axis just wide enough; shared by all panels."""
    values = [r[k] for cell in cells if (r := ratio_of(cell, rule)) for k in ("low", "high")]
    low = max(LOWEST, min([0.8, *values]) / 1.08)
    high = min(HIGHEST, max([1.25, *values]) * 1.08)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [0.2, 0.3, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5]
    gap = math.log(high / low) / 9  # closer labels would touch
    shown: list[float] = [1.0]
    for tick in sorted(ticks, key=lambda t: abs(math.log(t))):
        if low <= tick <= high and all(abs(math.log(tick / other)) >= gap for other in shown):
            shown.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(sorted(shown)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _percent(x)))


def _percent(ratio: float) -> str:
    change = 100 * (ratio - 1)
    return "±0" if abs(change) < 0.5 else f"{change:+.0f}%"


def _overview_legend() -> list[Line2D]:
    def mark(marker: str, colour: str, fill: str, label: str) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, color=colour, markerfacecolor=fill,
                      markersize=5, label=label)  # fmt: skip

    names = {
        Verdict.BETTER: "better",
        Verdict.NEUTRAL: "no significant difference",
        Verdict.WORSE: "worse",
    }
    marks = [mark(LOOKS[v][1], LOOKS[v][0], LOOKS[v][2], name) for v, name in names.items()]
    return [*marks, mark("<", BLUE, BLUE, "beyond the axis")]


def quality_against_nfe(
    results: Results, model: str, guidance: float, schedule: str, rule: str = PRODUCT
) -> Figure:
    """Fréchet distance against NFE, base dashed and relaxed solid, an axis for each solver.

    Every axis has its own range: solvers lie decades apart, and rules percents.
    With a single NFE there are no curves: each solver is then a row, with both distances.

    Raises:
        ValueError: the results hold no such cell.
    """
    cells = matching(results["cells"], model=model, guidance=guidance, schedule=schedule)
    if not cells:
        raise ValueError(
            f"no cell has model {model!r}, guidance {guidance!r} and schedule {schedule!r}; "
            "a setting that was run is needed"
        )
    panel = _panel_title((model, guidance, schedule))
    if len({cell["nfe"] for cell in cells}) == 1:
        return _dumbbells(cells, panel, rule)
    return _curves(cells, panel, rule)


def _curves(cells: Sequence[Cell], panel: str, rule: str) -> Figure:
    solvers = list(dict.fromkeys(cell["solver"] for cell in cells))
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
        _curve(axes, own, rule, "-")
        axes.set_title(title(solvers[index]), fontsize=9, loc="left")
        lowest = index + columns >= len(solvers)
        axes.tick_params(labelbottom=lowest)
        axes.set_xlabel("NFE" if lowest else "", fontsize=8)
        _log_distance(axes, "y", own, rule)
        tidy(axes)
    grid[0, 0].set_xticks(sorted({cell["nfe"] for cell in cells}))
    figure.suptitle(panel, fontsize=10)
    figure.supylabel("Fréchet distance", fontsize=9)
    figure.legend(handles=_curve_legend(cells, rule), loc="outside lower center", ncols=4,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure


def _points(cells: Iterable[Cell], rule: str) -> list[tuple[int, dict[str, float]]]:
    found = [(cell["nfe"], fd) for cell in cells if (fd := distance(outcome_of(cell, rule)))]
    return sorted(
        [(nfe, fd) for nfe, fd in found if math.isfinite(fd["value"]) and fd["value"] > 0],
        key=lambda point: point[0],
    )


def _xy(points: list[tuple[int, dict[str, float]]]) -> tuple[list[int], list[float]]:
    return [nfe for nfe, _ in points], [fd["value"] for _, fd in points]


def _curve(axes: Axes, cells: Sequence[Cell], rule: str, style: str) -> None:
    points, colour = _points(cells, rule), RULE_COLOURS.get(rule, BLUE)
    x, y = _xy(points)
    fill = "white" if rule == BASE else colour
    axes.errorbar(
        x, y, yerr=_errors([fd for _, fd in points]), color=colour, linestyle=style,
        linewidth=1.5, marker="o", markersize=3.6, markerfacecolor=fill, capsize=0, zorder=3,
    )  # fmt: skip
    drawn = set(x)
    lost = [cell["nfe"] for cell in cells if rule in cell["rules"] and cell["nfe"] not in drawn]
    height = 0.98 if rule == BASE else 0.9  # both can be lost at the same NFE
    if lost:
        axes.plot(lost, [height] * len(lost), "x", color=colour, markersize=5, markeredgewidth=1.5,
                  transform=axes.get_xaxis_transform())  # fmt: skip


def _errors(figures: Sequence[dict[str, float]]) -> np.ndarray:
    """(2, n) lengths below and above; a percentile interval need not hold the value itself."""
    pairs = [
        (max(0.0, fd["value"] - fd.get("low", fd["value"])),
         max(0.0, fd.get("high", fd["value"]) - fd["value"]))
        for fd in figures
    ]  # fmt: skip
    return np.array(pairs, dtype=float).reshape(-1, 2).T


def _curve_legend(cells: Sequence[Cell], rule: str) -> list[Line2D]:
    colour = RULE_COLOURS.get(rule, BLUE)
    handles = [
        Line2D([], [], color=GREY, linestyle="--", marker="o", markerfacecolor="white",
               markersize=4, label="base"),
        Line2D([], [], color=colour, marker="o", markersize=4, label=rule_title(rule)),
        Line2D([], [], color=FAINT, label="the other solvers' bases"),
    ]  # fmt: skip
    if any(not distance(outcome_of(c, r)) for c in cells for r in (BASE, rule) if r in c["rules"]):
        handles.append(Line2D([], [], color=BLACK, linestyle="", marker="x", label="diverged"))
    return handles


def _dumbbells(cells: Sequence[Cell], panel: str, rule: str) -> Figure:
    figure = Figure(figsize=(7.2, 1.35 + 0.3 * len(cells)), dpi=110, layout="constrained")
    axes = figure.subplots()
    for y, cell in enumerate(cells):
        ends = []
        for name, offset in ((BASE, -0.12), (rule, 0.12)):
            for _, fd in _points([cell], name):
                colour = RULE_COLOURS.get(name, BLUE)
                fill = "white" if name == BASE else colour
                axes.errorbar(fd["value"], y + offset, xerr=_errors([fd]), color=colour,
                              marker="o", markersize=5, markerfacecolor=fill, zorder=3)  # fmt: skip
                ends.append(fd["value"])
        if len(ends) == 2:
            axes.plot(ends, [y - 0.12, y + 0.12], color=FAINT, linewidth=1.2, zorder=1)
        lost = [
            rule_title(n) for n in (BASE, rule) if n in cell["rules"] and not _points([cell], n)
        ]
        if lost:
            axes.text(0.99, y, f"✕ {' and '.join(lost)} diverged", fontsize=7.5, color=GREY,
                      transform=axes.get_yaxis_transform(), ha="right", va="center")  # fmt: skip
    axes.set_yticks(range(len(cells)), [title(cell["solver"]) for cell in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    _log_distance(axes, "x", cells, rule)
    axes.set_xlabel("Fréchet distance", fontsize=9)
    tidy(axes)
    figure.suptitle(f"{panel}, {cells[0]['nfe']} NFE", fontsize=10)
    figure.legend(handles=_curve_legend([], rule)[:2], loc="outside lower center", ncols=2,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure


def _log_distance(axes: Axes, which: str, cells: Sequence[Cell], rule: str) -> None:
    """A log scale that is labelled also where it spans less than a decade."""
    values = [fd["value"] for name in (BASE, rule) for _, fd in _points(cells, name)]
    if not values:
        return
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    (axes.set_ylim if which == "y" else axes.set_xlim)(min(values) / 1.5, max(values) * 1.5)
    few = max(values) / min(values) < 30
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


ENERGIES = {
    "energy_over_fine": "energy over the fine solution's",
    "energy": "energy |x|²/d after the step",
}


def gamma_and_energy(cell: Cell, rules: Sequence[str] | None = None) -> Figure:
    """gamma and energy after each step: mean, and the 5th to 95th percentile as a band.

    Args:
        cell: to show.
        rules: those to draw; all that have measurements if not given.

    Raises:
        ValueError: no rule has any measurement.
    """
    steps = recorded_steps(cell, rules)
    if not steps:
        raise ValueError(f"cell {cell['id']} has no measurements of its steps")
    figure = Figure(figsize=(8.4, 2.7), dpi=90)  # laid out by hand: there is one for every cell
    figure.subplots_adjust(left=0.075, right=0.985, top=0.83, bottom=0.31, wspace=0.2)
    left, right = figure.subplots(1, 2)
    other = "energy_over_fine" if any("energy_over_fine" in s for s in steps.values()) else "energy"
    for axes, key, label in ((left, "gamma", "γ"), (right, other, ENERGIES[other])):
        for position, (rule, records) in enumerate(steps.items()):
            if key in records and not (key == "gamma" and rule == BASE):
                _band(axes, records[key], _rule_colour(rule, list(steps)), rule, position)
        if key == "energy":
            axes.set_yscale("log")
        else:
            axes.axhline(1, color=BLACK, linewidth=0.7, zorder=1)
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_title(label, fontsize=9, loc="left")
        axes.set_xlabel("step", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
    handles = [
        Line2D([], [], color=_rule_colour(rule, list(steps)), label=rule_title(rule),
               linestyle="--" if rule == BASE else "-")
        for rule in steps
    ]  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=6, fontsize=8, frameon=False)
    figure.suptitle(cell_title(cell), fontsize=9.5)
    return figure


def recorded_steps(cell: Cell, rules: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """The measurements of each rule that has any."""
    names = list(cell["rules"]) if rules is None else rules
    found = {rule: cell["rules"].get(rule, {}).get("steps") for rule in names}
    return {rule: steps for rule, steps in found.items() if steps}


def _rule_colour(rule: str, rules: Sequence[str]) -> str:
    others = [name for name in rules if name not in RULE_COLOURS]
    if rule in RULE_COLOURS:
        return RULE_COLOURS[rule]
    return OTHER_COLOURS[others.index(rule) % len(OTHER_COLOURS)]


def _band(axes: Axes, record: dict[str, Any], colour: str, rule: str, position: int) -> None:
    """Only the base and the product get a band: more of them would hide each other."""
    mean, low, high = (
        np.array(record.get(key, []), dtype=float) for key in ("mean", "low", "high")
    )
    x = np.arange(1, len(mean) + 1)
    if rule in (BASE, PRODUCT) and len(low) == len(high) == len(mean):
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    style = "--" if rule == BASE else "-"
    main = rule == PRODUCT
    axes.plot(x, mean, style, color=colour, linewidth=2 if main else 1.2, marker="o",
              markersize=3.5 if main else 2.5, zorder=10 if main else 3 + position)  # fmt: skip


def image_strip(images: np.ndarray, gap: int = 2) -> Image.Image:
    """uint8 images (N, H, W, C), N at least 1, in one row on a transparent ground.

    Raises:
        ValueError: another shape or dtype.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"images have shape {images.shape} and dtype {images.dtype}; uint8 (N >= 1, H, W, C) "
            "are needed"
        )
    count, height, width, channels = images.shape
    strip = Image.new("RGBA", (count * (width + gap) - gap, height), (0, 0, 0, 0))
    for k, image in enumerate(images):
        flat = image[..., 0] if channels == 1 else image[..., :3]
        strip.paste(Image.fromarray(flat).convert("RGBA"), (k * (width + gap), 0))
    return strip


def sample_grid(
    arrays: Mapping[str, np.ndarray], rules: Sequence[str] = (BASE, PRODUCT, "fine"), zoom: int = 2
) -> Image.Image:
    """Labelled rows of images, one a rule; column k of every row started from the same noise.

    Args:
        arrays: uint8 images (K, H, W, C) by rule.
        rules: the rows; those without images are left out.
        zoom: how many times larger, without smoothing.

    Raises:
        ValueError: none of the rules has images.
    """
    strips = {rule: image_strip(arrays[rule]) for rule in rules if rule in arrays}
    if not strips:
        raise ValueError(f"there are no images of {', '.join(rules)}; known: {', '.join(arrays)}")
    font = ImageFont.load_default(15)
    label, gap = 150, 6
    height = max(strip.height for strip in strips.values()) * zoom
    width = label + max(strip.width for strip in strips.values()) * zoom + gap
    sheet = Image.new("RGB", (width, (height + gap) * len(strips) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (rule, strip) in enumerate(strips.items()):
        top = gap + row * (height + gap)
        name = "fine solution" if rule == "fine" else rule_title(rule)
        draw.text((gap, top + height / 2), name, "black", font, anchor="lm")
        size = (strip.width * zoom, strip.height * zoom)
        large = strip.resize(size, Image.Resampling.NEAREST)
        sheet.paste(large, (label, top), large)
    return sheet


def sample_points(
    arrays: Mapping[str, np.ndarray], rules: Sequence[str] = (BASE, PRODUCT, "fine")
) -> Figure:
    """2-D samples, a panel a rule, over those of the fine solution in grey.

    Args:
        arrays: (N, 2) by "points:<rule>".
        rules: the panels; those without points are left out.

    Raises:
        ValueError: none of the rules has points.
    """
    points = {r: arrays[f"points:{r}"] for r in rules if f"points:{r}" in arrays}
    if not points:
        raise ValueError(f"there are no points of {', '.join(rules)}; known: {', '.join(arrays)}")
    figure = Figure(figsize=(2.6 * len(points) + 0.2, 2.9), dpi=90)
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.1, top=0.9, wspace=0.05)
    grid = figure.subplots(1, len(points), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (rule, values) in zip(grid, points.items(), strict=True):
        if rule != "fine" and "points:fine" in arrays:
            axes.scatter(*arrays["points:fine"].T, s=5, color=FAINT, linewidths=0)
        colour = BLACK if rule == "fine" else _rule_colour(rule, list(points))
        axes.scatter(*values.T, s=3, color=colour, linewidths=0, alpha=0.7)
        axes.set_title("fine solution" if rule == "fine" else rule_title(rule), fontsize=9)
        axes.set_aspect("equal", adjustable="box")
        axes.tick_params(labelsize=7, length=2)
    return figure
