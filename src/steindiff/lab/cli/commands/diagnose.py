"""`steindiff diagnose`: the theory, measured on one model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ..options import (
    COEFFICIENT_HELP,
    SOLVER_HELP,
    AnyModel,
    Device,
    FirstSeedOption,
    Levels,
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where the report goes, and which chapters it has."""

    panel: ClassVar[str] = "Output"
    out: Annotated[Path, typer.Option(help="Folder for report.html, results and figures.")]
    only: Annotated[
        list[str] | None,
        typer.Option(help="Chapters, repeatable (steindiff info chapters).", show_default="all"),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Drop the results of another run.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Diagnosed(Levels):
    """The sampling that is looked at."""

    solver: Annotated[str, typer.Option(help=SOLVER_HELP)] = "dpmpp_2m"
    coefficient: Annotated[str, typer.Option(help=COEFFICIENT_HELP)] = "energy"


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much is measured."""

    panel: ClassVar[str] = "Measuring"
    samples: Annotated[int, typer.Option(min=8, help="Trajectories that means are over.")] = 96
    jacobians: Annotated[
        int, typer.Option(min=2, help="Of them, those whose Lipschitz constants are measured.")
    ] = 8
    modes: Annotated[int, typer.Option(min=8, help="Samples whose modes are counted.")] = 300
    first_seed: FirstSeedOption = 0


def diagnose(
    report: Report, subject: AnyModel, sampling: Diagnosed, amount: Amount, device: Device
) -> None:
    """Put the theory to the test on a model: a report with a verdict for every statement.

    Each chapter is saved as it ends; the same command started again goes on where it was.
    """
    from ..diagnose import diagnose

    diagnose(report, subject, sampling, amount, device)
