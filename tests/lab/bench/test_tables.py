"""Verdicts, summaries and tables, against figures worked out by hand."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_results import broken, fake_cell, fake_results, typed
from rich.console import Console

from steindiff.lab.bench import judging, tables
from steindiff.lab.bench.glossary import METRICS
from steindiff.lab.bench.judging import Effect
from steindiff.lab.bench.results import CellResult, Interval
from steindiff.lab.bench.titles import solver_title
from steindiff.lab.tables import render


def raw(solver: str = "euler", **where: Any) -> dict[str, Any]:
    setting = {"model": "m", "guidance": 1.0, "schedule": "karras", "nfe": 5, **where}
    return fake_cell(**setting, solver=solver, noise=1.0)


def cell(solver: str = "euler", **where: Any) -> CellResult:
    return typed(raw(solver, **where))


def with_ratio(value: float, low: float, high: float, solver: str = "euler") -> CellResult:
    made = raw(solver)
    made["rules"]["energy"]["ratio"] = {"value": value, "low": low, "high": high}
    return typed(made)


def with_distances(
    base: tuple[float, float, float], relaxed: tuple[float, float, float], **where: Any
) -> CellResult:
    made = raw(**where)
    for rule, (value, low, high) in (("base", base), ("energy", relaxed)):
        made["rules"][rule]["metrics"]["fd"] = {"value": value, "low": low, "high": high}
    return typed(made)


def changed(cell: CellResult, **results: dict[str, Any] | None) -> CellResult:
    """The cell with other results of these coefficients; None takes one away."""
    made = msgspec.to_builtins(cell)
    made["rules"] = {
        name: value for name, value in {**made["rules"], **results}.items() if value is not None
    }
    return typed(made)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("euler", "Euler / DDIM"),
        ("ipndm:3", "iPNDM-3"),
        ("unipc:2,variant=bh1", "UniPC-2-bh1"),
        ("deis:order=2", "DEIS-2"),
        ("mine:4", "mine-4"),
    ],
)
def test_title(spec: str, expected: str) -> None:
    assert solver_title(spec) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        ((0.6, 0.5, 0.7), Effect.BETTER),
        ((1.6, 1.5, 1.7), Effect.WORSE),
        ((0.97, 0.93, 1.01), Effect.NEUTRAL),
        ((0.9, 0.8, 1.0), Effect.NEUTRAL),  # touches no change
        ((1.1, 1.0, 1.2), Effect.NEUTRAL),
        ((math.nan, 0.5, 0.7), Effect.NONE),
    ],
)
def test_verdict_by_the_interval(ratio: tuple[float, float, float], expected: Effect) -> None:
    assert judging.effect_of(with_ratio(*ratio), "energy") is expected


def test_verdicts_where_something_diverged() -> None:
    made = changed(cell(), energy=broken(3))
    assert judging.effect_of(made, "energy") is Effect.DIVERGED
    assert tables.change_entry(made, "energy").text == "diverged at step 3"
    assert judging.effect_of(made, "nothing") is Effect.NONE
    made = changed(made, base=broken(1))
    assert judging.effect_of(made, "energy") is Effect.BOTH
    assert judging.effect_of(made, "random") is Effect.RESCUED
    assert judging.effect_of(made, "one") is Effect.BOTH  # gamma = 1 is the base


def test_a_rule_that_equals_the_base() -> None:
    made = cell()
    assert judging.effect_of(made, "one") is Effect.NEUTRAL
    assert judging.distance(judging.result_of(made, "one")) == judging.distance(
        made.coefficients["base"]
    )
    assert tables.change_entry(made, "one").text == "= base"


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        ((0.59, 0.56, 0.64), "-41% [-44, -36]"),
        ((0.97, 0.934, 1.012), "-3.0% [-6.6, +1.2]"),
        ((12.34, 11.0, 13.5), "×12.3 [11.0, 13.5]"),
        ((1.0, 0.9999, 1.0001), "0.0% [0.0, 0.0]"),
    ],
)
def test_change_text(ratio: tuple[float, float, float], expected: str) -> None:
    value, low, high = ratio
    assert tables.change_text(Interval(value=value, low=low, high=high)) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(3.1, "3.10"), (1959.09, "1,959"), (0.00123, "0.00123"), (100.0, "100")]
)
def test_figure(value: float, expected: str) -> None:
    assert tables.figure(value) == expected


def test_summary_counts_means_and_extremes() -> None:
    lost = changed(with_ratio(1, 1, 1, "deis:3"), energy=broken(2))
    cells = [
        with_ratio(0.5, 0.4, 0.6),
        with_ratio(2.0, 1.9, 2.1, "heun"),
        with_ratio(1.0, 0.9, 1.1, "dpmpp_2m"),
        with_ratio(0.125, 0.1, 0.15, "ipndm:3"),
    ]
    summary = judging.summarise(cells)
    assert summary.mean == pytest.approx((0.5 * 2.0 * 0.125) ** 0.25)
    assert [summary.count(v) for v in (Effect.BETTER, Effect.NEUTRAL, Effect.WORSE)] == [2, 1, 1]
    assert summary.best is cells[3]
    assert summary.worst is cells[1]
    assert judging.summarise([*cells, lost]).worst is lost
    assert judging.summarise([*cells, lost]).mean == summary.mean


def test_the_mean_of_nothing() -> None:
    assert judging.summarise([]).mean is None
    assert tables.mean_text(None) == "—"


def test_best_against_best_over_solvers_and_schedules() -> None:
    a = with_distances((1.0, 0.9, 1.1), (2.0, 1.9, 2.1))
    b = with_distances((3.0, 2.9, 3.1), (0.5, 0.4, 0.6), schedule="log_snr")
    (best,) = judging.best_against_best([a, b])
    assert best.base is a
    assert best.relaxed is b
    assert best.ratio == 0.5
    assert best.effect is Effect.BETTER
    a, b = (msgspec.structs.replace(x, usual=x is a) for x in (a, b))
    (usual,) = judging.best_against_best([a, b], usual=True)
    assert usual.relaxed is a


def test_best_against_best_uses_the_paired_interval_of_one_cell() -> None:
    found = msgspec.to_builtins(with_distances((1.0, 0.8, 1.2), (0.9, 0.7, 1.1)))
    found["rules"]["energy"]["ratio"] = {"value": 0.9, "low": 0.85, "high": 0.95}
    made = typed(found)
    (best,) = judging.best_against_best([made])
    assert best.effect is Effect.BETTER  # the unpaired intervals overlap


def test_best_against_best_leaves_out_what_cost_more() -> None:
    found = msgspec.to_builtins(with_distances((1.0, 0.9, 1.1), (0.1, 0.09, 0.11)))
    found["rules"]["energy"]["nfe"] = 10
    dear = typed(found)
    fair = with_distances((2.0, 1.9, 2.1), (0.6, 0.5, 0.7), solver="heun")
    (best,) = judging.best_against_best([dear, fair])
    assert best.relaxed is fair


def test_equal_nfe_only() -> None:
    found = judging.best_against_best([cell(nfe=8), cell(nfe=5), cell(nfe=12)])
    assert [best.nfe for best in found] == [5, 8, 12]


def test_rules_are_averaged_over_the_cells_that_all_have() -> None:
    other = changed(with_ratio(0.8, 0.7, 0.9, "heun"), random=broken(1))
    cells = [with_ratio(0.5, 0.4, 0.6), other]
    sheet = tables.coefficients_table(cells, ["energy", "random"])
    assert "mean, 1 shared cells" in sheet.headings
    assert sheet.rows[0][sheet.headings.index("mean, 1 shared cells")].text == "-50.0%"


def test_every_sheet_is_rectangular_and_complete(tmp_path: Path) -> None:
    cells = fake_results(tmp_path, samples=False).cells
    rules = [rule for rule in judging.coefficients_of(cells) if rule != "base"]
    sheets = {
        "groups": tables.groups_table(cells),
        "rules": tables.coefficients_table(cells, rules),
        "best": tables.best_table(cells),
        "cells": tables.cells_table(cells, rules, ("nfe",)),
        "metrics": tables.metrics_table(cells, ["base", *rules], ("nfe",)),
    }
    for sheet in sheets.values():
        assert {len(row) for row in sheet.rows} == {len(sheet.headings)}
    assert len(sheets["cells"].rows) == len(cells)
    texts = {entry.text for row in sheets["cells"].rows for entry in row}
    assert {"diverged at step 1", "diverged at step 2", "diverged at step 3"} <= texts
    titles = {metric.title for metric in METRICS if metric.key != "fd_to_exact"}  # of mixtures
    assert titles <= set(sheets["metrics"].headings)


def test_markdown_marks_what_is_significant() -> None:
    made = [with_ratio(0.59, 0.56, 0.64), with_ratio(0.97, 0.93, 1.01, "ipndm:3")]
    text = render(tables.cells_table(made, ["energy"]), "markdown")
    lines = text.splitlines()
    assert lines[0] == "| solver | base | SteinDiff | change |"
    assert lines[2].endswith("| **-41%** [-44, -36] |")
    assert lines[3].endswith("| -3.0% [-7.0, +1.0] |")


def test_terminal_shows_symbols_and_no_markup(tmp_path: Path) -> None:
    """Brackets of intervals must not be taken for markup."""
    results = fake_results(tmp_path, nfe=(5,), samples=False)
    console = Console(width=300, record=True, file=io.StringIO())
    for table in tables.summary_tables(results):
        console.print(render(table, "terminal"))
    text = console.export_text()
    first = results.cells[0]
    assert f"▼ {tables.change_entry(first, 'energy').text}" in text
    assert "✕ diverged at step 3" in text
