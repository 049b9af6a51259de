"""Runs a grid: every cell with every coefficient, from the same noise, saved as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..locks import lock_rank
from ..subjects import hashes_of
from .cell_sampling import measure_cell
from .grid import Cell, Grid
from .progress import Advance, Budget, total_work
from .results import CellResult
from .sampled_model import SampledModel
from .store import Store, check_kind


def run_bench(
    grid: Grid,
    folder: Path,
    *,
    command: str = "",
    preset: str | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    tell: Callable[[str], object] = lambda text: None,
    warn: Callable[[str], object] = print,
    start: Callable[[int], Advance] = lambda total: lambda done: None,
) -> list[CellResult]:
    """Measures every cell of `grid` that `folder` does not hold yet.

    Args:
        grid: see `load_grid`.
        folder: where results go; see `Store`.
        command: recorded with the results.
        preset: the grid's name, recorded too.
        overwrite: whether results of another grid may be dropped.
        device: of the models.
        tell: is told of each cell that begins.
        warn: is told of results that were found damaged, and of entries that are not the bench's.
        start: called with the model evaluations to do; what it returns is told of those done.

    Returns:
        The cells' results, in the order of the grid.

    Raises:
        BlockingIOError: another run is at work in the folder.
        FileExistsError: it holds the results of another grid.
    """
    began = time.monotonic()
    check_kind(folder, folder=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except NotADirectoryError:
        raise FileExistsError(f"{folder} cannot be made: a file is in its way") from None
    with lock_rank(folder, 0):
        store = Store(folder, grid, _hashes(grid), overwrite)
        done = _loaded(store, grid, warn)
        budget = Budget(start(total_work(grid, [cell for cell in grid.cells if cell not in done])))
        source: SampledModel | None = None
        for cell in _by_source(grid):
            if cell in done:
                continue
            if source is None or source.key != cell.source:
                tell(f"fine solution of {cell.model}, guidance {cell.guidance:g}")
                source = SampledModel(cell, grid, device, budget)
            tell(cell.id)
            done[cell] = store.save(cell, *measure_cell(cell, source))
            _publish(store, grid, done, command, preset, began)
        return _publish(store, grid, done, command, preset, began)


def _loaded(store: Store, grid: Grid, warn: Callable[[str], object]) -> dict[Cell, CellResult]:
    """The cells that the folder holds already."""
    done = {}
    for text in store.foreign():
        warn(text)
    for cell in grid.cells:
        result, problem = store.load(cell)
        if problem:
            warn(f"{problem}; it is computed again")
        if result is not None:
            done[cell] = result
    return done


def _publish(
    store: Store,
    grid: Grid,
    done: dict[Cell, CellResult],
    command: str,
    preset: str | None,
    began: float,
) -> list[CellResult]:
    cells = [done[cell] for cell in grid.cells if cell in done]
    # The time of the cells, wherever they were computed, not that of the last start.
    seconds = sum(cell.seconds for cell in cells)
    store.publish(cells, command, preset, max(seconds, time.monotonic() - began))
    return cells


def _by_source(grid: Grid) -> list[Cell]:
    """The cells, those of one source together, and inside it those that share first steps."""
    order = {key: i for i, key in enumerate(dict.fromkeys(cell.source for cell in grid.cells))}
    return sorted(grid.cells, key=lambda cell: (order[cell.source], cell.schedule, cell.nfe))


def _hashes(grid: Grid) -> dict[str, dict[str, str]]:
    """SHA-256 of the files behind the models, and of calibrations by the texts of their solvers."""
    models = dict.fromkeys(cell.model for cell in grid.cells)
    files = {cell.solver: cell.calibration for cell in grid.cells if cell.calibration}
    given = grid.subjects
    return {m: dict(given[m].hashes) if m in given else hashes_of(m) for m in models} | {
        text: {"calibration": hashed} for text, hashed in files.items()
    }
