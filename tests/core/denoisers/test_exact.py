import itertools
import math

import pytest
import torch
from draws import normal, rng

from steindiff.denoisers import Denoiser, Empirical, Gaussian, GaussianMixture
from steindiff.denoisers.exact import mixture as module

SHAPE = (2, 3)


def covariance():
    root = normal(6, 4, seed=5)  # rank 4 of 6
    return root @ root.T


def mixture(variances):
    weights = torch.tensor([0.5, 2.0, 1.0, 0.0], dtype=torch.float64)
    return GaussianMixture(2 * normal(4, *SHAPE, seed=1), variances, weights)


DENOISERS = {
    "scalar": Gaussian(0.3, 0.7, shape=SHAPE),
    "diagonal": Gaussian(normal(*SHAPE), normal(*SHAPE, seed=1).square()),
    "covariance": Gaussian(normal(*SHAPE), covariance=covariance()),
    "mixture, one variance": mixture(0.3),
    "mixture, variance each": mixture(torch.tensor([0.1, 0.5, 0.0, 2.0])),
    "mixture, diagonal": mixture(normal(4, *SHAPE, seed=2).square()),
    "empirical": Empirical(normal(5, *SHAPE, seed=3), torch.arange(1.0, 6.0)),
}
INDEPENDENT = {name: d for name, d in DENOISERS.items() if name != "covariance"}


def cases(denoisers=DENOISERS):
    return pytest.mark.parametrize("denoiser", denoisers.values(), ids=denoisers)


def log_density(denoiser, x, sigma):
    """ln p of one flattened sample (d,), by torch.distributions."""
    d = len(x)
    if isinstance(denoiser, Gaussian):
        basis = torch.eye(d, dtype=x.dtype) if denoiser._basis is None else denoiser._basis
        spread = denoiser._spread.expand(d) + sigma**2
        total = basis @ torch.diag(spread) @ basis.T
        normal = torch.distributions.MultivariateNormal(denoiser._mean.expand(d), total)
        return normal.log_prob(x)
    spread = (denoiser._variances.expand(-1, d) + sigma**2).sqrt()
    parts = torch.distributions.Normal(denoiser._means, spread).log_prob(x).sum(-1)
    return torch.logsumexp(parts + denoiser._weights.log(), 0)


@cases()
@pytest.mark.parametrize("sigma", [0.05, 1.0, 30.0])
def test_tweedie(denoiser, sigma):
    x = denoiser.sample(3, rng()).double() + sigma * normal(3, *SHAPE, seed=9)
    for sample, denoised in zip(x.flatten(1), denoiser(x, sigma).flatten(1), strict=True):
        score = torch.func.grad(lambda v: log_density(denoiser, v, sigma))(sample)
        torch.testing.assert_close(denoised, sample + sigma**2 * score, rtol=1e-8, atol=1e-8)


@cases()
@pytest.mark.parametrize("sigma", [0.05, 0.5, 30.0])
def test_divergence_is_the_trace_of_the_jacobian(denoiser, sigma):
    x = denoiser.sample(3, rng()).double() + sigma * normal(3, *SHAPE, seed=9)
    divergence = denoiser.divergence(x, sigma)
    for sample, value in zip(x, divergence, strict=True):
        jacobian = torch.func.jacrev(lambda v: denoiser(v[None], sigma)[0])(sample)
        torch.testing.assert_close(value, jacobian.reshape(6, 6).trace(), rtol=1e-9, atol=1e-10)


@cases()
def test_stein_identity(denoiser):
    count, sigma = 20000, 0.8
    noise = normal(count, *SHAPE, seed=4)
    x = denoiser.sample(count, rng(7)).double() + sigma * noise
    difference = (noise * denoiser(x, sigma)).flatten(1).sum(1) - sigma * denoiser.divergence(
        x, sigma
    )
    assert difference.mean().abs() < 4 * difference.std() / math.sqrt(count)


