"""Tables of a benchmark: for its report, the terminal and the docs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from .glossary import METRICS
from .verdicts import (
    BASE,
    PRODUCT,
    RULES,
    Cell,
    Outcome,
    Results,
    Summary,
    Verdict,
    best_against_best,
    cell_title,
    distance,
    distinct,
    diverged,
    matching,
    outcome_of,
    ratio_of,
    rule_title,
    rules_of,
    schedule_title,
    summarise,
    title,
    verdict,
)

TEXT_COLUMNS = frozenset(
    {
        *("solver", "model", "schedule", "rule", "cell", "setting", "what"),
        *("worst cell", "best base", "best with SteinDiff"),
    }
)
"""Headings of columns that hold words: set to the left, all others to the right."""


class Entry(NamedTuple):
    """What stands in a table: a text, what it says about a rule, and a remark (HTML only)."""

    text: str
    verdict: Verdict | None = None
    remark: str = ""

    @property
    def marked(self) -> str:
        """The text behind its symbol, for where there is no other emphasis."""
        symbol = self.verdict.symbol if self.verdict else ""
        return f"{symbol} {self.text}".strip()


class Sheet(NamedTuple):
    """A table: headings, and rows of as many entries."""

    headings: list[str]
    rows: list[list[Entry]]


def figure(value: float | None) -> str:
    """A number with three digits that count."""
    if value is None or not math.isfinite(value):
        return "—"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def change_text(ratio: dict[str, float]) -> str:
    """ "-41% [-44, -36]", or "×12.3 [11.0, 13.5]" where percents would be unwieldy."""
    values = [ratio[key] for key in ("value", "low", "high")]
    if values[0] >= 3:
        shown = [figure(value) for value in values]
        return f"×{shown[0]} [{shown[1]}, {shown[2]}]"
    decimals = 1 if abs(values[0] - 1) < 0.0995 else 0
    shown = [_signed(100 * (value - 1), decimals) for value in values]
    return f"{shown[0]}% [{shown[1]}, {shown[2]}]"


def mean_text(ratio: float | None) -> str:
    """The change that a single ratio is."""
    if ratio is None:
        return "—"
    return f"×{figure(ratio)}" if ratio >= 3 else f"{_signed(100 * (ratio - 1), 1)}%"


def _signed(value: float, decimals: int) -> str:
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def divergence_text(outcome: Outcome) -> str:
    """ "diverged at step 3"."""
    return f"diverged at step {outcome['step']}" if "step" in outcome else "diverged"


def divergence_remark(outcome: Outcome) -> str:
    """What else is known of it: "at sigma 1.2, 17 samples"."""
    parts = [f"at sigma {outcome['sigma']:g}"] if "sigma" in outcome else []
    return ", ".join([*parts, f"{outcome['samples']} samples"] if "samples" in outcome else parts)


def interval_text(interval: dict[str, Any]) -> str:
    """ "3.10 [3.02, 3.18]"."""
    text = figure(interval["value"])
    if interval.get("low") is None or interval.get("high") is None:
        return text
    return f"{text} [{figure(interval['low'])}, {figure(interval['high'])}]"


def change_entry(cell: Cell, rule: str) -> Entry:
    """How a rule's distance differs from the base's."""
    outcome, found = outcome_of(cell, rule), verdict(cell, rule)
    if outcome is None or found is Verdict.NONE:
        return Entry("—")
    if diverged(outcome):
        return Entry(divergence_text(outcome), found, divergence_remark(outcome))
    if outcome.get("equals_base"):
        return Entry("= base", remark="the same sampling")
    if found is Verdict.RESCUED:
        return Entry(f"{_distance_text(outcome)}, base diverged", found)
    ratio = ratio_of(cell, rule)
    assert ratio is not None  # or the verdict would be another
    remark = f"distance {_distance_text(outcome)}"
    if "value" in outcome:
        remark += f", value {outcome['value']:g}"
    return Entry(change_text(ratio), found, remark)


def distance_entry(cell: Cell, rule: str) -> Entry:
    """A rule's distance with its interval."""
    outcome = outcome_of(cell, rule)
    if outcome is not None and diverged(outcome):
        return Entry(divergence_text(outcome), Verdict.DIVERGED, divergence_remark(outcome))
    return Entry(_distance_text(outcome))


def _distance_text(outcome: Outcome | None) -> str:
    fd = distance(outcome)
    return "—" if fd is None else interval_text(fd)


PLACES = {"model": "model", "guidance": "guidance", "schedule": "schedule", "nfe": "NFE"}


