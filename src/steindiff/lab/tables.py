"""Tables: made once, shown in a terminal, or written as CSV, Markdown or LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, overload

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

Format = Literal["terminal", "csv", "markdown", "latex"]


class Mark(Protocol):
    """What an entry says about something: a sign, a colour, and whether it stands out in print."""

    @property
    def symbol(self) -> str: ...

    @property
    def style(self) -> str: ...

    @property
    def strong(self) -> bool: ...


class Entry(NamedTuple):
    """What stands in a table.

    Attributes:
        text: all of it.
        mark: what it says, if anything.
        remark: more of it, for HTML.
        short: what a terminal shows in its place, where that is less.
    """

    text: str
    mark: Mark | None = None
    remark: str = ""
    short: str | None = None

    @property
    def marked(self) -> str:
        """The short text behind its symbol, for where there is no other emphasis."""
        shown = self.text if self.short is None else self.short
        return f"{self.mark.symbol if self.mark else ''} {shown}".strip()


class Column(NamedTuple):
    """A column.

    Attributes:
        heading: its head.
        words: whether it holds words, which are set to the left and may be wrapped; figures are
            set to the right and never wrapped.
        short: its head in a terminal, where that is another.
        terminal: whether a terminal shows it at all.
    """

    heading: str
    words: bool = False
    short: str | None = None
    terminal: bool = True


@dataclass(frozen=True)
class Table:
    """Columns, and rows of as many entries; a title where it stands alone."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    title: str = ""

    @property
    def headings(self) -> list[str]:
        """The heads of all columns."""
        return [column.heading for column in self.columns]


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str | Entry]]) -> Table:
    """A table of texts; the first column holds words."""
    columns = [Column(heading, words=k == 0) for k, heading in enumerate(headings)]
    return Table(columns, [[Entry(e) if isinstance(e, str) else e for e in row] for row in rows])


@overload
def render(table: Table, format: Literal["terminal"]) -> RichTable: ...
@overload
def render(table: Table, format: Literal["csv", "markdown", "latex"]) -> str: ...
def render(table: Table, format: Format) -> RichTable | str:
    """The table for a terminal (to be printed by rich), or as a text in one of the other formats.

    Raises:
        ValueError: an unknown format.
    """
    if format not in RENDERERS:
        raise ValueError(f"format is {format!r}; one of {', '.join(RENDERERS)} is needed")
    return RENDERERS[format](table)


def _terminal(table: Table) -> RichTable:
    """Signs beside the colours; heads and figures stay on one line, nothing is cut off."""
    shown = RichTable(
        title=Text(table.title) if table.title else None,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    kept = [k for k, column in enumerate(table.columns) if column.terminal]
    for column in (table.columns[k] for k in kept):
        heading = column.heading if column.short is None else column.short
        shown.add_column(
            Text(heading),
            justify="left" if column.words else "right",
            no_wrap=not column.words,
            min_width=len(heading),
            overflow="fold",
        )
    for row in table.rows:
        entries = [row[k] for k in kept]
        shown.add_row(*(Text(e.marked, e.mark.style if e.mark else "") for e in entries))
    return shown


def _csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.headings)
    writer.writerows([entry.text for entry in row] for row in table.rows)
    return stream.getvalue()


def _markdown(table: Table) -> str:
    """What stands out is bold, up to its interval."""
    lines = [
        table.headings,
        ["---"] * len(table.columns),
        *([_strong(_flat(e.text).replace("|", "\\|"), e.mark, "**{}**") for e in row]
          for row in table.rows),
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "γ": r"$\gamma$", "ρ": r"$\rho$", "∞": r"$\infty$", "×": r"$\times$", "±": r"$\pm$",
    "≈": r"$\approx$", "→": r"$\to$", "—": "---", "′": "$'$", "²": "$^2$",
}  # fmt: skip


def _latex(table: Table) -> str:
    """A tabular between the rules of the package booktabs."""

    def escaped(text: str) -> str:
        return "".join(_TEX.get(letter, letter) for letter in _flat(text))

    lines = [[escaped(heading) for heading in table.headings]]
    lines += [
        [_strong(escaped(e.text), e.mark, r"\textbf{{{}}}") for e in row] for row in table.rows
    ]
    head, *body = [" & ".join(line) + r" \\" for line in lines]
    places = "".join("l" if column.words else "r" for column in table.columns)
    return "\n".join(
        [rf"\begin{{tabular}}{{{places}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule",
         r"\end{tabular}"]
    )  # fmt: skip


def _strong(text: str, mark: Mark | None, form: str) -> str:
    if mark is None or not mark.strong:
        return text
    head, bracket, rest = text.partition(" [")
    return form.format(head) + bracket + rest


def _flat(text: str) -> str:
    return text.replace("\n", " ")


RENDERERS: dict[str, Callable[[Table], RichTable | str]] = {
    "terminal": _terminal,
    "csv": _csv,
    "markdown": _markdown,
    "latex": _latex,
}
