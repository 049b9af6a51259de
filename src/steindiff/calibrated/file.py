"""Calibrations in JSON files."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._files import write_text
from .reading import number, numbers, read_json, rows
from .record import About, Calibration
from .solver import Calibrated

FORMAT = "steindiff calibration"
VERSION = 1
FORM = "euler + differences of D: D_k - D_{k-1}, D_k - D_{k-2}, D_k - x"


def save_calibration(path: str | Path, solver: Calibrated) -> None:
    """Writes a calibrated solver with its record, whole or not at all.

    Raises:
        ValueError: a solver without a record of its calibration.
    """
    if solver.calibration is None:
        raise ValueError("solver has no calibration record; save what `calibrate` returned")
    content = {
        "format": FORMAT,
        "version": VERSION,
        "solver": FORM,
        "nfe": sum(level > 0 for level in solver.levels[:-1]),
        "sigmas": list(solver.levels),
        "scalars": [list(row) for row in solver.scalars],
        **asdict(solver.calibration),
    }
    write_text(Path(path), json.dumps(content, indent=1) + "\n")


def load_calibration(path: str | Path) -> Calibrated:
    """The solver of a file of `save_calibration`; its `calibration` says how it was made.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not a calibration, of another version or solver form, numbers that
            are not finite, levels that do not decrease, or another count of scalars than the
            levels have; each names the file.
    """
    path = Path(path)
    content = read_json(path, FORMAT, VERSION, "calibration")
    try:
        if content["solver"] != FORM:
            raise ValueError(f"solver is {content['solver']!r}; {FORM!r} is needed")
        solver = Calibrated(
            numbers(content["sigmas"], "sigmas"),
            rows(content["scalars"], "scalars"),
            _record(content),
        )
        steps = len(solver.levels) - 1
        if content["nfe"] != steps:
            raise ValueError(f"nfe is {content['nfe']!r}; the levels make {steps}")
        return solver
    except KeyError as error:
        raise ValueError(f"{path} is damaged: {error.args[0]!r} is missing") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _record(content: dict[str, Any]) -> Calibration:
    about = content["about"]
    return Calibration(
        about=About(
            _text(about["model"], "model"),
            _text(about["model_hash"], "model_hash"),
            _text(about["schedule"], "schedule"),
            _finite(about["guidance"], "guidance"),
        ),
        noises=_integer(content["noises"], "noises"),
        held_out=_integer(content["held_out"], "held_out"),
        seed=_integer(content["seed"], "seed"),
        fine_steps=_integer(content["fine_steps"], "fine_steps"),
        prior=_text(content["prior"], "prior"),
        ridge=_finite(content["ridge"], "ridge"),
        fit_error=_finite(content["fit_error"], "fit_error"),
        held_out_error=_finite(content["held_out_error"], "held_out_error"),
        command=_text(content["command"], "command"),
        versions=dict(content["versions"]),
    )


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}; a text is needed")
    return value


def _integer(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}; an integer is needed")
    return value


def _finite(value: Any, name: str) -> float:
    if not math.isfinite(number(value, name)):
        raise ValueError(f"{name} is {value}; a finite number is needed")
    return value
