"""The default coefficient against closed forms, and its bounds for any input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import pytest
import torch
from draws import normal
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import steindiff as sd
from steindiff._reductions import inner
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.recipes import UNGUIDED_COEFFICIENT
from steindiff.solvers import SOLVERS
from steindiff.solvers.euler import euler_candidate
from steindiff.stein import Ahead, Decision, Energy, Proposal, Relaxed
from steindiff.stein.energy import LAWS, EnergyState

# One level, no shrinkage, no bound: relaxed from the first step on, to the law of one level.
TWO_LEVELS = Energy(law="two", gift=None, steady=False)
BARE = Energy(law="one", trust=math.inf, shrink=False, last=False)
VARIANCES = [1e-3, 0.1, 1.0, 30.0, 1e4]
DIMENSION = 512


def marginal(variance: float, sigma: float, count: int = 16) -> Tensor:
    return normal(count, DIMENSION, seed=3) * math.sqrt(variance + sigma**2)


def lognormal_mixture(size: int = 16) -> GaussianMixture:
    """Modes of unlike lengths, so that steps both lose and gain energy."""
    return GaussianMixture(normal(5, size, seed=1) * normal(5, 1, seed=2).exp(), 0.02)


def proposal(
    x: Tensor,
    denoised: Tensor,
    candidate: Tensor,
    predictor: Tensor | None = None,
    levels: tuple[float, float] = (2.0, 0.5),
    steps_left: int = 3,
) -> Proposal:
    def no_call(_: Tensor) -> Tensor:
        raise AssertionError("the rule called the model")

    return Proposal(x, denoised, candidate, predictor, *levels, no_call, Ahead(steps_left))


def relaxed(what: Proposal, decision: Decision) -> Tensor:
    candidate = what.candidate
    if what.predictor is not None and decision.correction is not None:
        kept = decision.correction.to(candidate)[:, None]
        candidate = torch.lerp(what.predictor, candidate, kept)
    return torch.lerp(what.x, candidate, decision.gamma.to(candidate)[:, None])


def euler_proposal(denoiser: Gaussian, x: Tensor, sigma: float, to: float, steps_left: int = 3):
    denoised = denoiser(x, sigma)
    candidate = euler_candidate(x, denoised, sigma, to)
    return proposal(x, denoised, candidate, None, (sigma, to), steps_left)


def exact_step(
    rule: Energy, variance: float, levels: Sequence[float], steps_left: int = 3
) -> tuple[Proposal, Decision, Tensor]:
    """Euler's step from levels[1] to levels[2], its decision, and where the ODE arrives.

    The state is exact, and the rule has seen the exact state of levels[0] before.
    """
    before, sigma, to = levels
    denoiser = Gaussian(variance=variance)
    first = marginal(variance, before)
    state = rule(euler_proposal(denoiser, first, before, sigma), rule.init(first)).state
    x = denoiser.transport(first, before, sigma)
    what = euler_proposal(denoiser, x, sigma, to, steps_left)
    return what, rule(what, state), denoiser.transport(x, sigma, to)


def gamma_of_gaussian(variance: float, sigma: float, to: float) -> float:
    """gamma = w/(1 - r), w = (1 - sqrt(j + r^2 (1 - j)))/(1 - j), j the Stein ratio."""
    r, j = to / sigma, variance / (variance + sigma**2)
    return (1 - math.sqrt(j + r**2 * (1 - j))) / (1 - j) / (1 - r)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("levels", [(200.0, 80.0, 10.0), (10.0, 2.0, 0.5), (0.9, 0.3, 0.02)])
def test_without_trust_region_any_gaussian_is_solved_exactly(
    variance: float, levels: tuple[float, float, float]
) -> None:
    """Along a ray the energy determines the state, and Gaussian trajectories are rays."""
    what, decision, end = exact_step(replace(TWO_LEVELS, trust=math.inf), variance, levels)
    assert torch.allclose(relaxed(what, decision), end, rtol=1e-9, atol=0)
    expected = gamma_of_gaussian(variance, *levels[1:])
    assert torch.allclose(decision.gamma, torch.full_like(decision.gamma, expected), rtol=1e-7)
    r = levels[2] / levels[1]
    assert (1 + r) / 2 - 1e-9 <= expected < 1


def test_inside_the_trust_region_the_default_is_exact_too() -> None:
    what, decision, end = exact_step(TWO_LEVELS, 0.03, (8.0, 2.0, 0.5))
    assert decision.gamma.gt(TWO_LEVELS.lowest(0.25)).all()
    assert torch.allclose(relaxed(what, decision), end, rtol=1e-11, atol=0)
    lost = 1 - inner(what.candidate, what.candidate) / inner(end, end)
    assert lost.min() > 0.05


@pytest.mark.parametrize("variance", VARIANCES)
def test_one_level_solves_gaussians_from_the_first_step_on(variance: float) -> None:
    denoiser, levels = Gaussian(variance=variance), [20.0, 8.0, 2.0, 0.5, 0.1]
    x = marginal(variance, levels[0])
    result = sd.sample(denoiser, x, levels, "euler", BARE, return_trajectory=True, record=True)
    assert result.trajectory is not None
    assert result.record is not None
    for k in range(3):  # the last of the four steps is not relaxed
        end = denoiser.transport(x, levels[0], levels[k + 1])
        assert torch.allclose(result.trajectory[k + 1], end, rtol=1e-9, atol=0)
        expected = gamma_of_gaussian(variance, levels[k], levels[k + 1])
        gamma = result.record.gamma[k]
        assert torch.allclose(gamma, torch.full_like(gamma, expected), rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "variance"),
    [
        (UNGUIDED_COEFFICIENT, 0.01),
        (UNGUIDED_COEFFICIENT, 0.03),
        (UNGUIDED_COEFFICIENT, 0.1),
        (replace(UNGUIDED_COEFFICIENT, trust=0.21), 0.25),
    ],
)
def test_the_first_step_of_one_level_meets_the_exact_energy_inside_the_trust_region(
    rule: Energy, variance: float
) -> None:
    """From 2 to 0.5, without a level before. Of the variance 0.25 a trust of 0.1 lets 14% go."""
    x = marginal(variance, 2.0)
    what = euler_proposal(Gaussian(variance=variance), x, 2.0, 0.5)
    landed = relaxed(what, rule(what, rule.init(x)))
    end = Gaussian(variance=variance).transport(x, 2.0, 0.5)
    assert torch.allclose(inner(landed, landed), inner(end, end), rtol=0.01)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_first_step_from_pure_noise_is_left_alone(solver: str) -> None:
    """What overlap its noise has with the mean of the data is chance: nothing is owed for it.

    The law of one level relaxes where the step leaves a fiftieth of the noise, the default nowhere.
    """
    denoiser = lognormal_mixture()
    for rule, high, relaxes in (
        (UNGUIDED_COEFFICIENT, 4096.0, False),
        (UNGUIDED_COEFFICIENT, 20.0, True),
        (Energy(), 20.0, False),
    ):
        levels = [high, 5.0, 1.5, 0.5, 0.1]
        x = high * normal(64, 16)
        record = sd.sample(denoiser, x, levels, solver, rule, record=True).record
        assert record is not None
        assert bool(record.gamma[0].lt(1).any()) == relaxes


@pytest.mark.parametrize("trust", [0.02, 0.1, 0.3])
def test_trust_region_bounds_the_noise_left_behind(trust: float) -> None:
    before, sigma, to = 8.0, 2.0, 0.5
    _, decision, _ = exact_step(replace(TWO_LEVELS, trust=trust), 30.0, (before, sigma, to))
    left = (1 - decision.gamma) * (1 - to / sigma) * sigma
    assert torch.allclose(left, torch.full_like(left, trust * to), rtol=1e-12)


@pytest.mark.parametrize("steps", [3, 4, 7])
@pytest.mark.parametrize("solver", SOLVERS)
def test_first_middle_and_last_step(solver: str, steps: int) -> None:
    """First and last are left alone, the last but one is at its bound, all others above theirs."""
    rule, levels = TWO_LEVELS, sd.schedules.karras(steps, 0.02, 20.0)
    x = 20 * normal(64, 16)
    record = sd.sample(lognormal_mixture(), x, levels, solver, rule, record=True).record
    assert record is not None
    ratios = (levels[1:] / levels[:-1]).tolist()
    assert record.gamma[0].eq(1).all()
    assert record.gamma[-1].eq(1).all()
    for gamma, ratio in zip(record.gamma, ratios, strict=True):
        assert gamma.ge(max(0.0, 1 - 0.1 * ratio / (1 - ratio))).all()
        assert gamma.le(1).all()
    corrected = record.correction[-2] < 1
    lowest = rule.lowest(ratios[-2])
    assert lowest < 1
    assert record.gamma[-2][~corrected].eq(lowest).all()
    assert record.gamma[-2][corrected].eq(1).all()  # such a step is on its target already
    assert bool(corrected.any()) == (solver == "heun")
    assert not bool(corrected.all())


def test_the_last_relaxed_step_gives_in_advance_only_where_a_bound_says_how_much() -> None:
    levels = (8.0, 2.0, 0.5)
    infinite = (
        replace(rule, trust=math.inf) for rule in (TWO_LEVELS, replace(TWO_LEVELS, gift=2.0))
    )
    for rule in (*infinite, replace(TWO_LEVELS, last=False)):
        _, middle, _ = exact_step(rule, 0.03, levels)
        _, last, _ = exact_step(rule, 0.03, levels, steps_left=2)
        assert torch.equal(last.gamma, middle.gamma)
    _, middle, _ = exact_step(TWO_LEVELS, 0.03, levels)
    _, last, _ = exact_step(TWO_LEVELS, 0.03, levels, steps_left=2)
    assert last.gamma.lt(middle.gamma).all()
    assert last.gamma.eq(1 - 0.1 / 3).all()


@pytest.mark.parametrize(
    ("end", "gives"), [(0.0, True), (0.09, True), (0.11, False), (1.0, False), (math.inf, False)]
)
def test_nothing_is_owed_to_a_last_step_that_leaves_noise_or_is_of_higher_order(
    end: float, gives: bool
) -> None:
    """`end` in units of the root mean square of T, whatever the unit of the data."""
    for unit in (1e-3, 1.0, 40.0):
        x, denoised = unit * normal(3, 64), unit * normal(3, 1).expand(3, 64)
        candidate = euler_candidate(x, denoised, 2 * unit, 0.5 * unit)
        what = proposal(x, denoised, candidate, None, (2 * unit, 0.5 * unit), steps_left=2)
        size = candidate.square().mean(dim=1).sqrt()
        state = TWO_LEVELS.init(x)._replace(sigma=8 * unit)
        for k, length in enumerate(size.tolist()):
            decision = TWO_LEVELS(what._replace(ahead=what.ahead._replace(end=end * length)), state)
            middle = TWO_LEVELS(what._replace(ahead=Ahead(3)), state)
            expected = 1 - 0.1 / 3 if gives else middle.gamma[k].item()
            assert decision.gamma[k].item() == pytest.approx(expected, abs=1e-15)
    assert TWO_LEVELS(what._replace(ahead=Ahead(3)), state).gamma.ne(1 - 0.1 / 3).all()


SOONER = replace(TWO_LEVELS, sooner=True, gift=2.0)
AHEAD = Ahead(3, 0.0, 0.02)


def step_before_a_long_one(
    put_back: float = 0.0, scale: float = 1.0, data: float = 1.0
) -> tuple[Proposal, EnergyState]:
    """From sigma 2 to 0.5, next to 0.02: Euler's candidate, and a share of what it loses back."""
    denoised = torch.full((3, 64), scale * data, dtype=torch.float64)
    x = scale * 2 * normal(3, 64) + 1.5 * denoised
    levels = (2 * scale, 0.5 * scale)
    euler = euler_candidate(x, denoised, *levels)
    lost = 0.75**2 * inner(denoised, x - denoised)
    longer = (1 + put_back * lost / inner(euler, euler)).sqrt()
    what = proposal(x, denoised, longer[:, None] * euler, None, levels)
    state = SOONER.init(x)._replace(sigma=8 * scale, q=inner(x, x - denoised))
    return what._replace(ahead=AHEAD._replace(last=0.02 * scale)), state


