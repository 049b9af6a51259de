"""Stein discrepancies in closed form, and the error of a coefficient against its bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from draws import normal, rng
from torch import Tensor

from steindiff.denoisers import Gaussian, GaussianMixture, Perturbed
from steindiff.lab.theory import (
    CoefficientError,
    coefficient_error,
    fisher_discrepancy,
    kernel_stein_discrepancy,
)
from steindiff.lab.theory.discrepancy import Kernel

KERNELS: tuple[Kernel, ...] = ("imq", "gaussian")


def square(discrepancy: float) -> float:
    """The estimate of the square, with its sign."""
    return math.copysign(discrepancy**2, discrepancy)


def off(values: Sequence[float], truth: float = 0.0) -> float:
    """The mean's distance from the truth in standard errors."""
    found = torch.tensor(values, dtype=torch.float64)
    return ((found.mean() - truth) / found.std() * math.sqrt(len(values))).item()


def imq(x: Tensor, y: Tensor, width: float) -> Tensor:
    return width / (width**2 + (x - y).square().sum()).sqrt()


def gaussian(x: Tensor, y: Tensor, width: float) -> Tensor:
    return (-(x - y).square().sum() / (2 * width**2)).exp()


def stein_kernel(
    kernel: Callable[[Tensor, Tensor, float], Tensor],
    pair: tuple[Tensor, Tensor],
    scores: tuple[Tensor, Tensor],
    width: float,
) -> Tensor:
    """s's k + s'grad_y k + s'grad_x k + tr grad_x grad_y k, by autograd."""
    x, y = (point.clone().requires_grad_() for point in pair)
    k = kernel(x, y, width)
    by_x, by_y = torch.autograd.grad(k, (x, y), create_graph=True)
    mixed = sum(torch.autograd.grad(by_x[i], y, retain_graph=True)[0][i] for i in range(len(x)))
    return scores[0] @ scores[1] * k + scores[0] @ by_y + scores[1] @ by_x + mixed


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_stein_kernel_by_autograd(kernel: Kernel, width: float) -> None:
    """The mean over pairs of unlike points, of any shape, with any scores."""
    x, score = normal(5, 2, 2), normal(5, 2, 2, seed=1)
    k = {"imq": imq, "gaussian": gaussian}[kernel]
    flat, s = x.flatten(1), score.flatten(1)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    values = [stein_kernel(k, (flat[i], flat[j]), (s[i], s[j]), width) for i, j in pairs]
    expected = torch.stack(values).mean().item()
    found = kernel_stein_discrepancy(x, score, kernel=kernel, width=width)
    assert square(found) == pytest.approx(expected, rel=1e-10)


def gaussian_square(size: int, variance: float, stated: float, width: float) -> float:
    """KSD^2 of N(0, v I) with the score of N(0, v' I), by the Gaussian kernel.

    E delta^2 <x, y> k(x, y) with delta = 1/v - 1/v'. In p = (x - y)/sqrt(2), q = (x + y)/sqrt(2),
    independent and N(0, v I), it is delta^2/2 E (|q|^2 - |p|^2) exp(-|p|^2/w^2).
    """
    delta, shrunk = 1 / variance - 1 / stated, 1 / (1 + 2 * variance / width**2)
    return delta**2 * size * shrunk ** (size / 2) * variance * (1 - shrunk) / 2


@pytest.mark.parametrize(
    ("size", "stated", "width"), [(1, 3.0, 1.0), (2, 0.4, 1.5), (4, 5.0, 4.0), (3, 0.7, 2.0)]
)
def test_wrong_variance_in_closed_form(size: int, stated: float, width: float) -> None:
    """Within four standard errors of 60 estimates, which are unbiased."""
    variance = 1.3
    found = []
    for seed in range(60):
        x = math.sqrt(variance) * normal(180, size, seed=seed)
        estimate = kernel_stein_discrepancy(x, -x / stated, kernel="gaussian", width=width)
        found.append(square(estimate))
    truth = gaussian_square(size, variance, stated, width)
    assert abs(off(found, truth)) < 4
    assert sum(found) / 60 == pytest.approx(truth, rel=0.15)


MIXTURE = GaussianMixture(2 * normal(4, 3, seed=2), 0.1)


def scored(seed: int, sigma: float = 0.7, count: int = 180) -> tuple[Tensor, Tensor]:
    """States of a marginal, and the score there."""
    x = MIXTURE.sample(count, rng(seed)) + sigma * normal(count, 3, seed=seed + 100)
    return x, (MIXTURE(x, sigma) - x) / sigma**2


