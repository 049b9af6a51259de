"""A pilot: never worse than what it knows on its own noises, kept in a file, refused if damaged."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import steindiff as sd
from steindiff.calibrated.path import relative_rmse
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.pilots import SEED, evaluations
from steindiff.pilots.motion import arc_levels, motion
from steindiff.trajectory import FineSolution

POINTS = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(3))
MIXTURE = GaussianMixture(POINTS, 0.05)


@pytest.fixture(scope="module")
def found() -> sd.Pilot:
    return sd.pilot(MIXTURE, (4, 5), noises=8, fine_steps=12)


def test_the_choice_is_the_best_that_was_tried(found: sd.Pilot) -> None:
    assert sorted(found.findings) == [4, 5]
    for steps, one in found.findings.items():
        assert one.error <= min(one.fixed_error, one.plain_error)
        assert len(one.recipe.sigmas) == steps + 1
        assert one.tried > 50
        assert one.recipe.why


def test_the_error_is_that_of_the_recipe(found: sd.Pilot) -> None:
    x = sd.noise((3, 4), 80.0, range(SEED, SEED + 8))
    fine = FineSolution(MIXTURE, x, {}, 12, 0.002, 80.0)
    for one in found.findings.values():
        sampled = sd.sample(MIXTURE, x, steps=one.recipe).x
        assert relative_rmse(sampled, fine.x) == pytest.approx(one.error, rel=1e-5)
    fixed = sd.sample(MIXTURE, x, steps=5).x
    assert relative_rmse(fixed, fine.x) == pytest.approx(found.findings[5].fixed_error, rel=1e-5)


def test_a_recipe_is_what_sample_takes(found: sd.Pilot) -> None:
    x = sd.noise((3, 4), 80.0, range(4))
    assert sd.sample(MIXTURE, x, steps=found.recipe(5)).sigmas == found.recipe(5).sigmas
    with pytest.raises(ValueError, match="steps is 8; this pilot was run for 4, 5"):
        found.recipe(8)


def test_cost_is_told_beforehand_and_kept() -> None:
    told: list[int] = []
    sd.pilot(MIXTURE, 4, noises=6, fine_steps=8, told=told.append)
    assert sum(told) <= evaluations(4, 6, 8)
    assert sum(told) > evaluations(4, 6, 8) / 2
    assert evaluations((5, 6, 8), 64, 30) < 100 * 64 * 30


def test_a_file_holds_all_of_it(found: sd.Pilot, tmp_path: Path) -> None:
    sd.save_pilot(tmp_path / "pilot.json", found)
    assert sd.load_pilot(tmp_path / "pilot.json") == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("findings"), "'findings' is missing"),
        (lambda c: c.update(format="other"), "is not a pilot file"),
        (lambda c: c.update(version=9), "version 1 is needed"),
        (lambda c: c["findings"][0].update(sigmas=[1, 2, 0]), "levels must strictly decrease"),
        (lambda c: c["findings"][0]["solver"].update(name="rk45"), "solver 'rk45' is unknown"),
        (lambda c: c["findings"][0].update(end="soft"), "end 'soft' is unknown"),
        (lambda c: c.update(findings=[3]), "damaged"),
    ],
)
def test_damaged_files(found: sd.Pilot, tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "pilot.json"
    sd.save_pilot(path, found)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        sd.load_pilot(path)
    assert str(path) in str(caught.value)


def test_motion_of_a_gaussian_is_known() -> None:
    """D = v/(v + s^2) x along the flow: dD/d ln s = -x0 v^(1/2) s^2 (v + s^2)^(-3/2)."""
    exact = Gaussian(variance=0.5, shape=(64,))
    x = sd.noise((64,), 80.0, range(4), dtype=torch.float64)
    fine = FineSolution(exact, x, {}, 200, 0.01, 80.0)
    levels, speeds = motion(fine)
    x0 = float(exact.transport(x, 80.0, 0.0).square().mean().sqrt())
    for level, speed in zip(levels[::20], speeds[::20], strict=True):
        wanted = x0 * 0.5**0.5 * level**2 / (0.5 + level**2) ** 1.5
        assert speed == pytest.approx(wanted, rel=0.01)


def test_arc_levels_share_out_the_motion() -> None:
    """A constant speed gives levels even in log sigma, down to where it ends."""
    levels = [80 * 0.9**k for k in range(120)]
    even = arc_levels((tuple(levels), (1.0,) * 120), 6, 80.0, 0.5)
    assert even[0] == 80
    assert even[-1] == 0
    ratios = [a / b for a, b in pairwise(even[:-1])]
    assert ratios == pytest.approx([ratios[0]] * 5, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1}, "steps is 1; an int >= 2 is needed"),
        ({"noises": 1}, "noises is 1; an int >= 2 is needed"),
        ({"batch": 0}, "batch is 0; an int >= 1 is needed"),
        ({"fine_steps": 3}, "fine_steps is 3; an int >= 4 is needed"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sd.pilot(MIXTURE, **arguments)


def test_a_network_that_breaks_is_named_with_its_step() -> None:
    def broken(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x * float("nan")

    with pytest.raises(sd.NonFiniteError, match="at step 0"):
        sd.pilot(broken, 4, shape=(2,), noises=4, fine_steps=6)
