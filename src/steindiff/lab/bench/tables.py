"""Tables of a benchmark: for its report, the terminal and the docs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from ..tables import Column, Entry, Table
from .glossary import METRICS
from .judging import (
    Effect,
    Summary,
    best_against_best,
    coefficients_of,
    distance,
    distinct,
    effect_of,
    matching,
    ratio_of,
    result_of,
    summarise,
)
from .results import (
    BASE,
    PRODUCT,
    CellRecord,
    CellResult,
    CoefficientResult,
    Diverged,
    Interval,
    Results,
)
from .titles import cell_title, coefficient_title, schedule_title, solver_title

DASH = "—"
PLACES = {
    "model": Column("model", words=True),
    "guidance": Column("guidance", short="w"),
    "schedule": Column("schedule", words=True),
    "nfe": Column("NFE"),
}
"""The columns that say where a cell is in the grid."""
SOLVER = Column("solver", words=True)
COUNTED = {
    Effect.BETTER: "better",
    Effect.NEUTRAL: "neutral",
    Effect.WORSE: "worse",
    Effect.DIVERGED: "diverged",
    Effect.RESCUED: "base diverged",
    Effect.BOTH: "both diverged",
}
"""Verdicts that get a column of counts, and its heading."""
ALWAYS = (Effect.BETTER, Effect.NEUTRAL, Effect.WORSE)


# --- figures as texts ----------------------------------------------------------------------------


def figure(value: float | None) -> str:
    """A number with three digits that count."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def change_text(ratio: Interval) -> str:
    """ "-41% [-44, -36]", or "×12.3 [11.0, 13.5]" where percents would be unwieldy."""
    values = [ratio.value, ratio.low, ratio.high]
    if ratio.value >= 3:
        shown = [figure(value) for value in values]
        return f"×{shown[0]} [{shown[1]}, {shown[2]}]"
    decimals = 1 if abs(ratio.value - 1) < 0.0995 else 0
    shown = [_signed(100 * (value - 1), decimals) for value in values]
    return f"{shown[0]}% [{shown[1]}, {shown[2]}]"


def mean_text(ratio: float | None) -> str:
    """The change that a single ratio is."""
    if ratio is None:
        return DASH
    return f"×{figure(ratio)}" if ratio >= 3 else f"{_signed(100 * (ratio - 1), 1)}%"


def _signed(value: float, decimals: int) -> str:
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def interval_text(interval: Interval) -> str:
    """ "3.10 [3.02, 3.18]"."""
    return f"{figure(interval.value)} [{figure(interval.low)}, {figure(interval.high)}]"


def result_text(result: CoefficientResult | None) -> str:
    """The distance with its interval, "diverged at step 3", or a dash."""
    if isinstance(result, Diverged):
        return f"diverged at step {result.step}"
    fd = distance(result)
    return DASH if fd is None else interval_text(fd)


# --- entries -------------------------------------------------------------------------------------


def change_entry(cell: CellRecord, coefficient: str) -> Entry:
    """How a coefficient's distance differs from the base's."""
    result, found = result_of(cell, coefficient), effect_of(cell, coefficient)
    if result is None or found is Effect.NONE:
        return Entry(DASH)
    if isinstance(result, Diverged):
        return _diverged(result, found)
    if result.equals_base:
        return Entry("= base", remark="the same sampling")
    if found is Effect.RESCUED:
        text = f"{result_text(result)}, base diverged"
        return Entry(text, found, short="base diverged")
    ratio = ratio_of(cell, coefficient)
    assert ratio is not None  # or the effect would be another
    remark = f"distance {result_text(result)}"
    if result.value is not None:
        remark += f", value {result.value:g}"
    return Entry(change_text(ratio), found, remark)


def distance_entry(cell: CellRecord, coefficient: str) -> Entry:
    """A coefficient's distance with its interval; a terminal shows it without."""
    result = result_of(cell, coefficient)
    if isinstance(result, Diverged):
        return _diverged(result, Effect.DIVERGED)._replace(short="✕")
    fd = distance(result)
    return Entry(result_text(result), short=None if fd is None else figure(fd.value))


def _diverged(result: Diverged, found: Effect) -> Entry:
    remark = f"at sigma {result.sigma:g}, {result.samples} samples"
    return Entry(result_text(result), found, remark)


def _place(cell: CellRecord, keys: Iterable[str]) -> list[Entry]:
    shown = {
        "model": cell.model,
        "guidance": f"{cell.guidance:g}",
        "schedule": schedule_title(cell.schedule),
        "nfe": str(cell.nfe),
    }
    return [Entry(shown[key]) for key in keys]


