"""Propagation of errors against products of gains in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from draws import normal
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.lab.theory import Propagation, propagate_errors, rms_error
from steindiff.solvers import IPNDM, DPMpp2M, Euler, Heun, Solver
from steindiff.stein import Coefficient, Constant, Energy

SHAPE, BATCH = (3, 4), 4
LEVELS = sd.schedules.karras(6, 0.05, 10.0).tolist()
VARIANCE = 0.5
DENOISER = Gaussian(variance=VARIANCE)
BARE = Energy(trust=math.inf, law="one", shrink=False, last=False)


START = 10 * normal(BATCH, *SHAPE, seed=3)


def stein_ratio(sigma: float) -> float:
    return VARIANCE / (VARIANCE + sigma**2)


def euler_gain(sigma: float, to: float) -> float:
    """r + (1 - r) lambda."""
    r = to / sigma
    return r + (1 - r) * stein_ratio(sigma)


def flow_gain(sigma: float, to: float) -> float:
    return math.sqrt((VARIANCE + to**2) / (VARIANCE + sigma**2))


def propagated(
    solver: Solver, coefficient: Coefficient | None = None, **options: Any
) -> Propagation:
    return propagate_errors(DENOISER, START, LEVELS, solver, coefficient, **options)


def flow_of(found: Propagation) -> Tensor:
    assert found.flow is not None
    return found.flow


def assert_gains(found: Tensor, expected: list[float], rtol: float) -> None:
    """One gain for all samples at each step."""
    wanted = torch.tensor(expected, dtype=torch.float64)[:, None].expand(-1, BATCH)
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=0)


def products(gain: Callable[[float, float], float]) -> list[float]:
    """Of the gains of the steps from k to the end, for every k."""
    gains = [gain(*pair) for pair in pairwise(LEVELS)]
    return [math.prod(gains[k:]) for k in range(len(gains))]


def test_euler_multiplies_its_gains() -> None:
    """The product of r + (1 - r) lambda over the steps that are left."""
    assert_gains(propagated(Euler()).sampler, products(euler_gain), 1e-9)


def test_a_constant_relaxation_multiplies_its_own() -> None:
    """1 - gamma + gamma (r + (1 - r) lambda), but for the last step, which is not relaxed."""
    found = propagated(Euler(), Constant(0.75)).sampler
    last = LEVELS[-2]

    def gain(sigma: float, to: float) -> float:
        plain = euler_gain(sigma, to)
        return plain if sigma == last else 0.25 + 0.75 * plain

    assert_gains(found, products(gain), 1e-9)


def test_the_flow_of_a_gaussian() -> None:
    """sqrt((s^2 + sigma_N^2)/(s^2 + sigma_k^2)), approached with the order 2 of Heun's steps."""
    expected = [flow_gain(sigma, LEVELS[-1]) for sigma in LEVELS[:-1]]
    assert_gains(flow_of(propagated(Euler())), expected, 0.05)
    assert_gains(flow_of(propagated(Euler(), flow_steps=96)), expected, 1e-3)
    wanted = torch.tensor(expected, dtype=torch.float64)[:, None]
    coarse, fine = (
        (flow_of(propagated(Euler(), flow_steps=n)) / wanted - 1).abs().mean().item()
        for n in (24, 48)
    )
    assert coarse / fine == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("solver", [Euler(), DPMpp2M(), Heun()], ids=str)
def test_the_flow_is_from_the_states_of_the_sampling(solver: Solver) -> None:
    """It is the same for all linear maps; a mixture's depends on where it starts."""
    mixture = GaussianMixture(3 * normal(4, *SHAPE, seed=1), 0.1)
    found = propagate_errors(mixture, START, LEVELS, solver, None, size=1e-4, flow_steps=6)
    path = sd.sample(mixture, START, LEVELS, solver, None, return_trajectory=True).trajectory
    assert path is not None
    direction = normal(*START.shape, seed=0)
    for k, sigma in enumerate(LEVELS[:-1]):
        levels = sd.schedules.karras(6, LEVELS[-1], sigma)
        shift = 1e-4 * sigma * direction
        ends = [sd.sample(mixture, x, levels, "heun", None).x for x in (path[k] + shift, path[k])]
        expected = (ends[0] - ends[1]).flatten(1).norm(dim=1) / shift.flatten(1).norm(dim=1)
        torch.testing.assert_close(flow_of(found)[k], expected, rtol=1e-9, atol=0)


def test_the_bare_energy_rule_propagates_as_the_flow_does() -> None:
    """Gaussian trajectories are rays, on which it is exact; the last step is Euler's."""
    last = LEVELS[-2]
    found = propagated(Euler(), BARE).sampler
    assert_gains(
        found, products(lambda s, to: (euler_gain if s == last else flow_gain)(s, to)), 1e-7
    )
    plain = propagated(Euler()).sampler
    assert (plain[:-1] < 0.95 * found[:-1]).all()


def heun_gain(sigma: float, to: float) -> float:
    """1 + (sigma' - sigma)(s + s')/2, s = (1 - lambda)/sigma."""
    slope = (1 - stein_ratio(sigma)) / sigma
    predicted = euler_gain(sigma, to)
    slope_next = predicted * (1 - stein_ratio(to)) / to
    return 1 + (to - sigma) * (slope + slope_next) / 2


