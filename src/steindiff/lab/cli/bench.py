"""Does `steindiff bench`: a grid of solvers and relaxations, measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from ..._provenance import command_line
from ...calibrated import About, load_calibration
from ..bench.grid import Grid, load_grid, load_preset
from ..bench.judging import Effect
from ..devices import check_device
from ..specs import calibrated_text
from .commands.bench import Asked, Results
from .options import Device
from .show import check_format, remark, show

SIGNS: dict[str, str] = {}
for _effect in Effect:
    if _effect.symbol:
        SIGNS.setdefault(_effect.symbol, _effect.value)
"""What the signs beside a figure say, by its 95% interval."""


def bench(asked: Asked, results: Results, device: Device) -> None:
    """Measures what is asked for, or compares two results."""
    check_format(results.format)
    sources = {"--preset": asked.preset, "--grid": asked.grid, "--compare": asked.compare}
    given = [name for name, value in sources.items() if value]
    if len(given) != 1:
        named = " and ".join(given) or "none of them"
        raise ValueError(f"{named} given; one of --preset, --grid and --compare is needed")
    if asked.compare is not None:
        _compare(*asked.compare, results.format)
        return
    name = asked.preset or (asked.grid.stem if asked.grid else "")
    grid = load_preset(asked.preset) if asked.preset else load_grid(Path(str(asked.grid)))
    for path in asked.calibration or []:
        grid = with_calibrated_cells(grid, path)
    out = results.out or Path("out") / f"bench-{name}"
    run(grid, out, asked.preset, device.device, results.overwrite, results.format)


def run(
    grid: Grid, out: Path, preset: str | None, device: str, overwrite: bool, format: str
) -> None:
    """Measures with a progress bar, writes the report, and prints the summary."""
    from ..bench.report import write_report
    from ..bench.results import read_results
    from ..bench.run import run_bench
    from ..bench.tables import summary_tables

    place = str(check_device(device))
    columns = Progress.get_default_columns()[1:-1]
    columns = (*columns, TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=format != "table")) as progress:
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
    show(summary_tables(read_results(out)), format, SIGNS)
    remark(f"report: {report}   figures: {out / 'results.json'}", format)


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


def _compare(a: Path, b: Path, format: str) -> None:
    from ..bench.compare_runs import compare_results

    comparison = compare_results(a, b)
    show(comparison.tables(), format, SIGNS)
    for sentence in comparison.sentences():
        remark(sentence, format)
    if comparison.exit_status:
        raise typer.Exit(comparison.exit_status)
