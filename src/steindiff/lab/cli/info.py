"""`steindiff info`: what there is to choose from."""

from __future__ import annotations

from dataclasses import fields

from rich.console import Console
from rich.table import Table

from ...models import MODELS
from ...schedules import SCHEDULES
from ...solvers import FITTED, SOLVERS
from ...stein import COEFFICIENTS


def info() -> None:
    """Show the solvers, coefficients, schedules and shipped models."""
    console = Console()
    for title, registry in (("Solvers", SOLVERS | FITTED), ("Coefficients", COEFFICIENTS)):
        table = Table("name", "options (defaults)", "what it is", title=title, title_justify="left")
        for name, kind in registry.items():
            options = ", ".join(f"{field.name}={field.default}" for field in fields(kind))
            table.add_row(name, options, _summary(kind))
        console.print(table)
    table = Table("name", "what it is", title="Schedules", title_justify="left")
    for name, schedule in SCHEDULES.items():
        table.add_row(name, _summary(schedule))
    console.print(table)
    table = Table("name", "part", "file", "SHA-256", title="Models", title_justify="left")
    for name, entry in MODELS.items():
        for part in ("denoiser", "classifier"):
            table.add_row(name, part, entry[part]["file"], entry[part]["sha256"][:16])
    console.print(table)


def _summary(thing: object) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]
