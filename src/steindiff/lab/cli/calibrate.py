"""Does `steindiff calibrate`: fits a few-step solver to one network, into a small file."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import typer

from ..._provenance import command_line
from ...calibrated import About, Calibrated, save_calibration
from ...calibrated import calibrate as fit_solver
from ...calibrated.run import evaluations
from ...models import load_model
from ..devices import check_device
from ..specs import make_schedule
from ..subjects import guided
from ..tables import Table
from .commands.calibrate import CalibrationFile, Fit, FittedLevels
from .method import note_alias, one_of
from .networks import class_labels, model_hash
from .options import MODEL, Device, Labelled, check_output
from .show import figures, progress, show


def calibrate(
    file: CalibrationFile, network: Labelled, levels: FittedLevels, fit: Fit, device: Device
) -> None:
    """Fits, writes the file, and shows it."""
    check_output(file.out, file.overwrite)
    steps = one_of(levels.steps, levels.nfe)
    if levels.nfe is not None:  # a step of what is fitted is one call
        note_alias("--steps", "--nfe", steps)
    sigmas = make_schedule(levels.schedule, steps, levels.sigma_min, levels.sigma_max, levels.final)
    place = check_device(device.device)
    net = load_model(network.model, device=place)
    about = About(network.model, model_hash(network.model), levels.schedule, network.guidance)
    labels = torch.tensor(class_labels(net, network.classes), device=place)
    solver = _fit(
        guided(net, network.guidance, net.null_label), sigmas, fit, shape=net.sample_shape,
        device=place, about=about, conditioning={"class_labels": labels},
    )  # fmt: skip
    made = solver.calibration
    assert made is not None
    save_calibration(file.out, solver)
    show([_table(solver)], "table")
    typer.echo(
        f"relative RMSE to the fine solution: {made.fit_error:.4f} on the {fit.noises} noises of "
        f"the fit, {made.held_out_error:.4f} on {fit.held_out} others"
    )
    command = _next(file.out, solver, levels.sigma_min, levels.final)
    typer.echo(f"calibration: {file.out}   use it:\n{command}")


def _fit(denoiser: Any, sigmas: torch.Tensor, fit: Fit, **options: Any) -> Calibrated:
    """The solver, which knows the command that made it; with a progress bar."""
    total = evaluations(len(sigmas) - 1, fit.noises, fit.held_out, fit.fine_steps)
    with progress("calibrating", total) as told:
        solver = fit_solver(
            denoiser, sigmas, noises=fit.noises, held_out=fit.held_out,
            seed=fit.first_seed, fine_steps=fit.fine_steps,
            prior=fit.prior, ridge=fit.ridge, told=told, **options,
        )  # fmt: skip
    assert solver.calibration is not None
    return replace(solver, calibration=replace(solver.calibration, command=command_line()))


def _table(solver: Calibrated) -> Table:
    rows = []
    for i, row in enumerate(solver.scalars):
        earlier = [f"{value:.4f}" for value in row[:-1]]
        state = [f"{row[-1]:.4f}"] if row else [""]
        cells = [*earlier, *[""] * (2 - len(earlier)), *state]
        rows.append([str(i), f"{solver.levels[i]:.4g} to {solver.levels[i + 1]:.4g}", *cells])
    return figures("Scalars", ["step", "sigma", "D_k - D_k-1", "D_k - D_k-2", "D_k - x"], rows)


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
    standard = {"model": MODEL, "guidance": 1.0, "sigma-max": 80.0, "final": "zero"}
    given = [(f"--{name}", str(value)) for name, value in options.items()
             if standard.get(name) != value]  # fmt: skip
    return shlex.join(["steindiff", "sample", *(word for pair in given for word in pair)])
