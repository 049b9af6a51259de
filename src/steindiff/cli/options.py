"""Text from the command line -> objects, and the check that a path can be written to."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path

from torch import Tensor

from ..denoisers import ClassifierFreeGuidance, Denoiser, UNetDenoiser
from ..errors import unknown_name
from ..schedules import SCHEDULES
from ..solvers import Solver, resolve_solver

SOLVER_HELP = "NAME, NAME:ORDER or NAME:option=value,... (see `steindiff info`)."


def parse_solver(text: str) -> Solver:
    """ "ipndm", "ipndm:2" or "unipc:order=2,variant=bh1" -> the solver."""
    name, _, options = text.partition(":")
    if options.isdecimal():
        options = f"order={options}"
    pairs = [pair.partition("=") for pair in options.split(",") if pair]
    for key, sign, value in pairs:
        if not (key and sign and value):
            raise ValueError(f"solver {text!r} is not of the form NAME:option=value,...")
    solver = resolve_solver(name, **{key.strip(): _value(value) for key, _, value in pairs})
    for field in fields(solver):
        value = getattr(solver, field.name)
        if isinstance(field.default, bool) and not isinstance(value, bool):
            raise ValueError(f"option {field.name!r} is {value!r}; true or false is needed")
    return solver


def _value(text: str) -> int | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if text.lstrip("-").isdecimal() else text


def parse_range(text: str, name: str) -> list[int]:
    """ "0-3,7" -> [0, 1, 2, 3, 7]."""
    numbers: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise ValueError(f"{name} is {text!r}; numbers and ranges such as 0-15,20 are needed")
        if dash and int(high) < int(low):
            raise ValueError(f"{name} is {text!r}: {part.strip()} is an empty range")
        numbers += range(int(low), int(high or low) + 1)
    return numbers


def make_schedule(name: str, steps: int, low: float, high: float, final: str) -> Tensor:
    """The noise levels of a schedule by name."""
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    return SCHEDULES[name](steps, low, high, final=final)


def guided(net: UNetDenoiser, guidance: float) -> Denoiser:
    """The network under classifier-free guidance; 1 is the plain conditional network."""
    if guidance == 1:
        return net
    return ClassifierFreeGuidance(net, guidance, {"class_labels": net.null_label})


def check_output(path: Path, overwrite: bool) -> None:
    """Raises before any work is done when `path` could not be written in the end."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; the path of a file is needed")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another path or pass --overwrite")
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{folder} is not writable: {error.strerror or error}") from error
