"""Options that commands share, in the groups that help shows, and the check of a path to write.

Names are the same in every command. How long a sampling is has two: `--steps` is the number of
solver steps, for commands that sample with one solver; `--nfe` is the number of model calls, for
`compare`, which holds solvers against each other at equal cost. Each takes the other's name too
where a step is one call, with a hint, and refuses it where a step is more, as Heun's is two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from ..._files import make_folder

MODEL = "fashion-mnist"
STEPS = 5
BY_RECIPE = "what suits --steps and --guidance"
SOLVER_HELP = "NAME, NAME:ORDER or NAME:option=value,... (steindiff info solvers)."
COEFFICIENT_HELP = "Relaxation, or none to turn it off (steindiff info coefficients)."
SCHEDULE_HELP = "Noise levels (steindiff info schedules)."


def option(help: str, default: str | bool = True, *, name: str | None = None, **more: Any) -> Any:
    """An option with its help, and with what that shows as its default where this is None."""
    return typer.Option(*filter(None, [name]), help=help, show_default=default, **more)


ModelOption = Annotated[str, option("Shipped model, or a .safetensors file.")]
GuidanceOption = Annotated[float, option("Classifier-free guidance; 1 is none.")]
ClassesOption = Annotated[str | None, option("Class labels such as 0-9, repeated in turn.", "all")]
EdmOption = Annotated[
    Path | None, option("Pickle of an EDM network, in place of --model.", "no file")
]
TrustOption = Annotated[
    bool, option("Let the file of --edm run its code; official ones do.", name="--trust")
]
StepsOption = Annotated[
    int | None,
    option("Solver steps. --nfe N is the same where a step is one model call.", str(STEPS)),
]
NfeAliasOption = Annotated[int | None, typer.Option("--nfe", hidden=True)]
SigmaMinOption = Annotated[float, option("Lowest noise level above 0.")]
SigmaMaxOption = Annotated[float, option("Noise level of the start.")]
END_HELP = "Step into sigma = 0: steady, stein, linear, mean or none."
FINAL_HELP = "Where the levels end: sigma_min or zero."
BatchOption = Annotated[int, option("Images at a time.", min=1)]
OverwriteOption = Annotated[bool, option("Replace what is there.", name="--overwrite")]
FormatOption = Annotated[str, option("Of what is printed: table, csv, markdown or latex.")]
FirstSeedOption = Annotated[int, option("Seed of the first noise; the others count up.", min=0)]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A shipped model or a file of weights."""

    panel: ClassVar[str] = "Model"
    model: ModelOption = MODEL
    guidance: GuidanceOption = 1.0


@dataclass(frozen=True, kw_only=True)
class AnyModel(Network):
    """Any model that can be named: `cli/models.py` opens it."""

    model: Annotated[
        str,
        option("Shipped model, .safetensors file, or an exact one: mixture:dim=64,modes=10,..."),
    ] = MODEL
    edm: EdmOption = None
    trust: TrustOption = False
    diffusers: Annotated[
        Path | None,
        option("Folder of a saved diffusers pipeline, in place of --model.", "no folder"),
    ] = None
    prompt: Annotated[str, option("Of a text-to-image pipeline.", "empty")] = ""
    prompts: Annotated[
        Path | None,
        option("Text file, one prompt a line, in place of --prompt: in turn by seed.", "no file"),
    ] = None
    function: Annotated[
        str | None, option("MODULE:FUNCTION that returns a denoiser, in place of --model.", "none")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Labelled(Network):
    """The same, and which of its classes."""

    classes: ClassesOption = None


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample; what is None is chosen for the number of steps."""

    panel: ClassVar[str] = "Sampling"
    steps: StepsOption = None
    nfe: NfeAliasOption = None
    solver: Annotated[str | None, option(SOLVER_HELP, BY_RECIPE)] = None
    calibration: Annotated[
        Path | None, option("A file of steindiff calibrate, for --solver calibrated.", "no file")
    ] = None
    coefficient: Annotated[str | None, option(COEFFICIENT_HELP, BY_RECIPE)] = None
    schedule: Annotated[str | None, option(SCHEDULE_HELP, BY_RECIPE)] = None
    sigma_min: Annotated[float | None, option("Lowest noise level above 0.", BY_RECIPE)] = None
    sigma_max: SigmaMaxOption = 80.0
    final: Annotated[str | None, option(FINAL_HELP, BY_RECIPE)] = None
    end: Annotated[str | None, option(END_HELP, BY_RECIPE)] = None
    tuned: Annotated[Path | None, option("A file of steindiff tune: its sampler.", "no file")] = (
        None
    )
    any_model: Annotated[
        bool, option("Use --tuned with another model, as with a LoRA on top.", name="--any-model")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Levels:
    """A schedule, named in full."""

    panel: ClassVar[str] = "Sampling"
    steps: StepsOption = None
    nfe: NfeAliasOption = None
    schedule: Annotated[str, option(SCHEDULE_HELP)] = "karras"
    sigma_min: SigmaMinOption = 0.002
    sigma_max: SigmaMaxOption = 80.0


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where the model runs."""

    panel: ClassVar[str] = "Computing"
    device: Annotated[str, option("cpu, cuda, cuda:N, or auto: cuda where there is one.")] = "auto"


def check_output(path: Path, overwrite: bool) -> None:
    """Raises before any work is done when `path` could not be written in the end."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; the path of a file is needed")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another path or pass --overwrite")
    make_folder(path.parent)
