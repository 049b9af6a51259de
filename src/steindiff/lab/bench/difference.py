"""Two runs of a benchmark against each other, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from .tables import (
    Entry,
    Sheet,
    divergence_text,
    interval_text,
    markdown,
    mean_text,
    terminal_table,
)
from .verdicts import (
    Cell,
    Outcome,
    Results,
    Verdict,
    cell_title,
    compare_intervals,
    distance,
    diverged,
    outcome_of,
    read_results,
    rule_title,
)


class Move(Enum):
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
    Move.LOWER: Verdict.BETTER,
    Move.HIGHER: Verdict.WORSE,
    Move.LOST: Verdict.DIVERGED,
    Move.FOUND: Verdict.RESCUED,
    Move.OVERLAP: Verdict.NEUTRAL,
}


class SettingChange(NamedTuple):
    """A setting that the runs do not share: its name, and its value in each."""

    name: str
    a: Any
    b: Any


class Change(NamedTuple):
    """One rule in one cell of both runs."""

    cell: Cell
    rule: str
    a: Outcome
    b: Outcome
    move: Move

    @property
    def ratio(self) -> float | None:
        """The second distance over the first, where both are known."""
        a, b = distance(self.a), distance(self.b)
        return b["value"] / a["value"] if a and b and a["value"] > 0 else None


@dataclass(frozen=True)
class Difference:
    """What differs between two runs.

    Attributes:
        settings: those that differ; distances of other features or samples need not compare.
        only_a, only_b: cells, or "cell (rule)", that only one of them has.
        changes: every rule of every shared cell, in the order of the first run.
    """

    settings: list[SettingChange]
    only_a: list[str]
    only_b: list[str]
    changes: list[Change]

    @property
    def regressions(self) -> list[Change]:
        """Those whose whole interval moved above the first run's, or that diverge only now."""
        return [c for c in self.changes if c.move in (Move.HIGHER, Move.LOST)]

    @property
    def exit_status(self) -> int:
        """1 if anything regressed, else 0."""
        return int(bool(self.regressions))

    @property
    def moved(self) -> list[Change]:
        """All but the equal ones; regressions first."""
        order = [Move.LOST, Move.HIGHER, *(m for m in Move if m not in (Move.LOST, Move.HIGHER))]
        found = [c for c in self.changes if c.move not in (Move.EQUAL, Move.BOTH)]
        return sorted(found, key=lambda change: order.index(change.move))

    def sheet(self) -> Sheet:
        """A row for each change."""
        rows = [
            [
                Entry(cell_title(change.cell)),
                Entry(rule_title(change.rule)),
                Entry(_shown(change.a)),
                Entry(_shown(change.b)),
                Entry(mean_text(change.ratio)),
                Entry(change.move.value, VERDICTS.get(change.move)),
            ]
            for change in self.moved
        ]
        return Sheet(["cell", "rule", "A", "B", "change", "verdict"], rows)

    def settings_sheet(self) -> Sheet:
        """A row for each setting that differs."""
        rows = [[Entry(s.name), Entry(str(s.a)), Entry(str(s.b))] for s in self.settings]
        return Sheet(["setting", "A", "B"], rows)

    def summary(self) -> str:
        """One sentence with the counts."""
        counts = {move: sum(c.move is move for c in self.changes) for move in Move}
        parts = [f"{count} {move.value}" for move, count in counts.items() if count]
        alone = [f"{len(only)} only in {n}" for only, n in ((self.only_a, "A"), (self.only_b, "B"))]
        return f"{len(self.changes)} shared figures: {', '.join(parts) or 'none'}; " + "; ".join(
            [*alone, f"{len(self.regressions)} regressions"]
        )

    def terminal(self) -> RenderableType:
        """Everything, for rich."""
        parts: list[RenderableType] = []
        if self.settings:
            parts.append(terminal_table("Settings that differ", self.settings_sheet()))
        for name, only in (("A", self.only_a), ("B", self.only_b)):
            if only:
                parts.append(Text(f"Only in {name}: {', '.join(only)}"))
        if self.moved:
            parts.append(terminal_table("Fréchet distance, 95% intervals", self.sheet()))
        return Group(*parts, Text(self.summary()))

    def markdown(self) -> str:
        """Everything, for a file."""
        parts = []
        if self.settings:
            parts.append(markdown(*self.settings_sheet()))
        for name, only in (("A", self.only_a), ("B", self.only_b)):
            parts += [f"Only in {name}: {', '.join(only)}"] if only else []
        if self.moved:
            parts.append(markdown(*self.sheet()))
        return "\n\n".join([*parts, self.summary()]) + "\n"


