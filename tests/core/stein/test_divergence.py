import math

import pytest
import torch
from draws import normal, rng

from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.stein.divergence import exact, finite_difference, hutchinson, ratio, residual_ratio

SHAPE, SIGMA = (2, 3), 0.8


def mixture():
    return GaussianMixture(normal(4, *SHAPE, seed=1), normal(4, *SHAPE, seed=2).square())


def diagonal():
    return Gaussian(normal(*SHAPE), normal(*SHAPE, seed=1).square())


def at(denoiser):
    return lambda x: denoiser(x, SIGMA)


def noisy(denoiser, count):
    return denoiser.sample(count, rng(3)) + SIGMA * normal(count, *SHAPE, seed=4)


@pytest.mark.parametrize("denoiser", [mixture(), diagonal()])
def test_exact(denoiser):
    x = noisy(denoiser, 3)
    torch.testing.assert_close(
        exact(at(denoiser), x), denoiser.divergence(x, SIGMA), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_hutchinson_is_unbiased(kind):
    denoiser, count = mixture(), 4000
    x = noisy(denoiser, 1)
    estimates = hutchinson(
        at(denoiser), x.expand(count, *SHAPE), 1, kind, rng(5), shared_probes=False
    )
    error = estimates.mean() - denoiser.divergence(x, SIGMA)[0]
    assert error.abs() < 4 * estimates.std() / math.sqrt(count)


def test_more_probes_less_variance():
    denoiser = mixture()
    x = noisy(denoiser, 1).expand(1000, *SHAPE)
    few, many = (
        hutchinson(at(denoiser), x, n, generator=rng(6), shared_probes=False).var() for n in (1, 8)
    )
    assert few / many == pytest.approx(8, rel=0.4)


def test_one_rademacher_probe_is_exact_for_a_diagonal_jacobian():
    denoiser = diagonal()
    x = noisy(denoiser, 4)
    for estimate in (
        hutchinson(at(denoiser), x, 1, "rademacher", rng()),
        finite_difference(at(denoiser), x, rng(), kind="rademacher"),
    ):
        torch.testing.assert_close(estimate, denoiser.divergence(x, SIGMA))


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_finite_difference_is_hutchinson_with_a_step(kind):
    denoiser = mixture()
    x = noisy(denoiser, 4)
    expected = hutchinson(at(denoiser), x, 3, kind, rng(8))
    estimate = finite_difference(at(denoiser), x, rng(8), 1e-6, 3, kind=kind)
    torch.testing.assert_close(estimate, expected, rtol=1e-4, atol=1e-4)


def test_finite_difference_in_single_precision():
    denoiser = mixture()
    x = noisy(denoiser, 4)
    expected = hutchinson(at(denoiser), x, 2, generator=rng(8))
    estimate = finite_difference(at(denoiser), x.float(), rng(8), probes=2)
    torch.testing.assert_close(estimate, expected, rtol=0.02, atol=0.02)


def test_finite_difference_counts_its_calls():
    calls, denoiser = [], mixture()

    def f(x):
        calls.append(len(x))
        return denoiser(x, SIGMA)

    x = noisy(denoiser, 2)
    fresh = finite_difference(f, x, rng(), probes=3)
    assert len(calls) == 4
    reused = finite_difference(f, x, rng(), probes=3, value=denoiser(x, SIGMA))
    assert len(calls) == 7
    assert torch.equal(fresh, reused)


def test_finite_difference_at_the_origin():
    estimate = finite_difference(lambda x: 2 * x, torch.zeros(1, 4), rng(), kind="rademacher")
    assert estimate.item() == pytest.approx(8, rel=1e-5)


def test_free_estimates_are_right_in_the_mean():
    denoiser, count = mixture(), 20000
    x = noisy(denoiser, count)
    denoised, truth = denoiser(x, SIGMA), denoiser.divergence(x, SIGMA)
    error = residual_ratio(denoised, x, denoised, SIGMA) - truth
    assert error.mean().abs() < 4 * error.std() / math.sqrt(count)
    field = x.sin()
    error = residual_ratio(field, x, denoised, SIGMA) - x.cos().flatten(1).sum(1)
    assert error.mean().abs() < 4 * error.std() / math.sqrt(count)
    level = torch.full((count,), SIGMA, dtype=torch.float64)
    assert torch.equal(
        residual_ratio(field, x, denoised, level), residual_ratio(field, x, denoised, SIGMA)
    )


def test_ratio_is_exact_for_a_centred_isotropic_gaussian():
    denoiser = Gaussian(0.0, 0.5)
    x = normal(5, *SHAPE)
    estimate = ratio(x, denoiser(x, SIGMA))
    torch.testing.assert_close(estimate, denoiser.divergence(x, SIGMA))


def test_ratio_is_right_in_the_mean_in_many_dimensions():
    # The quotient is consistent, not unbiased: its error in the mean falls as 1/d.
    denoiser = Gaussian(torch.zeros(2000, dtype=torch.float64), normal(2000).square())
    x = denoiser.sample(200, rng(1)) + SIGMA * normal(200, 2000, seed=2)
    estimate, truth = ratio(x, denoiser(x, SIGMA)), denoiser.divergence(x, SIGMA)
    assert estimate.mean() / truth.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["exact", "hutchinson", "finite_difference"])