# --- tables --------------------------------------------------------------------------------------


def cells_table(
    cells: Sequence[CellRecord],
    coefficients: Sequence[str],
    keys: Sequence[str] = (),
    title: str = "",
) -> Table:
    """A row for each cell: the base's distance, the product's, and every coefficient's change.

    Args:
        cells: the rows.
        coefficients: those that get a column, beside the base.
        keys: of `PLACES`, columns between the solver's and the figures.
        title: of the table.
    """
    columns = [SOLVER, *(PLACES[key] for key in keys), Column(coefficient_title(BASE))]
    for name in coefficients:
        if name == PRODUCT:
            columns.append(Column(coefficient_title(name)))
        columns.append(Column("change" if name == PRODUCT else coefficient_title(name)))
    rows = []
    for cell in cells:
        row = [Entry(solver_title(cell.solver)), *_place(cell, keys), distance_entry(cell, BASE)]
        for name in coefficients:
            if name == PRODUCT:
                row.append(distance_entry(cell, name))
            row.append(change_entry(cell, name))
        rows.append(row)
    return Table(columns, rows, title)


def metrics_table(
    cells: Sequence[CellRecord], coefficients: Sequence[str], keys: Sequence[str] = ()
) -> Table:
    """A row for each cell and coefficient, a column for each metric that any of them has."""
    shown = [(cell, name) for cell in cells for name in coefficients if _is_own(cell, name)]
    figures = [_figures(result_of(cell, name)) for cell, name in shown]
    metrics = [metric for metric in METRICS if any(metric.key in found for found in figures)]
    columns = [SOLVER, *(PLACES[key] for key in keys), Column("coefficient", words=True)]
    rows = []
    for (cell, name), found in zip(shown, figures, strict=True):
        result = result_of(cell, name)
        entries = [Entry(metric.show(found.get(metric.key))) for metric in metrics]
        if isinstance(result, Diverged):
            entries[:1] = [Entry(result_text(result), Effect.DIVERGED)]
        row = [Entry(solver_title(cell.solver)), *_place(cell, keys), _with_value(name, result)]
        rows.append([*row, *entries][: len(columns) + len(metrics)])
    return Table([*columns, *(Column(metric.title) for metric in metrics)], rows)


def _is_own(cell: CellRecord, coefficient: str) -> bool:
    """Whether it has figures other than the base's."""
    result = result_of(cell, coefficient)
    return result is not None and (isinstance(result, Diverged) or not result.equals_base)


def _figures(result: CoefficientResult | None) -> dict[str, object]:
    """The metrics that there are, by their names."""
    if result is None or isinstance(result, Diverged) or result.metrics is None:
        return {}
    found = msgspec.structs.asdict(result.metrics)
    return {key: value for key, value in found.items() if value is not None}


def _with_value(coefficient: str, result: CoefficientResult | None) -> Entry:
    text = coefficient_title(coefficient)
    if result is None or isinstance(result, Diverged) or result.value is None:
        return Entry(text)
    return Entry(f"{text} {result.value:g}")


def _counts(summary: Summary, kinds: Iterable[Effect]) -> list[Entry]:
    return [
        Entry(str(count), kind if count and kind is not Effect.NEUTRAL else None)
        for kind in kinds
        for count in [summary.count(kind)]
    ]


def _kinds(summaries: Sequence[Summary]) -> list[Effect]:
    """The effects worth a column: the three of a ratio, others where there are any."""
    return [k for k in COUNTED if k in ALWAYS or any(s.count(k) for s in summaries)]


def _count_columns(kinds: Iterable[Effect]) -> list[Column]:
    """Heads of the counts, and of the worst cell, which a terminal has no room for."""
    short = {Effect.RESCUED: "rescued", Effect.BOTH: "both"}
    counts = [Column(COUNTED[kind], short=short.get(kind)) for kind in kinds]
    return [*counts, Column("worst cell", words=True, terminal=False)]


def coefficients_table(
    cells: Sequence[CellRecord], coefficients: Sequence[str], title: str = ""
) -> Table:
    """The coefficients side by side; means run over the cells in which each of them has a ratio."""
    shared = [cell for cell in cells if all(ratio_of(cell, name) for name in coefficients)]
    summaries = [summarise(cells, name) for name in coefficients]
    kinds = _kinds(summaries)
    rows = [
        [
            Entry(coefficient_title(summary.coefficient)),
            Entry(str(summary.measured)),
            Entry(mean_text(summarise(shared, summary.coefficient).mean)),
            *_counts(summary, kinds),
            _worst_entry(summary, PLACES),
        ]
        for summary in summaries
    ]
    mean = Column(f"mean, {len(shared)} shared cells", short="mean")
    columns = [Column("coefficient", words=True), Column("cells"), mean, *_count_columns(kinds)]
    return Table(columns, rows, title)


