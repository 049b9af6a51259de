"""`steindiff pilot`: the few-step recipe that suits one network best."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ..options import Device, Labelled, OverwriteOption, SigmaMaxOption


@dataclass(frozen=True, kw_only=True)
class PilotFile:
    """Where the pilot goes."""

    panel: ClassVar[str] = "Output"
    out: Annotated[Path, typer.Option(help="JSON file for the recipes.")]
    plot: Annotated[
        Path | None,
        typer.Option(help="PNG file: how D moves, and the levels.", show_default="none"),
    ] = None
    overwrite: OverwriteOption = False


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What is chosen for, and on what."""

    panel: ClassVar[str] = "Trials"
    steps: Annotated[
        list[int] | None, typer.Option(help="Solver steps, repeatable.", show_default="5 6 8")
    ] = None
    noises: Annotated[int, typer.Option(min=2, help="Noises to try on.")] = 64
    seed: Annotated[
        int | None, typer.Option(help="Seed of the first noise.", show_default="2000000000")
    ] = None
    fine_steps: Annotated[int, typer.Option(min=4, help="Heun steps of the fine solution.")] = 30
    sigma_max: SigmaMaxOption = 80.0


def pilot(file: PilotFile, network: Labelled, trials: Trials, device: Device) -> None:
    """Choose levels, solver, coefficient and end for a model, on the fine solution of a few noises.

    Needs the model only, no data: about as long as sampling the noises with 1,500 evaluations for
    three numbers of steps. Use the file with steindiff sample --pilot FILE.
    """
    from ..pilot import pilot

    pilot(file, network, trials, device)
