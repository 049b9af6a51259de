"""`steindiff diagnose`: the theory, measured on one model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ..options import (
    COEFFICIENT_HELP,
    SOLVER_HELP,
    AnyModel,
    Device,
    FirstSeedOption,
    Levels,
    option,
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where the report goes, and which chapters it has."""

    panel: ClassVar[str] = "Output"
    out: Annotated[Path, option("Folder for report.html, results and figures.")]
    only: Annotated[
        list[str] | None, option("Chapters, repeatable (steindiff info chapters).", "all")
    ] = None
    overwrite: Annotated[bool, option("Drop the results of another run.", name="--overwrite")] = (
        False
    )


@dataclass(frozen=True, kw_only=True)
class Diagnosed(Levels):
    """The sampling that is looked at."""

    solver: Annotated[str, option(SOLVER_HELP)] = "dpmpp_2m"
    coefficient: Annotated[str, option(COEFFICIENT_HELP)] = "energy"


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much is measured."""

    panel: ClassVar[str] = "Measuring"
    samples: Annotated[int, option("Trajectories that means are over.", min=8)] = 96
    jacobians: Annotated[
        int, option("Of them, those whose Lipschitz constants are measured.", min=2)
    ] = 8
    modes: Annotated[int, option("Samples whose modes are counted.", min=8)] = 300
    first_seed: FirstSeedOption = 0


def diagnose(
    report: Report, subject: AnyModel, sampling: Diagnosed, amount: Amount, device: Device
) -> None:
    """Put the theory to the test on a model: a report with a verdict for every statement.

    Each chapter is saved as it ends; the same command started again goes on where it was.
    """
    from ..diagnose import diagnose

    diagnose(report, subject, sampling, amount, device)