def compare_results(a: Path, b: Path) -> Difference:
    """Compares the results in folder `a` with those in `b`; `b` is the newer one.

    Raises:
        FileNotFoundError: a folder has no results.
        ValueError: results are damaged or of another format.
    """
    first, second = read_results(a), read_results(b)
    cells_a = {cell["id"]: cell for cell in first["cells"]}
    cells_b = {cell["id"]: cell for cell in second["cells"]}
    only_a = [name for name in cells_a if name not in cells_b]
    only_b = [name for name in cells_b if name not in cells_a]
    changes = []
    for name, cell in cells_a.items():
        if name not in cells_b:
            continue
        other = cells_b[name]
        only_a += _extra_rules(cell, other)
        only_b += _extra_rules(other, cell)
        changes += _changes(cell, other)
    return Difference(list(_settings(first, second, cells_a, cells_b)), only_a, only_b, changes)


def _extra_rules(cell: Cell, other: Cell) -> list[str]:
    return [f"{cell['id']} ({rule})" for rule in cell["rules"] if rule not in other["rules"]]


def _changes(cell: Cell, other: Cell) -> Iterator[Change]:
    for rule in cell["rules"]:
        a, b = outcome_of(cell, rule), outcome_of(other, rule)
        if a is not None and b is not None:
            yield Change(cell, rule, a, b, _move(a, b))


def _move(a: Outcome, b: Outcome) -> Move:
    if diverged(a) or diverged(b):
        if diverged(a) and diverged(b):
            return Move.BOTH
        return Move.FOUND if diverged(a) else Move.LOST
    fd_a, fd_b = distance(a), distance(b)
    if fd_a is None or fd_b is None:
        return Move.UNKNOWN
    if fd_a == fd_b:
        return Move.EQUAL
    found = compare_intervals(fd_a, fd_b)
    return {Verdict.BETTER: Move.LOWER, Verdict.WORSE: Move.HIGHER}.get(found, Move.OVERLAP)


def _shown(outcome: Outcome) -> str:
    if diverged(outcome):
        return divergence_text(outcome)
    fd = distance(outcome)
    return "—" if fd is None else interval_text(fd)


TOP = ("preset", "interval", "versions", "machine", "hashes")
OF_CELL = ("samples", "first_seed", "sigmas", "features", "reference")


def _settings(
    a: Results, b: Results, cells_a: dict[str, Cell], cells_b: dict[str, Cell]
) -> Iterator[SettingChange]:
    """Settings of the runs, then those of shared cells (each pair of values once)."""
    for name in TOP:
        yield from _differing(name, a.get(name), b.get(name))
    seen: set[str] = set()
    for name, cell in cells_a.items():
        for key in OF_CELL:
            pair = (cell.get(key), cells_b[name].get(key)) if name in cells_b else (None, None)
            if pair[0] != pair[1] and (text := f"{key} {pair}") not in seen:
                seen.add(text)
                yield SettingChange(f"{key} ({name} first)", *pair)


def _differing(name: str, a: Any, b: Any) -> Iterator[SettingChange]:
    """One change, or those of its members where both are dictionaries."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            yield from _differing(f"{name}.{key}", a.get(key), b.get(key))
    elif a != b:
        yield SettingChange(name, a, b)
