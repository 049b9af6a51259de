"""The multistep in a power of sigma: its weights, its limits in p, what it is exact on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from steindiff.solvers import DPMpp2M, History, PowerMultistep, ResMultistep, Solver, UniPC
from steindiff.solvers.power import power_weights
from steindiff.solvers.unipc import UniPCState

LEVELS = [80.0, 21.0, 5.4, 1.5, 0.26]
UNEVEN = [9.0, 4.0, 3.0, 1.1, 0.7, 0.2]


def run(
    solver: Solver, denoiser: Callable[[Tensor, float], Tensor], levels: Sequence[float]
) -> Tensor:
    x = torch.linspace(-2, 2, 6, dtype=torch.float64).view(2, 3) * levels[0]
    state = solver.init(x, levels)
    for sigma, sigma_next in pairwise(levels):
        x, _, state, *_ = solver.step(denoiser, x, sigma, sigma_next, state)
    return x


def smooth(x: Tensor, sigma: float) -> Tensor:
    return torch.tanh(x / (1 + sigma)) / (1 + 0.3 * sigma)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("levels", "sigma_next"), [(LEVELS[2::-1], 1.5), (LEVELS[:1:-1], 0.002)])
def test_weights_are_the_integrals_over_the_level(
    levels: list[float], sigma_next: float, order: int, p: float
) -> None:
    """By adaptive quadrature in t itself, of the cardinal polynomials as numpy fits them."""
    sigmas = levels[:order]
    u = (lambda t: t**p) if p else math.log
    for k, weight in enumerate(power_weights(sigmas, sigma_next, p)):
        unit = np.eye(order)[k]
        cardinal = np.polynomial.Polynomial.fit([u(sigma) for sigma in sigmas], unit, order - 1)
        wanted, _ = quad(
            lambda t, cardinal=cardinal: sigma_next / t**2 * cardinal(u(t)), sigma_next, sigmas[0],
            epsabs=1e-13, epsrel=1e-12, limit=400,
        )  # fmt: skip
        assert weight == pytest.approx(wanted, rel=1e-8, abs=1e-9)


def test_weights_of_two_levels_at_one_are_elementary() -> None:
    """D linear in sigma: W_1 = (sigma' ln(sigma/sigma') - (sigma - sigma') r)/(sigma_1 - sigma)."""
    sigma_1, sigma, to = 5.0, 2.0, 0.5
    r = to / sigma
    older = (to * math.log(1 / r) - sigma * (1 - r)) / (sigma_1 - sigma)
    found = power_weights([sigma, sigma_1], to, 1.0)
    assert found == pytest.approx([1 - r - older, older], rel=1e-12)


def test_log_sigma_is_the_limit_and_is_res_of_order_two() -> None:
    second = run(PowerMultistep(2, 0.0), smooth, UNEVEN)
    torch.testing.assert_close(second, run(ResMultistep(), smooth, UNEVEN), rtol=1e-12, atol=1e-13)
    near = run(PowerMultistep(2, 1e-7), smooth, UNEVEN)
    torch.testing.assert_close(near, second, rtol=1e-6, atol=1e-9)


def test_log_sigma_of_order_three_is_unipc_without_its_corrector() -> None:
    unipc = UniPC(3, corrector=False, lower_order_final=False)
    values = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    history = History(3).push(UNEVEN[0], values[0], 3).push(UNEVEN[1], values[1], 3)
    ours = PowerMultistep(3, 0.0).step(smooth, values[2], UNEVEN[2], UNEVEN[3], history)
    theirs = unipc.step(smooth, values[2], UNEVEN[2], UNEVEN[3], UniPCState(history))
    torch.testing.assert_close(ours.x, theirs.x, rtol=1e-12, atol=1e-13)


def test_short_steps_at_zero_are_those_of_dpmpp_2m() -> None:
    """Which weighs D's move by (1 - r)/2 in place of 1 - (1 - r)/h: a step apart by O(h^3)."""
    apart = []
    for h in (0.04, 0.02, 0.01):
        levels = [math.exp(-h * k) for k in range(4)]
        ours = run(PowerMultistep(2, 0.0), smooth, levels)
        apart.append((ours - run(DPMpp2M(False), smooth, levels)).abs().max().item())
    assert 7 < apart[0] / apart[1] < apart[1] / apart[2] < 9


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("p", [0.2, 0.3, 1.0])
def test_polynomials_in_the_power_are_integrated_exactly(order: int, p: float) -> None:
    """D = sum_m c_m sigma^(m p): x' = r x + sum_m c_m int sigma' t^(m p - 2) dt, elementary."""
    coefficients = torch.tensor([0.4, -0.9, 0.25][:order], dtype=torch.float64)

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        powers = torch.tensor([sigma ** (m * p) for m in range(order)], dtype=torch.float64)
        return (coefficients @ powers).expand_as(x)

    def integral(m: int, sigma: float, to: float) -> float:
        n = m * p - 1
        return to * (math.log(sigma / to) if abs(n) < 1e-12 else (sigma**n - to**n) / n)

    solver, levels = PowerMultistep(order, p), UNEVEN
    x = exact = torch.ones(1, 2, dtype=torch.float64)
    state = solver.init(x, levels)
    for i, (sigma, to) in enumerate(pairwise(levels)):
        found = solver.step(denoiser, x, sigma, to, state)
        state = found.state
        exact = to / sigma * x
        for m in range(order):
            exact = exact + coefficients[m] * integral(m, sigma, to)
        if i >= order - 1:  # the history is full
            torch.testing.assert_close(found.x, exact, rtol=1e-12, atol=1e-12)
        x = exact


def test_lower_order_at_the_end_where_it_is_asked_for() -> None:
    plain, lower = PowerMultistep(3), PowerMultistep(3, lower_order_final=True)
    assert not torch.equal(run(plain, smooth, UNEVEN), run(lower, smooth, UNEVEN))
    short = UNEVEN[:2]
    assert torch.equal(run(plain, smooth, short), run(lower, smooth, short))


def test_says_what_it_remembers() -> None:
    assert PowerMultistep(1).history == "none"
    assert PowerMultistep().history == "denoised"


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_refuses_a_power_outside(p: float) -> None:
    with pytest.raises(ValueError, match=r"p is .*0 to 1 is needed"):
        PowerMultistep(p=p)


@pytest.mark.parametrize("order", [0, 4, True])
def test_refuses_an_order_outside(order: int) -> None:
    with pytest.raises(ValueError, match="PowerMultistep has orders 1 to 3"):
        PowerMultistep(order)
