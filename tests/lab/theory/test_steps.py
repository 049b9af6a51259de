"""Opened steps against the sampling itself, and the exact flow against Gaussian transport."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from draws import normal
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.lab.theory import OpenStep, open_steps
from steindiff.solvers import SOLVERS, Euler, resolve_solver
from steindiff.stein import Coefficient, Constant, Energy, Published, Relaxed, resolve_coefficient

LEVELS = sd.schedules.karras(6, 0.05, 10.0)
RULES: dict[str, Coefficient | None] = {
    "none": None,
    "energy": Energy(),
    "constant": Constant(0.8),
    "published": Published(gamma_max=None),
}


SHAPE = (3, 4)
MIXTURE = GaussianMixture(normal(5, *SHAPE, seed=1) * normal(5, 1, 1, seed=2).exp(), 0.05)
START = 10 * normal(7, *SHAPE, seed=3)


def opened(
    solver: str, rule: Coefficient | None, x: Tensor = START, levels: Tensor = LEVELS
) -> list[OpenStep]:
    return list(open_steps(MIXTURE, x, levels, resolve_solver(solver), rule))


def gamma_column(gamma: Tensor) -> Tensor:
    return gamma[:, None, None]


@pytest.mark.parametrize("final", ["sigma_min", "zero"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_it_is_the_sampling_bit_for_bit(solver: str, rule: str, final: str) -> None:
    """States, candidates, gammas and levels of every step."""
    levels = sd.schedules.karras(6, 0.05, 10.0, final=final)
    result = sd.sample(
        MIXTURE,
        START,
        levels,
        solver,
        RULES[rule],
        end="none",
        record=True,
        return_trajectory=True,
    )
    assert result.trajectory is not None
    assert result.record is not None
    steps = opened(solver, RULES[rule], levels=levels)
    assert len(steps) == 6
    for k, step in enumerate(steps):
        assert torch.equal(step.x, result.trajectory[k])
        assert torch.equal(step.relaxed, result.trajectory[k + 1])
        assert torch.equal(step.gamma, result.record.gamma[k])
        assert (step.sigma, step.sigma_next) == (levels[k], levels[k + 1])
        left = step.proposal.ahead.steps_left, step.state.ahead.steps_left
        assert (step.index, *left) == (k, 6 - k, 6 - k)
        assert step.ratio == step.sigma_next / step.sigma
    assert torch.equal(steps[-1].gamma, torch.ones(7, dtype=torch.float64))
    if rule not in ("none", "constant"):
        acted = (result.record.gamma != 1) | (result.record.correction != 1)
        assert bool(acted.any())


@pytest.mark.parametrize("solver", SOLVERS)
def test_single_precision_too(solver: str) -> None:
    x = START.float()
    result = sd.sample(MIXTURE, x, LEVELS, solver, Energy(), return_trajectory=True)
    assert result.trajectory is not None
    steps = opened(solver, Energy(), x)
    for step, state in zip(steps, result.trajectory[1:], strict=True):
        assert torch.equal(step.relaxed, state)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_maps_at_the_state(solver: str, rule: str) -> None:
    """T(x), x' and D(x) once more, to the bit, and the residual of the proposal."""
    for step in opened(solver, RULES[rule]):
        assert torch.equal(step.base(step.x), step.plain.x)
        assert torch.equal(step.relaxation(step.x), step.relaxed)
        assert torch.equal(step.frozen(step.x), step.relaxed)
        assert torch.equal(step.denoiser(step.x), step.plain.denoised)
        assert torch.equal(step.denoiser(step.x), MIXTURE(step.x, step.sigma))
        proposal = step.proposal
        assert torch.equal(proposal.candidate, step.plain.x)
        assert torch.equal(proposal.x, step.plain.start)
        assert torch.equal(proposal.residual(step.x), step.plain.start - step.plain.x)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_maps_elsewhere(solver: str) -> None:
    """At the step's own history; gamma moves in `relaxation` and stays in `frozen`."""
    moved = 0
    for step in opened(solver, Energy(corrector=False)):
        z = step.x + 0.3 * step.sigma * normal(7, *SHAPE, seed=4)
        again = step.method.solver.step(
            lambda y, sigma: MIXTURE(y, sigma), z, step.sigma, step.sigma_next, step.state.solver
        )
        assert torch.equal(step.base(z), again.x)
        expected = torch.lerp(again.start, again.x, gamma_column(step.gamma))
        torch.testing.assert_close(step.frozen(z), expected, rtol=1e-13, atol=1e-13)
        own = step.method.step(
            lambda y, sigma: MIXTURE(y, sigma), z, step.sigma, step.sigma_next, step.state
        )
        assert torch.equal(step.relaxation(z), own.x)
        moved += int((step.frozen(z) - step.relaxation(z)).abs().max() > 1e-6)
    assert moved >= 2 or solver == "heun"  # whose steps lack no energy here


