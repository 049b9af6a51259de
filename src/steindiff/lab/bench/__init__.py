"""Measures solvers and relaxations over a grid, with uncertainty, at equal NFE."""

from .grid import Cell, Grid, load_grid, load_preset, presets
from .run import run_bench

__all__ = ["Cell", "Grid", "load_grid", "load_preset", "presets", "run_bench"]
