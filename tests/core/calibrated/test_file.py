"""Calibration files: what is written is read, and everything else is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import steindiff as sd
from steindiff.calibrated import About, Calibrated, Calibration

ABOUT = About("a model", "c0ffee" * 10 + "0000", "karras", 2.0)
SOLVER = Calibrated(
    (10.0, 2.0, 0.5, 0.0),
    ((-0.1,), (0.1 + 0.2, 1e-300), ()),
    Calibration(ABOUT, 32, 16, -3, 30, "euler", 0.01, 0.1, 0.2, "steindiff ...", {"torch": "2"}),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.json"
    sd.save_calibration(path, SOLVER)
    return path


def test_what_is_written_is_read(path: Path) -> None:
    found = sd.load_calibration(path)
    assert found == SOLVER
    assert found.calibration == SOLVER.calibration
    assert sd.load_calibration(str(path)) == SOLVER
    assert [file.name for file in path.parent.iterdir()] == ["calibration.json"]


def test_what_calibrate_returns_can_be_saved(tmp_path: Path) -> None:
    data = sd.denoisers.Gaussian(variance=0.25, shape=(4,))
    levels = sd.schedules.karras(3, 0.05, 10.0)
    solver = sd.calibrate(data, levels, shape=(4,), noises=2, held_out=1, fine_steps=4, about=ABOUT)
    sd.save_calibration(tmp_path / "c.json", solver)
    found = sd.load_calibration(tmp_path / "c.json")
    assert found == solver
    assert found.calibration == solver.calibration
    assert found.calibration is not None
    assert found.calibration.versions.keys() == {"python", "steindiff", "torch"}


def test_a_solver_without_a_record_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="solver has no calibration record"):
        sd.save_calibration(tmp_path / "c.json", replace(SOLVER, calibration=None))
    assert not list(tmp_path.iterdir())


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def put(*keys: Any) -> Callable[[dict[str, Any]], object]:
    """Sets content[k0][k1]... to the last of the arguments."""
    *way, last, value = keys

    def change(content: Any) -> None:
        for key in way:
            content = content[key]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("format", "other"), "not a calibration file: its format is 'other'"),
        (lambda c: c.pop("format"), "not a calibration file: its format is None"),
        (put("version", 2), "is of version 2; version 1 is needed"),
        (put("solver", "rk45"), "damaged: solver is 'rk45'"),
        (put("scalars", 0, 0, math.nan), r"damaged: scalars\[0\]\[0\] is nan; a finite"),
        (put("scalars", 1, 1, math.inf), r"damaged: scalars\[1\]\[1\] is inf; a finite"),
        (put("scalars", 1, 1, "0.1"), r"damaged: scalars\[1\]\[1\] is '0.1'; a number"),
        (put("scalars", 1, 1, None), r"damaged: scalars\[1\]\[1\] is None; a number"),
        (put("scalars", 1, [0.1]), r"damaged: scalars\[1\] has 1 numbers; 2 are needed"),
        (put("scalars", 1, 0.1), r"damaged: scalars\[1\] is 0.1; a list of numbers"),
        (put("scalars", []), "damaged: scalars has 0 rows; 3"),
        (put("scalars", None), "damaged: scalars is None; a list of lists"),
        (put("sigmas", 1, 20.0), r"damaged: sigmas\[0\] is 10.0 and sigmas\[1\] is 20.0"),
        (put("sigmas", 1, math.nan), r"damaged: sigmas\[1\] is nan"),
        (put("sigmas", [10.0, 2.0, 0.0]), "damaged: scalars has 3 rows; 2"),
        (put("nfe", 4), "damaged: nfe is 4; the levels make 3"),
        (put("noises", 2.5), "damaged: noises is 2.5; an integer"),
        (put("ridge", math.nan), "damaged: ridge is nan; a finite number"),
        (put("fit_error", "small"), "damaged: fit_error is 'small'; a number"),
        (put("about", "model", 5), "damaged: about.model is 5; a text"),
        (put("about", None), "damaged: about is None; a table"),
        (put("versions", 5), "damaged: versions is 5; a table"),
        (put("versions", "torch", 2), "damaged: versions.torch is 2; a text"),
        (put("noises", 0), "damaged: noises is 0; an integer >= 1"),
        (put("seed", 2**63), "damaged: seed is 9223372036854775808; an integer"),
        (put("ridge", -1.0), "damaged: ridge is -1.0; a finite number >= 0"),
        (lambda c: c.pop("sigmas"), "damaged: 'sigmas' is missing"),
        (lambda c: c["about"].pop("model_hash"), "damaged: 'model_hash' is missing"),
    ],
)
def test_impossible_contents_are_refused(
    path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        sd.load_calibration(edited(path, change))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe", b"null"])
def test_other_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is truncated or no JSON|is not a calibration file"):
        sd.load_calibration(path)


def test_a_truncated_file_is_refused_wherever_it_ends(path: Path) -> None:
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated or no JSON"):
            sd.load_calibration(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.json is not a file; a calibration file"):
        sd.load_calibration(tmp_path / "none.json")


def test_use_with_something_else_is_refused() -> None:
    made = SOLVER.calibration
    assert made is not None
    made.check_use("a model", ABOUT.model_hash, 2.0)
    made.check_use("renamed", ABOUT.model_hash, 2.0)
    with pytest.raises(ValueError, match=r"model is 'b' \(SHA-256 abc\.\.\.\).* is of 'a model'"):
        made.check_use("b", "abc", 2.0)
    with pytest.raises(ValueError, match="guidance is 1; the calibration is of guidance 2"):
        made.check_use("a model", ABOUT.model_hash, 1.0)
    with pytest.raises(ValueError, match="does not say which model"):
        replace(made, about=About()).check_use("b", "", 1.0)
