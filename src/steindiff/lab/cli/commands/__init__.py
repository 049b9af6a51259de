"""What can be asked for: the commands with their options and help. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated

import typer

from ...._provenance import own_version
from . import bench, calibrate, compare, diagnose, evaluate, generate, info, lab, sample, tune
from .grouping import grouped

app = typer.Typer(
    help="Few-step sampling from diffusion models, relaxed by a Stein coefficient.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _command in {
    "sample": sample.sample,
    "compare": compare.compare,
    "lab": lab.lab,
    "tune": tune.tune,
    "recommend": tune.recommend,
    "calibrate": calibrate.calibrate,
    "bench": bench.bench,
    "diagnose": diagnose.diagnose,
    "generate": generate.generate,
    "fid-stats": evaluate.fid_stats,
    "evaluate": evaluate.evaluate,
    "info": info.info,
}.items():
    app.command(_name)(grouped(_command))


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"steindiff {own_version()}")
        raise typer.Exit


@app.callback()
def _steindiff(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version.", is_eager=True, callback=_show_version, metavar=""
        ),
    ] = False,
) -> None:
    pass
