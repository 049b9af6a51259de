"""What the scripts of this folder share: how they run, and what they record."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import typer

sys.path.append(str(Path(__file__).parents[1] / "examples"))  # the shipped pipeline is one of them


def run(command: Callable[..., None]) -> None:
    """Runs a function as a command; what the user got wrong is one sentence and exit code 2."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)


def command_line() -> str:
    """The script that is running, as it would be typed."""
    script = f"benchmarks/{Path(sys.argv[0]).name}"
    return shlex.join(["python", script, *sys.argv[1:]])
