"""The projection on a step in closed form, and every rule beside the best."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from draws import normal
from torch import Tensor

import steindiff as sd
from steindiff._reductions import inner
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.lab.theory import compare_rules, open_steps, project, residual_of
from steindiff.solvers import SOLVERS, resolve_solver
from steindiff.stein import Coefficient, Constant, Energy, Oracle, Published
from steindiff.trajectory import FineSolution

SHAPE, BATCH = (3, 4), 5
LEVELS = sd.schedules.karras(6, 0.05, 10.0).tolist()


MIXTURE = GaussianMixture(normal(5, *SHAPE, seed=1) * normal(5, 1, 1, seed=2).exp(), 0.05)
START = 10 * normal(BATCH, *SHAPE, seed=3)
FINE = FineSolution(MIXTURE, START, {}, 64, 0.01, LEVELS[0])
TARGETS = [FINE.at(level) for level in LEVELS[1:]]


def squared(x: Tensor) -> Tensor:
    return inner(x, x)


def moved(x: Tensor, candidate: Tensor, gamma: Tensor) -> Tensor:
    return x + gamma[:, None, None] * (candidate - x)


TRIPLE = [normal(BATCH, *SHAPE, seed=k) for k in (4, 5, 6)]


def test_the_projection_is_orthogonal() -> None:
    """What is left of the error at gamma* has no part along u = x - T."""
    x, candidate, target = TRIPLE
    found = project(x, candidate, target)
    left = moved(x, candidate, found.gamma) - target
    assert inner(left, x - candidate).abs().max() < 1e-12
    torch.testing.assert_close(found.before, squared(x - target), rtol=1e-12, atol=0)
    torch.testing.assert_close(squared(left), (1 - found.rho) * found.before, rtol=1e-12, atol=0)
    angle = torch.cosine_similarity((x - candidate).flatten(1), (x - target).flatten(1))
    torch.testing.assert_close(found.rho, angle.square(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("gamma", [-2.0, 0.0, 0.3, 1.0, 1.7, 50.0])
def test_after_is_the_error_of_any_other_gamma(gamma: float) -> None:
    """|x' - x*|^2, to rounding."""
    x, candidate, target = TRIPLE
    found, other = project(x, candidate, target), torch.full((BATCH,), gamma).double()
    expected = squared(moved(x, candidate, other) - target)
    torch.testing.assert_close(found.after(other), expected, rtol=1e-11, atol=0)
    assert (found.after(other) >= found.after(found.gamma)).all()


def test_known_numbers() -> None:
    """x = 0, T = (2, 0), x* = (3, 4): gamma* = 3/2, rho = 9/25."""
    x, candidate, target = (
        torch.tensor([v], dtype=torch.float64) for v in ([0, 0], [2, 0], [3, 4])
    )
    found = project(x, candidate, target)
    assert (found.gamma.item(), found.before.item()) == (1.5, 25.0)
    assert found.rho.item() == pytest.approx(9 / 25)
    assert found.after(torch.ones(1)).item() == pytest.approx(1 + 16)


def test_a_step_that_does_not_move() -> None:
    """gamma* is 1, and any gamma leaves the error as it is."""
    x, target = TRIPLE[0], TRIPLE[2]
    found = project(x, x, target)
    assert found.gamma.eq(1).all()
    assert found.rho.eq(0).all()
    assert torch.equal(found.after(torch.full((BATCH,), 0.3)), squared(x - target))


@pytest.mark.parametrize("where", ["across", "arrived"])
def test_a_step_that_should_not_have_been_made(where: str) -> None:
    """x* across the step, or x itself: gamma* = 0 and E' = E + gamma^2 |u|^2."""
    target = {"across": [0.0, 2.0], "arrived": [0.0, 0.0]}[where]
    x, candidate, goal = (
        torch.tensor([v], dtype=torch.float64) for v in ([0.0, 0.0], [3.0, 0.0], target)
    )
    found = project(x, candidate, goal)
    assert found.gamma.tolist() == [0.0]
    after = found.after(torch.full((1,), 0.5, dtype=torch.float64)).item()
    assert after == pytest.approx(target[1] ** 2 + 0.25 * 9)


