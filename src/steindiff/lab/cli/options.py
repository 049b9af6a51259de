"""Options that commands share, and the check that a path can be written to."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ..._files import sha256
from ...denoisers import ClassifierFreeGuidance, Denoiser
from ...models import MODELS, UNetDenoiser
from ..specs import calibrated_text, parse_range

SOLVER_HELP = "NAME, NAME:ORDER or NAME:option=value,... (see `steindiff info`)."

ModelOption = Annotated[str, typer.Option(help="Shipped model, or a .safetensors file.")]
ClassesOption = Annotated[
    str | None, typer.Option(help="Class labels, such as 0-9; repeated in turn. Default: all.")
]
GuidanceOption = Annotated[float, typer.Option(help="Classifier-free guidance; 1 is none.")]
SolverOption = Annotated[str, typer.Option(help=SOLVER_HELP)]
SolversOption = Annotated[list[str] | None, typer.Option(help=f"Repeatable. {SOLVER_HELP}")]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(help="A file of `steindiff calibrate`, for --solver calibrated."),
]
CoefficientOption = Annotated[str, typer.Option(help="Coefficient of the relaxation, or 'none'.")]
StepsOption = Annotated[int, typer.Option(help="Solver steps.")]
ScheduleOption = Annotated[str, typer.Option(help="Noise schedule.")]
SigmaMinOption = Annotated[float, typer.Option(help="Lowest noise level.")]
SigmaMaxOption = Annotated[float, typer.Option(help="Noise level of the start.")]
FinalOption = Annotated[str, typer.Option(help="Where sampling ends: sigma_min or zero.")]


def guided(net: UNetDenoiser, guidance: float) -> Denoiser:
    """The network under classifier-free guidance; 1 is the plain conditional network."""
    if guidance == 1:
        return net
    return ClassifierFreeGuidance(net, guidance, {"class_labels": net.null_label})


def class_labels(net: UNetDenoiser, classes: str | None) -> list[int]:
    """The labels that an option asks for, or all that the network has."""
    known = net.config.num_classes
    labels = parse_range(classes, "classes") if classes else list(range(known))
    if max(labels) >= known:
        raise ValueError(f"classes is {classes!r}; this model has the classes 0 to {known - 1}")
    return labels


def model_hash(model: str) -> str:
    """SHA-256 of the weights' file of a model, shipped or not."""
    return MODELS[model]["denoiser"]["sha256"] if model in MODELS else sha256(Path(model))


def with_calibration(solver: str, calibration: Path | None) -> str:
    """The solver's text with the file of its calibration in it."""
    if calibration is None:
        return solver
    if solver != "calibrated":
        raise ValueError(
            f"--calibration {calibration} is for --solver calibrated; the solver is {solver!r}"
        )
    return calibrated_text(calibration)


def check_output(path: Path, overwrite: bool) -> None:
    """Raises before any work is done when `path` could not be written in the end."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; the path of a file is needed")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another path or pass --overwrite")
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{folder} is not writable: {error.strerror or error}") from error