def place(cell: Cell, keys: Iterable[str]) -> list[Entry]:
    """Entries that say where a cell is in the grid."""
    shown = {
        "model": str(cell["model"]),
        "guidance": f"{cell['guidance']:g}",
        "schedule": schedule_title(cell["schedule"]),
        "nfe": str(cell["nfe"]),
    }
    return [Entry(shown[key]) for key in keys]


def cells_sheet(cells: Sequence[Cell], rules: Sequence[str], keys: Sequence[str] = ()) -> Sheet:
    """A row for each cell: the base's distance, the product's, and every rule's change.

    Args:
        cells: the rows.
        rules: those that get a column, beside the base.
        keys: of `PLACES`, columns between the solver's and the figures.
    """
    headings = ["solver", *(PLACES[key] for key in keys), RULES[BASE]]
    for rule in rules:
        if rule == PRODUCT:
            headings.append(rule_title(rule))
        headings.append("change" if rule == PRODUCT else rule_title(rule))
    rows = []
    for cell in cells:
        row = [Entry(title(cell["solver"])), *place(cell, keys), distance_entry(cell, BASE)]
        for rule in rules:
            if rule == PRODUCT:
                row.append(distance_entry(cell, rule))
            row.append(change_entry(cell, rule))
        rows.append(row)
    return Sheet(headings, rows)


def metrics_sheet(cells: Sequence[Cell], rules: Sequence[str], keys: Sequence[str] = ()) -> Sheet:
    """A row for each cell and rule, a column for each metric that any of them has."""
    measured = {
        key
        for cell in cells
        for rule in rules
        for key in (outcome_of(cell, rule) or {}).get("metrics", {})
    }
    metrics = [metric for metric in METRICS if metric.key in measured]
    headings = ["solver", *(PLACES[key] for key in keys), "rule", *(m.title for m in metrics)]
    rows = []
    for cell in cells:
        for rule in rules:
            outcome = outcome_of(cell, rule)
            if outcome is None or outcome.get("equals_base"):
                continue
            row = [
                Entry(title(cell["solver"])),
                *place(cell, keys),
                Entry(_with_value(rule, outcome)),
            ]
            if diverged(outcome):
                row.append(Entry(divergence_text(outcome), Verdict.DIVERGED))
                row += [Entry("—")] * (len(metrics) - 1)
            else:
                found = outcome.get("metrics", {})
                row += [Entry(metric.show(found.get(metric.key))) for metric in metrics]
            rows.append(row[: len(headings)])
    return Sheet(headings, rows)


def _with_value(rule: str, outcome: Outcome) -> str:
    return f"{rule_title(rule)} {outcome['value']:g}" if "value" in outcome else rule_title(rule)


COUNTED = {
    Verdict.BETTER: "better",
    Verdict.NEUTRAL: "neutral",
    Verdict.WORSE: "worse",
    Verdict.DIVERGED: "diverged",
    Verdict.RESCUED: "base diverged",
    Verdict.BOTH: "both diverged",
}
"""Verdicts that get a column of counts, and its heading."""
ALWAYS = (Verdict.BETTER, Verdict.NEUTRAL, Verdict.WORSE)


def _counts(summary: Summary, kinds: Iterable[Verdict]) -> list[Entry]:
    return [
        Entry(str(count), kind if count and kind is not Verdict.NEUTRAL else None)
        for kind in kinds
        for count in [summary.count(kind)]
    ]


def _kinds(summaries: Iterable[Summary]) -> list[Verdict]:
    """The verdicts worth a column: the three of a ratio, others where there are any."""
    summaries = list(summaries)
    return [k for k in COUNTED if k in ALWAYS or any(s.count(k) for s in summaries)]


def rules_sheet(cells: Sequence[Cell], rules: Sequence[str]) -> Sheet:
    """The rules side by side; their means run over the cells in which each of them has a ratio."""
    shared = [cell for cell in cells if all(ratio_of(cell, rule) for rule in rules)]
    summaries = [summarise(cells, rule) for rule in rules]
    kinds = _kinds(summaries)
    headings = ["rule", "cells", f"mean, {len(shared)} shared cells", *(COUNTED[k] for k in kinds)]
    rows = [
        [
            Entry(rule_title(summary.rule)),
            Entry(str(summary.measured)),
            Entry(mean_text(summarise(shared, summary.rule).mean)),
            *_counts(summary, kinds),
        ]
        for summary in summaries
    ]
    return Sheet([*headings, "worst cell"], [
        [*row, _worst_entry(summary, PLACES)] for row, summary in zip(rows, summaries, strict=True)
    ])  # fmt: skip


