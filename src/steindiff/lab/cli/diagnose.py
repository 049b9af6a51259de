"""`steindiff diagnose`: the theory, measured on one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table

from ..._provenance import command_line
from ..devices import check_device
from ..subjects import Mixture, Subject, make_subject, of_edm, of_folder
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
from .edm import EdmOption, TrustOption
from .options import (
    CoefficientOption,
    GuidanceOption,
    ScheduleOption,
    SigmaMaxOption,
    SigmaMinOption,
    SolverOption,
    StepsOption,
)


def diagnose(
    out: Annotated[Path, typer.Option(help="Folder for report.html, results and figures.")],
    model: Annotated[
        str, typer.Option(help="A shipped model, or an exact one: mixture:dim=64,modes=10,...")
    ] = "fashion-mnist",
    edm: EdmOption = None,
    trust: TrustOption = False,
    diffusers: Annotated[
        Path | None, typer.Option(help="Folder of a saved diffusers pipeline, for --model.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Of a text-to-image pipeline.")] = "",
    solver: SolverOption = "dpmpp_2m",
    steps: StepsOption = 5,
    coefficient: CoefficientOption = "energy",
    schedule: ScheduleOption = "karras",
    sigma_min: SigmaMinOption = 0.002,
    sigma_max: SigmaMaxOption = 80.0,
    guidance: GuidanceOption = 1.0,
    samples: Annotated[int, typer.Option(min=8, help="Trajectories that means are over.")] = 96,
    jacobians: Annotated[
        int, typer.Option(min=2, help="Of them, those whose Lipschitz constants are measured.")
    ] = 8,
    modes: Annotated[int, typer.Option(min=8, help="Samples whose modes are counted.")] = 300,
    first_seed: Annotated[int, typer.Option(min=0, help="Seeds count up from here.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Chapters, repeatable: {', '.join(CHAPTERS)}.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device of the model, such as cuda.")] = "cpu",
    overwrite: Annotated[bool, typer.Option(help="Drop the results of another run.")] = False,
) -> None:
    """Put the theory to the test on a model: a report with a verdict for every statement.

    Each chapter is saved as it ends; the same command started again goes on where it was.
    """
    place = str(check_device(device))
    sizes = Sizes(samples=samples, jacobians=jacobians, modes=modes)
    subject = _subject(model, edm, trust, diffusers, prompt, guidance, place)
    known = subject.mixture if isinstance(subject, Mixture) and subject.exact is None else None
    diagnosis = make_diagnosis(
        subject, solver=solver, coefficient=coefficient, schedule=schedule, steps=steps,
        sigma_min=sigma_min, sigma_max=sigma_max, first_seed=first_seed, sizes=sizes,
        modes=modes_of(subject), exact=known,
    )  # fmt: skip
    results = _run(diagnosis, out, only or [], overwrite)
    report = write_report(out)
    Console().print(_summary(results))
    typer.echo(f"report: {report}   figures: {out / 'figures'}")


def _subject(
    model: str,
    edm: Path | None,
    trust: bool,
    diffusers: Path | None,
    prompt: str,
    guidance: float,
    device: str,
) -> Subject:
    given = {"--edm": edm, "--diffusers": diffusers}
    asked = [name for name, value in given.items() if value is not None]
    if model != "fashion-mnist":
        asked.insert(0, f"--model {model}")
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked)} are both given; one is needed")
    if edm is None and trust:
        raise ValueError("--trust is for --edm PATH, which is missing")
    if diffusers is None and prompt:
        raise ValueError(f"--prompt is for --diffusers FOLDER, which is missing; it is {prompt!r}")
    if guidance != 1 and (edm or diffusers):
        raise ValueError(f"--guidance is {guidance}; it is for shipped models")
    if edm is not None:
        return of_edm(edm, trust, device)
    if diffusers is not None:
        return of_folder(diffusers, prompt, device)
    return make_subject(model, guidance, device)


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
    table = Table("statement", "verdict", title="Verdicts", title_justify="left")
    for found in verdicts(results).values():
        for verdict in found:
            table.add_row(verdict.statement, verdict.grade.value)
    return table
