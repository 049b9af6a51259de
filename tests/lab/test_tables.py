"""Tables in each of their formats."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_results import fake_results
from rich.console import Console

from steindiff.lab.bench.judging import Effect
from steindiff.lab.bench.tables import summary_tables
from steindiff.lab.tables import Column, Entry, Table, plain_table, render

TABLE = Table(
    [Column("solver", words=True), Column("guidance", short="w"), Column("more", terminal=False)],
    [
        [Entry("DPM++ 2M"), Entry("3.1 [3.0, 3.2]", Effect.BETTER, short="3.1"), Entry("50%")],
        [Entry("a|b & c_d"), Entry("γ = 1"), Entry('"x", y')],
    ],
    "A title",
)


def shown(table: Table, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render(table, "terminal"))
    return console.export_text()


def test_markdown() -> None:
    assert render(TABLE, "markdown").splitlines() == [
        "| solver | guidance | more |",
        "| --- | --- | --- |",
        "| DPM++ 2M | **3.1** [3.0, 3.2] | 50% |",
        '| a\\|b & c_d | γ = 1 | "x", y |',
    ]
    assert render(plain_table(["a"], [["x|y"]]), "markdown").endswith("| x\\|y |")


def test_csv_holds_every_text() -> None:
    rows = list(csv.reader(io.StringIO(render(TABLE, "csv"))))
    assert rows == [TABLE.headings, *([entry.text for entry in row] for row in TABLE.rows)]


def test_latex_is_escaped_and_aligned() -> None:
    assert render(TABLE, "latex").splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"solver & guidance & more \\",
        r"\midrule",
        r"DPM++ 2M & \textbf{3.1} [3.0, 3.2] & 50\% \\",
        r'a|b \& c\_d & $\gamma$ = 1 & "x", y \\',
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_terminal_gets_short_heads_and_less() -> None:
    text = shown(TABLE)
    assert "A title" in text
    assert " w " in text
    assert "▼ 3.1 " in text
    for absent in ("guidance", "[3.0", "50%"):
        assert absent not in text


def test_markup_is_text() -> None:
    assert "[bold]x[/bold]" in shown(plain_table(["a"], [["[bold]x[/bold]"]]))


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format is 'html'; one of terminal, csv, markdown, latex"):
        render(TABLE, "html")  # type: ignore[call-overload]


@dataclass(frozen=True)
class Narrow:
    """What a table looks like at 80 columns."""

    table: Table

    def check(self) -> None:
        """Every head stands on one line; every figure is whole; nothing is wider."""
        text = shown(self.table)
        lines = text.splitlines()
        assert max(map(len, lines)) <= 80
        kept = [k for k, column in enumerate(self.table.columns) if column.terminal]
        heads = [self.table.columns[k].short or self.table.columns[k].heading for k in kept]
        assert any(all(head in line for head in heads) for line in lines), text
        for row in self.table.rows:
            for k in kept:
                if not self.table.columns[k].words:
                    assert any(row[k].marked in line for line in lines), row[k]


def test_every_table_of_a_bench_fits_80_columns(tmp_path: Path) -> None:
    models = (("mixture:dim=64,modes=10,separation=8,error=0.1", 1.0), ("fashion-mnist", 2.5))
    for name, solvers in (
        ("few", ("ipndm:order=4,lower_order_final=true", "unipc:2,variant=bh1", "heun", "euler")),
        ("many", ("euler", "dpmpp_2m", "ipndm:3", "deis:3", "unipc:2,variant=bh1", "heun")),
    ):
        results = fake_results(tmp_path / name, models=models, solvers=solvers, samples=False)
        for table in summary_tables(results):
            Narrow(table).check()
