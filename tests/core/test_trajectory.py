"""The fine solution between its levels, against an exact transport."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import Gaussian
from steindiff.trajectory import FineSolution

LOW, HIGH = 0.002, 80.0
GAUSSIAN = Gaussian(
    torch.tensor([0.3, -1.0, 0.0], dtype=torch.float64),
    torch.tensor([0.01, 0.25, 2.0], dtype=torch.float64),
)


@pytest.fixture(scope="module")
def start() -> Tensor:
    return sd.noise((3,), HIGH, range(6), dtype=torch.float64)


def fine(start: Tensor, steps: int) -> FineSolution:
    return FineSolution(GAUSSIAN, start, {}, steps, LOW, HIGH)


def exact(start: Tensor, sigma: float) -> Tensor:
    return GAUSSIAN.transport(start, HIGH, sigma)


def between(solution: FineSolution) -> list[float]:
    """Levels between those of the run, in the middle of t = sigma^(1/7), where errors are large."""
    roots = [level ** (1 / 7) for level in solution.levels[:-1]]
    return [((a + b) / 2) ** 7 for a, b in itertools.pairwise(roots)]


def worst(solution: FineSolution, start: Tensor, levels: list[float]) -> float:
    """Largest root mean square error over the levels, relative to the exact state's size."""
    errors = []
    for level in levels:
        wanted = exact(start, level)
        errors.append(float((solution.at(level) - wanted).norm() / wanted.norm()))
    return max(errors)


def with_exact_states(solution: FineSolution, start: Tensor) -> FineSolution:
    """The same levels with states and slopes of the exact solution: only interpolation is left."""
    solution.states = tuple(exact(start, level) for level in solution.levels)
    solution.slopes = [
        (x - GAUSSIAN(x, level)) / level
        for x, level in zip(solution.states, solution.levels, strict=False)
        if level > 0
    ]
    return solution


def test_it_agrees_with_the_exact_transport_as_heun_does(start: Tensor) -> None:
    coarse, dense = fine(start, 20), fine(start, 40)
    at_levels = [worst(s, start, s.levels[1:-1]) for s in (coarse, dense)]
    at_middles = [worst(s, start, between(s)) for s in (coarse, dense)]
    assert at_levels[0] < 0.05
    assert 3 < at_levels[0] / at_levels[1] < 5.5  # order 2
    for levels, middles in zip(at_levels, at_middles, strict=True):
        assert middles < 1.1 * levels  # between the levels it is no worse than at them


def test_interpolation_errs_far_less_than_the_solver(start: Tensor) -> None:
    solution = fine(start, 20)
    solver = worst(solution, start, solution.levels[1:-1])
    interpolation = worst(with_exact_states(solution, start), start, between(solution))
    assert 0 < interpolation < solver / 10


def test_order_of_the_interpolation(start: Tensor) -> None:
    """A cubic Hermite polynomial has order 4."""
    errors = [
        worst(with_exact_states(s, start), start, between(s))
        for s in (fine(start, 20), fine(start, 40), fine(start, 80))
    ]
    for a, b in itertools.pairwise(errors):
        assert 3.5 < math.log2(a / b) < 4.6


def test_levels_of_the_run_give_the_stored_states(start: Tensor) -> None:
    solution = fine(start, 12)
    for level, state in zip(solution.levels, solution.states, strict=True):
        assert torch.equal(solution.at(level), state)
    assert solution.at(HIGH) is solution.states[0]
    assert torch.equal(solution.states[0], start)
    assert torch.equal(solution.at(0.0), solution.x)


def test_it_is_a_plain_heun_run(start: Tensor) -> None:
    solution = fine(start, 12)
    levels = sd.schedules.karras(12, LOW, HIGH, final="zero")
    result = sd.sample(GAUSSIAN, start, levels, "heun", None)
    assert torch.equal(solution.x, result.x)
    assert solution.nfe == result.nfe == 2 * 12 - 1


def test_it_is_continuous_where_pieces_meet(start: Tensor) -> None:
    solution = fine(start, 12)
    for level in solution.levels[1:-1]:
        state = solution.at(level)
        for near in (level * (1 - 1e-9), level * (1 + 1e-9)):
            torch.testing.assert_close(solution.at(near), state, rtol=1e-6, atol=1e-8)


def test_below_the_lowest_level_it_is_a_line(start: Tensor) -> None:
    solution = fine(start, 12)
    last, end = solution.states[-2], solution.states[-1]
    lowest = solution.levels[-2]
    assert lowest == pytest.approx(LOW)
    for part in (0.25, 0.5, 0.9):
        wanted = end + part * (last - end)
        torch.testing.assert_close(solution.at(part * lowest), wanted)
    assert worst(solution, start, [lowest / 2]) < 1.05 * worst(solution, start, [lowest])


@pytest.mark.parametrize("sigma", [80.5, math.inf, -0.1, math.nan])
def test_levels_that_it_does_not_have(start: Tensor, sigma: float) -> None:
    with pytest.raises(ValueError, match=r"sigma is .*; the trajectory runs from 80.0 to 0"):
        fine(start, 4).at(sigma)


def test_conditioning_reaches_the_denoiser(start: Tensor) -> None:
    seen: list[int] = []

    def denoiser(x: Tensor, sigma: Tensor, /, label: int) -> Tensor:
        seen.append(label)
        return x / (1 + sigma[:, None] ** 2)

    solution = FineSolution(denoiser, start, {"label": 7}, 3, LOW, HIGH)
    assert seen == [7] * solution.nfe == [7] * 5
