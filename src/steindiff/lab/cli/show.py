"""Prints tables, in the format that was asked for, and what their signs mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..tables import Table, plain_table, render

FORMATS = {"table": "terminal", "csv": "csv", "markdown": "markdown", "latex": "latex"}
"""What --format may be, and what `render` calls it."""


def check_format(format: str) -> None:
    """Raises ValueError for a format that `show` does not know."""
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}; one of {', '.join(FORMATS)} is needed")


def show(tables: Iterable[Table], format: str, signs: Mapping[str, str] | None = None) -> None:
    """Prints tables on standard output; under each in a terminal stands what its signs mean.

    Args:
        tables: a blank line stands between two.
        format: of `FORMATS`.
        signs: what the signs mean that stand beside entries.

    Raises:
        ValueError: an unknown format.
    """
    check_format(format)
    for index, table in enumerate(tables):
        if index:
            typer.echo()
        shown = render(table, cast(Any, FORMATS[format]))
        if isinstance(shown, str):
            typer.echo(shown.rstrip("\n"))
            continue
        Console().print(shown)
        if line := legend(table, signs or {}):
            Console().print(line, style="dim", highlight=False)


def legend(table: Table, signs: Mapping[str, str]) -> str:
    """What those of the signs mean that stand in the table, in a line; empty if none do."""
    said = " ".join(entry.marked for row in table.rows for entry in row)
    return "  ".join(f"{sign} {meaning}" for sign, meaning in signs.items() if sign in said)


def remark(text: str, format: str) -> None:
    """Prints a sentence beside the tables: on standard error where they are data for a program."""
    typer.echo(text, err=format != "table")


@contextmanager
def progress(what: str, total: int, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """A bar on standard error, if it is to be shown; what is given is to be told of work done."""
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)


def texts(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of texts, under a title."""
    table = plain_table(headings, rows)
    return replace(table, title=title, columns=[c._replace(words=True) for c in table.columns])


def figures(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of figures, named in its first column, under a title."""
    return replace(plain_table(headings, rows), title=title)