@pytest.mark.parametrize("shape", [(2, 4), (1, 3)])
def test_shapes_that_differ_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="the same is needed"):
        project(torch.ones(2, 3), torch.ones(2, 3), torch.ones(shape))


def compared(solver: str, **rules: Coefficient) -> Any:
    return compare_rules(MIXTURE, START, LEVELS, resolve_solver(solver), rules, TARGETS)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_oracle_leaves_what_the_projection_says(solver: str) -> None:
    """E (1 - rho), less than any other rule, at every step but the last."""
    steps = compared(solver, oracle=Oracle(tuple(TARGETS)), half=Constant(0.5), plain=Constant(1.0))
    assert [(step.sigma, step.sigma_next) for step in steps] == [
        (LEVELS[k], LEVELS[k + 1]) for k in range(len(LEVELS) - 2)
    ]
    for step in steps:
        best, projection = step.rules["oracle"], step.projection
        torch.testing.assert_close(best.gamma, projection.gamma, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            best.after, projection.before * (1 - projection.rho), rtol=1e-7, atol=1e-12
        )
        for rule in ("half", "plain"):
            assert (step.rules[rule].after > best.after).all()
            expected = projection.after(step.rules[rule].gamma)
            torch.testing.assert_close(step.rules[rule].after, expected, rtol=1e-7, atol=1e-10)
        torch.testing.assert_close(step.plain, step.rules["plain"].after, rtol=1e-12, atol=0)
        assert step.rules["half"].gamma.eq(0.5).all()


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m", "unipc"])
def test_the_steps_are_the_plain_solvers(solver: str) -> None:
    """Whatever the rules say: the error before and after of the plain trajectory."""
    path = sd.sample(MIXTURE, START, LEVELS, solver, None, return_trajectory=True).trajectory
    assert path is not None
    for k, step in enumerate(compared(solver, half=Constant(0.5))):
        torch.testing.assert_close(step.plain, squared(path[k + 1] - TARGETS[k]))
        if solver != "unipc":  # whose step departs from a corrected state
            torch.testing.assert_close(step.projection.before, squared(path[k] - TARGETS[k]))


@pytest.mark.parametrize("solver", ["euler", "ipndm", "heun"])
def test_each_rule_keeps_its_own_memory(solver: str) -> None:
    """Among others a rule answers as it does alone with the proposals one after the other."""
    rule, plain = Energy(), resolve_solver(solver)
    steps = compared(solver, first=Energy(trust=math.inf), rule=rule, last=Constant(0.5))
    memory, relaxed = rule.init(START), 0
    for step, opened in zip(
        steps, open_steps(MIXTURE, START, LEVELS, plain, Constant(1.0)), strict=False
    ):
        decision = rule(opened.proposal, memory)
        memory = decision.state
        assert torch.equal(step.rules["rule"].gamma, decision.gamma)
        relaxed += int((decision.gamma < 1).any())
    assert relaxed >= (1 if solver == "heun" else 2)


def test_the_corrector_share_counts() -> None:
    """E' is of the state that the rule makes, which for Heun has a second scalar."""
    acts = 0
    rule = Energy()
    memory = rule.init(START)
    opened = open_steps(MIXTURE, START, LEVELS, resolve_solver("heun"))
    for step, there, target in zip(compared("heun", rule=rule), opened, TARGETS, strict=False):
        decision = rule(there.proposal, memory)
        memory, proposal = decision.state, there.proposal
        assert proposal.predictor is not None
        assert decision.correction is not None
        kept = decision.correction[:, None, None]
        candidate = proposal.predictor + kept * (proposal.candidate - proposal.predictor)
        expected = squared(moved(proposal.x, candidate, decision.gamma) - target)
        torch.testing.assert_close(step.rules["rule"].after, expected, rtol=1e-8, atol=1e-12)
        assert step.rules["rule"].corrected
        acts += int((decision.correction < 1).any())
    assert acts >= 1
    assert not any(step.rules["rule"].corrected for step in compared("euler", rule=rule))