@pytest.mark.parametrize("put_back", [-0.6, -0.3, -0.1, 0.0, 0.2, 0.45, 0.7])
def test_before_a_long_step_a_candidate_gives_as_far_as_it_is_eulers(put_back: float) -> None:
    what, state = step_before_a_long_one(put_back)
    plain = replace(SOONER, sooner=False)(what, state).gamma
    given = 1 - 0.2 * 0.25 * 0.75 * (1 - 0.02 / 0.5) ** 2
    share = max(0.0, 1 - abs(put_back) / 0.5)
    torch.testing.assert_close(SOONER(what, state).gamma, plain + share * (given - plain))


@pytest.mark.parametrize(
    "ahead",
    [
        AHEAD._replace(steps_left=4),
        AHEAD._replace(last=math.inf),  # not known
        AHEAD._replace(last=0.101),  # no long step
        AHEAD._replace(last=0.0),
        AHEAD._replace(end=math.inf),  # the last step is of higher order
    ],
)
def test_without_a_long_step_to_come_nothing_is_given_sooner(ahead: Ahead) -> None:
    what, state = step_before_a_long_one()
    what = what._replace(ahead=ahead)
    assert torch.equal(SOONER(what, state).gamma, replace(SOONER, sooner=False)(what, state).gamma)


