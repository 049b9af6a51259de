"""`steindiff bench`: what it writes, says and refuses."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import Command, Outcome, check_help
from small import MIXTURE, Breaking
from typer.testing import CliRunner

from steindiff.lab import locks
from steindiff.lab.bench import report
from steindiff.lab.bench import run as bench_run
from steindiff.lab.bench.cell_sampling import measure_cell
from steindiff.lab.bench.grid import presets
from steindiff.lab.bench.results import read_results
from steindiff.lab.cli.commands import app
from steindiff.lab.folders import claim
from steindiff.lab.locks import lock_rank
from steindiff.solvers import SOLVERS

GRID = f"""
resamples = 20
sweep = [0.99]
[[cells]]
model = "{MIXTURE}"
nfe = 4
solver = ["euler", "heun"]
seeds = "0-31"
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(GRID)
    return path


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the report, which takes longer than a bench so small, where nobody looks at it."""
    monkeypatch.setattr(report, "write_report", lambda folder: folder / "report.html")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished bench; not to be written to."""
    folder = tmp_path_factory.mktemp("bench")
    path = folder / "tiny.toml"
    path.write_text(GRID)
    with pytest.MonkeyPatch.context() as patch:
        command = ["bench", "--grid", str(path), "--out", str(folder / "out")]
        patch.setattr(sys, "argv", ["steindiff", *command])
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return folder / "out"


def refused(outcome: Outcome, *said: str) -> None:
    """Exit code 2, and one line on standard error that says what is wrong."""
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.out + outcome.err
    (line,) = outcome.err.strip().splitlines()
    assert line.startswith("Error: ")
    for part in said:
        assert part in line


def test_help() -> None:
    check_help(["bench"], ["--preset", *presets(), "--grid", "--compare", "--out"])


def test_a_grid_is_measured_and_shown(
    steindiff: Command, grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the progress names what it is at."""
    told: list[str] = []
    original = bench_run.run_bench

    def watched(*args: Any, tell: Callable[[str], object], **kwargs: Any) -> Any:
        def both(text: str) -> None:
            told.append(text)
            tell(text)

        return original(*args, tell=both, **kwargs)

    monkeypatch.setattr(bench_run, "run_bench", watched)
    out = tmp_path / "out"
    outcome = steindiff("bench", "--grid", grid, "--out", out)
    assert outcome.code == 0, outcome.err
    assert told[0] == f"fine solution of {MIXTURE}, guidance 1"
    assert told[1:] == [f"{MIXTURE}-g1/karras/4/{name}/s0-31" for name in ("euler", "heun")]
    results = read_results(out)
    assert results.complete is True
    assert results.preset is None
    assert results.command == f"steindiff bench --grid {grid} --out {out}"
    assert [cell.solver for cell in results.cells] == ["euler", "heun"]
    assert (out / "report.html").is_file()
    for part in ("Euler / DDIM", "Heun", "SteinDiff", "Best against best", str(out)):
        assert part in outcome.out
    assert "100%" in outcome.out  # the progress bar came to its end
    (last,) = [line for line in outcome.out.splitlines() if line.startswith("report: ")]
    assert last == f"report: {out / 'report.html'}   figures: {out / 'results.json'}"


def test_a_preset(steindiff: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its grid and name reach the bench; the folder has its name."""
    asked: list[Any] = []

    def stop(grid: Any, folder: Path, **options: Any) -> Any:
        asked.append((grid, folder, options["preset"], options["device"], options["overwrite"]))
        raise ValueError("enough")

    monkeypatch.setattr(bench_run, "run_bench", stop)
    refused(steindiff("bench", "--preset", "smoke"), "enough")
    ((grid, folder, preset, device, overwrite),) = asked
    assert [cell.model for cell in grid.cells] == ["fashion-mnist"] * len(grid.cells)
    assert (folder, preset, device, overwrite) == (Path("out/bench-smoke"), "smoke", "cpu", False)


@pytest.mark.usefixtures("unreported")
def test_started_again_it_goes_on(
    steindiff: Command, grid: Path, undisturbed: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = Path(shutil.copytree(undisturbed, tmp_path / "out[1]"))
    first, second = sorted((out / "cells").iterdir())
    first.unlink()
    second.write_text("{")
    outcome = steindiff("bench", "--grid", grid, "--out", out)
    assert outcome.code == 0
    assert f"{second} is damaged" in outcome.out.replace("\n", "") + outcome.err
    monkeypatch.setattr(bench_run, "SampledModel", None)  # nothing more is computed
    outcome = steindiff("bench", "--grid", grid, "--out", out)
    assert outcome.code == 0
    assert "Euler / DDIM" in outcome.out


@pytest.mark.usefixtures("unreported")
def test_results_of_another_grid(
    steindiff: Command, grid: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(undisturbed, tmp_path / "out"))
    grid.write_text(GRID.replace("nfe = 4", "nfe = 3"))
    outcome = steindiff("bench", "--grid", grid, "--out", out)
    assert outcome.code == 2
    assert f"{out} holds the results of another grid (other cells)" in outcome.err
    assert "--overwrite" in outcome.err
    assert [cell.nfe for cell in read_results(out).cells] == [4, 4]
    assert steindiff("bench", "--grid", grid, "--out", out, "--overwrite").code == 0
    assert [cell.nfe for cell in read_results(out).cells] == [3, 3]


def test_a_folder_in_use(
    steindiff: Command, grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "WAIT", 0.1)
    out = tmp_path / "out"
    claim(out, "bench", overwrite=False)
    with lock_rank(out, 0):
        outcome = steindiff("bench", "--grid", grid, "--out", out)
    assert outcome.code == 2
    assert f"{out} is in use by another run" in outcome.err
    assert not (out / "results.json").exists()


@pytest.mark.usefixtures("unreported")
def test_an_interruption(
    steindiff: Command, grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    original = measure_cell

    def measure(cell: Any, source: Any) -> Any:
        if cell.solver == "heun":
            raise KeyboardInterrupt
        return original(cell, source)

    with monkeypatch.context() as patch:
        patch.setattr(bench_run, "measure_cell", measure)
        outcome = steindiff("bench", "--grid", grid, "--out", out)
    assert outcome.code == 130
    assert "Interrupted" in outcome.err
    assert "Traceback" not in outcome.err
    results = read_results(out)
    assert (results.complete, len(results.cells)) == (False, 1)
    assert steindiff("bench", "--grid", grid, "--out", out).code == 0
    assert read_results(out).complete is True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], ["none of them given", "one of --preset, --grid and --compare is needed"]),
        (["--preset", "smoke", "--grid", "GRID"], ["--preset and --grid given"]),
        (["--grid", "GRID", "--compare", "a", "b"], ["--grid and --compare given"]),
        (
            ["--preset", "smoke", "--grid", "GRID", "--compare", "a", "b"],
            ["--preset and --grid and --compare given"],
        ),
        (["--preset", "smok"], ["preset 'smok' is unknown", "Did you mean 'smoke'?"]),
        (["--grid", "none.toml"], ["none.toml is not a file"]),
        (["--compare", "a", "b"], ["a holds no results.json"]),
        (["--grid", "GRID", "--out", "GRID"], ["GRID"]),
    ],
    ids=lambda value: " ".join(value) if not value or value[0].startswith("--") else "",
)
def test_what_it_refuses(
    steindiff: Command, grid: Path, tmp_path: Path, options: list[str], said: list[str]
) -> None:
    def real(text: str) -> str:
        return text.replace("GRID", str(grid))

    refused(steindiff("bench", *map(real, options)), *map(real, said))
    assert list(tmp_path.iterdir()) == [grid]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("resamples = 20", "resample = 20"), ["setting 'resample' is unknown", "'resamples'?"]),
        (("nfe = 4", "nfe = 0"), ["nfe is 0"]),
        (('"heun"', '"huen"'), ["solver 'huen' is unknown", "'heun'?"]),
        (("[[cells]]", "[[cells"), ["tiny.toml is not TOML"]),
    ],
    ids=["setting", "nfe", "solver", "toml"],
)
def test_a_wrong_grid(
    steindiff: Command, grid: Path, tmp_path: Path, change: tuple[str, str], said: list[str]
) -> None:
    grid.write_text(GRID.replace(*change))
    refused(steindiff("bench", "--grid", grid, "--out", tmp_path / "out"), *said)
    assert not (tmp_path / "out").exists()


