"""The examples: short, and they run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(path: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(path), *arguments], cwd=cwd, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 40


@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if "add_argument" in path.read_text()], ids=lambda p: p.name
)
def test_says_what_it_takes(path: Path, tmp_path: Path) -> None:
    assert "--steps" in run(path, "--help", cwd=tmp_path).stdout


def test_the_shipped_pipeline(tmp_path: Path) -> None:
    run(ROOT / "examples/diffusers_shipped.py", cwd=tmp_path)
    assert (tmp_path / "out/diffusers_shipped.png").stat().st_size > 1000


@pytest.mark.slow
def test_tuning_the_shipped_pipeline(tmp_path: Path) -> None:
    said = run(ROOT / "examples/tune_shipped.py", cwd=tmp_path).stdout
    assert "on fresh noises" in said or "is kept" in said
    assert (tmp_path / "out/tune_shipped.png").stat().st_size > 1000
    assert (tmp_path / "out/tune_shipped.json").stat().st_size > 1000


@pytest.mark.parametrize("name", ["time_series", "posterior"])
def test_scientific_samplers(name: str, tmp_path: Path) -> None:
    """Trained in seconds; both errors are printed, and relaxing made the one smaller."""
    out = run(ROOT / f"examples/{name}.py", cwd=tmp_path).stdout
    plain, relaxed = (float(line.rpartition(" ")[2]) for line in out.splitlines())
    assert 0 < relaxed < plain < 1
