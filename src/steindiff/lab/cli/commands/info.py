"""`steindiff info`: what is installed, and what there is to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..options import FormatOption


@dataclass(frozen=True, kw_only=True)
class Topic:
    """What is asked about."""

    topic: Annotated[
        str | None,
        typer.Argument(
            help="solvers, coefficients, schedules, models, priors, chapters, presets, device, or "
            "all of these.",
            show_default="what is installed",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How it is shown."""

    panel: ClassVar[str] = "Output"
    format: FormatOption = "table"


def info(topic: Topic, shown: Shown) -> None:
    """Show what is installed, or the names and options that commands take.

    Without a topic it answers at once; a topic imports PyTorch first.
    """
    if topic.topic is not None:
        from ..info import info

        info(topic.topic, shown.format)
        return
    from ..installed import installed
    from ..show import show, texts

    show([texts("Installed", ["what", "found"], installed())], shown.format)
