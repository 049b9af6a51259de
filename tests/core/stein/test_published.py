"""The published coefficient degenerates; the coupled one has the right scale."""

import math
from typing import Any

import pytest
import torch

import steindiff as sd
from steindiff.stein import Constant, Coupled, Published
from steindiff.stein.quotient import Estimator, SteinQuotient

R = 0.25
LEVELS = [2.0, 2.0 * R, 0.05]


def mixture() -> sd.denoisers.GaussianMixture:
    generator = torch.Generator().manual_seed(5)
    means = 2 * torch.randn(8, 32, generator=generator, dtype=torch.float64)
    return sd.denoisers.GaussianMixture(means, 0.1)


def noisy(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(6)
    clean = mixture().sample(count, generator)
    return clean + 2.0 * torch.randn(count, 32, generator=generator, dtype=torch.float64)


def first_gamma(coefficient: SteinQuotient, count: int = 512) -> torch.Tensor:
    record = sd.sample(mixture(), noisy(count), LEVELS, "euler", coefficient, record=True).record
    assert record is not None
    return record.gamma[0]


@pytest.mark.parametrize("estimator", ["exact", "ratio"])
def test_published_equals_one_over_one_minus_r_for_euler(estimator: Estimator) -> None:
    """Exactly so for the free estimate; within the spread of a mean of 2,048 for the true one."""
    rule = Published(estimator=estimator, gamma_max=None, mean="batch")
    gamma = first_gamma(rule, 2048)
    assert gamma.eq(gamma[0]).all()
    assert gamma[0].item() == pytest.approx(1 / (1 - R), rel=0.02 if estimator == "exact" else 1e-9)


def test_published_with_hutchinson_agrees_with_the_exact_divergence() -> None:
    exact = first_gamma(Published(estimator="exact", gamma_max=None, mean="batch"))
    for estimator in ("hutchinson", "finite_difference"):
        rule = Published(estimator=estimator, probes=200, gamma_max=None, mean="batch")
        assert torch.allclose(first_gamma(rule), exact, rtol=0.03)


def test_published_unclamped_lands_on_the_denoised_sample() -> None:
    x = noisy(16)
    rule = Published(estimator="ratio", gamma_max=None)
    result = sd.sample(mixture(), x, LEVELS, "euler", rule, return_trajectory=True)
    assert result.trajectory is not None
    denoised = mixture()(x, 2.0)
    assert torch.allclose(result.trajectory[1], denoised, atol=1e-9)


def test_published_unclamped_leaves_the_marginals_and_clamped_does_nothing() -> None:
    x, levels = noisy(64), sd.schedules.karras(6, 0.05, 2.0)
    plain = sd.sample(mixture(), x, levels, "euler", None).x
    clamped = sd.sample(mixture(), x, levels, "euler", Published(estimator="ratio")).x
    assert torch.allclose(clamped, plain)
    free = sd.sample(mixture(), x, levels, "euler", Published(estimator="ratio", gamma_max=None)).x
    fine = sd.sample(mixture(), x, sd.schedules.karras(64, 0.05, 2.0), "heun", None).x
    error = (free - fine).square().mean().sqrt()
    assert error > 3 * (plain - fine).square().mean().sqrt()


def test_coupled_is_the_published_one_times_one_minus_r() -> None:
    options: dict[str, Any] = {"estimator": "exact", "gamma_min": None, "gamma_max": None}
    coupled, published = first_gamma(Coupled(**options)), first_gamma(Published(**options))
    assert torch.allclose(coupled, (1 - R) * published)
    pooled = first_gamma(Coupled(**options, mean="batch"), 2048)
    assert pooled[0].item() == pytest.approx(1, abs=0.02)


def test_per_sample_is_the_default_and_batch_pools() -> None:
    alone = first_gamma(Published(estimator="exact", gamma_max=None), 3)
    assert len(alone.unique()) == 3
    pooled = first_gamma(Published(estimator="exact", gamma_max=None, mean="batch"), 3)
    assert len(pooled.unique()) == 1


def test_probes_cost_what_they_say() -> None:
    x = noisy(4)
    for rule, extra in (
        (Published(), 1),
        (Published(estimator="finite_difference", probes=3), 3),
        (Published(estimator="exact"), 1),
        (Published(estimator="ratio"), 0),
    ):
        assert rule.extra_calls == extra
        # two steps, the second of which is not relaxed
        assert sd.sample(mixture(), x, LEVELS, "euler", rule).nfe == 2 + extra
        assert sd.sample(mixture(), x, LEVELS, "heun", rule).nfe == 2 * (2 + extra)


def test_the_same_seed_gives_the_same_samples() -> None:
    x = noisy(4)
    runs = [sd.sample(mixture(), x, LEVELS, "euler", Coupled(seed=seed)).x for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "hutchison"}, "estimator 'hutchison' is unknown.*'hutchinson'"),
        ({"mean": "bach"}, "mean 'bach' is unknown"),
        ({"probes": 0}, "probes is 0; an int >= 1"),
        ({"gamma_min": 2.0}, "gamma_min is 2.0 and gamma_max 1.0"),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    for kind in (Published, Coupled):
        with pytest.raises(ValueError, match=message):
            kind(**options)


@pytest.mark.parametrize("value", [0.0, 2.0, -1.0, math.nan, math.inf])
def test_a_constant_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="value is"):
        Constant(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_is_as_precise_as_the_samples(dtype: torch.dtype) -> None:
    x = noisy(4).to(dtype)
    found = sd.sample(mixture(), x, LEVELS, "euler", Constant(0.9), record=True).record
    assert found is not None
    assert found.gamma[:-1].eq(0.9).all()


def test_a_constant_blends_start_and_candidate() -> None:
    x = noisy(4)
    plain = sd.sample(mixture(), x, LEVELS, "euler", None, return_trajectory=True).trajectory
    half = sd.sample(mixture(), x, LEVELS, "euler", Constant(0.5), return_trajectory=True)
    assert plain is not None
    assert half.trajectory is not None
    assert torch.allclose(half.trajectory[1], 0.5 * x + 0.5 * plain[1])
