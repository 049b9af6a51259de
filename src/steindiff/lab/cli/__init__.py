"""The command line: one module a command."""

from __future__ import annotations

import sys

import typer

from . import bench, calibrate, compare, diagnose, evaluate, generate, info, sample

app = typer.Typer(
    help="Few-step sampling from diffusion models, relaxed by a Stein coefficient.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("sample")(sample.sample)
app.command("compare")(compare.compare)
app.command("calibrate")(calibrate.calibrate)
app.command("bench")(bench.bench)
app.command("diagnose")(diagnose.diagnose)
app.command("generate")(generate.generate)
app.command("fid-stats")(evaluate.fid_stats)
app.command("evaluate")(evaluate.evaluate)
app.command("info")(info.info)


def main() -> None:
    """Entry point: what the user got wrong is one sentence and exit code 2, never a traceback."""
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C inside a command
            _interrupted()
        raise


def _interrupted() -> None:
    typer.echo("Interrupted; no half-written file is left.", err=True)
    sys.exit(130)
