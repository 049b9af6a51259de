"""`steindiff bench`: a grid of solvers and relaxations, measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ..options import Device, FormatOption, option

_PRESETS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "bench" / "presets").glob("*.toml")
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is measured, or which results are compared."""

    panel: ClassVar[str] = "What to measure"
    preset: Annotated[
        str | None, option(f"A grid of the package: {', '.join(_PRESETS)}.", "none")
    ] = None
    grid: Annotated[Path | None, option("A grid in a TOML file.", "no file")] = None
    calibration: Annotated[
        list[Path] | None,
        option(
            "A file of steindiff calibrate: measured beside the grid's cells of its model, "
            "schedule, NFE and guidance; repeatable.",
            "no file",
        ),
    ] = None
    compare: Annotated[
        tuple[Path, Path] | None, option("Two result folders: what changed.", "none")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where the results go, and how they are shown."""

    panel: ClassVar[str] = "Output"
    out: Annotated[
        Path | None, option("Folder for results and report.", "out/bench-NAME of preset or grid")
    ] = None
    format: FormatOption = "table"
    overwrite: Annotated[bool, option("Drop the results of another grid.", name="--overwrite")] = (
        False
    )


def bench(asked: Asked, results: Results, device: Device) -> None:
    """Measure a grid of solvers, relaxations and controls at equal NFE, with intervals.

    Each cell is saved as it ends; the same command started again goes on where it was. Writes
    results.json, report.html and figures. A grid says the NFE, model calls a sample, of its cells.
    """
    from ..bench import bench

    bench(asked, results, device)
