"""The energy law against steps with known losses, and spectra of known fields."""

from __future__ import annotations

import math

import pytest
import torch
from draws import normal
from torch import Tensor

from steindiff._reductions import inner
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.lab.theory import energy, euler_deficit, law_error, spectrum, variance
from steindiff.solvers.euler import euler_candidate
from steindiff.stein import law

SHAPE, SIZE, BATCH = (2, 3), 6, 4
HIGH, SIGMA, TO = 5.0, 2.0, 0.6


CLEAN, NOISE = 1.5 * normal(BATCH, *SHAPE, seed=1), normal(BATCH, *SHAPE, seed=2)
A, B = inner(NOISE, NOISE), inner(CLEAN, NOISE)


def noisy(sigma: float) -> tuple[Tensor, Tensor, float]:
    """x0 + sigma eps with D = x0: q = <x, sigma eps> is a sigma^2 + b sigma."""
    return CLEAN + sigma * NOISE, CLEAN, sigma


def test_energy_and_variance() -> None:
    """|x|^2/d of each sample; the variance over the batch, averaged over the elements."""
    x = torch.tensor([[[3.0, 4.0]], [[1.0, -1.0]]])
    assert energy(x).tolist() == [12.5, 1.0]
    assert energy(x).dtype == torch.float64
    assert variance(x) == pytest.approx((2.0 + 12.5) / 2)  # (3, 1) and (4, -1)
    many = 3 * normal(4000, 2, 5) + 100
    assert variance(many) == pytest.approx(9, rel=0.03)
    assert variance(many) == pytest.approx(many.var(dim=0).mean().item(), rel=1e-12)


@pytest.mark.parametrize("x", [torch.ones(3), torch.ones(0, 3)])
def test_what_is_no_batch_is_refused(x: Tensor) -> None:
    for f in (energy, variance, lambda x: spectrum(x, x)):
        with pytest.raises(ValueError, match="x has shape"):
            f(x)


@pytest.mark.parametrize("to", [0.0, 0.6, 1.9])
def test_eulers_deficit(to: float) -> None:
    """Target of the one-level law less |T|^2, for any x and D."""
    x, denoised = normal(BATCH, *SHAPE), normal(BATCH, *SHAPE, seed=3)
    candidate = euler_candidate(x, denoised, SIGMA, to)
    target = inner(x, x) - law.one_level(inner(x, x - denoised), SIGMA, to)
    found = euler_deficit(x, denoised, SIGMA, to)
    torch.testing.assert_close(found, target - inner(candidate, candidate), rtol=1e-10, atol=1e-12)
    assert found.abs().min() > 1e-2 or to > 1


def test_euler_lacks_energy_where_the_denoiser_shrinks() -> None:
    """(1 - r)^2 j (1 - j)|x|^2 of a Gaussian."""
    denoiser, x = Gaussian(variance=0.7), normal(BATCH, *SHAPE)
    j, r = 0.7 / (0.7 + SIGMA**2), TO / SIGMA
    expected = (1 - r) ** 2 * j * (1 - j) * inner(x, x)
    torch.testing.assert_close(euler_deficit(x, denoiser(x, SIGMA), SIGMA, TO), expected)


@pytest.mark.parametrize("to", [0.0, 0.6, 1.5])
def test_two_levels_are_exact_where_q_has_two_terms(to: float) -> None:
    """Errors in units of d sigma^2: 0 of two levels, -b (1 - r)^2/(d sigma) of one."""
    end = noisy(to)[0]
    found = law_error(noisy(HIGH), noisy(SIGMA), end, to)
    assert found.two_levels is not None
    torch.testing.assert_close(found.two_levels, torch.zeros_like(A), rtol=0, atol=1e-13)
    r = to / SIGMA
    one = -B * (1 - r) ** 2 / (SIZE * SIGMA)
    torch.testing.assert_close(found.one_level, one, rtol=1e-10, atol=1e-13)
    assert one.abs().min() > 1e-4
    lost = A * (SIGMA**2 - to**2) + 2 * B * (SIGMA - to)
    mean = (SIZE * (SIGMA**2 - to**2) - lost) / (SIZE * SIGMA**2)
    torch.testing.assert_close(found.mean_only, mean, rtol=1e-10, atol=1e-13)


