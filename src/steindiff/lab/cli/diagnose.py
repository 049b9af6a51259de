"""Does `steindiff diagnose`: the theory, measured on one model."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from ..._provenance import command_line
from ..devices import check_device
from ..specs import parse_coefficient, parse_solver
from ..subjects import Mixture
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
from .commands.diagnose import Amount, Diagnosed, Report
from .method import check_nfe_alias, one_of
from .models import model_of
from .options import AnyModel, Device
from .show import show, texts


def diagnose(
    report: Report, subject: AnyModel, sampling: Diagnosed, amount: Amount, device: Device
) -> None:
    """Measures, writes the report, and shows the verdicts."""
    place = str(check_device(device.device))
    found = model_of(subject, place)
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
