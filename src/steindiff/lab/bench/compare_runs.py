"""Two runs of a benchmark against each other, cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..tables import Column, Entry, Table
from .judging import Effect, compare_intervals, distance, result_of
from .results import CellResult, CoefficientResult, Diverged, Results, read_results
from .tables import mean_text, result_text
from .titles import cell_title, coefficient_title


class Trend(Enum):
    """Where a figure went from the first run to the second."""

    EQUAL = "equal"
    OVERLAP = "intervals overlap"
    LOWER = "lower"
    HIGHER = "higher"
    LOST = "diverges now"
    FOUND = "diverges no more"
    BOTH = "both diverge"
    UNKNOWN = "not comparable"


VERDICTS = {
    Trend.LOWER: Effect.BETTER,
    Trend.HIGHER: Effect.WORSE,
    Trend.LOST: Effect.DIVERGED,
    Trend.FOUND: Effect.RESCUED,
    Trend.OVERLAP: Effect.NEUTRAL,
}


class SettingChange(NamedTuple):
    """A setting that the runs do not share: its name, and its value in each."""

    name: str
    a: Any
    b: Any


class Change(NamedTuple):
    """One coefficient in one cell of both runs."""

    cell: CellResult
    coefficient: str
    a: CoefficientResult
    b: CoefficientResult
    trend: Trend

    @property
    def ratio(self) -> float | None:
        """The second distance over the first, where both are known."""
        a, b = distance(self.a), distance(self.b)
        return b.value / a.value if a and b and a.value > 0 else None


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs, A and B.

    Attributes:
        settings: those that differ; distances of other features or samples need not compare.
        only_a: cells, or "cell (coefficient)", that only the first has.
        only_b: that only the second has.
        changes: every coefficient of every shared cell, in the order of the first run.
    """

    settings: list[SettingChange]
    only_a: list[str]
    only_b: list[str]
    changes: list[Change]

    @property
    def regressions(self) -> list[Change]:
        """Those whose whole interval moved above the first run's, or that diverge only now."""
        return [c for c in self.changes if c.trend in (Trend.HIGHER, Trend.LOST)]

    @property
    def exit_status(self) -> int:
        """1 if anything regressed, else 0."""
        return int(bool(self.regressions))

    @property
    def moved(self) -> list[Change]:
        """All but the equal ones; regressions first."""
        order = [Trend.LOST, Trend.HIGHER, *Trend]
        found = [c for c in self.changes if c.trend not in (Trend.EQUAL, Trend.BOTH)]
        return sorted(found, key=lambda change: order.index(change.trend))

    def tables(self) -> list[Table]:
        """The settings that differ, and the figures that moved; none where there are none."""
        settings = [[Entry(s.name), Entry(str(s.a)), Entry(str(s.b))] for s in self.settings]
        words = [Column(heading, words=True) for heading in ("setting", "A", "B")]
        figures = [
            Column("cell", words=True), Column("coefficient", words=True), Column("A"), Column("B"),
            Column("change"), Column("verdict", words=True),
        ]  # fmt: skip
        changes = [list(_row(change)) for change in self.moved]
        tables = [
            Table(words, settings, "Settings that differ"),
            Table(figures, changes, "Fréchet distance"),
        ]
        return [table for table in tables if table.rows]

    def sentences(self) -> list[str]:
        """What only one of the runs has, and the counts."""
        both = (("A", self.only_a), ("B", self.only_b))
        alone = [f"Only in {name}: {', '.join(only)}" for name, only in both if only]
        return [*alone, self._summary()]

    def _summary(self) -> str:
        counts = Counter(change.trend for change in self.changes)
        parts = [f"{counts[trend]} {trend.value}" for trend in Trend if trend in counts]
        alone = [f"{len(only)} only in {n}" for only, n in ((self.only_a, "A"), (self.only_b, "B"))]
        return f"{len(self.changes)} shared figures: {', '.join(parts) or 'none'}; " + "; ".join(
            [*alone, f"{len(self.regressions)} regressions"]
        )


def _row(change: Change) -> Iterator[Entry]:
    yield Entry(cell_title(change.cell))
    yield Entry(coefficient_title(change.coefficient))
    for result in (change.a, change.b):
        text = result_text(result)
        yield Entry(text, short=text.partition(" [")[0])
    yield Entry(mean_text(change.ratio))
    yield Entry(change.trend.value, VERDICTS.get(change.trend))


def compare_results(a: Path, b: Path) -> Comparison:
    """Compares the results in folder `a` with those in `b`; `b` is the newer one.

    Raises:
        FileNotFoundError: a folder has no results.
        ValueError: results are damaged or of another format.
    """
    first, second = read_results(a), read_results(b)
    cells_a, cells_b = ({cell.id: cell for cell in run.cells} for run in (first, second))
    only_a = [name for name in cells_a if name not in cells_b]
    only_b = [name for name in cells_b if name not in cells_a]
    shared = [(cell, cells_b[name]) for name, cell in cells_a.items() if name in cells_b]
    for cell, other in shared:
        only_a += _extra_coefficients(cell, other)
        only_b += _extra_coefficients(other, cell)
    changes = [change for pair in shared for change in _changes(*pair)]
    return Comparison(list(_settings(first, second, shared)), only_a, only_b, changes)


def _extra_coefficients(cell: CellResult, other: CellResult) -> list[str]:
    return [f"{cell.id} ({n})" for n in cell.coefficients if n not in other.coefficients]


def _changes(cell: CellResult, other: CellResult) -> Iterator[Change]:
    for name in cell.coefficients:
        a, b = result_of(cell, name), result_of(other, name)
        if a is not None and b is not None:
            yield Change(cell, name, a, b, _trend(a, b))


def _trend(a: CoefficientResult, b: CoefficientResult) -> Trend:
    lost_a, lost_b = isinstance(a, Diverged), isinstance(b, Diverged)
    if lost_a or lost_b:
        return Trend.BOTH if lost_a and lost_b else Trend.FOUND if lost_a else Trend.LOST
    fd_a, fd_b = distance(a), distance(b)
    if fd_a is None or fd_b is None:
        return Trend.UNKNOWN
    if fd_a == fd_b:
        return Trend.EQUAL
    found = compare_intervals(fd_a, fd_b)
    return {Effect.BETTER: Trend.LOWER, Effect.WORSE: Trend.HIGHER}.get(found, Trend.OVERLAP)


OF_RUN = ("preset", "interval", "versions", "machine", "hashes")
OF_CELL = ("samples", "first_seed", "sigmas", "features", "reference")


def _settings(
    a: Results, b: Results, shared: list[tuple[CellResult, CellResult]]
) -> Iterator[SettingChange]:
    """Settings of the runs, then those of shared cells (each pair of values once)."""
    for name in OF_RUN:
        values = [msgspec.to_builtins(getattr(run, name)) for run in (a, b)]
        yield from _differing(name, *values)
    seen: set[str] = set()
    for cell, other in shared:
        for key in OF_CELL:
            pair = getattr(cell, key), getattr(other, key)
            if pair[0] != pair[1] and (text := f"{key} {pair}") not in seen:
                seen.add(text)
                yield SettingChange(f"{key} ({cell.id} first)", *pair)


def _differing(name: str, a: Any, b: Any) -> Iterator[SettingChange]:
    """One change, or those of its members where both are dictionaries."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            yield from _differing(f"{name}.{key}", a.get(key), b.get(key))
    elif a != b:
        yield SettingChange(name, a, b)
