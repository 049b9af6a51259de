"""Does `steindiff diagnose`: the theory, measured on one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from ..._provenance import command_line
from ..devices import check_device
from ..diagnosis import CHAPTERS, Setting, Sizes, make_setting, run_chapters, verdicts, write_report
from ..diagnosis.subjects import edm as of_edm
from ..diagnosis.subjects import folder as of_folder
from ..diagnosis.subjects import shipped
from ..specs import parse_coefficient, parse_solver
from ..tables import Table
from .commands.diagnose import Amount, Diagnosed, Report, Subject
from .method import check_nfe_alias, one_of
from .options import MODEL, Device
from .show import show, texts


def diagnose(
    report: Report, subject: Subject, sampling: Diagnosed, amount: Amount, device: Device
) -> None:
    """Measures, writes the report, and shows the verdicts."""
    place = str(check_device(device.device))
    about = _subject(subject, place)
    low, high = about.pop("limits", (0.0, float("inf")))
    setting = make_setting(
        solver=sampling.solver, coefficient=sampling.coefficient, schedule=sampling.schedule,
        steps=_steps(sampling), sigma_min=max(sampling.sigma_min, low),
        sigma_max=min(sampling.sigma_max, high), first_seed=amount.first_seed, device=place,
        sizes=Sizes(samples=amount.samples, jacobians=amount.jacobians, modes=amount.modes),
        **about,
    )  # fmt: skip
    results = _run(setting, report.out, report.only or [], report.overwrite)
    page = write_report(report.out)
    show([_summary(results)], "table")
    typer.echo(f"report: {page}   figures: {report.out / 'figures'}")


def _steps(sampling: Diagnosed) -> int:
    steps = one_of(sampling.steps, sampling.nfe)
    if sampling.nfe is not None:
        solver, rule = parse_solver(sampling.solver), parse_coefficient(sampling.coefficient)
        check_nfe_alias(steps, sampling.solver, solver, rule)
    return steps


def _subject(asked: Subject, device: str) -> dict[str, Any]:
    edm, diffusers = asked.edm, asked.diffusers
    given = {"--edm": edm, "--diffusers": diffusers}
    named = [name for name, value in given.items() if value is not None]
    if asked.model != MODEL:
        named.insert(0, f"--model {asked.model}")
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} are both given; one is needed")
    if edm is None and asked.trust:
        raise ValueError("--trust is for --edm PATH, which is missing")
    if asked.guidance != 1 and (edm or diffusers):
        raise ValueError(f"--guidance is {asked.guidance}; it is for shipped models")
    if edm is not None:
        return of_edm(edm, asked.trust, device)
    if diffusers is not None:
        return of_folder(diffusers, asked.prompt, device)
    return shipped(asked.model, asked.guidance, device)


def _run(setting: Setting, out: Path, names: list[str], overwrite: bool) -> dict[str, Any]:
    columns = (*Progress.get_default_columns()[1:2], TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(names or CHAPTERS))
        return run_chapters(
            setting, out, names=names, command=command_line(), overwrite=overwrite,
            tell=lambda text: progress.update(task, description=text),
            done=lambda: progress.advance(task),
        )  # fmt: skip


def _summary(results: dict[str, Any]) -> Table:
    rows = [
        [verdict.statement, verdict.outcome.value]
        for found in verdicts(results).values()
        for verdict in found
    ]
    return texts("Verdicts", ["statement", "verdict"], rows)