def test_one_level_is_exact_without_overlap() -> None:
    """b = <x0, eps> = 0; the mean of the loss without the noise's own energy is not."""
    clean = CLEAN - (B / A)[:, None, None] * NOISE
    states = {sigma: clean + sigma * NOISE for sigma in (SIGMA, TO)}
    found = law_error(None, (states[SIGMA], clean, SIGMA), states[TO], TO)
    assert found.two_levels is None
    torch.testing.assert_close(found.one_level, torch.zeros_like(A), rtol=0, atol=1e-13)
    expected = (1 - A / SIZE) * (1 - (TO / SIGMA) ** 2)
    torch.testing.assert_close(found.mean_only, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("spread", [0.01, 1.0, 50.0])
def test_the_flow_of_a_gaussian_keeps_to_both_laws(spread: float) -> None:
    denoiser, first = Gaussian(variance=spread), HIGH * normal(BATCH, *SHAPE)
    x, end = (denoiser.transport(first, HIGH, sigma) for sigma in (SIGMA, TO))
    found = law_error((first, denoiser(first, HIGH), HIGH), (x, denoiser(x, SIGMA), SIGMA), end, TO)
    assert found.two_levels is not None
    for error in (found.one_level, found.two_levels):
        torch.testing.assert_close(error, torch.zeros_like(error), rtol=0, atol=1e-11)
    assert found.mean_only.abs().min() > 1e-3


def test_the_sign_and_the_units_of_an_error() -> None:
    """Predicted loss less the loss, over d sigma^2, of states that keep to no law."""
    denoiser = GaussianMixture(2 * normal(4, *SHAPE, seed=3), 0.1)
    first, x, end = (normal(BATCH, *SHAPE, seed=seed) for seed in (4, 5, 6))
    q, earlier = inner(x, x - denoiser(x, SIGMA)), inner(first, first - denoiser(first, HIGH))
    found = law_error((first, denoiser(first, HIGH), HIGH), (x, denoiser(x, SIGMA), SIGMA), end, TO)
    lost, scale = inner(x, x) - inner(end, end), SIZE * SIGMA**2
    one = (1 - (TO / SIGMA) ** 2) * q
    torch.testing.assert_close(found.one_level, (one - lost) / scale)
    # q = a sigma^2 + b sigma at both levels
    levels = torch.tensor([[SIGMA**2, SIGMA], [HIGH**2, HIGH]], dtype=torch.float64)
    a, b = torch.linalg.solve(levels, torch.stack([q, earlier]))
    two = a * (SIGMA**2 - TO**2) + 2 * b * (SIGMA - TO)
    torch.testing.assert_close(found.two_levels, (two - lost) / scale)
    torch.testing.assert_close(found.mean_only, (SIZE * (SIGMA**2 - TO**2) - lost) / scale)


def rings(height: int, width: int, count: int) -> list[list[int]]:
    """The band of each frequency, by integer frequencies."""

    def folded(k: int, n: int) -> float:
        return min(k, n - k) / n

    return [
        [
            min(int(math.hypot(folded(i, height), folded(j, width)) * 2 * count + 1e-9), count - 1)
            for j in range(width)
        ]
        for i in range(height)
    ]


def sizes(height: int, width: int, count: int) -> Tensor:
    return torch.bincount(torch.tensor(rings(height, width, count)).flatten(), minlength=count)


@pytest.mark.parametrize(
    ("height", "width", "bands", "count"),
    [(16, 16, 8, 8), (16, 16, 3, 3), (8, 12, 8, 4), (6, 6, 8, 3), (9, 9, 8, 4), (28, 28, 8, 8)],
)
def test_the_spectrum_of_white_noise_is_flat(
    height: int, width: int, bands: int, count: int
) -> None:
    """At its variance; the bands, weighed by their sizes, hold all of the variance."""
    x = 1.7 * normal(60, 3, height, width)
    found = spectrum(x, x[:1], bands)
    assert found.shape == (count,)
    band_sizes = sizes(height, width, count)
    for value, size in zip(found.tolist(), band_sizes.tolist(), strict=True):
        assert value == pytest.approx(1.7**2, rel=4 * math.sqrt(2 / (180 * size)))
    whole = (found * band_sizes).sum().item() / (height * width)
    assert whole == pytest.approx(variance(x), rel=1e-12)


@pytest.mark.parametrize(
    ("row", "column", "band"),
    [(0, 0, 0), (1, 0, 1), (0, 3, 3), (3, 4, 5), (-3, 4, 5), (1, 1, 1), (7, 7, 7), (0, 7, 7)],
)
def test_a_sinusoid_sits_in_its_ring(row: int, column: int, band: int) -> None:
    """Its amplitude's variance over the ring, and nothing elsewhere."""
    axis = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    wave = (row * axis[:, None] + column * axis + 0.4).cos()
    amplitude = normal(50)
    x = 5 + amplitude[:, None, None, None] * wave.expand(2, 16, 16)
    expected = torch.zeros(8, dtype=torch.float64)
    power = amplitude.var() * wave.square().sum()
    expected[band] = power / sizes(16, 16, 8)[band]
    torch.testing.assert_close(spectrum(x, x), expected, rtol=1e-10, atol=1e-12)


def rotation() -> Tensor:
    return torch.linalg.qr(normal(SIZE, SIZE, seed=7)).Q


def test_axes_are_sorted_from_the_widest() -> None:
    """The eigenvalues of the sample covariance, whatever the mean; they sum to the variance."""
    scales = torch.tensor([0.1, 3.0, 1.0, 0.5, 2.0, 0.01], dtype=torch.float64)
    x = (normal(300, SIZE) * scales) @ rotation().T + 10
    expected = torch.linalg.eigvalsh(torch.cov(x.T)).flip(0)
    found = spectrum(x.reshape(300, *SHAPE), x.reshape(300, *SHAPE))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        found, scales.square().sort(descending=True).values, rtol=0.4, atol=0
    )
    assert found.mean().item() == pytest.approx(variance(x), rel=1e-12)


