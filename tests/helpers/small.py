"""Tiny benches, and solvers that break on purpose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steindiff.lab.bench.grid import Grid, make_grid
from steindiff.lab.bench.run import run_bench
from steindiff.solvers import Euler, Step
from steindiff.solvers.base import BoundDenoiser

MIXTURE = "mixture:dim=4,modes=3"


def block(**axes: Any) -> dict[str, Any]:
    """A [[cells]] block of one cell, some axes changed."""
    return {"model": MIXTURE, "nfe": 4, "solver": "euler", "seeds": "0-31", **axes}


def small(*blocks: dict[str, Any], **settings: Any) -> Grid:
    """A grid that takes a moment."""
    cells = list(blocks) or [block()]
    return make_grid({"resamples": 20, "sweep": [0.99, 0.995], **settings, "cells": cells})


def measured(grid: Grid, folder: Path, **options: Any) -> list[Any]:
    """The grid's `CellResult`s; a warning fails the test unless `warn` is given."""

    def warn(text: str) -> None:
        raise AssertionError(text)

    return run_bench(grid, folder, **{"warn": warn, **options})


class Broken(NamedTuple):
    """State of `Breaking`: steps done, and which samples break."""

    done: int
    chosen: Tensor


@dataclass(frozen=True)
class Breaking(Euler):
    """Euler, but its step number `at` puts `value` into each sample whose noise has x[0] > 0."""

    at: int = 2
    value: float = math.nan

    def init(self, x: Tensor, sigmas: Sequence[float]) -> Any:
        return Broken(0, x.flatten(1)[:, 0] > 0)

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: Any
    ) -> Step:
        step = super().step(denoiser, x, sigma, sigma_next, None)
        if state.done == self.at:
            hit = state.chosen.reshape(-1, *[1] * (x.ndim - 1))
            step = step._replace(x=torch.where(hit, self.value, step.x))
        return step._replace(state=state._replace(done=state.done + 1))