def groups_sheet(cells: Sequence[Cell], rule: str = PRODUCT) -> Sheet:
    """Mean, counts and worst cell of each (model, guidance, schedule, NFE), and of all."""
    groups = [
        matching(cells, **dict(zip(PLACES, combination, strict=True)))
        for combination in distinct(cells, *PLACES)
    ]
    summaries = [summarise(group, rule) for group in groups]
    kinds = _kinds(summaries)
    headings = [*PLACES.values(), "mean", *(COUNTED[k] for k in kinds), "worst cell"]
    rows = [
        [*place(group[0], PLACES), *_group_entries(summary, kinds, ())]
        for group, summary in zip(groups, summaries, strict=True)
    ]
    if len(groups) > 1:
        blank = [Entry("all"), *[Entry("")] * (len(PLACES) - 1)]
        rows.append([*blank, *_group_entries(summarise(cells, rule), kinds, PLACES)])
    return Sheet(headings, rows)


def _group_entries(
    summary: Summary, kinds: Iterable[Verdict], places: Iterable[str]
) -> list[Entry]:
    worst = _worst_entry(summary, places)
    return [Entry(mean_text(summary.mean)), *_counts(summary, kinds), worst]


def _worst_entry(summary: Summary, places: Iterable[str]) -> Entry:
    cell = summary.worst
    if cell is None or cell["rules"][summary.rule].get("equals_base"):
        return Entry("—")
    change = change_entry(cell, summary.rule)
    name = cell_title(cell) if places else title(cell["solver"])
    return Entry(f"{name}: {change.text}", change.verdict)


def best_sheet(cells: Sequence[Cell], rule: str = PRODUCT, usual: bool = False) -> Sheet:
    """`best_against_best` as a table."""
    headings = ["model", "guidance", "NFE", "best base", "best with SteinDiff", "change"]
    rows = []
    for best in best_against_best(cells, rule, usual):
        where = [Entry(best.model), Entry(f"{best.guidance:g}"), Entry(str(best.nfe))]
        change = mean_text(best.ratio)
        if best.base is best.relaxed and best.base and (ratio := ratio_of(best.base, rule)):
            change = change_text(ratio)
        bests = [_best_entry(best.base, BASE), _best_entry(best.relaxed, rule)]
        rows.append([*where, *bests, Entry(change, best.verdict)])
    return Sheet(headings, rows)


def _best_entry(cell: Cell | None, rule: str) -> Entry:
    if cell is None:
        return Entry("none")
    fd = _distance_text(outcome_of(cell, rule))
    return Entry(f"{title(cell['solver'])}, {schedule_title(cell['schedule'])}: {fd}")


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str | Entry]]) -> str:
    """A Markdown table; what is significantly better or worse is bold."""
    lines = [list(headings), ["---"] * len(headings), *(list(map(_markdown, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _markdown(entry: str | Entry) -> str:
    text = entry if isinstance(entry, str) else entry.text
    text = text.replace("|", "\\|").replace("\n", " ")
    if isinstance(entry, str) or entry.verdict not in (Verdict.BETTER, Verdict.WORSE):
        return text
    head, bracket, rest = text.partition(" [")
    return f"**{head}**{bracket}{rest}"


STYLES = {
    Verdict.BETTER: "green",
    Verdict.WORSE: "bold red",
    Verdict.DIVERGED: "bold magenta",
    Verdict.RESCUED: "cyan",
    Verdict.BOTH: "magenta",
}


def terminal_table(heading: str, sheet: Sheet) -> Table:
    """A table for rich; symbols beside the colours."""
    table = Table(title=Text(heading), title_justify="left", header_style="bold")
    for index, name in enumerate(sheet.headings):
        justify = "left" if _is_text(sheet, index) else "right"
        table.add_column(Text(name), justify=justify, overflow="fold")  # nothing is cut off
    for row in sheet.rows:
        table.add_row(
            *(Text(e.marked, STYLES.get(e.verdict, "") if e.verdict else "") for e in row)
        )
    return table


def _is_text(sheet: Sheet, column: int) -> bool:
    return sheet.headings[column] in TEXT_COLUMNS


def terminal_summary(results: Results, rule: str = PRODUCT) -> list[Table]:
    """What a run prints at its end: every cell where they are few, else the groups; the bests."""
    cells = results["cells"]
    tables = []
    if len(cells) <= 40:
        sheet = cells_sheet(cells, [r for r in rules_of(cells) if r != BASE], varying(cells))
        tables.append(terminal_table("Fréchet distance to the fine solution, 95% intervals", sheet))
    tables.append(terminal_table("By setting", groups_sheet(cells, rule)))
    tables.append(terminal_table("Best against best at equal NFE", best_sheet(cells, rule)))
    return tables


def varying(cells: Sequence[Cell]) -> list[str]:
    """The keys of `PLACES` that differ between the cells."""
    return [key for key in PLACES if len({cell[key] for cell in cells}) > 1]
