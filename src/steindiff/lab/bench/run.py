"""Runs a grid: every cell with every rule, from the same noise, saved as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..._files import sha256
from ..locks import lock_rank
from ..specs import calibration_path
from ..subjects import hashes_of
from .cell import measure_cell
from .grid import Cell, Grid
from .source import Source
from .store import Store
from .work import Advance, Budget, total_work


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
) -> list[dict[str, Any]]:
    """Measures every cell of `grid` that `folder` does not hold yet.

    Args:
        folder: where results go; see `Store`.
        command, preset: recorded with the results.
        device: of the models.
        tell: is told of each cell that begins. warn: of results that were found damaged.
        start: called with the model evaluations to do; what it returns is told of those done.

    Returns:
        The cells' results, in the order of the grid.

    Raises:
        BlockingIOError: another run is at work in the folder.
        FileExistsError: it holds the results of another grid.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with lock_rank(folder, 0):
        store = Store(folder, grid, {"hashes": _hashes(grid)}, overwrite)
        done = {}
        for cell in grid.cells:
            content, problem = store.load(cell)
            if problem:
                warn(f"{problem}; it is computed again")
            if content is not None:
                done[cell] = content
        budget = Budget(start(total_work(grid, [cell for cell in grid.cells if cell not in done])))
        source: Source | None = None
        for cell in _by_source(grid):
            if cell in done:
                continue
            if source is None or source.key != cell.source:
                tell(f"fine solution of {cell.model}, guidance {cell.guidance:g}")
                source = Source(cell, grid, device, budget)
            tell(cell.id)
            done[cell], pictures = measure_cell(cell, source)
            store.save(cell, done[cell], pictures)
            _publish(store, grid, done, command, preset, began)
        return _publish(store, grid, done, command, preset, began)


def _publish(
    store: Store,
    grid: Grid,
    done: dict[Cell, dict[str, Any]],
    command: str,
    preset: str | None,
    began: float,
) -> list[dict[str, Any]]:
    cells = [done[cell] for cell in grid.cells if cell in done]
    # The time of the cells, wherever they were computed, not that of the last start.
    seconds = sum(cell["seconds"] for cell in cells)
    store.publish(cells, command, preset, max(seconds, time.monotonic() - began))
    return cells


def _by_source(grid: Grid) -> list[Cell]:
    """The cells, those of one source together, and inside it those that share first steps."""
    order = {key: i for i, key in enumerate(dict.fromkeys(cell.source for cell in grid.cells))}
    return sorted(grid.cells, key=lambda cell: (order[cell.source], cell.schedule, cell.nfe))


def _hashes(grid: Grid) -> dict[str, dict[str, str]]:
    models = dict.fromkeys(cell.model for cell in grid.cells)
    solvers = dict.fromkeys(cell.solver for cell in grid.cells)
    files = {text: path for text in solvers if (path := calibration_path(text))}
    return {model: hashes_of(model) for model in models} | {
        text: {"calibration": sha256(path)} for text, path in files.items()
    }