def test_what_is_given_sooner_depends_on_the_unit_of_the_data_in_nothing() -> None:
    """It is given where the last level, .02, is a tenth of D or less, whatever noise T holds."""
    what, state = step_before_a_long_one()
    expected = SOONER(what, state).gamma
    for scale in (1e-3, 40.0):
        torch.testing.assert_close(SOONER(*step_before_a_long_one(scale=scale)).gamma, expected)
    for data, gives in [(0.21, True), (0.19, False)]:
        what, state = step_before_a_long_one(data=data)
        plain = replace(SOONER, sooner=False)(what, state).gamma
        assert torch.equal(SOONER(what, state).gamma, plain) is not gives


def test_a_predictor_gives_nothing_sooner() -> None:
    what, state = step_before_a_long_one()
    what = what._replace(predictor=what.candidate)
    assert torch.equal(SOONER(what, state).gamma, replace(SOONER, sooner=False)(what, state).gamma)


def test_two_samplings_that_meet_above_zero_owe_nothing_at_the_seam() -> None:
    """As a base and its refiner, or experts of high and low noise."""
    network = sd.load_model("fashion-mnist")
    labels = {"class_labels": torch.full((4,), 3)}
    x = sd.noise((1, 28, 28), 14.6, range(4))
    fine, few = (sd.schedules.karras(k, 0.0292, 14.6, final="zero") for k in (30, 8))
    solver = sd.solvers.DPMpp2M(lower_order_final=False)

    def split(rule: Energy | None) -> float:
        middle = sd.sample(network, x, few[:5], solver, rule, conditioning=labels).x
        end = sd.sample(network, middle, few[4:], solver, rule, conditioning=labels).x
        return (end - reference).square().mean().sqrt().item()

    reference = sd.sample(network, x, fine, "dpmpp_2m", None, conditioning=labels).x
    assert split(TWO_LEVELS) <= min(split(None), split(replace(TWO_LEVELS, last=False)))


