"""c_skip as a Stein ratio: values by hand, closed forms, and what each choice minimises."""

from __future__ import annotations

import math

import pytest
import torch
from draws import normal

from steindiff.denoisers import Gaussian
from steindiff.lab.theory import (
    SKIPS,
    c_skip,
    gaussian_variance,
    least_squares_skip,
    precondition,
    stein_skip,
    study_probes,
)

LEVELS = (0.002, 0.1, 0.5, 3.0, 80.0)


@pytest.mark.parametrize(
    ("name", "sigma", "sigma_data", "value"),
    [
        ("edm", 0.5, 0.5, 0.5),
        ("edm", 2.0, 1.0, 0.2),
        ("edm", 1.5, 0.5, 0.1),
        ("vp", 3.0, 0.5, 1.0),
        ("iddpm", 0.1, 0.5, 1.0),
        ("v", 2.0, 0.5, 0.2),
        ("v", 1.0, 3.0, 0.5),
        ("flow", 3.0, 0.5, 0.25),
        ("flow", 0.25, 2.0, 0.8),
        ("sample", 1.0, 0.5, 0.0),
    ],
)
def test_values_by_hand(name: str, sigma: float, sigma_data: float, value: float) -> None:
    assert c_skip(name, sigma, sigma_data) == pytest.approx(value, rel=1e-14)


def test_names_and_the_default() -> None:
    assert set(SKIPS) == {"edm", "vp", "iddpm", "v", "flow", "sample"}
    assert c_skip("edm", 1.0) == pytest.approx(0.2)  # sigma_data = 1/2


@pytest.mark.parametrize("sigma", LEVELS)
@pytest.mark.parametrize("sigma_data", [0.5, 2.0])
def test_the_stein_ratio_of_a_gaussian_is_edms_skip(sigma: float, sigma_data: float) -> None:
    """By the exact divergence, and by least squares at any state."""
    denoiser, x = Gaussian(variance=sigma_data**2), normal(3, 2, 4)
    skip = c_skip("edm", sigma, sigma_data)
    assert stein_skip(denoiser.divergence(x, sigma), 8) == pytest.approx(skip, rel=1e-12)
    assert least_squares_skip(x, denoiser(x, sigma)) == pytest.approx(skip, rel=1e-12)


@pytest.mark.parametrize("sigma", LEVELS)
def test_the_gaussian_behind_a_skip(sigma: float) -> None:
    """Constant for edm and v, infinite for a predicted noise, sigma for a flow, 0 for a sample."""
    assert gaussian_variance(c_skip("edm", sigma, 0.7), sigma) == pytest.approx(0.49, rel=1e-8)
    assert gaussian_variance(c_skip("v", sigma), sigma) == pytest.approx(1.0, rel=1e-8)
    assert gaussian_variance(c_skip("flow", sigma), sigma) == pytest.approx(sigma, rel=1e-10)
    assert gaussian_variance(c_skip("sample", sigma), sigma) == 0
    for name in ("vp", "iddpm"):
        assert gaussian_variance(c_skip(name, sigma), sigma) == math.inf


@pytest.mark.parametrize("skip", [0.1, 0.6, 0.99])
def test_there_and_back(skip: float) -> None:
    """The Gaussian of that variance has that Stein ratio."""
    denoiser = Gaussian(variance=gaussian_variance(skip, 1.7))
    assert stein_skip(denoiser.divergence(normal(2, 3), 1.7), 3) == pytest.approx(skip)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_least_squares_from_samples(sigma: float) -> None:
    """D = x0 in place of the posterior mean: E<x0, x>/E|x|^2 = s^2/(s^2 + sigma^2)."""
    clean = 0.8 * normal(20_000, 5)
    x = clean + sigma * normal(20_000, 5, seed=1)
    expected = 0.64 / (0.64 + sigma**2)
    assert least_squares_skip(x, clean) == pytest.approx(expected, abs=0.01)
    assert least_squares_skip(x, 3 * clean) == pytest.approx(3 * expected, abs=0.03)


SIZE, SIGMA = 5, 0.9
VARIANCES = torch.tensor([4.0, 1.0, 0.3, 0.05, 0.01], dtype=torch.float64)
EXACT = Gaussian(variance=VARIANCES)
# The marginal's second moments exactly: +- sqrt(d (c_i + sigma^2)) along each axis.
AXES = (SIZE * (VARIANCES + SIGMA**2)).sqrt().diag()
X = torch.cat([AXES, -AXES])
GAINS = VARIANCES / (VARIANCES + SIGMA**2)
TRACE, FROBENIUS = (moment.sum().expand(len(X)) for moment in (GAINS, GAINS.square()))


@pytest.mark.parametrize("skip", [-0.5, 0.0, 0.3, 1.0])
def test_what_a_skip_leaves(skip: float) -> None:
    """gain = |J - c I|_F/sqrt(d) and out^2 = E|D - c x|^2/d of a diagonal J."""
    found = precondition(X, EXACT(X, SIGMA), TRACE, FROBENIUS, skip)
    rest = GAINS - skip
    assert found.skip == skip
    assert found.gain == pytest.approx(rest.square().mean().sqrt().item(), rel=1e-12)
    out = (rest.square() * (VARIANCES + SIGMA**2)).mean().sqrt().item()
    assert found.out == pytest.approx(out, rel=1e-12)