def test_the_share_of_a_corrector_is_frozen_too() -> None:
    """x' = (1 - gamma) x + gamma (T1 + c (T - T1)) with the c of the state."""
    acts = 0
    levels = sd.schedules.karras(4, 0.05, 10.0)  # few enough for it to act
    for step in opened("heun", Energy(), levels=levels):
        record = step.method.step(
            step.bound, step.x, step.sigma, step.sigma_next, step.state
        ).state.record
        z = step.x + 0.3 * step.sigma * normal(7, *SHAPE, seed=4)
        again = step.method.solver.step(step.bound, z, step.sigma, step.sigma_next, None)
        assert again.predictor is not None
        candidate = torch.lerp(again.predictor, again.x, gamma_column(record.correction))
        expected = torch.lerp(z, candidate, gamma_column(step.gamma))
        torch.testing.assert_close(step.frozen(z), expected, rtol=1e-13, atol=1e-13)
        acts += int((record.correction < 1).any())
    assert acts >= 2


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m", "unipc"])
def test_flow_of_a_gaussian(solver: str) -> None:
    """Gaussian.transport, which Heun's steps approach with order 2."""
    variance = normal(*SHAPE, seed=5).square()
    denoiser = Gaussian(0.3, variance)
    for step in open_steps(denoiser, START, LEVELS, resolve_solver(solver), Energy()):
        exact = denoiser.transport(step.x, step.sigma, step.sigma_next)
        size = (exact - step.x).norm()
        coarse, fine = ((step.flow(n)(step.x) - exact).norm() / size for n in (16, 32))
        assert fine < 1e-3
        assert coarse / fine == pytest.approx(4, rel=0.25)
        assert (step.flow()(step.x) - exact).norm() < 0.02 * size


def test_flow_carries_gradients() -> None:
    """Its Jacobian is that of the transport."""
    denoiser, levels = Gaussian(variance=0.5), [2.0, 1.0, 0.5]
    for step in open_steps(denoiser, START[:1], levels, Euler()):
        z = step.x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(step.flow(40)(z).sum(), z)
        expected = ((0.5 + step.sigma_next**2) / (0.5 + step.sigma**2)) ** 0.5
        torch.testing.assert_close(slope, torch.full_like(z, expected), rtol=1e-4, atol=0)


def test_conditioning_is_handed_on() -> None:
    seen: list[Any] = []

    def denoiser(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        seen.append(conditioning)
        return MIXTURE(x, sigma) * conditioning["scale"]

    label = {"scale": torch.full((7, 1, 1), 0.9, dtype=torch.float64)}
    expected = sd.sample(
        denoiser, START, LEVELS, "ipndm", Energy(), conditioning=label, return_trajectory=True
    )
    assert expected.trajectory is not None
    ipndm = resolve_solver("ipndm")
    for step in open_steps(denoiser, START, LEVELS, ipndm, Energy(), conditioning=label):
        assert torch.equal(step.relaxed, expected.trajectory[step.index + 1])
        assert torch.equal(step.denoiser(step.x), step.plain.denoised)
        assert torch.equal(step.flow(1)(step.x), _heun(denoiser, step, label))
    assert {tuple(conditioning) for conditioning in seen} == {("scale",)}


def test_the_flow_of_the_first_samples() -> None:
    """With the conditioning that is theirs: what it gives among all."""

    def denoiser(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        assert conditioning["name"] == "as it is"
        return MIXTURE(x, sigma) * conditioning["scale"]

    scale = torch.linspace(0.2, 1, 7, dtype=torch.float64)[:, None, None]
    label = {"scale": scale, "name": "as it is"}
    for step in open_steps(denoiser, START, [2.0, 1.0, 0.5], Euler(), conditioning=label):
        whole = step.flow(2)(step.x)
        assert torch.equal(step.flow(2, 3)(step.x[:3]), whole[:3])


def test_there_is_no_flow_into_zero() -> None:
    with pytest.raises(ValueError, match="sigma_min is 0"):
        opened("euler", None, levels=torch.tensor([1.0, 0.0]))[0].flow()


def _heun(denoiser: Any, step: OpenStep, conditioning: dict[str, Any]) -> Tensor:
    levels = [step.sigma, step.sigma_next]
    return sd.sample(denoiser, step.x, levels, "heun", None, conditioning=conditioning).x


@pytest.mark.parametrize("solver", SOLVERS)
def test_opening_costs_the_calls_of_a_sampling_twice(solver: str) -> None:
    calls = []

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(len(x))
        return MIXTURE(x, sigma)

    nfe = sd.sample(MIXTURE, START, LEVELS, solver, None).nfe
    list(open_steps(counted, START, LEVELS, resolve_solver(solver), Energy()))
    assert len(calls) == 2 * nfe


def test_no_gradients_are_recorded_and_the_mode_is_left() -> None:
    x = START.clone().requires_grad_()
    for step in open_steps(MIXTURE, x, LEVELS, Euler(), Energy()):
        assert torch.is_grad_enabled()
        assert not step.relaxed.requires_grad
        assert not step.plain.x.requires_grad
        assert step.base(step.x.detach().requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"solver": Relaxed(Euler(), Energy())}, TypeError, "an unrelaxed Solver"),
        ({"solver": "euler"}, TypeError, "an unrelaxed Solver"),
        ({"sigmas": [1.0, 2.0]}, ValueError, "levels must strictly decrease"),
        ({"x": torch.ones(3)}, ValueError, r"x has shape \(3,\)"),
        ({"x": torch.ones(2, 3).int()}, TypeError, "dtype torch.int32"),
        ({"coefficient": "energy"}, TypeError, "a Coefficient object"),
        ({"conditioning": {"label": 1}}, ValueError, r"conditioning has \['label'\]"),
        ({"denoiser": lambda x, sigma: x[:, :1]}, ValueError, "output at step 0 has shape"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    good = {"denoiser": MIXTURE, "x": START, "sigmas": LEVELS, "solver": Euler()}
    with pytest.raises(error, match=message):
        list(open_steps(**{**good, **arguments}))


def test_a_rule_by_name_and_none() -> None:
    """None follows the plain solver: gamma is 1 and x' is T(x)."""
    for step in opened("dpmpp_2m", None):
        assert torch.equal(step.gamma, torch.ones(7, dtype=torch.float64))
        assert torch.equal(step.relaxed, step.plain.x)
    named = opened("euler", resolve_coefficient("energy"))
    assert torch.equal(named[-1].relaxed, sd.sample(MIXTURE, START, LEVELS, "euler", "energy").x)