@pytest.mark.parametrize("predicted", [False, True])
def test_every_decision_has_a_derivative_at_zero(predicted: bool) -> None:
    """A network that answers 0 can be trained through the rule."""
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    x = normal(2, 4)
    state = TWO_LEVELS.init(x)
    for levels in ((8.0, 2.0), (2.0, 0.5)):
        noise = weight * x
        denoised, candidate = x - noise, x - (1 - levels[1] / levels[0]) * noise
        what = proposal(x, denoised, candidate, candidate if predicted else None, levels)
        decision = TWO_LEVELS(what, state)
        state = decision.state
        total = relaxed(what, decision).square().mean()
        (slope,) = torch.autograd.grad(total, weight, retain_graph=True)
        assert slope.isfinite()


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_zero_network_has_finite_gradients_through_every_solver(solver: str) -> None:
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    levels = sd.schedules.karras(4, 0.05, 10.0, final="zero")
    result = sd.sample(lambda x, _: x - weight * x, 10 * normal(2, 8), levels, solver, grad=True)
    (slope,) = torch.autograd.grad(result.x.square().mean(), weight)
    assert slope.isfinite()


@pytest.mark.parametrize("solver", SOLVERS)
def test_two_steps_and_a_trust_of_zero_are_the_base(solver: str) -> None:
    denoiser, x = lognormal_mixture(), 20 * normal(8, 16)
    two = [20.0, 1.0, 0.1]
    rule = replace(TWO_LEVELS, corrector=False)
    base = sd.sample(denoiser, x, two, solver, None).x
    assert torch.equal(sd.sample(denoiser, x, two, solver, rule).x, base)
    levels = sd.schedules.karras(6, 0.05, 20.0)
    base = sd.sample(denoiser, x, levels, solver, None).x
    for whole in (rule, Energy(corrector=False)):
        none = replace(whole, trust=0.0)
        assert torch.equal(sd.sample(denoiser, x, levels, solver, none).x, base)
        assert not torch.equal(sd.sample(denoiser, x, levels, solver, whole).x, base)


class Scene(NamedTuple):
    """A second step from sigma = 2 to 0.5, along one ray, by numbers: q = a sigma^2 + b sigma."""

    x: Tensor
    denoised: Tensor
    state: EnergyState
    euler: Tensor  # |T1|^2
    target: Tensor  # A, with nothing owed
    law_gap: Tensor  # two levels less one

    def candidate(self, energy: Tensor) -> Tensor:
        return self.x * (energy / inner(self.x, self.x)).sqrt()[:, None]


def scene(overlap: float = 0.0) -> Scene:
    """b is `overlap` times a sigma."""
    x = 2.1 * normal(4, 64)
    denoised = 0.3 * x
    before, sigma, to = 6.0, 2.0, 0.5
    q = inner(x, x - denoised)
    a = q / (sigma**2 * (1 + overlap))
    b = overlap * sigma * a
    loss = a * (sigma**2 - to**2) + 2 * b * (sigma - to)
    t1 = euler_candidate(x, denoised, sigma, to)
    state = EnergyState(torch.zeros_like(q), before, a * before**2 + b * before)
    gap = loss - (1 - (to / sigma) ** 2) * q
    return Scene(x, denoised, state, inner(t1, t1), inner(x, x) - loss, gap)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("overlap", [0.0, 0.2, -0.1])
def test_shrinkage_weighs_the_lack_against_its_doubt(share: float, overlap: float) -> None:
    """`share` of what Euler's candidate lacks has been added by the solver's higher order."""
    s = scene(overlap)
    added = share * (s.target - s.euler)
    lack = s.target - s.euler - added
    assert lack.gt(0).all()
    what = proposal(s.x, s.denoised, s.candidate(s.euler + added))
    weight = lack**2 / (lack**2 + added**2 + s.law_gap**2)
    if share == 0.5 and overlap == 0:  # the lack that is left is as large as what was added
        assert torch.allclose(weight, torch.full_like(weight, 0.5))
    landed = relaxed(what, replace(TWO_LEVELS, trust=math.inf)(what, s.state))
    assert torch.allclose(inner(landed, landed), s.euler + added + weight * lack, rtol=1e-10)
    whole = relaxed(what, replace(TWO_LEVELS, trust=math.inf, shrink=False)(what, s.state))
    assert torch.allclose(inner(whole, whole), s.target, rtol=1e-10)


def test_no_energy_is_taken_out() -> None:
    s = scene()
    what = proposal(s.x, s.denoised, s.candidate(1.2 * s.target))
    assert replace(TWO_LEVELS, trust=math.inf)(what, s.state).gamma.eq(1).all()


