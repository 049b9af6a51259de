"""`steindiff calibrate`: fits a few-step solver to one network, into a small file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ..options import FINAL_HELP, Device, FirstSeedOption, Labelled, Levels, OverwriteOption


@dataclass(frozen=True, kw_only=True)
class CalibrationFile:
    """Where the calibration goes."""

    panel: ClassVar[str] = "Output"
    out: Annotated[Path, typer.Option(help="JSON file for the calibration.")]
    overwrite: OverwriteOption = False


@dataclass(frozen=True, kw_only=True)
class FittedLevels(Levels):
    """The levels that the solver is fitted to."""

    final: Annotated[str, typer.Option(help=FINAL_HELP)] = "zero"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What the solver is fitted on, and how."""

    panel: ClassVar[str] = "Fit"
    noises: Annotated[int, typer.Option(min=1, help="Noises to fit on.")] = 32
    held_out: Annotated[int, typer.Option(min=1, help="More noises, to try the fit on.")] = 16
    first_seed: FirstSeedOption = 1_000_000_000
    fine_steps: Annotated[int, typer.Option(min=2, help="Heun steps of the fine solution.")] = 30
    prior: Annotated[str, typer.Option(help="What the ridge draws to (steindiff info priors).")] = (
        "shared"
    )
    ridge: Annotated[float, typer.Option(min=0, help="Strength of the ridge; 0 is none.")] = 0.01


def calibrate(
    file: CalibrationFile, network: Labelled, levels: FittedLevels, fit: Fit, device: Device
) -> None:
    """Calibrate a few-step solver to a model, schedule, number of steps and guidance.

    Needs the model only, no data, and about as long as sampling 50 images with 60 evaluations
    each. Use the file with steindiff sample --solver calibrated --calibration FILE.
    """
    from ..calibrate import calibrate

    calibrate(file, network, levels, fit, device)