@pytest.mark.parametrize("width", [None, 1.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_zero_of_the_right_score_only(kernel: Kernel, width: float | None) -> None:
    """Signed squares have the mean 0; those of a score twice as long have not."""
    samples = [scored(seed) for seed in range(40)]
    right, wrong = (
        [
            square(kernel_stein_discrepancy(x, factor * s, kernel=kernel, width=width))
            for x, s in samples
        ]
        for factor in (1.0, 2.0)
    )
    assert abs(off(right)) < 4
    assert min(right) < 0 < max(right)
    assert off(wrong) > 6


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_width_is_the_median_distance(kernel: Kernel) -> None:
    """Kernel and discrepancy then have the units of the states: scores shrink as these grow."""
    x, s = scored(0, count=40)
    distances = [(x[i] - x[j]).norm() for i in range(40) for j in range(i)]
    median = torch.stack(distances).sort().values[(len(distances) - 1) // 2].item()
    found = kernel_stein_discrepancy(x, 2 * s, kernel=kernel)
    again = kernel_stein_discrepancy(x, 2 * s, kernel=kernel, width=median)
    assert found == pytest.approx(again, rel=1e-12)
    assert found != pytest.approx(kernel_stein_discrepancy(x, 2 * s, kernel=kernel, width=1.0))
    grown = kernel_stein_discrepancy(10 * x, 2 * s / 10, kernel=kernel)
    assert grown == pytest.approx(found / 10, rel=1e-9)


def test_shapes_and_precision() -> None:
    """Samples are flattened; float32 is worked on in float64; the default kernel is imq."""
    x, s = scored(0, count=32)
    expected = kernel_stein_discrepancy(x, 2 * s, kernel="imq")
    shaped = kernel_stein_discrepancy(x.reshape(32, 1, 3, 1), 2 * s.reshape(32, 1, 3, 1))
    assert shaped == expected
    low = kernel_stein_discrepancy(x.float(), 2 * s.float())
    assert low == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("x", "score", "options", "error", "message"),
    [
        (torch.ones(1, 2), torch.ones(1, 2), {}, ValueError, "at least two"),
        (torch.ones(3, 2), torch.ones(2, 2), {}, ValueError, r"score \(2, 2\)"),
        (torch.ones(3), torch.ones(3), {}, ValueError, r"x has shape \(3,\)"),
        (torch.ones(3, 2).int(), torch.ones(3, 2), {}, TypeError, "dtype torch.int32"),
        (normal(3, 2), normal(3, 2), {"kernel": "imc"}, ValueError, "Did you mean 'imq'"),
        (normal(3, 2), normal(3, 2), {"width": 0.0}, ValueError, r"width is 0\.0"),
        (normal(3, 2), normal(3, 2), {"width": math.nan}, ValueError, "width is nan"),
        (torch.ones(3, 2), torch.ones(3, 2), {}, ValueError, r"width is 0\.0"),
    ],
)
def test_bad_arguments(
    x: Tensor, score: Tensor, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kernel_stein_discrepancy(x, score, **options)


def test_fisher_discrepancy() -> None:
    """|1/v - 1/v'| sqrt(E|x|^2) between the scores of two Gaussians; E|x|^2 = d v."""
    variance, stated, size = 1.3, 0.4, 5
    x = math.sqrt(variance) * normal(4000, size)
    found = fisher_discrepancy(-x / variance, -x / stated)
    delta = abs(1 / variance - 1 / stated)
    assert found == pytest.approx(delta * x.square().sum(1).mean().sqrt().item(), rel=1e-12)
    assert found == pytest.approx(delta * math.sqrt(size * variance), rel=0.03)
    one = torch.tensor([[[3.0, 0.0]], [[0.0, 0.0]]])
    other = torch.tensor([[[0.0, 4.0]], [[0.0, 5.0]]])
    assert fisher_discrepancy(one, other) == pytest.approx(5.0)
    assert fisher_discrepancy(one, one) == 0


SIGMA, TO = 1.3, 0.5
CLEAN = MIXTURE.sample(180, rng(3))


def of_error(size: float, seed: int = 0, clean: Tensor = CLEAN) -> CoefficientError:
    wrong = Perturbed(MIXTURE, 3, size, sigma_data=2.0, seed=seed)
    return coefficient_error(MIXTURE, wrong, clean, SIGMA, TO)


def states(clean: Tensor = CLEAN, seed: int = 0) -> Tensor:
    return clean + SIGMA * normal(*clean.shape, seed=seed)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [1e-4, 1e-2, 0.3, 2.0])
def test_the_error_is_within_its_bound(size: float, seed: int) -> None:
    found = of_error(size, seed)
    assert 0 < found.error <= found.bound
    assert found.bound == found.constant * found.discrepancy


def test_error_and_bound_are_linear_in_a_small_perturbation() -> None:
    """A tenth of it with a tenth of the error; C stays what it is."""
    found = [of_error(size) for size in (1e-3, 1e-4, 1e-5)]
    for large, small in pairwise(found):
        assert large.error / small.error == pytest.approx(10, rel=0.05)
        assert large.discrepancy / small.discrepancy == pytest.approx(10, rel=1e-6)
        assert large.constant == pytest.approx(small.constant, rel=0.01)


def test_the_parts_by_hand() -> None:
    """At the states that the seed gives: u = (1 - r)(x - D~)."""
    wrong = Perturbed(MIXTURE, 3, 0.3, sigma_data=2.0)
    found = of_error(0.3)
    x = states()
    right, off_right = MIXTURE(x, SIGMA), wrong(x, SIGMA)
    u = (1 - TO / SIGMA) * (x - off_right)
    power = u.square().sum(1).mean()
    expected = {
        "truth": (u * (x - CLEAN)).sum(1).mean() / power,
        "by_score": 1 / (1 - TO / SIGMA),
        "error": (u * (right - off_right)).sum(1).mean().abs() / power,
        "constant": SIGMA**2 / power.sqrt(),
        "discrepancy": (right - off_right).square().sum(1).mean().sqrt() / SIGMA**2,
        "kernel": kernel_stein_discrepancy(x, (off_right - x) / SIGMA**2),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(float(value), rel=1e-9), name
    assert found.kernel > 0


def test_the_seed_draws_the_noise() -> None:
    wrong = Perturbed(MIXTURE, 3, 0.3, sigma_data=2.0)
    first, again, other = (
        coefficient_error(MIXTURE, wrong, CLEAN, SIGMA, TO, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first.truth != other.truth


@pytest.mark.parametrize("to", [0.0, 0.4, 0.9])
def test_no_error_of_the_exact_denoiser(to: float) -> None:
    """Published coefficient 1/(1 - r), error and discrepancy 0."""
    found = coefficient_error(MIXTURE, MIXTURE, CLEAN, SIGMA, to)
    assert found.error == pytest.approx(0, abs=1e-12)
    assert found.discrepancy == found.bound == 0
    assert found.by_score == pytest.approx(1 / (1 - to / SIGMA), rel=1e-12)
    assert abs(found.kernel) < 0.2


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.1])
def test_a_scaled_gaussian_in_closed_form(scale: float) -> None:
    """D~ - D is along u: Cauchy-Schwarz is an equality, and the bound is met."""
    variance = 0.8
    exact = Gaussian(variance=variance)
    clean = math.sqrt(variance) * normal(180, 4)
    found = coefficient_error(exact, lambda x, sigma: scale * exact(x, sigma), clean, SIGMA, TO)
    j, step = variance / (variance + SIGMA**2), 1 - TO / SIGMA
    expected = abs(1 - (1 - j) / (1 - scale * j)) / step
    assert found.error == pytest.approx(expected, rel=1e-10)
    assert found.bound == pytest.approx(expected, rel=1e-10)
    length = states(clean).square().sum(1).mean().item()
    divergence = step * (1 - scale * j) * 4
    power = (step * (1 - scale * j)) ** 2 * length
    assert found.by_divergence == pytest.approx(SIGMA**2 * divergence / power, rel=1e-10)


def test_the_divergence_needs_no_right_score() -> None:
    """It agrees with the clean samples' coefficient within four standard errors of 40 runs.

    The score's, whose error is as large as the network's, does not.
    """
    wrong = Perturbed(MIXTURE, 3, 0.6, sigma_data=2.0)
    found = [
        coefficient_error(MIXTURE, wrong, MIXTURE.sample(180, rng(seed)), SIGMA, TO, seed=-seed)
        for seed in range(1, 41)
    ]
    assert abs(off([one.by_divergence - one.truth for one in found])) < 4
    assert abs(off([one.by_score - one.truth for one in found])) > 10


@pytest.mark.parametrize(
    ("clean", "levels", "error", "message"),
    [
        (CLEAN, (1.0, 1.0), ValueError, "sigma > sigma_next >= 0"),
        (CLEAN, (1.0, -0.1), ValueError, r"sigma_next -0\.1"),
        (CLEAN, (math.nan, 0.1), ValueError, "sigma is nan"),
        (torch.ones(3), (1.0, 0.1), ValueError, r"clean has shape \(3,\)"),
        (torch.ones(3, 3).int(), (1.0, 0.1), TypeError, "clean has dtype torch.int32"),
    ],
)
def test_bad_levels_and_samples(
    clean: Tensor, levels: tuple[float, float], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        coefficient_error(MIXTURE, MIXTURE, clean, *levels)