def test_a_surplus_is_owed_by_the_next_step_less_what_the_flow_damps() -> None:
    s, r = scene(0.2), 0.25
    too_long = proposal(s.x, s.denoised, s.candidate(s.target + 7.0))
    first = TWO_LEVELS(too_long, s.state)
    assert first.gamma.eq(1).all()
    owed = torch.full_like(s.target, (1 + r**2) / 2 * 7.0)
    assert torch.allclose(first.state.surplus, owed, rtol=1e-9)
    # Where it is owed the aim is lower by as much: half of it too little lacks the other half.
    indebted = s.state._replace(gap=first.state.gap, kept=first.state.kept)
    assert torch.equal(indebted.surplus, first.state.surplus)
    rule = replace(TWO_LEVELS, trust=math.inf, shrink=False)
    met = rule(proposal(s.x, s.denoised, s.candidate(s.target - owed)), indebted)
    assert torch.allclose(met.gamma, torch.ones_like(owed), atol=1e-9)
    assert met.state.surplus.abs().max() < 1e-9
    short = proposal(s.x, s.denoised, s.candidate(s.target - 1.5 * owed))
    landed = relaxed(short, rule(short, indebted))
    assert torch.allclose(inner(landed, landed), s.target - owed, rtol=1e-10)
    # A step that meets the law is above its aim by the debt, which goes on, damped again.
    level = proposal(s.x, s.denoised, s.candidate(s.target))
    assert torch.allclose(rule(level, indebted).state.surplus, (1 + r**2) / 2 * owed, rtol=1e-9)
    assert replace(TWO_LEVELS, memory=False)(too_long, s.state).state.surplus.eq(0).all()


def test_the_first_step_tells_its_level_and_no_surplus() -> None:
    s = scene()
    rule = TWO_LEVELS
    decision = rule(proposal(s.x, s.denoised, 3 * s.x), rule.init(s.x))
    assert decision.gamma.eq(1).all()
    assert decision.state.sigma == 2.0
    assert torch.equal(decision.state.q, inner(s.x, s.x - s.denoised))
    assert decision.state.surplus.eq(0).all()


@pytest.mark.parametrize("second", [False, True], ids=["first step", "second step"])
def test_corrector_rule_lands_on_the_law(second: bool) -> None:
    s = scene(0.2)
    rule = TWO_LEVELS
    state = s.state if second else rule.init(s.x)
    predictor = euler_candidate(s.x, s.denoised, 2.0, 0.5)
    wild = predictor + 3 * normal(4, 64, seed=9)
    what = proposal(s.x, s.denoised, wild, predictor)
    decision = rule(what, state)
    assert decision.correction is not None
    assert decision.gamma.eq(1).all()
    assert decision.correction.gt(0).all()
    assert decision.correction.lt(1).all()
    law = s.target if second else s.target + s.law_gap
    kept = relaxed(what, decision)
    assert torch.allclose(inner(kept, kept), law, rtol=1e-12)
    assert decision.state.surplus.abs().max() < 1e-9
    # under the law the corrector is kept whole
    tame = rule(proposal(s.x, s.denoised, 0.5 * predictor, predictor), state)
    assert tame.correction is not None
    assert tame.correction.eq(1).all()
    assert tame.gamma.lt(1).all() == second
    # at the end of the relaxed steps too the corrected candidate is left where it is
    last = rule(what._replace(ahead=Ahead(2)), state)
    assert torch.equal(last.gamma, decision.gamma)
    off = replace(rule, corrector=False)(what, state)
    assert off.correction is None


def test_corrector_rule_keeps_nothing_where_even_the_predictor_is_too_long() -> None:
    s = scene()
    decision = TWO_LEVELS(proposal(s.x, s.denoised, 3 * s.x, 2 * s.x), s.state)
    assert decision.correction is not None
    assert decision.correction.eq(0).all()
    surplus = (1 + 0.25**2) / 2 * (4 * inner(s.x, s.x) - s.target)
    assert torch.allclose(decision.state.surplus, surplus, rtol=1e-12)
    # also where the way from the one to the other leads through less energy first
    through = TWO_LEVELS(proposal(s.x, s.denoised, -3 * s.x, 2 * s.x), s.state)
    assert through.correction is not None
    assert through.correction.eq(0).all()
    # a corrector that brings it under the law is kept whole
    tamed = TWO_LEVELS(proposal(s.x, s.denoised, 0.1 * s.x, 2 * s.x), s.state)
    assert tamed.correction is not None
    assert tamed.correction.eq(1).all()


def test_heun_is_kept_on_the_law_where_it_overshoots() -> None:
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, 16)
    denoiser = GaussianMixture(means, 1e-3)
    x = 20 * normal(32, 16, seed=1)
    levels = [20.0, 0.3, 0.05]
    plain = sd.sample(denoiser, x, levels, "heun", None, record=True).record
    kept = sd.sample(denoiser, x, levels, "heun", "energy", record=True).record
    assert plain is not None
    assert kept is not None
    law = plain.energy[0] - (1 - (0.3 / 20) ** 2) * plain.kappa[0] * 20.0**2
    over = plain.energy_next[0] > law
    assert over.any()
    assert torch.allclose(kept.energy_next[0][over], law[over], rtol=1e-6, atol=1e-9)
    assert kept.correction[0][over].lt(1).all()


