"""Two runs against each other: what moved, what is new, and what counts as a regression."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from fake_results import broken, fake_results
from rich.console import Console

from steindiff.lab.bench.compare_runs import Comparison, Trend, compare_results
from steindiff.lab.tables import render


class Pair:
    """Two folders with equal results, the second to be changed."""

    def __init__(self, folder: Path) -> None:
        self.a, self.b = folder / "a", folder / "b"
        for side in (self.a, self.b):
            fake_results(side, nfe=(5,), schedules=("karras",), solvers=("euler", "ipndm:3"),
                         samples=False)  # fmt: skip
        self.results: dict[str, Any] = json.loads((self.b / "results.json").read_text())

    def rule(self, name: str, cell: int = 0) -> dict[str, Any]:
        return self.results["cells"][cell]["rules"][name]

    def compare(self) -> Comparison:
        (self.b / "results.json").write_text(json.dumps(self.results))
        return compare_results(self.a, self.b)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_equal_runs(pair: Pair) -> None:
    found = pair.compare()
    assert {change.trend for change in found.changes} == {Trend.EQUAL}
    assert len(found.changes) == 4 * 6
    assert (found.settings, found.only_a, found.only_b, found.moved) == ([], [], [], [])
    assert found.exit_status == 0


@pytest.mark.parametrize(
    ("factor", "trend", "regressions"),
    [(1.2, Trend.HIGHER, 1), (1.05, Trend.OVERLAP, 0), (0.8, Trend.LOWER, 0)],
)
def test_moves_by_the_intervals(pair: Pair, factor: float, trend: Trend, regressions: int) -> None:
    """The made-up intervals reach 5% to either side."""
    fd = pair.rule("energy")["metrics"]["fd"]
    fd.update({key: factor * value for key, value in fd.items()})
    found = pair.compare()
    assert [change.trend for change in found.moved] == [trend]
    assert found.moved[0].ratio == pytest.approx(factor)
    assert (len(found.regressions), found.exit_status) == (regressions, regressions)


def test_divergence(pair: Pair) -> None:
    pair.results["cells"][0]["rules"]["energy"] = broken(3)
    pair.results["cells"][1]["rules"]["random"] = broken(1)
    forward = pair.compare()
    assert [change.trend for change in forward.moved] == [Trend.LOST, Trend.LOST]
    assert forward.exit_status == 1
    backward = compare_results(pair.b, pair.a)
    assert [change.trend for change in backward.moved] == [Trend.FOUND, Trend.FOUND]
    assert backward.exit_status == 0


def test_cells_and_rules_of_one_run_only(pair: Pair) -> None:
    gone = pair.results["cells"].pop()
    del pair.results["cells"][0]["rules"]["oracle"]
    found = pair.compare()
    assert found.only_a == [gone["id"], f"{pair.results['cells'][0]['id']} (oracle)"]
    assert found.only_b == []
    assert compare_results(pair.b, pair.a).only_b == found.only_a
    assert found.exit_status == 0


def test_settings_that_differ(pair: Pair) -> None:
    pair.results["versions"]["torch"] = "9.9"
    pair.results["hashes"]["fashion-mnist"]["denoiser"] = "f" * 64
    for cell in pair.results["cells"]:
        cell["samples"] = 500
    found = {change.name.split(" ")[0]: change for change in pair.compare().settings}
    assert set(found) == {"versions.torch", "hashes.fashion-mnist.denoiser", "samples"}
    assert (found["samples"].a, found["samples"].b) == (2000, 500)


def test_what_is_printed(pair: Pair) -> None:
    pair.results["cells"][0]["rules"]["energy"] = broken(3)
    pair.results["versions"]["torch"] = "9.9"
    found = pair.compare()
    console = Console(width=200, record=True, file=io.StringIO())
    for table in found.tables():
        console.print(render(table, "terminal"))
    plain = "\n".join(render(table, "markdown") for table in found.tables())
    for text in (console.export_text(), plain):
        assert "diverged at step 3" in text
        assert "diverges now" in text
        assert "versions.torch" in text
    assert "1 regressions" in found.sentences()[-1]
