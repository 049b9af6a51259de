"""The shared prior: scalars for any levels from a few numbers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import steindiff as sd
from steindiff.calibrated import Calibrated, Prior, load_prior, prior, save_prior
from steindiff.calibrated.solver import scalar_counts
from steindiff.denoisers import GaussianMixture
from steindiff.lab.bench.grid import make_grid
from steindiff.solvers import resolve_solver

MIXTURE = GaussianMixture(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), 0.1)
PRIOR = Prior(
    second=((0.5, 0.01), (0.25, 0.0), (0.125, -0.02)),
    later=(
        (0.5, -0.1, 0.01), (0.3, 0.2, 0.0), (0.1, 0.0, 0.02),
        (-0.2, 0.1, 0.0), (0.4, 0.0, -0.01), (0.05, -0.3, 0.0),
    ),
    shortest=0.2,
    longest=5.0,
    provenance={"networks": {"a": "hash"}, "command": "..."},
)  # fmt: skip
LEVELS = (10.0, 3.0, 1.0, 0.4, 0.05)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "prior.json"
    save_prior(path, PRIOR)
    monkeypatch.setattr(prior, "SHIPPED", path)
    return path


def test_what_is_written_is_read(shipped: Path) -> None:
    assert load_prior() == PRIOR
    assert load_prior(shipped) == PRIOR


def test_a_file_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    for wanted in (PRIOR, replace(PRIOR, longest=6.0)):
        save_prior(tmp_path / "prior.json", wanted)
        assert load_prior(tmp_path / "prior.json") == wanted


def test_scalars_are_the_polynomials_of_the_steps() -> None:
    first, second, third, last = PRIOR.scalars(LEVELS)
    assert first == (0.0,)
    q, q0 = 1 - 1 / 3, 1 - 3 / 10
    a = 0.5 + 0.25 * q + 0.125 * q0
    c = 0.01 - 0.02 * q0
    assert second == pytest.approx((a, c))
    q, q0 = 1 - 0.4, 1 - 1 / 3
    b = -0.1 + 0.2 * q + 0.1 * q * q - 0.3 * q0 * q0
    assert third[1] == pytest.approx(b)
    assert third[2] == pytest.approx(0.01 + 0.02 * q0 - 0.01 * q * q0)
    assert len(last) == 3


def test_they_depend_on_the_ratios_of_the_levels_alone() -> None:
    scaled = [sigma * 7.3 for sigma in LEVELS]
    for row, other in zip(PRIOR.scalars(LEVELS), PRIOR.scalars(scaled), strict=True):
        assert row == pytest.approx(other)


@pytest.mark.parametrize(("h", "like"), [(0.01, 0.2), (7.0, 5.0)])
def test_steps_outside_the_fit_are_as_the_nearest_inside(h: float, like: float) -> None:
    def path(step: float) -> list[float]:
        return [10 * math.exp(-step * k) for k in range(4)]

    for row, other in zip(PRIOR.scalars(path(h)), PRIOR.scalars(path(like)), strict=True):
        assert row == pytest.approx(other)
    assert PRIOR.scalars(path(0.3))[2] != pytest.approx(PRIOR.scalars(path(0.2))[2])


def test_into_zero_there_are_no_scalars() -> None:
    for count in (1, 2, 3, 6):
        levels = [*sd.schedules.karras(6).tolist()[:count], 0.0]
        found = PRIOR.scalars(levels)
        assert [len(row) for row in found] == scalar_counts(levels)
        assert found[-1] == ()


def test_it_is_a_solver_for_any_levels(shipped: Path) -> None:
    x = sd.noise((8,), 10.0, range(4))
    for levels in (LEVELS, (*LEVELS[:-1], 0.0), LEVELS[:2]):
        for coefficient in (None, "energy"):
            found = sd.sample(MIXTURE, x, levels, "prior", coefficient)
            wanted = Calibrated(levels, PRIOR.scalars(levels))
            same = sd.sample(MIXTURE, x, levels, wanted, coefficient)
            assert torch.equal(found.x, same.x)
            assert found.nfe == len(levels) - 1


def test_a_grid_takes_it_for_any_levels(shipped: Path) -> None:
    block = {"model": "mixture", "schedule": "karras", "solver": "prior", "seeds": "0-15"}
    grid = make_grid({"cells": [{**block, "nfe": 7}], "sigma_min": 0.03, "sigma_max": 11.0})
    assert grid.cells[0].solver == "prior"


def test_a_calibration_is_drawn_to_it(shipped: Path) -> None:
    few = {"shape": (8,), "noises": 2, "held_out": 1, "fine_steps": 4}
    drawn = sd.calibrate(MIXTURE, LEVELS, ridge=1e9, **few)
    for row, wanted in zip(drawn.scalars, PRIOR.scalars(LEVELS), strict=True):
        assert row == pytest.approx(wanted, rel=1e-4, abs=1e-8)
    assert drawn.calibration is not None
    assert drawn.calibration.prior == "shared"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "steindiff calibration", "is not a prior file"),
        ("version", 0, "is of version 0; version 1 is needed"),
        ("second", [[0.0, 0.0]], r"damaged: second has rows of \[2\] numbers; 3 rows of 2"),
        ("later", [[0.0] * 2] * 6, r"damaged: later has rows of \[2, .* numbers; 6 rows of 3"),
        ("later", {}, "damaged: later is {}; a list of lists"),
        ("shortest", 9.0, "damaged: shortest is 9 and longest 5; 0 < shortest < longest"),
        ("longest", float("nan"), "damaged: longest is nan; a finite number"),
        ("provenance", None, "damaged: provenance is None; a table"),
    ],
)
def test_impossible_contents_are_refused(shipped: Path, key: str, value: object, said: str) -> None:
    content = json.loads(shipped.read_text())
    other = shipped.with_name(f"{key}.json")
    other.write_text(json.dumps({**content, key: value}))
    with pytest.raises(ValueError, match=said):
        load_prior(other)


def test_without_its_file_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior, "SHIPPED", tmp_path / "prior.json")
    with pytest.raises(FileNotFoundError, match=r"prior.json is not a file; a prior file"):
        resolve_solver("prior").init(torch.zeros(1, 2), [1.0, 0.5])
