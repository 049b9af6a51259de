"""`steindiff calibrate`: fits a few-step solver to one network, into a small file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ..options import FINAL_HELP, Device, FirstSeedOption, Labelled, Levels, OverwriteOption, option


@dataclass(frozen=True, kw_only=True)
class CalibrationFile:
    """Where the calibration goes."""

    panel: ClassVar[str] = "Output"
    out: Annotated[Path, option("JSON file for the calibration.")]
    overwrite: OverwriteOption = False


@dataclass(frozen=True, kw_only=True)
class FittedLevels(Levels):
    """The levels that the solver is fitted to."""

    final: Annotated[str, option(FINAL_HELP)] = "zero"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What the solver is fitted on, and how."""

    panel: ClassVar[str] = "Fit"
    noises: Annotated[int, option("Noises to fit on.", min=1)] = 32
    held_out: Annotated[int, option("More noises, to try the fit on.", min=1)] = 16
    first_seed: FirstSeedOption = 1_000_000_000
    fine_steps: Annotated[int, option("Heun steps of the fine solution.", min=2)] = 30
    prior: Annotated[str, option("What the ridge draws to (steindiff info priors).")] = "shared"
    ridge: Annotated[float, option("Strength of the ridge; 0 is none.", min=0)] = 0.01


def calibrate(
    file: CalibrationFile, network: Labelled, levels: FittedLevels, fit: Fit, device: Device
) -> None:
    """Calibrate a few-step solver to a model, schedule, number of steps and guidance.

    Needs the model only, no data, and about as long as sampling 50 images with 60 evaluations
    each. Use the file with steindiff sample --solver calibrated --calibration FILE.
    """
    from ..calibrate import calibrate

    calibrate(file, network, levels, fit, device)