def test_the_gain_of_a_full_matrix() -> None:
    """Also where J is not symmetric."""
    matrix, x = normal(SIZE, SIZE), normal(4, SIZE, seed=1)
    trace, frobenius = matrix.trace().expand(4), matrix.square().sum().expand(4)
    found = precondition(x, x @ matrix.T, trace, frobenius, 0.4)
    rest = matrix - 0.4 * torch.eye(SIZE, dtype=torch.float64)
    assert found.gain == pytest.approx(rest.norm().item() / math.sqrt(SIZE), rel=1e-12)
    assert found.out == pytest.approx((x @ rest.T).square().mean().sqrt().item(), rel=1e-12)


def test_each_skip_minimises_what_it_is_for() -> None:
    """Over a grid: the Stein ratio the gain, least squares c_out; on anisotropic data they differ.

    mean(c/(c + sigma^2)) against sum(c)/sum(c + sigma^2).
    """
    denoised = EXACT(X, SIGMA)
    stein, squares = stein_skip(EXACT.divergence(X, SIGMA), SIZE), least_squares_skip(X, denoised)
    assert stein == pytest.approx(GAINS.mean().item(), rel=1e-12)
    wanted = VARIANCES.sum() / (VARIANCES + SIGMA**2).sum()
    assert squares == pytest.approx(wanted.item(), rel=1e-12)
    assert squares - stein > 0.2
    at_stein, at_squares = (
        precondition(X, denoised, TRACE, FROBENIUS, skip) for skip in (stein, squares)
    )
    for skip in torch.linspace(-0.5, 1.5, 201).tolist():
        other = precondition(X, denoised, TRACE, FROBENIUS, skip)
        assert other.gain >= at_stein.gain
        assert other.out >= at_squares.out
    assert at_squares.gain > 1.1 * at_stein.gain
    assert at_stein.out > 1.1 * at_squares.out


def test_the_least_out_and_gain_of_a_gaussian() -> None:
    """Isotropic: both are 0, F has nothing to say; a rounding below 0 is none."""
    denoiser, x = Gaussian(variance=0.25), normal(3, 4)
    skip = c_skip("edm", 0.7)
    trace = denoiser.divergence(x, 0.7)
    found = precondition(x, denoiser(x, 0.7), trace, trace.square() / 4, skip)
    assert found.out < 1e-12
    assert found.gain < 1e-7
    below = precondition(x, skip * x, trace, trace.square() / 4 - 1e-9, skip)
    assert below.gain == 0


def test_with_probes() -> None:
    """tr J and |J|^2 by the same probes."""
    study = study_probes(lambda z: EXACT(z, SIGMA), X, probes=800)
    assert stein_skip(study.trace, SIZE) == pytest.approx(GAINS.mean().item(), rel=0.02)
    found = precondition(X, EXACT(X, SIGMA), study.trace, study.frobenius, 0.3)
    expected = (GAINS - 0.3).square().mean().sqrt().item()
    assert found.gain == pytest.approx(expected, rel=0.03)


def test_single_precision_is_summed_in_double() -> None:
    x = normal(4, 1000).float()
    exact = (x.double() @ torch.ones(1000).double()).sum() / x.double().square().sum()
    assert least_squares_skip(x, torch.ones(4, 1000)) == pytest.approx(exact.item(), rel=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("emd", 1.0), "Did you mean 'edm'"),
        (("edm", 0.0), r"sigma is 0\.0"),
        (("edm", math.inf), "sigma is inf"),
        (("v", math.nan), "sigma is nan"),
        (("edm", 1.0, -0.5), r"sigma_data is -0\.5"),
    ],
)
def test_bad_names_and_levels(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        c_skip(*arguments)


@pytest.mark.parametrize("skip", [-0.1, 1.1, math.nan])
def test_no_data_have_such_a_skip(skip: float) -> None:
    with pytest.raises(ValueError, match=f"skip is {skip}; a number from 0 to 1"):
        gaussian_variance(skip, 1.0)


def test_what_is_no_batch_is_refused() -> None:
    one = torch.ones(3)
    with pytest.raises(ValueError, match=r"x has shape \(3,\)"):
        precondition(one, one, one, one, 0.5)
    with pytest.raises(ValueError, match="same shape"):
        least_squares_skip(torch.ones(2, 3), torch.ones(2, 4))


@pytest.mark.parametrize(
    ("denoised", "moment"), [((2, 4), (2,)), ((1, 3), (2,)), ((2, 3), (5,)), ((2, 3), (2, 1))]
)
def test_shapes_that_do_not_match_are_refused(
    denoised: tuple[int, ...], moment: tuple[int, ...]
) -> None:
    moments = torch.ones(moment)
    with pytest.raises(ValueError, match="shape"):
        precondition(torch.ones(2, 3), torch.ones(denoised), moments, moments, 0.5)