@cases()
def test_samples_have_the_moments_of_the_distribution(denoiser):
    clean = denoiser.sample(20000, rng(3)).double()
    far = 1e4  # so noisy that D is the mean and sigma^2 div D the total variance
    x = torch.zeros(1, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(clean.mean(0), denoiser(x, far)[0], rtol=0, atol=0.1)
    variance = clean.var(0).sum()
    torch.testing.assert_close(variance, far**2 * denoiser.divergence(x, far)[0], rtol=0.05, atol=0)


@cases()
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_forms_of_sigma_and_dtypes(denoiser, dtype):
    x = normal(3, *SHAPE).to(dtype)
    expected, divergence = denoiser(x, 0.5), denoiser.divergence(x, 0.5)
    assert expected.dtype == dtype
    assert expected.shape == x.shape
    assert divergence.dtype == torch.float64
    assert divergence.shape == (3,)
    for sigma in (torch.tensor(0.5), torch.full((3,), 0.5), torch.full((3,), 0.5).double()):
        assert torch.equal(denoiser(x, sigma), expected)
        assert torch.equal(denoiser.divergence(x, sigma), divergence)
    assert isinstance(denoiser, Denoiser)


@cases(INDEPENDENT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sample_does_not_see_its_batch(denoiser, dtype):
    x = normal(17, *SHAPE).to(dtype)
    sigma = torch.linspace(0.01, 5, 17, dtype=dtype)
    for result in (denoiser, denoiser.divergence):
        whole, order = result(x, sigma), torch.randperm(17, generator=rng())
        assert torch.equal(result(x[order], sigma[order]), whole[order])
        assert torch.equal(result(x[4:7], sigma[4:7]), whole[4:7])
        for index in (0, 8, 16):
            rows = slice(index, index + 1)
            assert torch.equal(result(x[rows], sigma[rows]), whole[rows])


def test_a_sample_does_not_see_its_batch_in_a_larger_problem(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 2**18)  # several blocks of rows
    points = normal(300, 500).float()
    denoiser = Empirical(points)
    x = points[:17] + 3 * normal(17, 500, seed=1).float()
    for result in (denoiser, denoiser.divergence):
        whole = result(x, 3.0)
        assert torch.equal(result(x[:3], 3.0), whole[:3])
        assert torch.equal(result(x[11:12], 3.0), whole[11:12])
        assert torch.equal(result(x.flip(0), 3.0), whole.flip(0))


def test_chunks_of_components_change_nothing_but_rounding(monkeypatch):
    denoiser = DENOISERS["mixture, diagonal"]
    x = normal(17, *SHAPE)
    whole, divergence = denoiser(x, 0.7), denoiser.divergence(x, 0.7)
    monkeypatch.setattr(module, "_CHUNK", 12)
    monkeypatch.setattr(module, "_BLOCK", 60)
    assert len(list(denoiser._chunks())) == 2
    assert len(list(denoiser._rows(x, x))) == 4
    torch.testing.assert_close(denoiser(x, 0.7), whole, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(denoiser.divergence(x, 0.7), divergence, rtol=1e-12, atol=1e-12)


@cases(INDEPENDENT)
@pytest.mark.parametrize("sigma", [1e-3, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_levels(denoiser, sigma, dtype):
    clean = denoiser.sample(3, rng())
    x = (clean.double() + sigma * normal(3, *SHAPE)).to(dtype)
    denoised, divergence = denoiser(x, sigma), denoiser.divergence(x, sigma)
    assert denoised.isfinite().all()
    assert divergence.isfinite().all()
    assert (divergence >= 0).all()
    if sigma < 1:
        torch.testing.assert_close(denoised, clean.to(dtype), rtol=0, atol=0.01)
    far = denoiser(torch.full_like(x, 1e4), sigma)  # far outside the data
    assert far.isfinite().all()


def test_empirical_is_the_softmax_weighted_mean():
    points, x, sigma = normal(5, 4), normal(3, 4, seed=1), 0.9
    weights = torch.softmax(-torch.cdist(x, points).square() / (2 * sigma**2), dim=1)
    torch.testing.assert_close(Empirical(points)(x, sigma), weights @ points)
    torch.testing.assert_close(Empirical(points)(points, 1e-3), points)


def test_mixture_of_one_is_a_gaussian():
    mean, variance, x = normal(*SHAPE), normal(*SHAPE, seed=1).square(), normal(3, *SHAPE, seed=2)
    one, same = GaussianMixture(mean[None], variance[None]), Gaussian(mean, variance)
    torch.testing.assert_close(one(x, 0.4), same(x, 0.4))
    torch.testing.assert_close(one.divergence(x, 0.4), same.divergence(x, 0.4))


def test_diagonal_covariance_is_a_variance():
    variance, x = normal(6).square(), normal(3, 6, seed=2)
    full, same = Gaussian(0.2, covariance=torch.diag(variance)), Gaussian(0.2, variance)
    assert full.sample_shape == (6,)
    torch.testing.assert_close(full(x, 0.4), same(x, 0.4))
    torch.testing.assert_close(full.divergence(x, 0.4), same.divergence(x, 0.4))
    torch.testing.assert_close(full.transport(x, 0.4, 0.1), same.transport(x, 0.4, 0.1))


@pytest.mark.parametrize("name", ["scalar", "diagonal", "covariance"])
def test_transport_solves_the_ode(name):
    denoiser, levels = DENOISERS[name], torch.logspace(1, -1, 401, dtype=torch.float64)
    start = 10 * normal(3, *SHAPE)
    x = start
    for sigma, after in itertools.pairwise(levels):
        slope = (x - denoiser(x, sigma)) / sigma
        moved = x + (after - sigma) * slope
        x = x + (after - sigma) / 2 * (slope + (moved - denoiser(moved, after)) / after)
    torch.testing.assert_close(denoiser.transport(start, 10.0, 0.1), x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["scalar", "diagonal", "covariance"])
def test_transport_composes_and_ends(name):
    denoiser, x = DENOISERS[name], normal(3, *SHAPE)
    levels = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)
    half = denoiser.transport(x, levels, 1.0)
    torch.testing.assert_close(denoiser.transport(half, 1.0, levels), x)
    end = denoiser.transport(x, 2.0, 0.0)
    torch.testing.assert_close(denoiser.transport(half[:1], 1.0, 0), end[:1])


def test_numbers_take_any_shape():
    denoiser = Gaussian()
    assert denoiser(torch.ones(2, 3), 1.0).tolist() == [[0.5] * 3] * 2
    assert denoiser.divergence(torch.ones(2, 3, 4), 1.0).tolist() == [6.0, 6.0]
    with pytest.raises(ValueError, match="shape="):
        denoiser.sample(3, rng())
    assert Gaussian(shape=(4,)).sample(3, rng()).shape == (3, 4)
    assert Gaussian(variance=torch.ones(3, 1, 1), shape=(3, 2, 2)).sample(5, rng()).shape[1:] == (
        3,
        2,
        2,
    )


@cases()
def test_sampling_is_reproducible(denoiser):
    assert torch.equal(denoiser.sample(4, rng(1)), denoiser.sample(4, rng(1)))
    assert denoiser.sample(4, rng(1)).shape == (4, *SHAPE)


@cases()
@pytest.mark.parametrize(
    ("x", "sigma", "error", "message"),
    [
        (torch.zeros(2, 7), 1.0, ValueError, r"samples of shape \(7,\)"),
        (torch.zeros(2, *SHAPE, dtype=torch.int64), 1.0, TypeError, "dtype torch.int64"),
        (torch.zeros(2, *SHAPE, dtype=torch.complex64), 1.0, TypeError, "dtype torch.complex64"),
        ([[1.0]], 1.0, TypeError, "x is a list"),
        (torch.zeros(0, *SHAPE), 1.0, ValueError, "batch is empty"),
        (torch.zeros(2, *SHAPE), 0.0, ValueError, "sigma is 0.0"),
        (torch.zeros(2, *SHAPE), math.nan, ValueError, "sigma is nan"),
        (torch.zeros(2, *SHAPE), torch.ones(3), ValueError, r"sigma has shape \(3,\)"),
    ],
)
def test_bad_calls(denoiser, x, sigma, error, message):
    for result in (denoiser, denoiser.divergence):
        with pytest.raises(error, match=message):
            result(x, sigma)


def test_conditioning_is_refused():
    with pytest.raises(ValueError, match=r"conditioning has \['class_labels'\]"):
        Gaussian()(torch.zeros(2, 3), 1.0, class_labels=torch.zeros(2))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Gaussian(math.nan), ValueError, "mean holds 1 NaN"),
        (lambda: Gaussian(variance=torch.tensor([1.0, math.inf])), ValueError, "variance holds 1"),
        (lambda: Gaussian(variance=-1.0), ValueError, "variance holds -1"),
        (lambda: Gaussian(torch.zeros(3, dtype=torch.int64)), TypeError, "mean has dtype"),
        (lambda: Gaussian(torch.zeros(3), torch.ones(2)), ValueError, "do not broadcast"),
        (lambda: Gaussian(torch.zeros(3), shape=(2,)), ValueError, r"to shape \(2,\)"),
        (lambda: Gaussian(covariance=torch.ones(2, 3)), ValueError, r"\(d, d\)"),
        (lambda: Gaussian(variance=2.0, covariance=torch.eye(2)), ValueError, "both given"),
        (lambda: Gaussian(torch.zeros(3), covariance=torch.eye(2)), ValueError, "2 dimensions"),
        (
            lambda: Gaussian(covariance=torch.tensor([[1.0, 0.5], [0.0, 1.0]])),
            ValueError,
            "symmetric",
        ),
        (
            lambda: Gaussian(covariance=torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
            ValueError,
            "eigenvalue -1",
        ),
        (lambda: GaussianMixture(torch.zeros(3), 1.0), ValueError, "means has shape"),
        (lambda: GaussianMixture(torch.full((3, 2), math.nan), 1.0), ValueError, "means holds 6"),
        (lambda: GaussianMixture(torch.zeros(3, 2), -1.0), ValueError, "variances holds -1"),
        (lambda: GaussianMixture(torch.zeros(3, 2), torch.ones(2)), ValueError, r"shape \(2,\)"),
        (lambda: Empirical(torch.zeros(3, 2).int()), TypeError, "points has dtype"),
        (lambda: Empirical(torch.zeros(3, 2), torch.ones(2)), ValueError, r"\(3,\) is needed"),
        (lambda: Empirical(torch.zeros(3, 2), torch.zeros(3)), ValueError, "sums to 0"),
        (
            lambda: Empirical(torch.zeros(3, 2), torch.tensor([1.0, -1.0, 2.0])),
            ValueError,
            "weights holds -1",
        ),
    ],
)
def test_bad_parameters(build, error, message):
    with pytest.raises(error, match=message):
        build()
