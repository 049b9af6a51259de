"""`steindiff generate`: many images, on one process or many, the same bytes every time."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..._errors import unknown_name
from ...models import load_model
from ..generate import Processes, Sampler, Setting, processes
from ..generate import generate as run
from ..generate.formats import FORMATS
from ..specs import check_calibration, make_schedule, parse_coefficient, parse_solver
from .options import (
    CalibrationOption,
    ClassesOption,
    CoefficientOption,
    FinalOption,
    GuidanceOption,
    ModelOption,
    ScheduleOption,
    SigmaMaxOption,
    SigmaMinOption,
    SolverOption,
    StepsOption,
    class_labels,
    guided,
    model_hash,
    with_calibration,
)


def generate(
    out: Annotated[Path, typer.Option(help="Folder for the images; new, or of an earlier run.")],
    count: Annotated[int, typer.Option(min=1, help="Images.")] = 50_000,
    first_seed: Annotated[int, typer.Option(min=0, help="Image k has seed FIRST_SEED + k.")] = 0,
    format: Annotated[
        str, typer.Option(help="png (folders), npz (shards) or wds (WebDataset tars).")
    ] = "png",
    model: ModelOption = "fashion-mnist",
    solver: SolverOption = "ipndm",
    calibration: CalibrationOption = None,
    coefficient: CoefficientOption = "energy",
    steps: StepsOption = 5,
    schedule: ScheduleOption = "karras",
    sigma_min: SigmaMinOption = 0.002,
    sigma_max: SigmaMaxOption = 80.0,
    final: FinalOption = "sigma_min",
    guidance: GuidanceOption = 1.0,
    classes: ClassesOption = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Images a shard.")] = 1000,
    batch: Annotated[
        int, typer.Option(min=1, help="Images at a time; at least 16 are computed.")
    ] = 100,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network; may change the last bits.")
    ] = False,
    verify: Annotated[
        bool, typer.Option(help="Read the shards that are there, or only look at their sizes.")
    ] = True,
) -> None:
    """Generate images into a folder: PNG files, NPZ shards or WebDataset tars.

    Started again, the same command goes on where it was. For several processes or machines:
    torchrun --nproc-per-node 2 -m steindiff generate ..., or accelerate launch -m steindiff ...
    The bytes do not depend on the number of processes.
    """
    with processes() as world:
        with world.together():
            place = world.device(device)
            sampler, labels, hashed = _sampler(
                model, with_calibration(solver, calibration), coefficient, guidance, classes,
                place, compile,
                (schedule, steps, sigma_min, sigma_max, final),
            )  # fmt: skip
            if format not in FORMATS:
                raise unknown_name("format", format, FORMATS)
            setting = Setting(
                model_sha256=hashed, solver=repr(sampler.solver), coefficient=coefficient,
                steps=steps, schedule=schedule, sigma_min=sigma_min, sigma_max=sigma_max,
                final=final, guidance=guidance, classes=labels, count=count,
                first_seed=first_seed, format=format, shard_size=shard_size, batch=batch,
                compile=compile, device=place.type, torch=str(torch.__version__),
                steindiff=version("steindiff"),
            )  # fmt: skip
        _run(out, setting, sampler, world, model, verify)


def _run(
    out: Path, setting: Setting, sampler: Sampler, world: Processes, model: str, verify: bool
) -> None:
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=world.rank > 0) as progress:
        task = progress.add_task("images", total=None, visible=False)
        done = run(
            out, setting, sampler, world, model=model, verify=verify,
            tell=lambda text: typer.echo(text, err=True),
            advance=lambda done, todo: progress.update(
                task, completed=done, total=todo, visible=True
            ),
        )  # fmt: skip
    if world.rank:
        return
    if not done.images:
        typer.echo(f"{out} is complete: {setting.count} images; there was nothing to do")
        return
    peak = f", peak memory {done.peak_memory / 2**20:.0f} MiB" if done.peak_memory else ""
    typer.echo(
        f"{setting.count} images in {out}; {done.images} made now, "
        f"{done.images / max(done.seconds, 1e-9):.1f} images/s on {world.size} "
        f"process{'es' if world.size > 1 else ''}{peak}"
    )


def _sampler(
    model: str,
    solver: str,
    coefficient: str,
    guidance: float,
    classes: str | None,
    device: torch.device,
    compiled: bool,
    levels: tuple[Any, ...],
) -> tuple[Sampler, tuple[int, ...], str]:
    """The sampler, the class labels, and the hash of the model."""
    rule = parse_coefficient(coefficient)
    method, sigmas = parse_solver(solver), make_schedule(*levels)
    net = load_model(model, device=device)
    labels = tuple(class_labels(net, classes))
    if compiled:
        net.compile()
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
    hashed = model_hash(model)
    check_calibration(method, model, hashed, guidance, sigmas)
    sampler = Sampler(guided(net, guidance), net.sample_shape, sigmas, method, rule, device)
    return sampler, labels, hashed