FLAGS = [field.name for field in fields(Energy) if isinstance(field.default, bool)]


@pytest.mark.parametrize("gift", [0.0, 2.0, 10.0])
def test_the_gift_shrinks_with_the_step(gift: float) -> None:
    """An excess gift trust (1 - r)^2 of the noise that remains."""
    denoiser, x = lognormal_mixture(), 20 * normal(32, 16)
    for steps in (4, 12):
        levels = sd.schedules.log_snr(steps, 0.1, 20.0, final="zero")
        rule = Energy(gift=gift, steady=False)
        record = sd.sample(denoiser, x, levels, "ipndm", rule, end="none", record=True).record
        assert record is not None
        ratio = float(levels[-2] / levels[-3])
        excess = (1 - record.gamma[-2]) * (1 - ratio) / ratio
        torch.testing.assert_close(excess, torch.full_like(excess, gift * 0.1 * (1 - ratio) ** 2))


def test_of_no_trust_no_gift_is_made_however_large() -> None:
    rule = Energy(trust=0.0, gift=math.inf, steady=False)
    assert rule.given(0.3) == 1.0
    denoiser, x, levels = lognormal_mixture(), 20 * normal(4, 16), [20.0, 2.0, 0.3, 0.0]
    relaxed = sd.sample(denoiser, x, levels, "ipndm", rule, end="none").x
    assert torch.equal(relaxed, sd.sample(denoiser, x, levels, "ipndm", None).x)


@pytest.mark.parametrize(("cosine", "share"), [(1.0, 1.0), (0.7, 1.0), (0.5, 0.5), (0.3, 0.0)])
@pytest.mark.parametrize("end", [0.0, 1e-3])
def test_the_gift_is_given_as_far_as_denoised_samples_move_steadily(
    cosine: float, share: float, end: float
) -> None:
    """The last two moves of D at an angle: gamma = 1 - share (1 - gift), by the cosine alone."""
    move, aside = torch.eye(16, dtype=torch.float64)[:2, None]
    turned = cosine * move + math.sqrt(1 - cosine**2) * aside
    denoised = [torch.zeros_like(move), move, move + 3 * turned]
    levels, rule = [8.0, 4.0, 2.0, 1.0], Energy()
    x, state = 20 * normal(1, 16), rule.init(normal(1, 16))
    for k, d in enumerate(denoised):
        t = x + (levels[k + 1] / levels[k] - 1) * (x - d)
        what = Proposal(x, d, t, None, levels[k], levels[k + 1], torch.clone, Ahead(4 - k, end))
        decision = rule(what, state)
        x, state = relaxed(what, decision), decision.state
    given = rule.given(0.5)
    assert given is not None
    expected = torch.full((1,), 1 - share * (1 - given), dtype=torch.float64)
    torch.testing.assert_close(decision.gamma, expected)


@pytest.mark.parametrize("overlap", [-0.1, 0.2])
def test_the_lesser_law_grants_what_both_grant(overlap: float) -> None:
    """The lack by two levels where b > 0, by one where b < 0; shrunk by what it took off."""
    s = scene(overlap)
    what = proposal(s.x, s.denoised, s.candidate(s.euler))
    rule = Energy(trust=math.inf)
    landed = relaxed(what, replace(rule, shrink=False)(what, s.state))
    target = s.target + s.law_gap.clamp_max(0)  # that of one level where it is the lower
    torch.testing.assert_close(inner(landed, landed), torch.minimum(s.target, s.target + s.law_gap))
    assert torch.equal(target < s.target, torch.full_like(target, overlap < 0, dtype=torch.bool))
    lack, taken = target - s.euler, s.law_gap.clamp_min(0)
    landed = relaxed(what, rule(what, s.state))
    weight = lack**2 / (lack**2 + taken**2)
    torch.testing.assert_close(inner(landed, landed), s.euler + weight * lack)


@pytest.mark.parametrize(("cosine", "share"), [(1.0, 1.0), (0.5, 0.5), (0.3, 0.0), (-1.0, 0.0)])
def test_the_law_of_one_level_is_granted_as_far_as_denoised_samples_move_steadily(
    cosine: float, share: float
) -> None:
    s = scene(0.2)  # two levels lack less
    moves = torch.zeros(2, *s.denoised.shape, dtype=s.denoised.dtype)
    moves[0, :, 0] = 1
    moves[1, :, 0], moves[1, :, 1] = 3 * cosine, 3 * math.sqrt(1 - cosine**2)
    before = (s.denoised - moves[0], s.denoised - moves[0] - moves[1])
    state = s.state._replace(before=before, moved=inner(moves[1], moves[1]))
    what = proposal(s.x, s.denoised, s.candidate(s.euler))
    landed = relaxed(what, Energy(trust=math.inf, shrink=False)(what, state))
    target = torch.lerp(s.target, s.target + s.law_gap, share)
    torch.testing.assert_close(inner(landed, landed), target)


