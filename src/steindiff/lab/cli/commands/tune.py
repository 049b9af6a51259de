"""`steindiff tune` and `steindiff recommend`: the best few-step sampler for one's own model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ..options import AnyModel, Device, FirstSeedOption, FormatOption, OverwriteOption, option


@dataclass(frozen=True, kw_only=True)
class TunedFile:
    """Where the tuning goes."""

    panel: ClassVar[str] = "Output"
    out: Annotated[Path, option("JSON file of the tuning: numbers only.")]
    report: Annotated[Path | None, option("HTML file: figures, candidates, pictures.", "none")] = (
        None
    )
    overwrite: OverwriteOption = False
    fit: Annotated[
        bool | None,
        option(
            "Fit scalars and levels too, not only choose.",
            "fit without guidance, choose with it",
            name="--fit/--no-fit",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What is tuned for, on what, and at what cost."""

    panel: ClassVar[str] = "Trials"
    steps: Annotated[list[int] | None, option("Solver steps, repeatable.", "5 6 8")] = None
    noises: Annotated[int, option("Noises that scalars are fitted on.", min=4)] = 32
    held_out: Annotated[int, option("More noises, that candidates are ranked on.", min=16)] = 48
    fresh: Annotated[int, option("More noises, that the figures are of.", min=16)] = 64
    first_seed: FirstSeedOption = 2_000_000_000
    fine_steps: Annotated[int, option("Heun steps of the fine solution.", min=4)] = 30
    sigma_max: Annotated[
        float | None,
        option("Noise level of the start.", "80, or the model's highest; pure noise of a flow"),
    ] = None
    batch: Annotated[
        int | None, option("Noises at a time.", "as many as there is room for, up to 64", min=1)
    ] = None
    calls: Annotated[
        int | None, option("The most samples to evaluate the model for.", "no bound")
    ] = None
    minutes: Annotated[float | None, option("The most time to take.", "no bound")] = None
    folder: Annotated[
        Path | None,
        option("Folder to go on from after an interruption; holds the fine solutions.", "none"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How the table is shown."""

    panel: ClassVar[str] = "Output"
    top: Annotated[int, option("Rows for each number of steps.", min=1)] = 10
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
