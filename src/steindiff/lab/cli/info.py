"""Does `steindiff info TOPIC`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch

from ..._errors import unknown_name
from ...calibrated import PRIORS
from ...models import MODELS
from ...schedules import SCHEDULES
from ...solvers import FITTED, SOLVERS
from ...stein import COEFFICIENTS
from ..tables import Table
from .show import check_format, show, texts


def info(topic: str, format: str) -> None:
    """Shows a table of `TOPICS`, or all of them."""
    check_format(format)
    if topic != "all" and topic not in TOPICS:
        raise unknown_name("topic", topic, [*TOPICS, "all"])
    names = TOPICS if topic == "all" else [topic]
    show([TOPICS[name]() for name in names], format)


def solvers() -> Table:
    """The solvers and their options."""
    return _kinds("Solvers", SOLVERS | FITTED)


def coefficients() -> Table:
    """The coefficients and their options."""
    return _kinds("Coefficients", COEFFICIENTS)


def schedules() -> Table:
    """The schedules."""
    rows = [[name, _summary(schedule)] for name, schedule in SCHEDULES.items()]
    return texts("Schedules", ["name", "what it is"], rows)


def models() -> Table:
    """The shipped models' files."""
    rows = [
        [name, part, entry[part]["file"], entry[part]["sha256"][:16]]
        for name, entry in MODELS.items()
        for part in ("denoiser", "classifier")
    ]
    return texts("Models", ["name", "part", "file", "SHA-256"], rows)


def priors() -> Table:
    """What a calibration may be drawn to."""
    return texts("Priors", ["name"], [[name] for name in PRIORS])


def chapters() -> Table:
    """The chapters of a diagnosis."""
    from ..theory import CHAPTERS

    return texts("Chapters", ["name"], [[name] for name in CHAPTERS])


def presets() -> Table:
    """The grids that come with the package."""
    from ..bench.grid import presets

    return texts("Presets", ["name"], [[name] for name in presets()])


def device() -> Table:
    """The devices that torch sees."""
    rows = [["cpu", f"{torch.get_num_threads()} threads"]]
    rows += [[f"cuda:{k}", torch.cuda.get_device_name(k)] for k in range(torch.cuda.device_count())]
    return texts("Devices", ["name", "what it is"], rows)


TOPICS: dict[str, Callable[[], Table]] = {
    "solvers": solvers,
    "coefficients": coefficients,
    "schedules": schedules,
    "models": models,
    "priors": priors,
    "chapters": chapters,
    "presets": presets,
    "device": device,
}
"""What can be asked about."""


def _kinds(title: str, registry: dict[str, Any]) -> Table:
    """A row for each class: its name, its options with their defaults, its first line."""
    rows = [
        [name, ", ".join(f"{f.name}={f.default}" for f in fields(kind)), _summary(kind)]
        for name, kind in registry.items()
    ]
    return texts(title, ["name", "options (defaults)", "what it is"], rows)


def _summary(thing: object) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]