@pytest.mark.parametrize("rule", [Energy(), TWO_LEVELS], ids=["default", "two levels"])
@pytest.mark.parametrize("flag", FLAGS)
def test_no_flag_is_dead(flag: str, rule: Energy) -> None:
    """Each changes the samples of the solvers that it is for."""
    denoiser, x = lognormal_mixture(), 20 * normal(32, 16)
    levels = sd.schedules.karras(6, 0.05, 20.0)
    if flag == "sooner":  # asks for a long step into hardly any noise
        levels = sd.schedules.karras(4, 0.005, 20.0, final="zero")
    other = replace(rule, **{flag: not getattr(rule, flag)})
    changed = {
        solver
        for solver in SOLVERS
        if not torch.allclose(
            sd.sample(denoiser, x, levels, solver, rule).x,
            sd.sample(denoiser, x, levels, solver, other).x,
            rtol=1e-6,
        )
    }
    one_call = set(SOLVERS) - {"heun"}
    expected = {
        "memory": {"euler", "heun"},  # of those that overshoot, among others
        "shrink": one_call if rule.law != "one" else one_call - {"euler"},  # Euler doubts nothing
        "last": one_call,
        "steady": one_call,
        "corrector": {"heun"},
        "sooner": {"euler"},
    }
    assert changed >= expected[flag]
    if flag in ("shrink", "corrector"):  # which the others do not have
        assert changed == expected[flag]


finite = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0, -1.0, 1e30, -1e30])
rules = st.builds(
    Energy,
    trust=st.sampled_from([0.0, 0.1, 0.1, 0.1, 2.0, math.inf]),
    memory=st.booleans(),
    law=st.sampled_from(LAWS),
    shrink=st.booleans(),
    last=st.booleans(),
    corrector=st.booleans(),
    gift=st.sampled_from([None, 0.0, 2.0]),
    steady=st.booleans(),
    sooner=st.booleans(),
)
ratios = st.floats(0.001, 0.999)
levels_of_two_steps = st.builds(
    lambda sigma, first, second: (sigma, first * sigma, second * first * sigma),
    st.floats(math.log(1e-3), math.log(1e3)).map(math.exp),
    ratios,
    ratios,
)
values_of_two_steps = st.lists(
    st.lists(finite, min_size=24, max_size=24), min_size=1, max_size=4
)  # x, D, T, T1 of both steps, three elements each


def two_steps(
    rule: Energy,
    values: Tensor,
    levels: tuple[float, float, float],
    predicted: bool,
    steps_left: int = 3,
) -> list[tuple[Proposal, Decision]]:
    """What the rule decides on two consecutive steps that are whatever `values` says."""
    parts = values.split(3, dim=1)
    state, done = rule.init(values), []
    for k in (0, 1):
        x, denoised, candidate, predictor = parts[4 * k : 4 * k + 4]
        what = proposal(
            x, denoised, candidate, predictor if predicted else None,
            (levels[k], levels[k + 1]), steps_left - k,
        )  # fmt: skip
        decision = rule(what, state)
        state = decision.state
        done.append((what, decision))
    return done


ZEROS = [[0.0] * 24]
STILL = [[1.0] * 24]  # u = 0, and no noise
UNTIL = settings(max_examples=200, deadline=None)


@UNTIL
@given(
    values=values_of_two_steps,
    levels=levels_of_two_steps,
    rule=rules,
    predicted=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    steps_left=st.integers(3, 4),
)
@example(ZEROS, (1e3, 1.0, 1e-3), TWO_LEVELS, False, torch.float32, 3)
@example(ZEROS, (1e3, 1.0, 1e-3), TWO_LEVELS, True, torch.float32, 4)
@example(STILL, (1e3, 999.0, 1e-3), TWO_LEVELS, False, torch.float64, 3)
@example(STILL, (1e3, 999.0, 1e-3), TWO_LEVELS, True, torch.float64, 4)
def test_decisions_stay_in_their_bounds_for_any_input(
    values: list[list[float]],
    levels: tuple[float, float, float],
    rule: Energy,
    predicted: bool,
    dtype: torch.dtype,
    steps_left: int,
) -> None:
    tensor = torch.tensor(values, dtype=dtype)
    for what, decision in two_steps(rule, tensor, levels, predicted, steps_left):
        given = rule.given(what.ratio) if what.ahead.steps_left == 2 else None
        lowest = rule.lowest(what.ratio) if given is None else min(given, rule.lowest(what.ratio))
        assert decision.gamma.ge(lowest).all()
        assert decision.gamma.le(1).all()
        assert (decision.correction is None) == (not (predicted and rule.corrector))
        if decision.correction is not None:
            assert decision.correction.ge(0).all()
            assert decision.correction.le(1).all()
        assert decision.state.surplus.ge(0).all()
        assert decision.state.surplus.isfinite().all()
        assert relaxed(what, decision).isfinite().all()