def test_a_sample_does_not_see_its_batch(name):
    denoiser = mixture()
    estimate = {
        "exact": lambda x: exact(at(denoiser), x),
        "hutchinson": lambda x: hutchinson(at(denoiser), x, generator=rng(2)),
        "finite_difference": lambda x: finite_difference(at(denoiser), x, rng(2)),
    }[name]
    x = noisy(denoiser, 17)
    whole = estimate(x)
    assert torch.equal(estimate(x[3:6]), whole[3:6])
    assert torch.equal(estimate(x[8:9]), whole[8:9])
    assert torch.equal(estimate(x.flip(0)), whole.flip(0))


def test_separate_probes():
    denoiser = mixture()
    x = noisy(denoiser, 1).expand(3, *SHAPE)
    shared = hutchinson(at(denoiser), x, generator=rng())
    separate = hutchinson(at(denoiser), x, generator=rng(), shared_probes=False)
    assert len(shared.unique()) == 1
    assert len(separate.unique()) == 3


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_gradients_are_on_inside_only(guard):
    denoiser = mixture()
    x = noisy(denoiser, 2)
    with guard():
        hidden = x * 1
        assert not hutchinson(at(denoiser), hidden, generator=rng()).requires_grad
        torch.testing.assert_close(exact(at(denoiser), hidden), denoiser.divergence(x, SIGMA))
        assert not torch.is_grad_enabled()
    tracked = x.clone().requires_grad_()
    for result in (
        exact(at(denoiser), tracked),
        hutchinson(at(denoiser), tracked, generator=rng()),
    ):
        assert not result.requires_grad
        assert result.dtype == torch.float64
    assert tracked.grad is None


def test_gradients_flow_through_the_other_estimates():
    denoiser = mixture()
    x = noisy(denoiser, 2).requires_grad_()
    denoised = denoiser(x, SIGMA)
    for result in (
        ratio(x, denoised),
        residual_ratio(denoised, x, denoised, SIGMA),
        finite_difference(at(denoiser), x, rng()),
    ):
        assert torch.autograd.grad(result.sum(), x, retain_graph=True)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_results_are_double(dtype):
    x = normal(2, *SHAPE).to(dtype)
    assert exact(torch.tanh, x).dtype == torch.float64
    assert hutchinson(torch.tanh, x, generator=rng()).dtype == torch.float64


@pytest.mark.parametrize("estimator", [hutchinson, finite_difference])
def test_bad_options(estimator):
    x = normal(2, *SHAPE)
    with pytest.raises(ValueError, match="probes is 0"):
        estimator(torch.tanh, x, probes=0)
    with pytest.raises(ValueError, match=r"probes is 1\.5"):
        estimator(torch.tanh, x, probes=1.5)
    with pytest.raises(ValueError, match="Did you mean 'gaussian'"):
        estimator(torch.tanh, x, kind="gausian")


def test_bad_maps():
    x = normal(2, *SHAPE)
    for estimator in (exact, hutchinson, finite_difference):
        with pytest.raises(ValueError, match=r"f\(x\) has shape \(2, 3\)"):
            estimator(lambda x: x[:, 0], x)
        with pytest.raises(TypeError, match="dtype torch"):
            estimator(torch.tanh, torch.zeros(2, 3, dtype=torch.int64))
    for estimator in (exact, hutchinson):
        with pytest.raises(ValueError, match="not connected"):
            estimator(lambda x: x.detach(), x)
    with pytest.raises(ValueError, match="value has shape"):
        finite_difference(torch.tanh, x, value=x[:1])
    with pytest.raises(ValueError, match="relative_step is 0"):
        finite_difference(torch.tanh, x, relative_step=0)
    with pytest.raises(ValueError, match="denoised has shape"):
        ratio(x, x[:1])
    with pytest.raises(ValueError, match="sigma is 0"):
        residual_ratio(x, x, x, 0)
    with pytest.raises(ValueError, match=r"sigma has shape \(3,\)"):
        residual_ratio(x, x, x, torch.ones(3))
