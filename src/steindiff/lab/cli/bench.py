"""`steindiff bench`: a grid of solvers and relaxations, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from ..._provenance import command_line
from ...calibrated import About, load_calibration
from ..bench.grid import Grid, load_grid, load_preset, presets
from ..specs import calibrated_text


def bench(
    out: Annotated[Path | None, typer.Option(help="Folder for results and report.")] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"A grid of the package: {', '.join(presets())}.")
    ] = None,
    grid: Annotated[Path | None, typer.Option(help="A grid in a TOML file.")] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file of `steindiff calibrate`: measured beside the grid's cells of its model, "
            "schedule, NFE and guidance; repeatable."
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two result folders: what changed.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device of the models, such as cuda.")] = "cpu",
    overwrite: Annotated[bool, typer.Option(help="Drop the results of another grid.")] = False,
) -> None:
    """Measure a grid of solvers, relaxations and controls at equal NFE, with intervals.

    Each cell is saved as it ends; the same command started again goes on where it was.
    """
    asked = [name for name, value in _sources(preset, grid, compare).items() if value]
    if len(asked) != 1:
        given = " and ".join(asked) or "none of them"
        raise ValueError(f"{given} given; one of --preset, --grid and --compare is needed")
    if compare is not None:
        _compare(*compare)
        return
    name = preset or (grid.stem if grid else "")
    wanted = load_preset(preset) if preset else load_grid(Path(str(grid)))
    for path in calibration or []:
        wanted = with_calibrated_cells(wanted, path)
    run(wanted, out or Path("out") / f"bench-{name}", preset, device, overwrite)


def run(grid: Grid, out: Path, preset: str | None, device: str, overwrite: bool) -> None:
    """Measures with a progress bar, writes the report, and prints the summary."""
    from ..bench.report import write_report
    from ..bench.results import read_results
    from ..bench.run import run_bench
    from ..bench.tables import summary_tables
    from ..devices import check_device
    from ..tables import render

    place = str(check_device(device))
    columns = Progress.get_default_columns()[1:-1]
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.description}")) as progress:
        task = progress.add_task("", total=None)

        def start(total: int):
            progress.update(task, total=total)
            return lambda done: progress.advance(task, done)

        run_bench(
            grid,
            out,
            command=command_line(),
            preset=preset,
            overwrite=overwrite,
            device=place,
            tell=lambda text: progress.update(task, description=text),
            warn=lambda text: progress.console.print(text, markup=False, soft_wrap=True),
            start=start,
        )
    report = write_report(out)
    for table in summary_tables(read_results(out)):
        Console().print(render(table, "terminal"))
    typer.echo(f"report: {report}   figures: {out / 'results.json'}")


def with_calibrated_cells(grid: Grid, path: Path) -> Grid:
    """The grid with cells of a calibrated solver beside those of the same setting.

    Raises:
        ValueError: the grid has no cell of the calibration's model, schedule, NFE and guidance.
    """
    solver = load_calibration(path)
    about = solver.calibration.about if solver.calibration else About()
    setting = about.model, about.guidance, about.schedule, len(solver.levels) - 1
    beside = [
        cell
        for cell in grid.cells
        if (cell.model, cell.guidance, cell.schedule, cell.nfe) == setting
    ]
    if not beside:
        raise ValueError(
            f"{path} is of model {about.model!r}, guidance {about.guidance:g}, schedule "
            f"{about.schedule!r}, {setting[-1]} NFE; the grid has no cells of these"
        )
    return grid.with_cells(
        msgspec.structs.replace(cell.axes, solver=calibrated_text(path)) for cell in beside
    )


def _sources(*values: object) -> dict[str, object]:
    return dict(zip(("--preset", "--grid", "--compare"), values, strict=True))


def _compare(a: Path, b: Path) -> None:
    from ..bench.compare_runs import compare_results

    comparison = compare_results(a, b)
    Console().print(comparison.terminal())
    if comparison.exit_status:
        raise typer.Exit(comparison.exit_status)
