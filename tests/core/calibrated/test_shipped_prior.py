"""The shipped prior: what its file holds, and the solver that reads it."""

from __future__ import annotations

import pytest
import torch

import steindiff as sd
from families.weights import denoiser_path
from fit_prior import FITTED
from steindiff._files import sha256
from steindiff.calibrated import Entry, load_prior
from steindiff.calibrated.solver import scalar_counts
from steindiff.denoisers import GaussianMixture
from steindiff.models import MODELS

LOW, HIGH = 0.002, 80.0
MIXTURE = GaussianMixture(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), 0.1)


def test_it_has_the_usual_schedules_and_steps() -> None:
    found = {(entry.schedule, len(entry.sigmas) - 1) for entry in load_prior().entries}
    usual = ("karras", "log_snr", "vp_time")
    assert found == {(schedule, nfe) for schedule in usual for nfe in range(3, 13)}
    assert len(load_prior().entries) == len(found)


@pytest.mark.parametrize(
    "entry", load_prior().entries, ids=lambda e: f"{e.schedule}-{len(e.scalars)}"
)
def test_levels_and_shapes(entry: Entry) -> None:
    levels = sd.schedules.SCHEDULES[entry.schedule](len(entry.scalars), LOW, HIGH)
    assert entry.sigmas == pytest.approx(levels.tolist(), rel=1e-5)
    counts = scalar_counts(entry.sigmas)
    assert [len(row) for row in entry.scalars] == [len(row) for row in entry.spread] == counts
    assert all(value >= 0 for row in entry.spread for value in row)
    assert load_prior().scalars(levels.tolist()) == entry.scalars


def test_it_says_what_it_was_fitted_to() -> None:
    made = load_prior().provenance
    for name, model in MODELS.items():
        assert made["networks"][name] == model["denoiser"]["sha256"]
    for name in set(FITTED) - set(MODELS):
        assert made["networks"][name] == sha256(denoiser_path(name))
    assert set(made["networks"]) == {*MODELS, *FITTED}
    assert made["left_out"] == []


@pytest.mark.parametrize("schedule", ["karras", "log_snr", "vp_time"])
def test_it_samples_nearer_to_the_fine_solution_than_euler(schedule: str) -> None:
    levels = sd.schedules.SCHEDULES[schedule](6, LOW, HIGH)
    x = sd.noise((8,), HIGH, range(64))
    fine = sd.sample(MIXTURE, x, sd.schedules.karras(60, LOW, HIGH), "heun", None).x
    found = sd.sample(MIXTURE, x, levels, "prior", None)
    euler = sd.sample(MIXTURE, x, levels, "euler", None)
    assert found.nfe == 6
    assert (found.x - fine).norm() < (euler.x - fine).norm()


def test_unknown_levels_are_refused_by_the_schedules_names() -> None:
    x = sd.noise((8,), HIGH, range(2))
    usual = (
        "karras with 3-12 steps from 80 to 0.002; log_snr with 3-12 steps from 80 to 0.002; "
        "vp_time with 3-12 steps from 80 to 0.002"
    )
    for levels in (
        sd.schedules.karras(13, LOW, HIGH),
        sd.schedules.karras(5, LOW, 40.0),
        sd.schedules.karras(5, final="zero"),
        torch.linspace(HIGH, LOW, 6),
    ):
        with pytest.raises(ValueError, match=f"the shared prior has {usual}"):
            sd.sample(MIXTURE, x, levels, "prior")
