"""Does `steindiff tune` and `recommend`: measures, fits, and says what came of it."""

from __future__ import annotations

import re
from ast import literal_eval
from typing import Any

import typer

from ..._provenance import command_line
from ...solvers import SOLVERS
from ...tuning import Choice, Tuned, evaluations
from ...tuning import tune as fit_sampler
from ...tuning.batch import AT_ONCE
from ...tuning.checks import TOP
from ..devices import check_device
from ..folders import claim
from ..generate import Processes, processes
from ..specs import spec_of
from ..subjects import Subject
from ..tables import Table
from .commands.tune import Shown, Trials, TunedFile
from .models import model_of
from .options import AnyModel, Device, check_output
from .show import check_format, progress, remark, show, texts

STEPS = (5, 6, 8)


def tune(file: TunedFile, model: AnyModel, trials: Trials, device: Device) -> None:
    """Tunes, writes the file and the report, and shows the verdicts."""
    with processes() as world:
        with world.together():
            for path in (file.out, file.report):
                if path is not None:
                    check_output(path, file.overwrite)
        subject, found = _measured(model, trials, device, world, file.fit)
    if world.rank:
        return
    found.save(file.out)
    show([_verdicts(found)], "table")
    for steps, one in sorted(found.choices.items()):
        typer.echo("\n  not taken: ".join([f"{steps} steps: {one.verdict}", *one.passed]))
    if file.report is not None:
        from .tuning_report import write_report

        write_report(file.report, found, subject)
        typer.echo(f"report: {file.report}")
    typer.echo(
        f"tuning: {file.out}   use it:\nsteindiff sample --tuned {file.out} --out images.png"
    )


def recommend(shown: Shown, model: AnyModel, trials: Trials, device: Device) -> None:
    """Measures, and shows the best of what can be chosen."""
    with processes() as world:
        with world.together():
            check_format(shown.format)
        _, found = _measured(model, trials, device, world, False)
    if world.rank:
        return
    show([_ranking(steps, one, shown.top) for steps, one in sorted(found.choices.items())],
         shown.format)  # fmt: skip
    for steps, one in sorted(found.choices.items()):
        remark(f"{steps} steps: {one.verdict}", shown.format)


def _measured(
    model: AnyModel, trials: Trials, device: Device, world: Processes, fit: bool | None
) -> tuple[Subject, Tuned]:
    """A model and its tuning, with a progress bar; what it may cost is told first."""
    steps = trials.steps or list(STEPS)
    counts = trials.noises, trials.held_out, trials.fresh
    with world.together():
        if trials.folder is not None and world.rank == 0:
            claim(trials.folder, "tuning", overwrite=False)
        subject = model_of(model, str(check_device(world.device(device.device))))
        fit = subject.guidance == 1 if fit is None else fit
        total = evaluations(steps, *counts, trials.fine_steps, fit)
        total = total if trials.calls is None else min(total, trials.calls)
    if world.rank == 0:
        typer.echo(f"at most {total:,} samples are evaluated; about half of it is usual", err=True)
        batch = trials.batch or AT_ONCE
        if world.size > 1 and world.size * batch > max(counts):
            typer.echo(
                f"Note: {world.size} processes share batches, of which there are too few: --batch "
                f"is {batch}, and at most {max(counts)} noises are evaluated at a time.",
                err=True,
            )
    with world.together(), progress("tuning", total, shown=world.rank == 0) as told:
        found = fit_sampler(
            subject.denoiser, steps, fit=fit, shape=subject.shape, guidance=subject.guidance,
            conditioning=subject.conditioning(range(sum(counts))), noises=trials.noises,
            held_out=trials.held_out, fresh=trials.fresh, fine_steps=trials.fine_steps,
            seed=trials.first_seed, batch=trials.batch,
            sigma_max=trials.sigma_max or start_of(subject),
            sigma_min=max(0.002, subject.sigma_min), device=subject.device, calls=trials.calls,
            minutes=trials.minutes, folder=trials.folder, model=subject.name,
            model_hash=subject.model_hash, command=command_line(), told=told,
        )  # fmt: skip
    return subject, found


def start_of(subject: Subject) -> float | None:
    """The level that a tuning of it starts at; None for what `tune` itself finds."""
    return None if subject.sigma_max >= TOP else subject.sigma_max


def _verdicts(found: Tuned) -> Table:
    rows = []
    for steps, one in sorted(found.choices.items()):
        levels = " ".join(f"{sigma:.3g}" for sigma in one.recipe.sigmas)
        ratios = [
            f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
            for ratio in (one.against_plain, one.against_recipe)
        ]
        rows.append([str(steps), one.kind, levels, *ratios])
    headings = ["steps", "kept", "levels", "tuned / best plain", "tuned / recipe"]
    return texts("Scores on fresh noises", headings, rows)


def _ranking(steps: int, one: Choice, top: int) -> Table:
    """The best candidates; the best plain one, the recipe and GITS wherever they are."""
    first = {kind: next((each for each in one.tried if each.kind == kind), None)
             for kind in ("plain", "recipe")}  # fmt: skip
    peers = [each for each in one.tried if each.kind == "gits"]
    shown = [*one.tried[:top], *(each for each in first.values() if each), *peers]
    least = first["plain"].score if first["plain"] else one.tried[0].score
    rows: list[Any] = [
        [each.kind, _named(each.words), f"{each.figures.error:.4f}", f"{each.figures.frechet:.3g}",
         f"{each.score / least:.2f}"]
        for each in dict.fromkeys(shown)
    ]  # fmt: skip
    headings = ["kind", "what", "error", "distance", "score / best plain"]
    return texts(f"{steps} steps", headings, rows)


def _named(words: str) -> str:
    """A candidate's words, with the solver that they begin with as commands name it."""
    found = re.match(r"(\w+)\(([^()]*)\)", words)
    kinds = {kind.__name__: kind for kind in SOLVERS.values()}
    if found is None or found[1] not in kinds:
        return words
    pairs = (pair.partition("=") for pair in filter(None, found[2].split(", ")))
    solver = kinds[found[1]](**{key: literal_eval(value) for key, _, value in pairs})
    return spec_of(solver) + words[found.end() :]