@UNTIL
@given(
    values=values_of_two_steps,
    levels=levels_of_two_steps,
    rule=rules,
    predicted=st.booleans(),
    power=st.integers(-20, 20),
)
def test_decisions_do_not_depend_on_the_unit(
    values: list[list[float]],
    levels: tuple[float, float, float],
    rule: Energy,
    predicted: bool,
    power: int,
) -> None:
    """To the bit, for units that are powers of two."""
    tensor = torch.tensor(values, dtype=torch.float64)
    unit = 2.0**power
    high, middle, low = levels
    one = two_steps(rule, tensor, levels, predicted)
    other = two_steps(rule, unit * tensor, (unit * high, unit * middle, unit * low), predicted)
    for (_, a), (_, b) in zip(one, other, strict=True):
        assert torch.equal(a.gamma, b.gamma)
        if a.correction is not None and b.correction is not None:
            assert torch.equal(a.correction, b.correction)


@UNTIL
@given(
    values=values_of_two_steps,
    levels=levels_of_two_steps,
    rule=rules,
    predicted=st.booleans(),
    data=st.data(),
)
def test_a_decision_does_not_see_the_rest_of_the_batch(
    values: list[list[float]],
    levels: tuple[float, float, float],
    rule: Energy,
    predicted: bool,
    data: st.DataObject,
) -> None:
    """gamma, correction, memory and state, to the bit, alone and permuted."""
    tensor = torch.tensor(values, dtype=torch.float32)
    order = data.draw(st.permutations(range(len(tensor))))
    whole = two_steps(rule, tensor, levels, predicted)
    for rows in (order, order[:1]):
        for (what, a), (other, b) in zip(
            whole, two_steps(rule, tensor[rows], levels, predicted), strict=True
        ):
            assert torch.equal(a.gamma[rows], b.gamma)
            assert torch.equal(a.state.surplus[rows], b.state.surplus)
            assert torch.equal(a.state.q[rows], b.state.q)
            assert torch.equal(relaxed(what, a)[rows], relaxed(other, b))
            if a.correction is not None and b.correction is not None:
                assert torch.equal(a.correction[rows], b.correction)


def test_a_step_that_does_not_move_is_left_alone() -> None:
    """Also where the law asks for more energy, as it does of a D beyond x."""
    x = torch.ones(2, 5)
    for rule in (TWO_LEVELS, Energy()):
        state = rule.init(x)._replace(sigma=6.0) if rule.law != "one" else rule.init(x)
        for denoised in (x, 2 * x):
            decision = rule(proposal(x, denoised, x), state)
            assert decision.gamma.eq(1).all()
            assert decision.state.surplus.eq(0).all()


def test_without_noise_no_energy_is_to_be_lost() -> None:
    """denoised = x at both levels: a candidate that shrinks is taken back, as far as allowed."""
    x = normal(3, 64)
    state = EnergyState(torch.zeros(3, dtype=torch.float64), 6.0, torch.zeros(3, dtype=x.dtype))
    what = proposal(x, x, 0.5 * x)
    assert TWO_LEVELS(what, state).gamma.eq(1 - 0.1 / 3).all()
    free = replace(TWO_LEVELS, trust=math.inf, shrink=False)
    assert torch.allclose(relaxed(what, free(what, state)), x, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 40.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_scaling_data_and_levels_scales_the_samples(solver: str, scale: float) -> None:
    means = torch.tensor([[-1.0], [0.5]], dtype=torch.float64).expand(2, 8)
    x = marginal(0.3, 10.0, 4)[:, :8]
    levels = sd.schedules.karras(5, 0.05, 10.0)
    one = sd.sample(GaussianMixture(means, 0.1), x, levels, solver, record=True)
    mixture = GaussianMixture(scale * means, scale**2 * 0.1)
    other = sd.sample(mixture, scale * x, scale * levels, solver, record=True)
    assert torch.allclose(other.x, scale * one.x, rtol=1e-8)
    assert one.record is not None
    assert other.record is not None
    assert torch.allclose(other.record.gamma, one.record.gamma, rtol=1e-8)


def test_the_last_step_is_not_relaxed() -> None:
    denoiser, levels = Gaussian(variance=0.5), [5.0, 1.0, 0.2]
    x = marginal(0.5, 5.0, 2)
    for rule in (BARE, TWO_LEVELS, Energy()):
        alone = sd.sample(denoiser, x, levels[:2], "euler", rule).x
        assert torch.equal(alone, sd.sample(denoiser, x, levels[:2], "euler", None).x)
    record = sd.sample(denoiser, x, levels, "euler", BARE, record=True).record
    assert record is not None
    assert record.gamma[0].lt(1).all()
    assert record.gamma[1].eq(1).all()


@pytest.mark.parametrize("trust", [-0.1, math.nan])
def test_a_trust_that_means_nothing_is_refused(trust: float) -> None:
    with pytest.raises(ValueError, match="trust is"):
        replace(TWO_LEVELS, trust=trust)


def test_only_plain_solvers_and_coefficients_can_be_joined() -> None:
    euler = sd.solvers.Euler()
    with pytest.raises(TypeError, match="an unrelaxed Solver"):
        Relaxed(Relaxed(euler, TWO_LEVELS), TWO_LEVELS)
    with pytest.raises(TypeError, match="a Coefficient object"):
        Relaxed(euler, "energy")  # type: ignore[arg-type]