def test_heun_multiplies_its_gains() -> None:
    assert_gains(propagated(Heun()).sampler, products(heun_gain), 1e-9)


def dpmpp_2m_error(first: int) -> float:
    """An error of 1 before step `first`, whose history has none, by the solver's own weights."""
    error, before, steps = 1.0, 0.0, len(LEVELS) - 1
    for k in range(first, steps):
        sigma, to = LEVELS[k], LEVELS[k + 1]
        denoised = stein_ratio(sigma) * error
        target = denoised
        if 0 < k < steps - 1:
            h, h0 = math.log(sigma / to), math.log(LEVELS[k - 1] / sigma)
            target = denoised + h / (2 * h0) * (denoised - before)
        error, before = to / sigma * error + (1 - to / sigma) * target, denoised
    return error


def ipndm_error(first: int) -> float:
    error, slopes = 1.0, [0.0] * first
    for k in range(first, len(LEVELS) - 1):
        sigma, to = LEVELS[k], LEVELS[k + 1]
        slopes.append(error * (1 - stein_ratio(sigma)) / sigma)
        weights = {1: (1.0,), 2: (1.5, -0.5), 3: (23 / 12, -16 / 12, 5 / 12)}[min(3, k + 1)]
        newest = slopes[::-1][: len(weights)]
        error += (to - sigma) * sum(w * s for w, s in zip(weights, newest, strict=True))
    return error


@pytest.mark.parametrize(
    ("solver", "error"), [(DPMpp2M(), dpmpp_2m_error), (IPNDM(), ipndm_error)], ids=["2m", "ipndm"]
)
def test_multistep_solvers_remember_the_error(
    solver: Solver, error: Callable[[int], float]
) -> None:
    """It enters at step k, and at later steps by the history that is made of it."""
    expected = [abs(error(k)) for k in range(len(LEVELS) - 1)]
    assert_gains(propagated(solver).sampler, expected, 1e-8)


@pytest.mark.parametrize("size", [1e-4, 1.0, 100.0])
def test_the_size_does_not_matter_to_a_linear_map(size: int) -> None:
    assert_gains(propagated(Euler(), size=size).sampler, products(euler_gain), 1e-7)


def test_the_size_is_in_units_of_the_level() -> None:
    """A nonlinear map shows it: what is added at step k has sigma_k times `size`."""
    mixture = GaussianMixture(3 * normal(4, *SHAPE, seed=1), 0.1)
    found = propagate_errors(mixture, START, LEVELS, Euler(), None, size=0.5, seed=7)
    path = sd.sample(mixture, START, LEVELS, "euler", None, return_trajectory=True).trajectory
    assert path is not None
    for k in range(len(LEVELS) - 1):
        shift = 0.5 * LEVELS[k] * normal(*START.shape, seed=7)
        end = sd.sample(mixture, path[k] + shift, LEVELS[k:], "euler", None).x
        expected = (end - path[-1]).flatten(1).norm(dim=1) / shift.flatten(1).norm(dim=1)
        torch.testing.assert_close(found.sampler[k], expected, rtol=1e-10, atol=0)


def test_conditioning_is_handed_on() -> None:
    """To the sampler and to the flow."""

    def denoiser(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        return conditioning["scale"] * x

    found = propagate_errors(
        denoiser, START, [2.0, 1.0], Euler(), None, conditioning={"scale": 0.5}, flow_steps=64
    )
    # dx/dsigma = x/(2 sigma): by Euler 1 - 1/4, exactly sqrt(1/2).
    torch.testing.assert_close(found.sampler, torch.full((1, BATCH), 0.75).double())
    exact = torch.full((1, BATCH), math.sqrt(0.5)).double()
    torch.testing.assert_close(found.flow, exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0.0}, r"size is 0\.0"),
        ({"size": -1.0}, r"size is -1\.0"),
        ({"size": math.nan}, "size is nan"),
        ({"sigmas": [2.0, 1.0, 0.0]}, r"the last level 0\.0; both must be > 0"),
        ({"sigmas": [1.0, 2.0]}, "strictly decrease"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"sigmas": LEVELS} | arguments
    with pytest.raises(ValueError, match=message):
        propagate_errors(DENOISER, START, solver=Euler(), coefficient=None, **options)


def test_rms_error() -> None:
    """|x - x*|/sqrt(d) of vectors with known distances, each sample's own, in float64."""
    reference = torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]], [[5.0, 12.0]]])
    state = reference + torch.tensor([[[0.0, 1.0]], [[3.0, 4.0]], [[0.0, 0.0]]])
    found = rms_error(state, reference)
    expected = torch.tensor([1.0, 5.0, 0.0], dtype=torch.float64) / math.sqrt(2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert rms_error(normal(1, 500, 8), torch.zeros(1, 500, 8)).item() == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        rms_error(torch.ones(3), torch.ones(3))


def test_the_flow_is_left_out_on_request() -> None:
    found = propagated(Euler(), flow_steps=None)
    assert found.flow is None
    assert torch.equal(found.sampler, propagated(Euler()).sampler)
