"""`steindiff calibrate`: fits a few-step solver to one network, into a small file."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..._provenance import command_line
from ...calibrated import PRIORS, SEED, About, Calibrated, save_calibration
from ...calibrated import calibrate as fit
from ...calibrated.run import evaluations
from ...models import load_model
from ..specs import make_schedule
from .options import (
    ClassesOption,
    FinalOption,
    GuidanceOption,
    ModelOption,
    ScheduleOption,
    SigmaMaxOption,
    SigmaMinOption,
    StepsOption,
    check_output,
    class_labels,
    guided,
    model_hash,
)


def calibrate(
    out: Annotated[Path, typer.Option(help="JSON file for the calibration.")],
    model: ModelOption = "fashion-mnist",
    schedule: ScheduleOption = "karras",
    steps: StepsOption = 5,
    guidance: GuidanceOption = 1.0,
    sigma_min: SigmaMinOption = 0.002,
    sigma_max: SigmaMaxOption = 80.0,
    final: FinalOption = "sigma_min",
    classes: ClassesOption = None,
    noises: Annotated[int, typer.Option(min=1, help="Noises to fit on.")] = 32,
    held_out: Annotated[int, typer.Option(min=1, help="More noises, to try the fit on.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the first noise.")] = SEED,
    fine_steps: Annotated[int, typer.Option(min=2, help="Heun steps of the fine solution.")] = 30,
    prior: Annotated[
        str, typer.Option(help=f"What the ridge draws to: {', '.join(PRIORS)}.")
    ] = "euler",
    ridge: Annotated[float, typer.Option(min=0, help="Strength of the ridge; 0 is none.")] = 0.01,
    device: Annotated[str, typer.Option(help="Device of the model, such as cuda.")] = "cpu",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Calibrate a few-step solver to a model, schedule, number of steps and guidance.

    Needs the model only, no data, and about as long as sampling 50 images with 60 evaluations
    each. Use the file with `steindiff sample --solver calibrated --calibration FILE`.
    """
    check_output(out, overwrite)
    sigmas = make_schedule(schedule, steps, sigma_min, sigma_max, final)
    net = load_model(model, device=device)
    labels = class_labels(net, classes)
    columns = (TextColumn("calibrating"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=evaluations(steps, noises, held_out, fine_steps))
        solver = fit(
            guided(net, guidance),
            sigmas,
            shape=net.sample_shape,
            conditioning={"class_labels": torch.tensor(labels, device=device)},
            noises=noises,
            held_out=held_out,
            seed=seed,
            fine_steps=fine_steps,
            prior=prior,
            ridge=ridge,
            device=device,
            about=About(model, model_hash(model), schedule, guidance),
            told=lambda done: progress.advance(task, done),
        )
    assert solver.calibration is not None
    solver = replace(solver, calibration=replace(solver.calibration, command=command_line()))
    save_calibration(out, solver)
    Console().print(_table(solver))
    made = solver.calibration
    assert made is not None
    typer.echo(
        f"relative RMSE to the fine solution: {made.fit_error:.4f} on the {noises} noises of the "
        f"fit, {made.held_out_error:.4f} on {held_out} others"
    )
    typer.echo(f"calibration: {out}   use it:\n{_next(out, solver, sigma_min, final)}")


def _table(solver: Calibrated) -> Table:
    table = Table("step", "sigma", "D_k - D_k-1", "D_k - D_k-2", "D_k - x")
    for i, row in enumerate(solver.scalars):
        earlier = [f"{value:.4f}" for value in row[:-1]]
        state = [f"{row[-1]:.4f}"] if row else [""]
        cells = [*earlier, *[""] * (2 - len(earlier)), *state]
        table.add_row(str(i), f"{solver.levels[i]:.4g} to {solver.levels[i + 1]:.4g}", *cells)
    return table


def _next(out: Path, solver: Calibrated, sigma_min: float, final: str) -> str:
    """The command that samples with the file, as it would be typed."""
    assert solver.calibration is not None
    about = solver.calibration.about
    options = {
        "model": about.model,
        "schedule": about.schedule,
        "steps": len(solver.levels) - 1,
        "guidance": about.guidance,
        "sigma-min": sigma_min,
        "sigma-max": solver.levels[0],
        "final": final,
        "solver": "calibrated",
        "calibration": out,
        "coefficient": "none",  # the scalars were fitted to the path without relaxation
        "out": "images.png",
    }
    standard = {"model": "fashion-mnist", "guidance": 1.0, "sigma-min": 0.002, "sigma-max": 80.0,
                "final": "sigma_min"}  # fmt: skip
    given = [(f"--{name}", str(value)) for name, value in options.items()
             if standard.get(name) != value]  # fmt: skip
    return shlex.join(["steindiff", "sample", *(word for pair in given for word in pair)])
