"""`steindiff compare`: base beside relaxed beside the fine solution, from the same noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ..options import (
    END_HELP,
    FINAL_HELP,
    SCHEDULE_HELP,
    SOLVER_HELP,
    STEPS,
    AnyModel,
    Device,
    FirstSeedOption,
    FormatOption,
    SigmaMaxOption,
    SigmaMinOption,
    option,
)

END = "steady"
SOLVERS = ["euler", "dpmpp_2m", "ipndm:3", "heun", "recipe"]


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where the results go, and how they are shown."""

    panel: ClassVar[str] = "Output"
    out: Annotated[Path, option("Folder for compare.png, results and report.")] = Path(
        "out/compare"
    )
    format: FormatOption = "table"
    overwrite: Annotated[
        bool, option("Replace the results of another run.", name="--overwrite")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What is held against each other."""

    panel: ClassVar[str] = "Sampling"
    nfe: Annotated[
        list[int] | None,
        option(
            "Model calls a sample, repeatable: solvers are compared at equal cost. --steps N "
            "is the same where a step is one call.",
            str(STEPS),
        ),
    ] = None
    steps: Annotated[list[int] | None, typer.Option("--steps", hidden=True)] = None
    solver: Annotated[
        list[str] | None,
        option(f"Repeatable; 'recipe' is what sample does. {SOLVER_HELP}", ", ".join(SOLVERS)),
    ] = None
    coefficient: Annotated[
        str | None, option("Relaxation (steindiff info coefficients).", "energy")
    ] = None
    schedule: Annotated[
        list[str] | None,
        option(f"{SCHEDULE_HELP} Repeatable; 'usual' is each solver's own.", "karras"),
    ] = None
    sigma_min: SigmaMinOption = 0.002
    sigma_max: SigmaMaxOption = 80.0
    final: Annotated[str, option(FINAL_HELP)] = "zero"
    end: Annotated[str, option(END_HELP)] = END


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How much is measured."""

    panel: ClassVar[str] = "Measuring"
    samples: Annotated[
        int | None, option("Samples, from the same noises; >= 16.", "512, of others' models 32")
    ] = None
    first_seed: FirstSeedOption = 0
    resamples: Annotated[int, option("Bootstrap resamples.", min=20)] = 200


def compare(
    results: Results, network: AnyModel, compared: Compared, measuring: Measuring, device: Device
) -> None:
    """Compare solvers with and without relaxation at equal NFE, from the same noise.

    On the shipped model, or on yours: a saved pipeline, an EDM pickle, a function. A bench of one
    model without controls, and a picture of it. Started again it goes on. Levels end at 0, as those
    of pipelines; a solver of two calls a step gets there at an odd NFE alone.
    """
    from ..compare import compare

    compare(results, network, compared, measuring, device)
