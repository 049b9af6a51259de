"""The default coefficient against closed forms, and its bounds for any input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import steindiff as sd
from steindiff.reductions import inner
from steindiff.solvers import SOLVERS
from steindiff.solvers.euler import euler_candidate
from steindiff.stein import Energy, Proposal, Relaxed

UNBOUND = Energy(trust=math.inf)
DIMENSION = 512


def marginal(variance: float, sigma: float, count: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(count, DIMENSION, generator=generator, dtype=torch.float64)
    return noise * math.sqrt(variance + sigma**2)


def one_step(
    solver: str, coefficient: object, x: Tensor, denoiser: object, sigma: float, to: float
):
    """State after a step from `sigma` to `to` that is not the last."""
    result = sd.sample(
        denoiser, x, [sigma, to, to / 10], solver, coefficient,  # type: ignore[arg-type]
        return_trajectory=True, record=True,
    )  # fmt: skip
    assert result.trajectory is not None
    assert result.record is not None
    return result.trajectory[1], result.record


def test_relaxed_euler_meets_the_exact_energy_in_one_step() -> None:
    """Variance 0.05, sigma 2 to 0.5: inside the trust region, so with the default as it is."""
    variance, sigma, to = 0.05, 2.0, 0.5
    denoiser = sd.denoisers.Gaussian(mean=0.0, variance=variance)
    x = marginal(variance, sigma)
    exact = inner(*[denoiser.transport(x, sigma, to)] * 2)
    plain, _ = one_step("euler", None, x, denoiser, sigma, to)
    relaxed, _ = one_step("euler", "energy", x, denoiser, sigma, to)
    assert torch.allclose(inner(relaxed, relaxed), exact, rtol=1e-12)
    lost = 1 - inner(plain, plain) / exact
    assert lost.min() > 0.09
    assert lost.max() < 0.10


@pytest.mark.parametrize("variance", [1e-3, 0.1, 1.0, 30.0, 1e4])
@pytest.mark.parametrize(("sigma", "to"), [(80.0, 10.0), (2.0, 0.5), (0.3, 0.02)])
def test_without_trust_region_any_gaussian_is_solved_exactly(
    variance: float, sigma: float, to: float
) -> None:
    """Along a ray the energy determines the state, and Gaussian trajectories are rays."""
    denoiser = sd.denoisers.Gaussian(mean=0.0, variance=variance)
    x = marginal(variance, sigma)
    relaxed, record = one_step("euler", UNBOUND, x, denoiser, sigma, to)
    assert torch.allclose(relaxed, denoiser.transport(x, sigma, to), rtol=1e-9, atol=0)
    # the closed form for Euler: gamma = w/(1 - r), w = (1 - sqrt(j + r^2 (1 - j)))/(1 - j)
    r, j = to / sigma, variance / (variance + sigma**2)
    w = (1 - math.sqrt(j + r**2 * (1 - j))) / (1 - j)
    expected = torch.full_like(record.gamma[0], w / (1 - r))
    assert torch.allclose(record.gamma[0], expected, rtol=1e-7)
    assert torch.allclose(record.stein_ratio[0], torch.full_like(expected, j), rtol=1e-9)
    assert (1 + r) / 2 - 1e-9 <= w / (1 - r) <= 1


def test_trust_region_bounds_the_noise_left_behind() -> None:
    variance, sigma, to = 30.0, 2.0, 0.5
    denoiser = sd.denoisers.Gaussian(mean=0.0, variance=variance)
    _, record = one_step("euler", "energy", marginal(variance, sigma), denoiser, sigma, to)
    r = to / sigma
    left = (1 - record.gamma[0]) * (1 - r) * sigma
    assert torch.allclose(left, torch.full_like(left, 0.2 * to))


def proposal(x: Tensor, denoised: Tensor, candidate: Tensor, predictor: Tensor | None = None):
    def no_call(_: Tensor) -> Tensor:
        raise AssertionError("the rule called the model")

    return Proposal(x, denoised, candidate, predictor, 2.0, 0.5, no_call)


def test_a_surplus_is_owed_by_the_next_step() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 2.1 * torch.randn(4, 64, generator=generator, dtype=torch.float64)
    denoised = 0.1 * x
    law = inner(x, x) - (1 - 0.25**2) * inner(x, x - denoised)
    too_long = x * ((law + 7.0) / inner(x, x)).sqrt()[:, None]
    rule = Energy()
    first = rule(proposal(x, denoised, too_long), rule.init(x))
    assert torch.equal(first.gamma, torch.ones(4, dtype=torch.float64))
    assert torch.allclose(first.state.surplus, torch.full((4,), 0.25 * 7.0, dtype=torch.float64))
    # aimed at the law less the surplus, a candidate that meets this aim is left alone
    owed = x * ((law - first.state.surplus) / inner(x, x)).sqrt()[:, None]
    second = rule(proposal(x, denoised, owed), first.state)
    assert torch.allclose(second.gamma, torch.ones(4, dtype=torch.float64))
    assert second.state.surplus.abs().max() < 1e-9
    forgetful = Energy(memory=False)
    assert forgetful(proposal(x, denoised, too_long), rule.init(x)).state.surplus.eq(0).all()


def test_corrector_rule_lands_on_the_law() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 2.1 * torch.randn(4, 64, generator=generator, dtype=torch.float64)
    denoised = 0.1 * x
    predictor = euler_candidate(x, denoised, 2.0, 0.5)
    wild = predictor + 3 * torch.randn(4, 64, generator=generator, dtype=torch.float64)
    rule = Energy()
    decision = rule(proposal(x, denoised, wild, predictor), rule.init(x))
    assert decision.correction is not None
    assert decision.gamma.eq(1).all()
    assert decision.correction.gt(0).all()
    assert decision.correction.lt(1).all()
    kept = predictor + decision.correction[:, None] * (wild - predictor)
    law = inner(x, x) - (1 - 0.25**2) * inner(x, x - denoised)
    assert torch.allclose(inner(kept, kept), law, rtol=1e-12)
    # under the law the corrector is kept whole
    tame = 0.5 * predictor
    assert rule(proposal(x, denoised, tame, predictor), rule.init(x)).correction.eq(1).all()  # type: ignore[union-attr]


def test_corrector_rule_keeps_nothing_where_even_the_predictor_is_too_long() -> None:
    x = torch.full((1, 4), 2.0, dtype=torch.float64)
    denoised = torch.zeros_like(x)
    rule = Energy()
    decision = rule(proposal(x, denoised, 3 * x, 2 * x), rule.init(x))
    assert decision.correction is not None
    assert decision.correction.item() == 0
    law = inner(x, x) * 0.25**2
    assert decision.state.surplus.item() == pytest.approx(0.25 * (4 * 16 - law.item()))


def test_heun_is_kept_on_the_law_where_it_overshoots() -> None:
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, 16)
    denoiser = sd.denoisers.GaussianMixture(means, 1e-3)
    generator = torch.Generator().manual_seed(1)
    x = 20 * torch.randn(32, 16, generator=generator, dtype=torch.float64)
    levels = [20.0, 0.3, 0.05]
    plain = sd.sample(denoiser, x, levels, "heun", None, record=True).record
    relaxed = sd.sample(denoiser, x, levels, "heun", "energy", record=True).record
    assert plain is not None
    assert relaxed is not None
    law = plain.energy[0] - (1 - (0.3 / 20) ** 2) * plain.kappa[0] * 20.0**2
    over = plain.energy_next[0] > law
    assert over.any()
    assert torch.allclose(relaxed.energy_next[0][over], law[over], rtol=1e-6, atol=1e-9)
    assert relaxed.correction[0][over].lt(1).all()


finite = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.lists(finite, min_size=12, max_size=12), min_size=1, max_size=4),
    log_sigma=st.floats(math.log(1e-3), math.log(1e3)),
    r=st.floats(0.001, 0.999),
    corrected=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_gamma_stays_in_its_bounds_for_any_input(
    values: list[list[float]], log_sigma: float, r: float, corrected: bool, dtype: torch.dtype
) -> None:
    x, denoised, candidate, predictor = torch.tensor(values, dtype=dtype).split(3, dim=1)
    sigma = math.exp(log_sigma)
    rule = Energy()
    what = Proposal(
        x, denoised, candidate, predictor if corrected else None, sigma, r * sigma, lambda z: z
    )
    decision = rule(what, rule.init(x))
    assert decision.gamma.ge(rule.lowest(what.ratio)).all()
    assert decision.gamma.le(1).all()
    assert decision.state.surplus.ge(0).all()
    if decision.correction is not None:
        assert decision.correction.ge(0).all()
        assert decision.correction.le(1).all()


def test_a_step_that_does_not_move_is_left_alone() -> None:
    x = torch.ones(2, 5)
    decision = Energy()(proposal(x, x, x), Energy().init(x))
    assert decision.gamma.eq(1).all()


@pytest.mark.parametrize("scale", [1e-3, 40.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_scaling_data_and_levels_scales_the_samples(solver: str, scale: float) -> None:
    means = torch.tensor([[-1.0], [0.5]], dtype=torch.float64).expand(2, 8)
    x = marginal(0.3, 10.0, 4)[:, :8]
    levels = sd.schedules.karras(5, 0.05, 10.0)
    one = sd.sample(sd.denoisers.GaussianMixture(means, 0.1), x, levels, solver).x
    mixture = sd.denoisers.GaussianMixture(scale * means, scale**2 * 0.1)
    other = sd.sample(mixture, scale * x, scale * levels, solver).x
    assert torch.allclose(other, scale * one, rtol=1e-8)


def test_the_last_step_is_not_relaxed() -> None:
    denoiser = sd.denoisers.Gaussian(variance=0.5)
    x = marginal(0.5, 5.0, 2)
    record = sd.sample(denoiser, x, [5.0, 1.0, 0.2], "euler", record=True).record
    assert record is not None
    assert record.gamma[0].lt(1).all()
    assert record.gamma[1].eq(1).all()
    alone = sd.sample(denoiser, x, [5.0, 1.0], "euler").x
    assert torch.equal(alone, sd.sample(denoiser, x, [5.0, 1.0], "euler", None).x)


@pytest.mark.parametrize("trust", [-0.1, math.nan])
def test_a_trust_that_means_nothing_is_refused(trust: float) -> None:
    with pytest.raises(ValueError, match="trust is"):
        Energy(trust=trust)


def test_only_plain_solvers_and_coefficients_can_be_joined() -> None:
    euler = sd.solvers.Euler()
    with pytest.raises(TypeError, match="an unrelaxed Solver"):
        Relaxed(Relaxed(euler, Energy()), Energy())
    with pytest.raises(TypeError, match="a Coefficient object"):
        Relaxed(euler, "energy")  # type: ignore[arg-type]
