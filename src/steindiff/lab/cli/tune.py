"""Does `steindiff pilot`: the few-step recipe that suits one network best, into a small file."""

from __future__ import annotations

from typing import Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..._files import write_whole
from ...models import load_model
from ...pilots import SEED, Pilot, evaluations, save_pilot
from ...pilots import pilot as choose_recipes
from ..devices import check_device
from ..specs import spec_of
from ..tables import Table
from .commands.pilot import PilotFile, Trials
from .networks import class_labels, guided
from .options import Device, Labelled, check_output
from .show import show, texts

STEPS = (5, 6, 8)


def pilot(file: PilotFile, network: Labelled, trials: Trials, device: Device) -> None:
    """Chooses, writes the file and the picture, and shows what was chosen."""
    for path in (file.out, file.plot):
        if path is not None:
            check_output(path, file.overwrite)
    place = check_device(device.device)
    net = load_model(network.model, device=place)
    labels = torch.tensor(class_labels(net, network.classes), device=place)
    found = _choose(
        guided(net, network.guidance), trials, shape=net.sample_shape, device=place,
        guidance=network.guidance, conditioning={"class_labels": labels}, model=network.model,
    )  # fmt: skip
    save_pilot(file.out, found)
    show([_table(found)], "table")
    if file.plot is not None:
        picture = plot(found)
        write_whole(file.plot, lambda out: picture.savefig(out, format="png", dpi=150))
        typer.echo(f"picture: {file.plot}")
    typer.echo("errors are relative, to the fine solution, on the noises that were chosen on")
    typer.echo(f"pilot: {file.out}   use it:\nsteindiff sample --pilot {file.out} --out images.png")


def _choose(denoiser: Any, trials: Trials, **options: Any) -> Pilot:
    steps = trials.steps or list(STEPS)
    total = evaluations(steps, trials.noises, trials.fine_steps)
    typer.echo(
        f"at most {total // trials.noises:,} evaluations of {trials.noises} noises each", err=True
    )
    columns = (TextColumn("trying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        return choose_recipes(
            denoiser, steps, noises=trials.noises, fine_steps=trials.fine_steps,
            seed=SEED if trials.seed is None else trials.seed, sigma_max=trials.sigma_max,
            told=lambda done: progress.advance(task, done), **options,
        )  # fmt: skip


def _table(found: Pilot) -> Table:
    rows = []
    for steps, one in sorted(found.findings.items()):
        errors = (one.error, one.fixed_error, one.plain_error)
        rows.append([
            str(steps), " ".join(f"{sigma:.3g}" for sigma in one.recipe.sigmas),
            spec_of(one.recipe.solver), *(f"{error:.4f}" for error in errors),
        ])  # fmt: skip
    return texts("Recipes", ["steps", "levels", "solver", "error", "fixed", "plain"], rows)


def plot(found: Pilot) -> Any:
    """How fast D moves over sigma, and where each recipe looks: a matplotlib figure."""
    from matplotlib.figure import Figure

    from ..report.look import BLUE, GREY, ORANGE, plain_numbers, tidy

    figure = Figure(figsize=(7, 2.6 + 0.3 * len(found.findings)), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(*found.motion, color=BLUE, label="how fast D moves, rms |dD/d ln σ|")
    top = max(found.motion[1])
    for row, (steps, one) in enumerate(sorted(found.findings.items())):
        levels = [sigma for sigma in one.recipe.sigmas if sigma > 0]
        height = top * (1.12 + 0.12 * row)
        axes.plot(levels, [height] * len(levels), "o", color=ORANGE, markersize=5)
        axes.annotate(
            f"{steps} steps", (levels[0], height), (6, 0), textcoords="offset points",
            va="center", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.plot([], [], "o", color=ORANGE, label="levels that were chosen")
    axes.set_xlabel("noise level σ")
    axes.set_ylabel("speed of D")
    axes.set_title(f"The pilot of {found.model or 'a network'}", fontsize=10)
    axes.legend(fontsize=8, loc="upper left", frameon=False)
    plain_numbers(axes.xaxis)
    tidy(axes)
    return figure
