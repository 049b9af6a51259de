"""The shared prior: looked up by levels, refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import steindiff as sd
from steindiff.calibrated import Calibrated, Entry, Prior, load_prior, prior, save_prior
from steindiff.calibrated.solver import scalar_counts
from steindiff.denoisers import GaussianMixture
from steindiff.lab.bench.grid import make_grid
from steindiff.solvers import resolve_solver

MIXTURE = GaussianMixture(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), 0.1)


def entry(schedule: str, steps: int, value: float = 0.3) -> Entry:
    levels = tuple(sd.schedules.SCHEDULES[schedule](steps, 0.05, 10.0).tolist())
    row = tuple((value,) * count for count in scalar_counts(levels))
    return Entry(schedule, levels, row, row)


PRIOR = Prior(
    (entry("karras", 3), entry("karras", 4), entry("karras", 6, -0.1), entry("log_snr", 3)),
    {"networks": {"a": "hash"}, "command": "..."},
)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "prior.json"
    save_prior(path, PRIOR)
    monkeypatch.setattr(prior, "SHIPPED", path)
    return path


def test_what_is_written_is_read(shipped: Path) -> None:
    assert load_prior() == PRIOR
    assert load_prior(shipped) == PRIOR


def test_it_is_a_solver_for_its_levels(shipped: Path) -> None:
    one = PRIOR.entries[2]
    x = sd.noise((8,), 10.0, range(4))
    found = sd.sample(MIXTURE, x, one.sigmas, "prior", "energy")
    wanted = sd.sample(MIXTURE, x, one.sigmas, Calibrated(one.sigmas, one.scalars), "energy")
    assert torch.equal(found.x, wanted.x)
    assert found.nfe == 6
    near = [sigma * 1.0005 for sigma in one.sigmas]
    assert torch.isfinite(sd.sample(MIXTURE, x, near, resolve_solver("prior")).x).all()


def test_other_levels_are_refused(shipped: Path) -> None:
    x = sd.noise((8,), 10.0, range(4))
    said = (
        r"sigmas is \[10, .*the shared prior has karras with 3-4, 6 steps from 10 to 0.05; "
        "log_snr with 3 steps from 10 to 0.05"
    )
    for levels in (
        sd.schedules.karras(5, 0.05, 10.0),
        sd.schedules.karras(3, 0.06, 10.0),
        sd.schedules.vp_time(3, 0.05, 10.0),
    ):
        with pytest.raises(ValueError, match=said):
            sd.sample(MIXTURE, x, levels, "prior")


def test_a_grid_takes_it_for_its_levels_only(shipped: Path) -> None:
    block = {"model": "mixture", "schedule": "karras", "solver": "prior", "seeds": "0-15"}
    ends = {"sigma_min": 0.05, "sigma_max": 10.0}
    assert make_grid({"cells": [{**block, "nfe": 4}], **ends}).cells[0].solver == "prior"
    with pytest.raises(ValueError, match="the shared prior has karras with 3-4, 6 steps"):
        make_grid({"cells": [{**block, "nfe": 5}], **ends})


def test_a_calibration_can_be_drawn_to_it(shipped: Path) -> None:
    one = PRIOR.entries[2]
    few = {"shape": (8,), "noises": 2, "held_out": 1, "fine_steps": 4}
    drawn = sd.calibrate(MIXTURE, one.sigmas, prior="shared", ridge=1e9, **few)
    for row, wanted in zip(drawn.scalars, one.scalars, strict=True):
        assert row == pytest.approx(wanted, rel=1e-4)
    assert drawn.calibration is not None
    assert drawn.calibration.prior == "shared"
    with pytest.raises(ValueError, match="the shared prior has karras"):
        sd.calibrate(MIXTURE, [10.0, 1.0, 0.05], prior="shared", **few)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "steindiff calibration", "is not a prior file"),
        ("version", 0, "is of version 0; version 1 is needed"),
        ("entries", [{}], r"damaged: 'schedule' is missing in entries\[0\]"),
        ("entries", [[]], r"damaged: entries\[0\] is \[\]; a table"),
        ("entries", {}, "damaged: entries is {}; a list of tables"),
        ("provenance", None, "damaged: provenance is None; a table"),
    ],
)
def test_impossible_contents_are_refused(shipped: Path, key: str, value: object, said: str) -> None:
    content = json.loads(shipped.read_text())
    other = shipped.with_name(f"{key}.json")
    other.write_text(json.dumps({**content, key: value}))
    with pytest.raises(ValueError, match=said):
        load_prior(other)


def test_counts_and_levels_of_entries_are_checked(shipped: Path) -> None:
    content = json.loads(shipped.read_text())
    for name, said in (("scalars", "scalars has 2 rows"), ("sigmas", "scalars has 3 rows")):
        wrong = json.loads(json.dumps(content))
        wrong["entries"][0][name].pop()
        other = shipped.with_name(f"wrong-{name}.json")
        other.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=f"wrong-{name}.json is damaged: entries.0..{said}"):
            load_prior(other)


def test_without_its_file_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior, "SHIPPED", tmp_path / "prior.json")
    with pytest.raises(FileNotFoundError, match=r"prior.json is not a file; a prior file"):
        resolve_solver("prior").init(torch.zeros(1, 2), [1.0, 0.5])
