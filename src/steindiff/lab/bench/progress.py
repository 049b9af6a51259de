"""How much work a grid is, in model evaluations, for the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .grid import Cell, Grid

Advance = Callable[[int], object]


class Budget:
    """Tells of work done, never of more than was announced for the present piece.

    Args:
        told: is told of evaluations done.
    """

    def __init__(self, told: Advance) -> None:
        self.told, self.left = told, 0

    def begin(self, work: int) -> None:
        """A piece of work begins."""
        self.left = work

    def advance(self, done: int) -> None:
        """So many evaluations were done."""
        done = min(done, self.left)
        self.left -= done
        self.told(done)

    def finish(self) -> None:
        """The piece has ended, and with it what was remembered or broke down and so was spared."""
        self.advance(self.left)


def total_work(grid: Grid, cells: Sequence[Cell]) -> int:
    """Evaluations of `cells` and of the fine solutions they need."""
    fine = {cell.source: fine_work(cell, grid) for cell in cells}
    return sum(fine.values()) + sum(cell_work(cell, grid) for cell in cells)


def fine_work(cell: Cell, grid: Grid) -> int:
    """Evaluations of the fine solution that the cell is held against."""
    return len(cell.seed_list) * (2 * grid.fine_steps - 1)


def cell_work(cell: Cell, grid: Grid) -> int:
    """Evaluations of the cell, its metrics counted as three a sample."""
    count = len(cell.seed_list)
    sampled = [name for name in grid.controls if name not in ("one", "constant")]
    whole = 1 + len(grid.coefficients) + len(sampled)
    samples = whole * count
    if "constant" in grid.controls:
        samples += count + len(grid.sweep) * min(grid.sweep_samples, count)
    return samples * cell.nfe + 3 * count