def test_an_unknown_device_is_one_sentence(steindiff: Command, grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = steindiff("bench", "--grid", grid, "--out", out, "--device", "gpu9")
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert "gpu9" in outcome.err


def worsened(folder: Path) -> None:
    """Every distance of the relaxed sampling tenfold."""
    path = folder / "results.json"
    results = json.loads(path.read_text())
    for cell in results["cells"]:
        fd = cell["rules"]["energy"]["metrics"]["fd"]
        cell["rules"]["energy"]["metrics"]["fd"] = {key: 10 * fd[key] for key in fd}
    path.write_text(json.dumps(results))


def test_two_results_against_each_other(
    steindiff: Command, undisturbed: Path, tmp_path: Path
) -> None:
    """Exit status 0 where nothing got worse, 1 where something did."""
    other = Path(shutil.copytree(undisturbed, tmp_path / "other"))
    same = steindiff("bench", "--compare", undisturbed, other)
    assert same.code == 0
    assert "0 regressions" in same.out
    worsened(other)
    worse = steindiff("bench", "--compare", undisturbed, other)
    assert worse.code == 1
    assert "2 higher" in worse.out
    assert "2 regressions" in worse.out
    assert "Euler / DDIM" in worse.out
    better = steindiff("bench", "--compare", other, undisturbed)
    assert better.code == 0
    assert "2 lower" in better.out
    (other / "results.json").write_text("{")
    refused(steindiff("bench", "--compare", undisturbed, other), "results.json is damaged")


def test_a_solver_that_diverges_is_shown(
    steindiff: Command, grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOLVERS, "breaking", Breaking)
    grid.write_text(GRID.replace('["euler", "heun"]', '["euler", "breaking"]\nschedule="karras"'))
    outcome = steindiff("bench", "--grid", grid, "--out", tmp_path / "out")
    assert outcome.code == 0
    assert "diverged at step 2" in outcome.out
    assert "Traceback" not in outcome.err