def groups_table(
    cells: Sequence[CellRecord],
    coefficient: str = PRODUCT,
    keys: Sequence[str] = tuple(PLACES),
    title: str = "",
) -> Table:
    """Mean, counts and worst cell of the cells that agree in those keys of `PLACES`, and of all."""
    groups = [
        matching(cells, **dict(zip(keys, combination, strict=True)))
        for combination in distinct(cells, *keys)
    ]
    summaries = [summarise(group, coefficient) for group in groups]
    kinds = _kinds(summaries)

    def entries(summary: Summary, places: Iterable[str]) -> list[Entry]:
        worst = _worst_entry(summary, places)
        return [Entry(mean_text(summary.mean)), *_counts(summary, kinds), worst]

    rows = [
        [*_place(group[0], keys), *entries(summary, ())]
        for group, summary in zip(groups, summaries, strict=True)
    ]
    if len(groups) > 1:
        blank = [Entry("all"), *[Entry("")] * (len(keys) - 1)]
        rows.append([*blank, *entries(summarise(cells, coefficient), PLACES)])
    columns = [*(PLACES[key] for key in keys), Column("mean"), *_count_columns(kinds)]
    return Table(columns, rows, title)


def _worst_entry(summary: Summary, places: Iterable[str]) -> Entry:
    cell = summary.worst
    if cell is None or not _is_own(cell, summary.coefficient):
        return Entry(DASH)
    change = change_entry(cell, summary.coefficient)
    name = cell_title(cell) if places else solver_title(cell.solver)
    return Entry(f"{name}: {change.text}", change.mark)


def best_table(
    cells: Sequence[CellResult], coefficient: str = PRODUCT, usual: bool = False, title: str = ""
) -> Table:
    """`best_against_best` as a table."""
    rows = []
    for best in best_against_best(cells, coefficient, usual):
        where = [Entry(best.model), Entry(f"{best.guidance:g}"), Entry(str(best.nfe))]
        change = mean_text(best.ratio)
        if best.base is best.relaxed and best.base and (ratio := ratio_of(best.base, coefficient)):
            change = change_text(ratio)
        bests = [_best_entry(best.base, BASE), _best_entry(best.relaxed, coefficient)]
        entry = Entry(change, best.effect, short=mean_text(best.ratio))
        rows.append([*where, *bests, entry])
    columns = [
        *(PLACES[key] for key in ("model", "guidance", "nfe")),
        Column("best base", words=True),
        Column("best with SteinDiff", words=True),
        Column("change"),
    ]
    return Table(columns, rows, title)


def _best_entry(cell: CellRecord | None, coefficient: str) -> Entry:
    if cell is None:
        return Entry("none")
    name = f"{solver_title(cell.solver)}, {schedule_title(cell.schedule)}"
    result = result_of(cell, coefficient)
    fd = distance(result)
    short = f"{name}: {DASH if fd is None else figure(fd.value)}"
    return Entry(f"{name}: {result_text(result)}", short=short)


def summary_tables(results: Results) -> list[Table]:
    """What a run shows at its end: every cell where they are few, the groups, the bests."""
    cells, asked = results.cells, results.grid.coefficients
    coefficient = PRODUCT if PRODUCT in asked else asked[0]
    models = {
        f"{model}, guidance {guidance:g}": matching(cells, model=model, guidance=guidance)
        for model, guidance in distinct(cells, "model", "guidance")
    }
    tables = []
    for name, group in models.items() if len(cells) <= 40 else ():
        keys = [key for key in ("schedule", "nfe") if len(distinct(cells, key)) > 1]
        shown = [name for name in coefficients_of(group) if name in asked]
        tables.append(cells_table(group, shown, keys, f"Fréchet distance: {name}"))
    names = [name for name in coefficients_of(cells) if name != BASE]
    if len(names) > 1:
        tables.append(coefficients_table(cells, names, "Coefficients and controls"))
    for name, group in models.items():
        if len(distinct(group, "schedule", "nfe")) > 1:
            title = f"By setting: {name}"
            tables.append(groups_table(group, coefficient, ("schedule", "nfe"), title))
    tables.append(best_table(cells, coefficient, title="Best against best at equal NFE"))
    return tables
