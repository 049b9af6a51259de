"""The shipped prior: what its file holds, and the solver that reads it."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

import steindiff as sd
from families.weights import denoiser_path
from fit_prior import FITTED, STEPS, levels_of
from steindiff._files import sha256
from steindiff.calibrated import load_prior
from steindiff.denoisers import GaussianMixture
from steindiff.models import MODELS

HIGH = 80.0
MIXTURE = GaussianMixture(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), 0.1)
SCHEDULES = ("recipe", "karras", "log_snr", "vp_time", "flow 1", "flow 3")


def test_it_says_what_it_was_fitted_to() -> None:
    made = load_prior().provenance
    for name in FITTED:
        shipped = name in MODELS
        wanted = MODELS[name]["denoiser"]["sha256"] if shipped else sha256(denoiser_path(name))
        assert made["networks"][name] == wanted
    assert set(made["networks"]) == set(FITTED)
    assert made["schedules"] == list(SCHEDULES)


def test_all_steps_of_4_to_20_were_fitted() -> None:
    prior = load_prior()
    assert (min(STEPS), max(STEPS)) == (4, 20)
    for schedule in SCHEDULES:
        for steps in (4, 20):
            levels = [level for level in levels_of(schedule, steps) if level > 0]
            for high, low in pairwise(levels):
                assert prior.shortest * 0.999 < math.log(high / low) < prior.longest * 1.001


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [4, 7, 11, 20])
def test_scalars_extrapolate_moderately(schedule: str, steps: int) -> None:
    first, *others = load_prior().scalars([v for v in levels_of(schedule, steps) if v > 0])
    assert first == (0.0,)
    for row in others:
        *moves, state = row
        assert 0 <= sum(moves) < 3, "D goes on as it went, and not much further"
        assert abs(state) < 0.2


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_samples_nearer_to_the_fine_solution_than_euler(schedule: str) -> None:
    levels = levels_of(schedule, 6)
    x = sd.noise((8,), HIGH, range(64))
    fine = sd.sample(MIXTURE, x, sd.schedules.karras(60, final="zero"), "heun", None).x
    found = sd.sample(MIXTURE, x, levels, "prior", None, end="none")
    euler = sd.sample(MIXTURE, x, levels, "euler", None, end="none")
    assert found.nfe == 6
    assert (found.x - fine).norm() < (euler.x - fine).norm()
