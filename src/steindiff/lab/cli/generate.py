"""Does `steindiff generate`: many images, on one process or many."""

from __future__ import annotations

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..._errors import unknown_name
from ..._provenance import own_version
from ...models import load_model
from ..generate import Processes, Sampler, Setting, processes
from ..generate import generate as run
from ..generate.formats import FORMATS
from ..subjects import guided
from .commands.generate import Batches, ImageSet
from .method import choose
from .networks import class_labels, model_hash
from .options import Labelled, Sampling


def generate(images: ImageSet, network: Labelled, sampling: Sampling, batches: Batches) -> None:
    """Completes the folder; rank 0 says what was done."""
    with processes() as world:
        with world.together():
            device = world.device(batches.device)
            if images.format not in FORMATS:
                raise unknown_name("format", images.format, FORMATS)
            setting, sampler, described = _prepare(images, network, sampling, batches, device)
        if _run(images, setting, sampler, world, network.model):
            typer.echo(described)


def _prepare(
    images: ImageSet, network: Labelled, sampling: Sampling, batches: Batches, device: torch.device
) -> tuple[Setting, Sampler, str]:
    """The setting, what samples it in this process, and what that is in words."""
    chosen = choose(sampling, network.guidance)
    sigmas = chosen.levels()
    net = load_model(network.model, device=device)
    labels = tuple(class_labels(net, network.classes))
    if batches.compile:
        net.compile()
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
    hashed = model_hash(network.model)
    chosen.check_use(network.model, hashed, network.guidance, sigmas)
    sampler = Sampler(
        guided(net, network.guidance, net.null_label), net.sample_shape, sigmas, chosen.solver,
        chosen.coefficient, chosen.method.end, device,
    )  # fmt: skip
    method = chosen.method
    setting = Setting(
        model_sha256=hashed, solver=repr(chosen.solver), coefficient=method.coefficient,
        steps=chosen.steps, schedule=method.schedule, sigma_min=method.sigma_min,
        sigma_max=chosen.sigma_max, final=method.final, end=method.end, guidance=network.guidance,
        classes=labels, count=images.count, first_seed=images.first_seed, format=images.format,
        shard_size=images.shard_size, batch=batches.batch, compile=batches.compile,
        device=device.type, torch=str(torch.__version__), steindiff=own_version(),
    )  # fmt: skip
    return setting, sampler, chosen.described(sigmas)


def _run(
    images: ImageSet, setting: Setting, sampler: Sampler, world: Processes, model: str
) -> bool:
    """Whether this is the process that tells, and there is something to tell."""
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=world.rank > 0) as progress:
        task = progress.add_task("images", total=None, visible=False)
        done = run(
            images.out, setting, sampler, world, model=model, verify=images.verify,
            tell=lambda text: typer.echo(text, err=True),
            advance=lambda done, todo: progress.update(
                task, completed=done, total=todo, visible=True
            ),
        )  # fmt: skip
    if world.rank:
        return False
    if not done.images:
        typer.echo(f"{images.out} is complete: {setting.count} images; there was nothing to do")
        return False
    peak = f", peak memory {done.peak_memory / 2**20:.0f} MiB" if done.peak_memory else ""
    typer.echo(
        f"{setting.count} images in {images.out}; {done.images} made now, "
        f"{done.images / max(done.seconds, 1e-9):.1f} images/s on {world.size} "
        f"process{'es' if world.size > 1 else ''}{peak}"
    )
    return True
