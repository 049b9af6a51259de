"""Does `steindiff compare`: base beside relaxed beside the fine solution, from the same noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..._files import write_whole
from ...models import MODELS
from ..bench.grid import LEAST, Grid, make_grid
from ..bench.judging import distance
from ..bench.results import BASE, CoefficientResult, Diverged, cell_file_name, read_results
from ..bench.titles import solver_title
from ..specs import parse_solver
from . import bench
from .commands.compare import SOLVERS, Compared, Measuring, Results, Shipped
from .method import note_alias
from .options import STEPS, Device, check_output
from .picture import Row, comparison
from .show import check_format, remark

SHOWN = 10  # columns of the picture


def compare(
    results: Results, network: Shipped, compared: Compared, measuring: Measuring, device: Device
) -> None:
    """Measures, draws, and shows the figures."""
    check_format(results.format)
    model = network.model
    if model not in MODELS:
        raise ValueError(f"model is {model!r}; a shipped one is needed: {', '.join(MODELS)}")
    if measuring.samples < LEAST:
        raise ValueError(f"--samples is {measuring.samples}; at least {LEAST} are needed")
    grid = _grid(network, compared, measuring)
    picture = results.out / "compare.png"
    check_output(picture, overwrite=True)
    bench.run(grid, results.out, None, device.device, results.overwrite, results.format)
    figure = _picture(results.out, grid)
    write_whole(picture, lambda file: figure.savefig(file, format="png"))
    remark(f"picture: {picture}", results.format)


def _grid(network: Shipped, compared: Compared, measuring: Measuring) -> Grid:
    solvers = compared.solver or SOLVERS
    last = measuring.first_seed + measuring.samples - 1
    cells = {
        "model": network.model,
        "guidance": network.guidance,
        "schedule": compared.schedule or ["karras"],
        "nfe": _nfe(compared, solvers),
        "solver": solvers,
        "seeds": f"{measuring.first_seed}-{last}",
    }
    return make_grid(
        {
            "coefficients": [compared.coefficient],
            "controls": [],
            "sigma_min": compared.sigma_min,
            "sigma_max": compared.sigma_max,
            "resamples": measuring.resamples,
            "shown": SHOWN,
            "cells": [cells],
        }
    )


def _nfe(compared: Compared, solvers: list[str]) -> list[int]:
    """The numbers of model calls, from --nfe or from --steps where a step is one call.

    Raises:
        ValueError: both are given, or --steps with a solver whose steps are more calls.
    """
    if not compared.steps:
        return compared.nfe or [STEPS]
    given = ", ".join(map(str, compared.steps))
    if compared.nfe:
        raise ValueError(f"--nfe and --steps ({given}) are both given; --nfe is enough")
    for solver in solvers:
        calls = parse_solver(solver).calls_per_step
        if calls != 1:
            raise ValueError(
                f"--steps is {given}, but a step of {solver} is {calls} model calls, and solvers "
                f"are compared at equal calls: pass --nfe"
            )
    for steps in compared.steps:
        note_alias("--nfe", "--steps", steps)
    return compared.steps


def _picture(out: Path, grid: Grid) -> Any:
    """Rows of the first schedule and NFE asked for."""
    coefficient = grid.coefficients[0]
    first = grid.cells[0]
    where = first.schedule, first.nfe
    cells = [cell for cell in read_results(out).cells if (cell.schedule, cell.nfe) == where]
    rows: list[Row] = []
    fine = np.empty(0)
    for cell in cells:
        with np.load(out / "samples" / f"{cell_file_name(cell.id)}.npz") as arrays:
            images = dict(arrays)
        fine = images["fine"]
        for name, suffix, colour in (
            (BASE, "", "#444"),
            (coefficient, " + SteinDiff", "#0a7d33"),
        ):
            label = solver_title(cell.solver) + suffix
            shown = images.get(name, np.zeros_like(fine))
            rows.append(Row(label, _subtitle(cell.coefficients[name]), shown, colour))
    rows.append(Row("Fine solution", cells[0].reference.rpartition(": ")[2], fine, "#1f4e9c"))
    heading = f"{first.nfe} model evaluations: the solver alone, and with SteinDiff"
    caption = (
        f"Each column starts from the same noise and asks for the same class ({first.model}, "
        f"schedule {first.schedule}).\nFréchet distance in classifier features to the fine "
        f"solution, {cells[0].samples} samples, seeds {first.seeds}; smaller is better.\n"
        "Grain that the fine solution has as well is detail that few steps lose, not noise."
    )
    classes = MODELS[first.model]["classes"]
    names = [classes[seed % len(classes)] for seed in first.seed_list[:SHOWN]]
    return comparison(rows, names, heading, caption)


def _subtitle(result: CoefficientResult) -> str:
    if isinstance(result, Diverged):
        return f"diverged at step {result.step}"
    fd = distance(result)
    return "no distance" if fd is None else f"Fréchet distance {fd.value:.2f}"
