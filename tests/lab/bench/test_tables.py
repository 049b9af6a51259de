"""Verdicts, summaries and tables, against figures worked out by hand."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from fake_results import broken, fake_cell, fake_results
from rich.console import Console
from steindiff.lab.bench.verdicts import Verdict

from steindiff.lab.bench import tables, verdicts
from steindiff.lab.bench.glossary import METRICS


def cell(solver: str = "euler", **where: Any) -> dict[str, Any]:
    setting = {"model": "m", "guidance": 1.0, "schedule": "karras", "nfe": 5, **where}
    return fake_cell(**setting, solver=solver, noise=1.0)


def with_ratio(value: float, low: float, high: float, solver: str = "euler") -> dict[str, Any]:
    made = cell(solver)
    made["rules"]["energy"]["ratio"] = {"value": value, "low": low, "high": high}
    return made


def with_distances(
    base: tuple[float, float, float], relaxed: tuple[float, float, float], **where: Any
) -> dict[str, Any]:
    made = cell(**where)
    for rule, (value, low, high) in (("base", base), ("energy", relaxed)):
        made["rules"][rule]["metrics"]["fd"] = {"value": value, "low": low, "high": high}
    return made


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
    assert verdicts.title(spec) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        ((0.6, 0.5, 0.7), Verdict.BETTER),
        ((1.6, 1.5, 1.7), Verdict.WORSE),
        ((0.97, 0.93, 1.01), Verdict.NEUTRAL),
        ((0.9, 0.8, 1.0), Verdict.NEUTRAL),  # touches no change
        ((1.1, 1.0, 1.2), Verdict.NEUTRAL),
        ((math.nan, 0.5, 0.7), Verdict.NONE),
    ],
)
def test_verdict_by_the_interval(ratio: tuple[float, float, float], expected: Verdict) -> None:
    assert verdicts.verdict(with_ratio(*ratio), "energy") is expected


def test_verdicts_where_something_diverged() -> None:
    made = cell()
    made["rules"]["energy"] = broken(3)
    assert verdicts.verdict(made, "energy") is Verdict.DIVERGED
    assert tables.change_entry(made, "energy").text == "diverged at step 3"
    assert verdicts.verdict(made, "nothing") is Verdict.NONE
    made["rules"]["base"] = broken(1)
    assert verdicts.verdict(made, "energy") is Verdict.BOTH
    assert verdicts.verdict(made, "random") is Verdict.RESCUED
    assert verdicts.verdict(made, "one") is Verdict.BOTH  # gamma = 1 is the base


def test_a_rule_that_equals_the_base() -> None:
    made = cell()
    assert verdicts.verdict(made, "one") is Verdict.NEUTRAL
    assert verdicts.distance(verdicts.outcome_of(made, "one")) == verdicts.distance(
        made["rules"]["base"]
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
    assert tables.change_text({"value": value, "low": low, "high": high}) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(3.1, "3.10"), (1959.09, "1,959"), (0.00123, "0.00123"), (100.0, "100")]
)
def test_figure(value: float, expected: str) -> None:
    assert tables.figure(value) == expected


def test_summary_counts_means_and_extremes() -> None:
    lost = with_ratio(1, 1, 1, "deis:3")
    lost["rules"]["energy"] = broken(2)
    cells = [
        with_ratio(0.5, 0.4, 0.6),
        with_ratio(2.0, 1.9, 2.1, "heun"),
        with_ratio(1.0, 0.9, 1.1, "dpmpp_2m"),
        with_ratio(0.125, 0.1, 0.15, "ipndm:3"),
    ]
    summary = verdicts.summarise(cells)
    assert summary.mean == pytest.approx((0.5 * 2.0 * 0.125) ** 0.25)
    assert [summary.count(v) for v in (Verdict.BETTER, Verdict.NEUTRAL, Verdict.WORSE)] == [2, 1, 1]
    assert summary.best is cells[3]
    assert summary.worst is cells[1]
    assert verdicts.summarise([*cells, lost]).worst is lost
    assert verdicts.summarise([*cells, lost]).mean == summary.mean


def test_the_mean_of_nothing() -> None:
    assert verdicts.summarise([]).mean is None
    assert tables.mean_text(None) == "—"


def test_best_against_best_over_solvers_and_schedules() -> None:
    a = with_distances((1.0, 0.9, 1.1), (2.0, 1.9, 2.1))
    b = with_distances((3.0, 2.9, 3.1), (0.5, 0.4, 0.6), schedule="log_snr")
    (best,) = verdicts.best_against_best([a, b])
    assert best.base is a
    assert best.relaxed is b
    assert best.ratio == 0.5
    assert best.verdict is Verdict.BETTER
    a["usual"], b["usual"] = True, False
    (usual,) = verdicts.best_against_best([a, b], usual=True)
    assert usual.relaxed is a


def test_best_against_best_uses_the_paired_interval_of_one_cell() -> None:
    made = with_distances((1.0, 0.8, 1.2), (0.9, 0.7, 1.1))
    made["rules"]["energy"]["ratio"] = {"value": 0.9, "low": 0.85, "high": 0.95}
    (best,) = verdicts.best_against_best([made])
    assert best.verdict is Verdict.BETTER  # the unpaired intervals overlap


def test_best_against_best_leaves_out_what_cost_more() -> None:
    dear = with_distances((1.0, 0.9, 1.1), (0.1, 0.09, 0.11))
    dear["rules"]["energy"]["nfe"] = 10
    fair = with_distances((2.0, 1.9, 2.1), (0.6, 0.5, 0.7), solver="heun")
    (best,) = verdicts.best_against_best([dear, fair])
    assert best.relaxed is fair


def test_equal_nfe_only() -> None:
    found = verdicts.best_against_best([cell(nfe=8), cell(nfe=5), cell(nfe=12)])
    assert [best.nfe for best in found] == [5, 8, 12]


def test_rules_are_averaged_over_the_cells_that_all_have() -> None:
    cells = [with_ratio(0.5, 0.4, 0.6), with_ratio(0.8, 0.7, 0.9, "heun")]
    cells[1]["rules"]["random"] = broken(1)
    sheet = tables.rules_sheet(cells, ["energy", "random"])
    assert "mean, 1 shared cells" in sheet.headings
    assert sheet.rows[0][sheet.headings.index("mean, 1 shared cells")].text == "-50.0%"


def test_every_sheet_is_rectangular_and_complete(tmp_path: Path) -> None:
    cells = fake_results(tmp_path, samples=False)["cells"]
    rules = [rule for rule in verdicts.rules_of(cells) if rule != "base"]
    sheets = {
        "groups": tables.groups_sheet(cells),
        "rules": tables.rules_sheet(cells, rules),
        "best": tables.best_sheet(cells),
        "cells": tables.cells_sheet(cells, rules, ("nfe",)),
        "metrics": tables.metrics_sheet(cells, ["base", *rules], ("nfe",)),
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
    text = tables.markdown(*tables.cells_sheet(made, ["energy"]))
    lines = text.splitlines()
    assert lines[0] == "| solver | base | SteinDiff | change |"
    assert lines[2].endswith("| **-41%** [-44, -36] |")
    assert lines[3].endswith("| -3.0% [-7.0, +1.0] |")
    assert tables.markdown(["a"], [["x|y"]]).endswith("| x\\|y |")


def test_terminal_shows_symbols_and_no_markup(tmp_path: Path) -> None:
    """Brackets of intervals must not be taken for markup."""
    results = fake_results(tmp_path, nfe=(5,), samples=False)
    console = Console(width=300, record=True, file=io.StringIO())
    for table in tables.terminal_summary(results):
        console.print(table)
    text = console.export_text()
    first = results["cells"][0]
    assert f"▼ {tables.change_entry(first, 'energy').text}" in text
    assert "✕ diverged at step 3" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is damaged"), ('{"format": 2}', "has format 2"), ("[]", "has format None")],
)
def test_results_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        verdicts.read_results(tmp_path)


def test_results_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="steindiff bench"):
        verdicts.read_results(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"format": 1, "cells": []}))
    assert verdicts.read_results(tmp_path)["cells"] == []