def test_axes_are_those_of_the_reference() -> None:
    """The variance of x along them, in the reference's order."""
    axes = rotation()
    wide = torch.tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    reference = torch.cat([wide.diag(), -wide.diag()]) @ axes.T + 3
    factors = torch.tensor([1.0, 4.0, 2.0, 0.5, 3.0, 9.0], dtype=torch.float64)
    x = (torch.cat([factors.diag(), -factors.diag()]) @ axes.T) - 7
    found = spectrum(x, reference)
    torch.testing.assert_close(found, 2 * factors.square() / 11, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("bands", "groups"),
    [
        (1, [[0, 1, 2, 3, 4, 5]]),
        (2, [[0, 1, 2], [3, 4, 5]]),
        (4, [[0, 1], [2], [3, 4], [5]]),
        (9, [[0], [1], [2], [3], [4], [5]]),
    ],
)
def test_bands_of_axes_hold_as_many_as_go_evenly(bands: int, groups: list[list[int]]) -> None:
    x = normal(100, SIZE) * torch.arange(1, 7)
    values = torch.linalg.eigvalsh(torch.cov(x.T)).flip(0)
    expected = torch.stack([values[group].mean() for group in groups])
    torch.testing.assert_close(spectrum(x, x, bands), expected, rtol=1e-9, atol=0)


def test_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\) and reference \(3, 2\)"):
        spectrum(torch.ones(4, 2, 3), torch.ones(4, 3, 2))
    with pytest.raises(TypeError, match="reference has dtype"):
        spectrum(torch.ones(4, 2), torch.ones(4, 2).int())