def test_the_published_coefficient_of_euler() -> None:
    """gamma* = 1/(1 - r) by Stein's ratio, whatever the denoiser."""
    rule = Published(estimator="ratio", gamma_max=None)
    for step in compared("euler", rule=rule):
        gamma = step.rules["rule"].gamma
        expected = torch.full_like(gamma, 1 / (1 - step.sigma_next / step.sigma))
        torch.testing.assert_close(gamma, expected, rtol=1e-10, atol=0)


def test_the_oracle_of_a_gaussian() -> None:
    """Along a ray the target is hit: gamma* = (1 - g)/((1 - r)(1 - j)), rho = 1."""
    variance = 0.6
    denoiser = Gaussian(variance=variance)
    path = sd.sample(denoiser, START, LEVELS, "euler", None, return_trajectory=True).trajectory
    assert path is not None
    targets = [
        denoiser.transport(x, high, low)
        for x, high, low in zip(path, LEVELS, LEVELS[1:], strict=False)
    ]
    euler = resolve_solver("euler")
    for step in compare_rules(denoiser, START, LEVELS, euler, {}, targets):
        r, j = step.sigma_next / step.sigma, variance / (variance + step.sigma**2)
        gain = math.sqrt((variance + step.sigma_next**2) / (variance + step.sigma**2))
        expected = torch.full((BATCH,), (1 - gain) / ((1 - r) * (1 - j)), dtype=torch.float64)
        torch.testing.assert_close(step.projection.gamma, expected, rtol=1e-9, atol=0)
        torch.testing.assert_close(
            step.projection.rho, torch.ones_like(expected), rtol=1e-9, atol=0
        )
        assert step.rules == {}


def test_conditioning_is_handed_on() -> None:
    def denoiser(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        return conditioning["scale"] * MIXTURE(x, sigma)

    euler = resolve_solver("euler")
    rules = {"plain": Constant(1.0)}
    found = compare_rules(
        denoiser, START, LEVELS, euler, rules, TARGETS, conditioning={"scale": 0.9}
    )[0]
    expected = START + (1 - LEVELS[1] / LEVELS[0]) * (0.9 * MIXTURE(START, LEVELS[0]) - START)
    torch.testing.assert_close(found.plain, squared(expected - TARGETS[0]))


@pytest.mark.parametrize("count", [0, len(LEVELS) - 3])
def test_too_few_targets_are_refused(count: int) -> None:
    euler = resolve_solver("euler")
    with pytest.raises(ValueError, match=f"targets holds {count}; 5 are needed"):
        compare_rules(MIXTURE, START, LEVELS, euler, {}, TARGETS[:count])
    enough = compare_rules(MIXTURE, START, LEVELS, euler, {}, TARGETS[:5])
    assert len(enough) == 5


def test_the_residual_is_the_noise_for_euler_and_extrapolation_besides_for_others() -> None:
    """Cosine and length are 1; for iPNDM they follow from the angle between two noises."""
    for step in compared("euler", plain=Constant(1.0)):
        ones = torch.ones(BATCH, dtype=torch.float64)
        torch.testing.assert_close(step.residual.cosine, ones, rtol=1e-12, atol=0)
        torch.testing.assert_close(step.residual.length, ones, rtol=1e-12, atol=0)
    solver = resolve_solver("ipndm", order=2)
    first, second = list(open_steps(MIXTURE, START, LEVELS, solver))[:2]
    eps = [(step.proposal.x - step.proposal.denoised) / step.sigma for step in (first, second)]
    mixed = (1.5 * eps[1] - 0.5 * eps[0]).flatten(1)
    found = residual_of(second.proposal)
    cosine = torch.cosine_similarity(mixed, eps[1].flatten(1))
    torch.testing.assert_close(found.cosine, cosine, rtol=1e-10, atol=0)
    length = mixed.norm(dim=1) / eps[1].flatten(1).norm(dim=1)
    torch.testing.assert_close(found.length, length, rtol=1e-10, atol=0)
