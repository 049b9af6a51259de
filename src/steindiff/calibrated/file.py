"""Calibrations in JSON files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._files import write_text
from .reading import field, integer, naming, number, numbers, read_json, rows, text, texts
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
    with naming(path):
        return read_calibration(content)


def read_calibration(content: Any) -> Calibrated:
    """The solver of such a file's content.

    Raises:
        ValueError: names the field.
    """
    if (found := text(field(content, "", "solver"), "solver")) != FORM:
        raise ValueError(f"solver is {found!r}; {FORM!r} is needed")
    solver = Calibrated(
        numbers(field(content, "", "sigmas"), "sigmas"),
        rows(field(content, "", "scalars"), "scalars"),
        _record(content),
    )
    steps = len(solver.levels) - 1
    if (nfe := integer(field(content, "", "nfe"), "nfe")) != steps:
        raise ValueError(f"nfe is {nfe!r}; the levels make {steps}")
    return solver


def _record(content: dict[str, Any]) -> Calibration:
    about = field(content, "", "about")

    def said(key: str) -> str:
        return text(field(about, "about", key), f"about.{key}")

    def count(key: str, low: int) -> int:
        return integer(field(content, "", key), key, low)

    def size(key: str) -> float:
        return number(field(content, "", key), key, 0.0)

    return Calibration(
        about=About(
            said("model"), said("model_hash"), said("schedule"),
            number(field(about, "about", "guidance"), "about.guidance"),
        ),
        noises=count("noises", 1),
        held_out=count("held_out", 1),
        seed=integer(field(content, "", "seed"), "seed"),
        fine_steps=count("fine_steps", 2),
        prior=text(field(content, "", "prior"), "prior"),
        ridge=size("ridge"),
        fit_error=size("fit_error"),
        held_out_error=size("held_out_error"),
        command=text(field(content, "", "command"), "command"),
        versions=texts(field(content, "", "versions"), "versions"),
    )  # fmt: skip
