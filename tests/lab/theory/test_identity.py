"""Stein's identities: they hold for exact denoisers and for no others."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
import torch
from draws import normal, rng
from torch import Tensor

from steindiff.denoisers import Denoiser, Gaussian, GaussianMixture, Perturbed
from steindiff.lab.theory import Identity, stein_identity

SHAPE, SIZE, COUNT = (2, 3), 6, 10_000


EXACT: dict[str, Gaussian | GaussianMixture] = {
    "gaussian": Gaussian(normal(*SHAPE), normal(*SHAPE, seed=1).square()),
    "mixture": GaussianMixture(2 * normal(4, *SHAPE, seed=2), normal(4, *SHAPE, seed=3).square()),
}


def marginal(name: str, sigma: float, count: int = COUNT) -> Tensor:
    return EXACT[name].sample(count, rng(4)) + sigma * normal(count, *SHAPE, seed=5)


def off(values: Tensor) -> float:
    """The mean in units of its standard error."""
    return (values.mean() / values.std() * math.sqrt(len(values))).item()


def residuals(found: Identity) -> dict[str, Tensor]:
    """What is 0 in the mean for an exact denoiser, each sample's own."""
    across = found.ratio * found.kappa  # <D, x - D>/(d sigma^2)
    return {
        "x": found.kappa - 1,
        "denoised": across - found.trace,
        "noise": found.second_order,
    }


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "probes"])
@pytest.mark.parametrize("sigma", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("name", EXACT)
def test_they_hold_for_exact_denoisers(name: str, sigma: float, exact: bool) -> None:
    """Each is 0 within four standard errors, at states of the denoiser's own marginal."""
    found = stein_identity(EXACT[name], marginal(name, sigma), sigma, exact=exact, probes=2)
    for values in residuals(found).values():
        assert abs(off(values)) < 4
        assert values.std() < 2.5


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_they_do_not_hold_for_a_scaled_denoiser(sigma: float) -> None:
    """D too short by a tenth: all three, by many standard errors."""
    exact = EXACT["mixture"]
    found = stein_identity(
        lambda x, level: 0.9 * exact(x, level), marginal("mixture", sigma), sigma, exact=True
    )
    for values in residuals(found).values():
        assert abs(off(values)) > 8


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_they_do_not_hold_at_another_level(factor: float) -> None:
    """States noisier or cleaner than what is claimed of them."""
    found = stein_identity(EXACT["mixture"], marginal("mixture", 1.0), factor, exact=True)
    values = residuals(found)
    sign = 1 if factor < 1 else -1
    assert sign * off(values["x"]) > 8
    assert sign * off(values["noise"]) > 8


def test_a_network_error_is_seen() -> None:
    """By the second order, of which a smooth error makes the larger part its square."""
    exact, size = EXACT["mixture"], []
    for error in (0.5, 1.0):
        wrong = Perturbed(exact, SIZE, error, sigma_data=2.0)
        found = stein_identity(wrong, marginal("mixture", 1.0), 1.0, exact=True)
        assert off(found.second_order) > 8
        size.append(found.second_order.mean().item())
    assert size[1] / size[0] == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("variance", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("sigma", [0.1, 2.0])
def test_a_centred_isotropic_gaussian_sample_by_sample(variance: float, sigma: float) -> None:
    """ratio = trace = s^2/(s^2 + sigma^2), kappa = |x|^2/(d (s^2 + sigma^2)), at every x."""
    x, j = normal(5, *SHAPE), variance / (variance + sigma**2)
    found = stein_identity(Gaussian(variance=variance), x, sigma, exact=True)
    expected = torch.full((5,), j, dtype=torch.float64)
    torch.testing.assert_close(found.ratio, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.trace, expected, rtol=1e-12, atol=0)
    length = x.flatten(1).square().mean(1) / (variance + sigma**2)
    torch.testing.assert_close(found.kappa, length, rtol=1e-10, atol=0)
    second = (1 - j) * (length - 1)  # |x - D|^2 = (1 - j)^2 |x|^2
    torch.testing.assert_close(found.second_order, second, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.2])
@pytest.mark.parametrize("stated", [0.5, 0.8, 2.0])
def test_a_wrong_gaussian_in_closed_form(stated: float, scale: float) -> None:
    """D scaled and the level mis-stated: what each identity then is."""
    variance, x = 0.7, normal(5, *SHAPE)
    denoiser = Gaussian(variance=variance)
    found = stein_identity(lambda z, level: scale * denoiser(z, level), x, stated, exact=True)
    gain = scale * variance / (variance + stated**2)
    power = x.flatten(1).square().mean(1) / stated**2
    expected = {
        "x": (1 - gain) * power - 1,
        "denoised": gain * (1 - gain) * power - gain,
        "noise": (1 - gain) ** 2 * power - 1 + gain,
    }
    torch.testing.assert_close(residuals(found), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", EXACT)
def test_the_exact_trace_is_the_divergence(name: str) -> None:
    x = marginal(name, 0.8, 5)
    found = stein_identity(EXACT[name], x, 0.8, exact=True)
    truth = EXACT[name].divergence(x, 0.8) / SIZE
    torch.testing.assert_close(found.trace, truth, rtol=1e-10, atol=0)
    assert torch.equal(found.denoised, EXACT[name](x, 0.8))
    assert found.frobenius.isnan().all()
    torch.testing.assert_close(
        found.second_order, found.kappa * (1 - found.ratio) - 1 + found.trace, rtol=1e-9, atol=1e-12
    )


def test_probes_are_many_independent_and_by_the_seed() -> None:
    """A set for each sample, with the variance of probes on the sphere (see test_probes.py)."""
    denoiser, x = EXACT["gaussian"], marginal("gaussian", 0.8, 1).expand(4000, *SHAPE)
    spread = normal(*SHAPE, seed=1).square()
    gain = spread / (spread + 0.64)
    single = 2 * SIZE / (SIZE + 2) * (gain - gain.mean()).square().sum().item()
    for probes in (1, 8):
        found = stein_identity(denoiser, x, 0.8, probes=probes)
        wanted = single / probes / SIZE**2
        assert found.trace.var().item() == pytest.approx(wanted, rel=0.15)
        assert abs(off(found.trace - gain.mean())) < 4
        assert abs(off(found.frobenius - gain.square().mean())) < 4
        assert found.frobenius.std() < 1
    again, other = (stein_identity(denoiser, x, 0.8, seed=seed).trace for seed in (0, 1))
    assert torch.equal(again, stein_identity(denoiser, x, 0.8).trace)
    assert again.ne(other).all()


def test_conditioning_is_handed_on() -> None:
    exact, scale = EXACT["mixture"], torch.tensor([0.5, 2.0], dtype=torch.float64)[:, None, None]

    def denoiser(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        return exact(x, sigma) * conditioning["scale"]

    x = marginal("mixture", 0.8, 2)
    found = stein_identity(denoiser, x, 0.8, conditioning={"scale": scale}, exact=True)
    expected = scale.flatten() * exact.divergence(x, 0.8) / SIZE
    torch.testing.assert_close(found.trace, expected)
    torch.testing.assert_close(found.denoised, scale * exact(x, 0.8))


@pytest.mark.parametrize("guard", [contextlib.nullcontext, torch.no_grad, torch.inference_mode])
def test_gradients_off_or_on(guard: Any) -> None:
    x = marginal("mixture", 0.8, 3)
    with guard():
        found = stein_identity(EXACT["mixture"], x * 1, 0.8, exact=True)
        assert not any(value.requires_grad for value in found)
        expected = EXACT["mixture"].divergence(x, 0.8) / SIZE
        torch.testing.assert_close(found.trace, expected)


def _detached(x: Tensor, sigma: Tensor, /, *_: Any, **conditioning: Any) -> Tensor:
    return x.detach() * 1


@pytest.mark.parametrize(
    ("denoiser", "x", "options", "error", "message"),
    [
        (EXACT["mixture"], torch.ones(3), {}, ValueError, r"x has shape \(3,\)"),
        (EXACT["mixture"], torch.ones(2, 3).int(), {}, TypeError, "dtype torch.int32"),
        (EXACT["mixture"], torch.ones(2, *SHAPE), {"sigma": 0.0}, ValueError, r"sigma is 0\.0"),
        (EXACT["mixture"], torch.ones(2, *SHAPE), {"sigma": -1.0}, ValueError, r"sigma is -1\.0"),
        (EXACT["mixture"], torch.ones(2, *SHAPE), {"sigma": math.inf}, ValueError, "sigma is inf"),
        (EXACT["mixture"], torch.ones(2, *SHAPE), {"sigma": math.nan}, ValueError, "sigma is nan"),
        (EXACT["mixture"], torch.ones(2, *SHAPE), {"probes": 0}, ValueError, "probes is 0"),
        (_detached, torch.ones(2, *SHAPE), {}, ValueError, "not connected"),
    ],
)
def test_bad_arguments(
    denoiser: Denoiser,
    x: Tensor,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    arguments: dict[str, Any] = {"sigma": 1.0} | options
    with pytest.raises(error, match=message):
        stein_identity(denoiser, x, **arguments)
