"""`steindiff tune` and `steindiff recommend`: the best few-step sampler for one's own model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ..options import AnyModel, Device, FirstSeedOption, FormatOption, OverwriteOption


@dataclass(frozen=True, kw_only=True)
class TunedFile:
    """Where the tuning goes."""

    panel: ClassVar[str] = "Output"
    out: Annotated[Path, typer.Option(help="JSON file of the tuning: numbers only.")]
    report: Annotated[
        Path | None,
        typer.Option(help="HTML file: figures, candidates, pictures.", show_default="none"),
    ] = None
    overwrite: OverwriteOption = False
    fit: Annotated[
        bool | None,
        typer.Option(
            "--fit/--no-fit",
            help="Fit scalars and levels too, not only choose.",
            show_default="fit without guidance, choose with it",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What is tuned for, on what, and at what cost."""

    panel: ClassVar[str] = "Trials"
    steps: Annotated[
        list[int] | None, typer.Option(help="Solver steps, repeatable.", show_default="5 6 8")
    ] = None
    noises: Annotated[int, typer.Option(min=4, help="Noises that scalars are fitted on.")] = 32
    held_out: Annotated[
        int, typer.Option(min=16, help="More noises, that candidates are ranked on.")
    ] = 48
    fresh: Annotated[int, typer.Option(min=16, help="More noises, that the figures are of.")] = 64
    first_seed: FirstSeedOption = 2_000_000_000
    fine_steps: Annotated[int, typer.Option(min=4, help="Heun steps of the fine solution.")] = 30
    sigma_max: Annotated[
        float | None,
        typer.Option(
            help="Noise level of the start.",
            show_default="80, or the model's highest; pure noise of a flow",
        ),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Noises at a time.", show_default="as many as there is room for, up to 64"
        ),
    ] = None
    calls: Annotated[
        int | None,
        typer.Option(help="The most samples to evaluate the model for.", show_default="no bound"),
    ] = None
    minutes: Annotated[
        float | None, typer.Option(help="The most time to take.", show_default="no bound")
    ] = None
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder to go on from after an interruption; holds the fine solutions.",
            show_default="none",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How the table is shown."""

    panel: ClassVar[str] = "Output"
    top: Annotated[int, typer.Option(min=1, help="Rows for each number of steps.")] = 10
    format: FormatOption = "table"


def tune(file: TunedFile, model: AnyModel, trials: Trials, device: Device) -> None:
    """Fit the best few-step sampler to a model, from its own fine solution of a few noises.

    Needs the model only, no data. What is not better than the best plain solver on fresh noises is
    not taken. Use the file with steindiff sample --tuned FILE. For several processes or machines:
    torchrun --nproc-per-node 2 -m steindiff tune --batch 8 ..., or accelerate launch; they share
    batches, and the file does not depend on their number.
    """
    from ..tune import tune

    tune(file, model, trials, device)


def recommend(shown: Shown, model: AnyModel, trials: Trials, device: Device) -> None:
    """What to choose for a model: solvers, levels, relaxation and ends, ranked by measurement.

    The same measurement as steindiff tune, without fitting anything.
    """
    from ..tune import recommend

    recommend(shown, model, trials, device)
