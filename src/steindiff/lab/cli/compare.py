"""`steindiff compare`: base beside relaxed beside the fine solution, from the same noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ..._files import write_whole
from ...models import MODELS
from ..bench.grid import LEAST, Grid, make_grid, seeds_of
from ..bench.verdicts import cell_file_name, read_results, title
from . import bench
from .options import GuidanceOption, SigmaMaxOption, SigmaMinOption, SolversOption, check_output
from .picture import Row, comparison

SHOWN = 10  # columns of the picture


def compare(
    out: Annotated[Path, typer.Option(help="Folder for compare.png, results and report.")] = Path(
        "out/compare"
    ),
    model: Annotated[str, typer.Option(help="A shipped model.")] = "fashion-mnist",
    solver: SolversOption = None,
    nfe: Annotated[list[int] | None, typer.Option(help="Model calls a sample; repeatable.")] = None,
    schedule: Annotated[
        list[str] | None, typer.Option(help="Noise schedule, or 'usual' for each; repeatable.")
    ] = None,
    coefficient: Annotated[str, typer.Option(help="Coefficient of the relaxation.")] = "energy",
    samples: Annotated[int, typer.Option(min=LEAST, help="Samples, from the same noises.")] = 512,
    first_seed: Annotated[int, typer.Option(min=0, help="Seeds count up from here.")] = 0,
    guidance: GuidanceOption = 1.0,
    sigma_min: SigmaMinOption = 0.002,
    sigma_max: SigmaMaxOption = 80.0,
    resamples: Annotated[int, typer.Option(min=20, help="Bootstrap resamples.")] = 200,
    device: Annotated[str, typer.Option(help="Device of the model, such as cuda.")] = "cpu",
    overwrite: Annotated[bool, typer.Option(help="Replace the results of another run.")] = False,
) -> None:
    """Compare solvers with and without relaxation at equal NFE, from the same noise.

    A bench of one model without controls, and a picture of it. Started again it goes on.
    """
    if model not in MODELS:
        raise ValueError(f"model is {model!r}; a shipped one is needed: {', '.join(MODELS)}")
    grid = make_grid(
        {
            "coefficients": [coefficient],
            "controls": [],
            "sigma_min": sigma_min,
            "sigma_max": sigma_max,
            "resamples": resamples,
            "shown": SHOWN,
            "cells": [
                {
                    "model": model,
                    "guidance": guidance,
                    "schedule": schedule or ["karras"],
                    "nfe": nfe or [5],
                    "solver": solver or ["euler", "dpmpp_2m", "ipndm:3", "heun"],
                    "seeds": f"{first_seed}-{first_seed + samples - 1}",
                }
            ],
        }
    )
    picture = out / "compare.png"
    check_output(picture, overwrite=True)
    bench.run(grid, out, None, device, overwrite)
    figure = _picture(out, grid)
    write_whole(picture, lambda file: figure.savefig(file, format="png"))
    typer.echo(f"picture: {picture}")


def _picture(out: Path, grid: Grid) -> Any:
    """Rows of the first schedule and NFE asked for."""
    coefficient = grid.coefficients[0]
    found = {cell["id"]: cell for cell in read_results(out)["cells"]}
    first = grid.cells[0]
    cells = [
        found[cell.id]
        for cell in grid.cells
        if (cell.schedule, cell.nfe) == (first.schedule, first.nfe)
    ]
    rows: list[Row] = []
    fine = np.empty(0)
    for cell in cells:
        with np.load(out / "samples" / f"{cell_file_name(cell['id'])}.npz") as arrays:
            images = dict(arrays)
        fine = images["fine"]
        for rule, suffix, colour in (
            ("base", "", "#444"),
            (coefficient, " + SteinDiff", "#0a7d33"),
        ):
            label = title(cell["solver"]) + suffix
            shown = images.get(rule, np.zeros_like(fine))
            rows.append(Row(label, _subtitle(cell["rules"][rule]), shown, colour))
    rows.append(Row("Fine solution", cells[0]["reference"].rpartition(": ")[2], fine, "#1f4e9c"))
    heading = f"{first.nfe} model evaluations: the solver alone, and with SteinDiff"
    caption = (
        f"Each column starts from the same noise and asks for the same class ({first.model}, "
        f"schedule {first.schedule}).\nFréchet distance in classifier features to the fine "
        f"solution, {cells[0]['samples']} samples, seeds {first.seeds}; smaller is better.\n"
        "Grain that the fine solution has as well is detail that few steps lose, not noise."
    )
    classes = MODELS[first.model]["classes"]
    names = [classes[seed % len(classes)] for seed in seeds_of(first)[:SHOWN]]
    return comparison(rows, names, heading, caption)


def _subtitle(outcome: dict[str, Any]) -> str:
    if outcome["status"] != "ok":
        return f"diverged at step {outcome['step']}"
    return f"Fréchet distance {outcome['metrics']['fd']['value']:.2f}"
