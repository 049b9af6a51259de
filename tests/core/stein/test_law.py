"""The energy law: where it is exact, and that the second level pays."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import steindiff as sd
from steindiff._reductions import inner
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.stein import law

COEFFICIENT = st.floats(-1e3, 1e3)
ROUNDING = 1e-12  # of levels a hundredth apart
TINY = 1e-300  # below which floating-point numbers are no longer relatively exact
RATIO = st.floats(0.01, 0.99)


@pytest.mark.parametrize("variance", [0.0, 1e-3, 0.1, 1.0, 30.0, 1e4])
@pytest.mark.parametrize(("sigma", "to"), [(80.0, 10.0), (2.0, 0.5), (0.3, 0.02)])
def test_one_level_is_exact_for_gaussian_data(variance: float, sigma: float, to: float) -> None:
    denoiser = Gaussian(variance=variance)
    generator = torch.Generator().manual_seed(0)
    scale = math.sqrt(variance + sigma**2)
    x = scale * torch.randn(8, 64, generator=generator, dtype=torch.float64)
    end = denoiser.transport(x, sigma, to)
    q = inner(x, x - denoiser(x, sigma))
    lost = inner(x, x) - inner(end, end)
    assert (law.one_level(q, sigma, to) - lost).abs().max() < 1e-12 * inner(x, x).max()


@pytest.mark.parametrize("variance", [0.0, 1e-3, 1.0, 1e4])
def test_two_levels_are_exact_for_gaussian_data(variance: float) -> None:
    denoiser = Gaussian(variance=variance)
    before, sigma, to = 9.0, 2.0, 0.5
    generator = torch.Generator().manual_seed(0)
    scale = math.sqrt(variance + before**2)
    first = scale * torch.randn(8, 64, generator=generator, dtype=torch.float64)
    x, end = (denoiser.transport(first, before, level) for level in (sigma, to))
    q_before = inner(first, first - denoiser(first, before))
    q = inner(x, x - denoiser(x, sigma))
    found = law.two_levels(q, sigma, q_before, before, to)
    lost = inner(x, x) - inner(end, end)
    assert (found - lost).abs().max() < 1e-11 * inner(first, first).max()


@settings(max_examples=200, deadline=None)
@given(
    a=COEFFICIENT,
    b=COEFFICIENT,
    log_sigma=st.floats(math.log(1e-3), math.log(1e3)),
    gap=RATIO,
    r=RATIO,
)
def test_two_levels_are_exact_for_every_a_and_b(
    a: float, b: float, log_sigma: float, gap: float, r: float
) -> None:
    sigma = math.exp(log_sigma)
    before, to = sigma / gap, sigma * r
    q, q_before = (torch.tensor([a * s**2 + b * s], dtype=torch.float64) for s in (sigma, before))
    found = law.two_levels(q, sigma, q_before, before, to)
    lost = a * (sigma**2 - to**2) + 2 * b * (sigma - to)
    size = abs(a) * sigma**2 + abs(b) * sigma
    assert abs(found.item() - lost) <= ROUNDING * size + TINY


@settings(max_examples=100, deadline=None)
@given(a=COEFFICIENT, log_sigma=st.floats(math.log(1e-3), math.log(1e3)), gap=RATIO, r=RATIO)
def test_both_laws_agree_where_noise_and_signal_do_not_overlap(
    a: float, log_sigma: float, gap: float, r: float
) -> None:
    sigma = math.exp(log_sigma)
    q, q_before = (torch.tensor([a * s**2], dtype=torch.float64) for s in (sigma, sigma / gap))
    one = law.one_level(q, sigma, r * sigma)
    two = law.two_levels(q, sigma, q_before, sigma / gap, r * sigma)
    assert (two - one).abs().item() <= ROUNDING * abs(a) * sigma**2 + TINY


def rms(error: Tensor) -> float:
    return error.square().mean().sqrt().item()


@pytest.mark.parametrize(("components", "size"), [(8, 32), (3, 6)])
def test_the_second_level_pays_on_a_mixture(components: int, size: int) -> None:
    """Per sample, along fine trajectories, while the step ends above the components' spread."""
    generator = torch.Generator().manual_seed(1)
    variance = 0.05
    means = torch.randn(components, size, generator=generator, dtype=torch.float64)
    denoiser = GaussianMixture(means, variance)
    x = 80 * torch.randn(64, size, generator=generator, dtype=torch.float64)
    levels, stride = sd.schedules.karras(160, 0.02, 80.0).tolist(), 16
    states = sd.sample(denoiser, x, levels, "heun", None, return_trajectory=True).trajectory
    assert states is not None
    coarse, levels = states[::stride], levels[::stride]
    energy = [inner(state, state) for state in coarse]
    q = [inner(z, z - denoiser(z, level)) for z, level in zip(coarse, levels, strict=True)]
    compared = 0
    for k in range(1, len(levels) - 1):
        before, sigma, to = levels[k - 1 : k + 2]
        if to**2 < variance:
            break
        lost = energy[k] - energy[k + 1]
        one = rms(law.one_level(q[k], sigma, to) - lost)
        two = rms(law.two_levels(q[k], sigma, q[k - 1], before, to) - lost)
        assert two < 0.8 * one, (sigma, to)
        compared += 1
    assert compared >= 6
