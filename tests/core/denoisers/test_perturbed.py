"""The denoiser with a known error: its size, its smoothness, and its edges."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from steindiff.denoisers import Gaussian, Perturbed

SIZE, DATA = 64, 0.5
EXACT = Gaussian(0.0, DATA**2)
LEVELS = (0.002, 0.05, 0.5, 3.0, 80.0)


def states(count: int, sigma: float, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    spread = math.sqrt(sigma**2 + DATA**2)
    return spread * torch.randn(count, SIZE, generator=generator, dtype=dtype)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("sigma", LEVELS)
def test_the_error_has_the_size_that_was_asked_for(sigma: float, seed: int) -> None:
    """Root mean square over normal input, in units of the posterior's standard deviation."""
    x = states(2000, sigma, torch.float64)
    posterior = sigma * DATA / math.sqrt(sigma**2 + DATA**2)
    for error in (0.02, 0.3):
        denoiser = Perturbed(EXACT, SIZE, error, seed=seed)
        off = (denoiser(x, sigma) - EXACT(x, sigma)) / posterior
        assert float(off.square().mean().sqrt()) == pytest.approx(error, rel=0.1)


def test_sigma_data_scales_it() -> None:
    x = 3 * torch.randn(500, SIZE, generator=torch.Generator().manual_seed(1))
    sigma, data = 1.0, math.sqrt(8.0)
    denoiser = Perturbed(EXACT, SIZE, 0.1, sigma_data=data)
    off = denoiser(x, sigma) - EXACT(x, sigma)
    assert float(off.square().mean().sqrt()) == pytest.approx(0.1 * sigma * data / 3, rel=0.1)


def test_no_error_is_the_identity() -> None:
    x = states(5, 0.5)
    assert torch.equal(Perturbed(EXACT, SIZE, 0.0)(x, 0.5), EXACT(x, 0.5))
    assert not torch.equal(Perturbed(EXACT, SIZE, 1e-3)(x, 0.5), EXACT(x, 0.5))


def test_it_is_deterministic_and_its_seed_matters() -> None:
    x = states(5, 0.5)
    first = Perturbed(EXACT, SIZE, 0.1)(x, 0.5)
    torch.manual_seed(99)
    assert torch.equal(Perturbed(EXACT, SIZE, 0.1)(x, 0.5), first)
    assert not torch.equal(Perturbed(EXACT, SIZE, 0.1, seed=1)(x, 0.5), first)


@pytest.mark.parametrize("sigma", LEVELS)
def test_it_is_smooth(sigma: float) -> None:
    """Its Jacobian is finite, bounded, and that of its difference quotients."""
    denoiser = Perturbed(EXACT, SIZE, 0.3)
    x = states(1, sigma, torch.float64)[0]

    def shift(z: Tensor) -> Tensor:
        return (denoiser(z[None], sigma) - EXACT(z[None], sigma))[0]

    jacobian = torch.autograd.functional.jacobian(shift, x)
    assert isinstance(jacobian, Tensor)
    assert bool(torch.isfinite(jacobian).all())
    assert float(torch.linalg.matrix_norm(jacobian, 2)) < 2  # error times a few, at any level
    generator = torch.Generator().manual_seed(2)
    h = 1e-5 * math.sqrt(sigma**2 + DATA**2)
    for _ in range(3):
        v = torch.randn(SIZE, generator=generator, dtype=torch.float64)
        quotient = (shift(x + h * v) - shift(x - h * v)) / (2 * h)
        torch.testing.assert_close(jacobian @ v, quotient, rtol=1e-5, atol=1e-9)


def test_it_is_smooth_in_sigma() -> None:
    denoiser = Perturbed(EXACT, SIZE, 0.3)
    x = states(2, 0.5, torch.float64)
    a, b = (
        (denoiser(x, level + 1e-6) - denoiser(x, level - 1e-6)) / 2e-6
        for level in torch.tensor([0.5, 0.5 + 1e-4], dtype=torch.float64)
    )
    assert bool(torch.isfinite(a).all())
    torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


def test_shapes_levels_and_dtypes() -> None:
    x = states(6, 0.5).reshape(6, 1, 8, 8)
    levels = torch.tensor([0.1, 0.5, 1.0, 2.0, 5.0, 80.0])
    denoiser = Perturbed(EXACT, SIZE, 0.3)
    whole = denoiser(x, levels)
    assert whole.shape == x.shape
    for k in range(6):
        one = denoiser(x[k : k + 1], float(levels[k]))
        torch.testing.assert_close(whole[k : k + 1], one, rtol=1e-5, atol=1e-6)
    assert denoiser(x.double(), 0.5).dtype == torch.float64
    torch.testing.assert_close(denoiser(x.double(), 0.5).float(), denoiser(x, 0.5))


def test_conditioning_is_handed_on() -> None:
    seen: list[dict[str, Any]] = []

    def inside(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        seen.append(conditioning)
        return x

    Perturbed(inside, SIZE, 0.1)(states(2, 0.5), 0.5, label=3)
    assert seen == [{"label": 3}]


@pytest.mark.parametrize("error", [-0.1, math.nan, math.inf])
def test_bad_errors(error: float) -> None:
    with pytest.raises(ValueError, match=f"error is {error!r}; a finite number >= 0 is needed"):
        Perturbed(EXACT, SIZE, error)


def test_samples_of_another_size_are_refused() -> None:
    denoiser = Perturbed(Gaussian(), 6, 0.1)
    with pytest.raises(ValueError, match=r"x has samples of shape \(5,\); 6 elements are needed"):
        denoiser(torch.zeros(2, 5), 1.0)


def test_the_level_is_not_rounded_for_double_precision() -> None:
    seen: list[float] = []

    def spy(x: torch.Tensor, sigma: torch.Tensor, /) -> torch.Tensor:
        seen.append(float(sigma))
        return x

    Perturbed(spy, 3, 0.1)(torch.zeros(2, 3, dtype=torch.float64), 0.1)
    assert seen == [0.1]
