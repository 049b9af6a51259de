"""Objects from the texts that commands and grid files name them by: "unipc:order=2,variant=bh1"."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from .._errors import unknown_name
from ..calibrated import Calibrated, load_calibration
from ..schedules import SCHEDULES
from ..solvers import SOLVERS, Solver, resolve_solver
from ..stein import COEFFICIENTS, Coefficient, resolve_coefficient
from ..stein.names import NONE

Value = int | float | bool | str | None


def parse_spec(text: str, kind: str) -> tuple[str, dict[str, Value]]:
    """ "name:option=value,..." -> the name and its options; numbers, true and false are read.

    Raises:
        ValueError: an option without its value, a value without its option, or an option twice.
    """
    name, _, rest = text.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(",") if pair]
    for key, sign, value in pairs:
        if not (key and sign and value):
            raise ValueError(f"{kind} {text!r} is not of the form NAME:option=value,...")
    options = {key.strip(): _value(value) for key, _, value in pairs}
    if len(options) < len(pairs):
        raise ValueError(f"{kind} {text!r} says an option twice")
    return name, options


def parse_solver(text: str) -> Solver:
    """ "ipndm", "ipndm:2" (its order) or "unipc:order=2,variant=bh1" -> the solver.

    "calibrated:file=PATH" is read from the file; the path may hold anything.
    """
    name, _, rest = text.partition(":")
    if name == "calibrated":
        path = calibration_path(text)
        if path is None:
            raise ValueError(
                f"solver is {text!r}, which needs a file of `steindiff calibrate`: "
                "calibrated:file=PATH, or --calibration PATH"
            )
        return load_calibration(path)
    if rest.isdecimal():
        text = f"{name}:order={rest}"
    name, options = parse_spec(text, "solver")
    return _checked(resolve_solver(name, **options))


def calibrated_text(path: str | Path) -> str:
    """The text that names the solver of a calibration file."""
    return f"calibrated:file={path}"


def calibration_path(text: str) -> Path | None:
    """The file in a solver's text "calibrated:file=PATH"; None if it is another text."""
    path = text.removeprefix(calibrated_text(""))
    return Path(path) if path and path != text else None


def check_calibration(
    solver: Solver, model: str, model_hash: str, guidance: float, sigmas: Tensor
) -> None:
    """Refuses a calibrated solver for another network, guidance or levels; others pass.

    Raises:
        ValueError: names what differs, and both values.
    """
    if not isinstance(solver, Calibrated):
        return
    if solver.calibration is not None:
        solver.calibration.check_use(model, model_hash, guidance)
    solver.check_levels(sigmas.tolist())


def parse_coefficient(text: str) -> Coefficient | None:
    """ "energy", "constant:value=0.95", or "none" -> the coefficient, or None."""
    if text == "none":
        return None
    name, options = parse_spec(text, "coefficient")
    return _checked(resolve_coefficient(name, **options))


def spec_of(thing: Solver | Coefficient | None) -> str:
    """The text that `parse_solver` or `parse_coefficient` reads as this; for what has a name."""
    if thing is None:
        return NONE
    known = {kind: name for name, kind in (SOLVERS | COEFFICIENTS).items()}
    options = [
        f"{one.name}={str(value).lower()}"
        for one in fields(thing)
        if (value := getattr(thing, one.name)) != one.default
    ]
    return ":".join(part for part in (known[type(thing)], ",".join(options)) if part)


def parse_range(text: str, name: str, most: int = 1_000_000) -> list[int]:
    """ "0-3,7" -> [0, 1, 2, 3, 7]; more than `most` numbers are refused before they are listed."""
    numbers: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise ValueError(f"{name} is {text!r}; numbers and ranges such as 0-15,20 are needed")
        if dash and int(high) < int(low):
            raise ValueError(f"{name} is {text!r}: {part.strip()} is an empty range")
        found = range(int(low), int(high or low) + 1)
        if len(numbers) + (found.stop - found.start) > most:
            raise ValueError(f"{name} is {text!r}, which is more than {most:,} numbers")
        numbers += found
    return numbers


def make_schedule(name: str, steps: int, low: float, high: float, final: str) -> Tensor:
    """The noise levels of a schedule by name."""
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    return SCHEDULES[name](steps, low, high, final=final)


def _value(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() == NONE:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _checked(thing: Any) -> Any:
    for field in fields(thing):
        value = getattr(thing, field.name)
        if isinstance(field.default, bool) and not isinstance(value, bool):
            raise ValueError(f"option {field.name!r} is {value!r}; true or false is needed")
    return thing
