"""The examples: short, and they run."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from matrices import slow

import steindiff as sd

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a script as `python` does, in this process, which has diffusers already."""
    monkeypatch.chdir(tmp_path)

    def script(path: Path, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        runpy.run_path(str(path), run_name="__main__")

    return script


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 40


@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if "add_argument" in path.read_text()], ids=lambda p: p.name
)
def test_says_what_it_takes(
    run: Callable[..., None], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(path, "--help")
    assert not ended.value.code
    assert "--steps" in capsys.readouterr().out


def test_the_shipped_pipeline(run: Callable[..., None], tmp_path: Path) -> None:
    run(ROOT / "examples/diffusers_shipped.py")
    assert (tmp_path / "out/diffusers_shipped.png").stat().st_size > 1000


@pytest.mark.slow
def test_tuning_the_shipped_pipeline(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(ROOT / "examples/tune_shipped.py")
    said = capsys.readouterr().out
    assert "on fresh noises" in said or "is kept" in said
    assert (tmp_path / "out/tune_shipped.png").stat().st_size > 1000
    assert (tmp_path / "out/tune_shipped.json").stat().st_size > 1000


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", [slow("sdxl"), "flux"])
def test_tuning_what_is_built_like_it(
    run: Callable[..., None], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pipeline samples with the file, from its own first level."""
    run(ROOT / f"examples/tune_{name}_like.py")
    said = capsys.readouterr().out
    assert "on fresh noises" in said or "is kept" in said
    tuned = sd.load_tuned(tmp_path / f"out/tune_{name}_like.json")
    assert (tuned.guidance, tuned.sigma_max) == {"sdxl": (4, 14.6), "flux": (1, 2**26)}[name]
    assert (tmp_path / f"out/tune_{name}_like.png").stat().st_size > 100


@pytest.mark.parametrize("name", ["time_series", slow("posterior")])
def test_scientific_samplers(
    run: Callable[..., None], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained in seconds; both errors are printed, and relaxing made the one smaller."""
    run(ROOT / f"examples/{name}.py")
    lines = capsys.readouterr().out.splitlines()
    plain, relaxed = (float(line.rpartition(" ")[2]) for line in lines)
    assert 0 < relaxed < plain < 1
