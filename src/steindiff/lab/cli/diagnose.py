"""Does `steindiff diagnose`: the theory, measured on one model."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from ..._provenance import command_line
from ..devices import check_device
from ..specs import parse_coefficient, parse_solver
from ..subjects import Mixture, Subject, make_subject, of_edm, of_folder
from ..tables import Table
from ..theory import (
    CHAPTERS,
    Diagnosis,
    Results,
    Sizes,
    make_diagnosis,
    modes_of,
    run_chapters,
    verdicts,
    write_report,
)
from .commands.diagnose import Amount, Asked, Diagnosed, Report
from .method import check_nfe_alias, one_of
from .options import MODEL, Device
from .show import show, texts


def diagnose(
    report: Report, subject: Asked, sampling: Diagnosed, amount: Amount, device: Device
) -> None:
    """Measures, writes the report, and shows the verdicts."""
    place = str(check_device(device.device))
    found = _subject(subject, place)
    known = found.mixture if isinstance(found, Mixture) and found.exact is None else None
    diagnosis = make_diagnosis(
        found, solver=sampling.solver, coefficient=sampling.coefficient,
        schedule=sampling.schedule, steps=_steps(sampling), sigma_min=sampling.sigma_min,
        sigma_max=sampling.sigma_max, first_seed=amount.first_seed,
        sizes=Sizes(samples=amount.samples, jacobians=amount.jacobians, modes=amount.modes),
        modes=modes_of(found), exact=known,
    )  # fmt: skip
    results = _run(diagnosis, report.out, report.only or [], report.overwrite)
    page = write_report(report.out)
    show([_summary(results)], "table")
    typer.echo(f"report: {page}   figures: {report.out / 'figures'}")


def _steps(sampling: Diagnosed) -> int:
    steps = one_of(sampling.steps, sampling.nfe)
    if sampling.nfe is not None:
        solver, rule = parse_solver(sampling.solver), parse_coefficient(sampling.coefficient)
        check_nfe_alias(steps, sampling.solver, solver, rule)
    return steps


def _subject(asked: Asked, device: str) -> Subject:
    edm, diffusers = asked.edm, asked.diffusers
    given = {"--edm": edm, "--diffusers": diffusers}
    named = [name for name, value in given.items() if value is not None]
    if asked.model != MODEL:
        named.insert(0, f"--model {asked.model}")
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} are both given; one is needed")
    if edm is None and asked.trust:
        raise ValueError("--trust is for --edm PATH, which is missing")
    if diffusers is None and asked.prompt:
        raise ValueError(
            f"--prompt is for --diffusers FOLDER, which is missing; it is {asked.prompt!r}"
        )
    if asked.guidance != 1 and (edm or diffusers):
        raise ValueError(f"--guidance is {asked.guidance}; it is for shipped models")
    if edm is not None:
        return of_edm(edm, asked.trust, device)
    if diffusers is not None:
        return of_folder(diffusers, asked.prompt, device)
    return make_subject(asked.model, asked.guidance, device)


def _run(diagnosis: Diagnosis, out: Path, names: list[str], overwrite: bool) -> Results:
    columns = (*Progress.get_default_columns()[1:2], TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(names or CHAPTERS))
        return run_chapters(
            diagnosis, out, names=names, command=command_line(), overwrite=overwrite,
            tell=lambda text: progress.update(task, description=text),
            done=lambda: progress.advance(task),
        )  # fmt: skip


def _summary(results: Results) -> Table:
    rows = [
        [verdict.statement, verdict.grade.value]
        for found in verdicts(results).values()
        for verdict in found
    ]
    return texts("Verdicts", ["statement", "verdict"], rows)
