"""What a number of steps chooses by itself, and how each part is replaced."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import steindiff as sd
from steindiff.denoisers import GaussianMixture
from steindiff.recipes import (
    COEFFICIENT,
    GUIDED_COEFFICIENT,
    LEAD,
    between_levels,
    flow_levels,
    leading_levels,
    lowest_level,
    vp_levels,
    vp_share,
)
from steindiff.stein import Ended, Relaxed

POINTS = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
MIXTURE = GaussianMixture(POINTS, 0.05)
START = sd.noise((3, 4), 80.0, range(9), dtype=torch.float64)


class Guided(sd.ClassifierFreeGuidance):
    """A mixture that says it is guided."""

    def __init__(self) -> None:
        super().__init__(lambda x, sigma, y: MIXTURE(x, sigma), 3.0, {"y": 0.0})


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("steps", range(1, 21))
def test_levels_for_any_number_of_steps(steps: int, guidance: float) -> None:
    plan = sd.recipe(steps, guidance)
    assert len(plan.sigmas) == steps + 1
    assert plan.sigmas[0] == 80
    assert plan.sigmas[-1] == 0
    assert list(plan.sigmas) == sorted(set(plan.sigmas), reverse=True)
    result = sd.sample(MIXTURE, START, steps=steps, guidance=guidance)
    assert result.nfe == steps
    assert result.sigmas == plan.sigmas


def test_steps_are_the_recipe() -> None:
    plan = sd.recipe(5)
    by_steps = sd.sample(MIXTURE, START, steps=5)
    by_hand = sd.sample(
        MIXTURE, START, plan.sigmas, plan.solver, plan.coefficient, end=plan.end
    )  # fmt: skip
    assert torch.equal(by_steps.x, by_hand.x)
    assert torch.equal(sd.sample(MIXTURE, START, steps=plan).x, by_hand.x)
    assert isinstance(by_steps.method, Relaxed)
    assert by_steps.method.solver == Ended(plan.solver, plan.end)
    assert by_steps.method.coefficient == plan.coefficient


def test_every_part_can_be_replaced_by_name() -> None:
    plan = sd.recipe(5)
    other = sd.sample(MIXTURE, START, steps=5, solver="dpmpp_2m", coefficient="none", end="stein")
    assert other.method == Ended(sd.DPMpp2M(), "stein")
    assert other.sigmas == plan.sigmas
    plain = sd.sample(MIXTURE, START, steps=5, coefficient="none")
    assert plain.method == plan.solver
    levels = sd.schedules.karras(5)
    given = sd.sample(MIXTURE, START, levels)
    assert given.sigmas == tuple(levels.tolist())
    assert given.method == Relaxed(plan.solver, COEFFICIENT)  # type: ignore[arg-type]


def test_guidance_is_read_from_the_denoiser() -> None:
    labels = {"y": torch.ones(9)}
    read = sd.sample(Guided(), START, steps=6, conditioning=labels)
    assert read.sigmas == sd.recipe(6, 3.0).sigmas
    told = sd.sample(Guided(), START, steps=6, guidance=1.0, conditioning=labels)
    assert told.sigmas == sd.recipe(6).sigmas


def test_the_start_may_be_lower() -> None:
    x = sd.noise((3, 4), 20.0, range(9), dtype=torch.float64)
    assert sd.sample(MIXTURE, x, steps=5, sigma_max=20.0).sigmas[0] == 20
    with pytest.raises(ValueError, match=r"x has a root mean square of .*sigma_max = 80"):
        sd.sample(MIXTURE, x / 20, steps=5)


def test_a_guided_recipe_differs_and_says_why() -> None:
    assert sd.recipe(5, 4.0).sigmas != sd.recipe(5).sigmas
    assert "guidance 4" in sd.recipe(5, 4.0).why
    given = sd.recipe(5, 4.0).coefficient
    assert isinstance(given, sd.Energy)
    assert not given.last
    assert "log sigma" in sd.recipe(5).why


@pytest.mark.parametrize(("steps", "guidance"), [(8, 4.0), (12, 2.0), (20, 7.0)])
def test_in_more_steps_the_recipe_is_the_best_plain_choice(steps: int, guidance: float) -> None:
    plan = sd.recipe(steps, guidance)
    plain = sd.schedules.vp_time(steps).tolist()
    assert plan.sigmas[:-1] == pytest.approx(plain[:-1], rel=1e-12)
    sampled = sd.sample(MIXTURE, START, steps=steps, guidance=guidance)
    assert sampled.method == sd.UniPC(order=2)
    by_hand = sd.sample(MIXTURE, START, [*plain[:-1], 0.0], sd.UniPC(order=2), coefficient=None)
    torch.testing.assert_close(sampled.x, by_hand.x)
    assert "plain" in plan.why


def test_in_one_step_less_and_without_guidance_it_is_relaxed() -> None:
    assert sd.recipe(8, 4.0).coefficient is None
    assert sd.recipe(7, 4.0).coefficient is not None
    assert all(sd.recipe(steps).coefficient is not None for steps in (8, 16, 20))


@pytest.mark.parametrize(("steps", "end"), [(5, "steady"), (6, "steady"), (7, "none")])
def test_the_guided_recipe_ends_from_a_coarse_level_alone(steps: int, end: str) -> None:
    plan = sd.recipe(steps, 4.0)
    assert (plan.end, plan.coefficient) == (end, GUIDED_COEFFICIENT)
    assert (plan.sigmas[-2] > 0.2) == (end != "none")


@pytest.mark.parametrize(("steps", "power"), [(2, 2.0), (4, 2.0), (5, 2.0), (6, 1.5), (7, 1.5)])
def test_in_few_steps_levels_are_even_in_log_sigma(steps: int, power: float) -> None:
    expected = leading_levels(steps, 0.3 * (5 / steps) ** power, 80.0, LEAD)
    assert sd.recipe(steps).sigmas == expected
    assert "VP time" not in sd.recipe(steps).why


@pytest.mark.parametrize(
    ("steps", "share"), [(8, 1 / 6), (9, 1 / 3), (10, 0.5), (15, 0.5), (20, 0.5)]
)
def test_in_more_steps_they_are_nearer_to_vp_time(steps: int, share: float) -> None:
    low = 0.3 * (5 / steps) ** 1.5
    even, vp = leading_levels(steps, low, 80.0, LEAD), vp_levels(steps, low, 80.0)
    plan = sd.recipe(steps)
    assert plan.sigmas[-2] == pytest.approx(low)
    for found, one, other in zip(plan.sigmas[1:-2], even[1:-2], vp[1:-2], strict=True):
        assert found == pytest.approx(one ** (1 - share) * other**share)
        assert min(one, other) < found < max(one, other)
    assert f"{share:.0%} of the way to VP time" in plan.why


def test_one_step_more_changes_levels_a_little() -> None:
    """The levels as a curve over the share of the steps move less and less: no form begins anew."""
    shares = np.linspace(0, 1, 50)
    curves = [
        np.interp(shares, np.linspace(0, 1, steps), np.log(sd.recipe(steps).sigmas[:-1]))
        for steps in range(4, 21)
    ]
    moves = [np.abs(more - less).max() for less, more in pairwise(curves)]
    assert moves == sorted(moves, reverse=True)
    assert [vp_share(steps) for steps in (4, 7, 10, 20)] == [0, 0, 0.5, 0.5]


def test_shapes_of_levels() -> None:
    lead = leading_levels(6, 0.1, 80.0, 2.0)
    ratios = [a / b for a, b in pairwise(lead[:-1])]
    assert ratios[1:] == pytest.approx([ratios[1]] * 4)
    assert ratios[0] == pytest.approx(ratios[1] ** 2)
    assert leading_levels(6, 0.1, 80.0, 1.0) == pytest.approx(
        sd.schedules.log_snr(6, 0.1, 80.0, final="zero").tolist()
    )
    times = [s / (1 + s) for s in flow_levels(5, 1.0, 1e6)]
    assert times == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0], abs=1e-5)
    for steps in (1, 2, 6):
        assert vp_levels(steps, 0.1, 80.0) == pytest.approx(
            sd.schedules.vp_time(steps, 0.1, 80.0, final="zero").tolist(), rel=1e-12
        )
    assert lowest_level(10) == lowest_level(5) / 4
    assert lowest_level(20, 1.5) == pytest.approx(lowest_level(5) / 8)
    one, other = (80.0, 8.0, 0.5, 0.0), (80.0, 2.0, 0.5, 0.0)
    for share, middle in ((0.0, 8.0), (0.5, 4.0), (1.0, 2.0)):
        assert between_levels(one, other, share) == pytest.approx((80.0, middle, 0.5, 0.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps is 0; an int >= 1 is needed"),
        ({"steps": 2.5}, "steps is 2.5; an int >= 1 is needed"),
        ({"steps": 5, "guidance": float("nan")}, "guidance is nan; a finite number is needed"),
        ({"steps": 5, "sigma_max": 0.4}, "sigma_max is 0.4; a finite level well above"),
        ({"steps": 5, "sigma_max": float("inf")}, "sigma_max is inf; a finite level well above"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sd.recipe(**arguments)


def test_one_of_sigmas_and_steps() -> None:
    with pytest.raises(ValueError, match="one of sigmas and steps is needed; neither is given"):
        sd.sample(MIXTURE, START)
    with pytest.raises(ValueError, match="one of sigmas and steps is needed; both are given"):
        sd.sample(MIXTURE, START, [80.0, 1.0, 0.0], steps=2)
