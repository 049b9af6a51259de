"""Lipschitz constants of steps against eigenvalues in closed form, and the bounds on them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from draws import normal
from torch import Tensor

from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.lab.theory import (
    Certificate,
    Lipschitz,
    OpenStep,
    certify,
    open_steps,
    step_weights,
)
from steindiff.solvers import IPNDM, Solver, UniPC, resolve_solver
from steindiff.stein import Coefficient, Constant, Energy, Published

ONE_CALL = ["euler", "dpmpp_2m", "dpmpp_3m", "ipndm", "deis", "unipc"]
BARE = Energy(trust=math.inf, law="one", shrink=False, last=False)
LEVELS = [3.0, 1.7, 0.9, 0.5, 0.3, 0.12]
SHAPE, SIZE = (2, 3), 6
Map = Callable[[Tensor], Tensor]


MIXTURE = GaussianMixture(2 * normal(4, *SHAPE, seed=1), 0.05)
START = 3 * normal(6, *SHAPE, seed=3)


def matrices(f: Map, x: Tensor) -> Tensor:
    """(B, d, d), of the whole batch: the maps of a step have a history of its size."""
    size = x[0].numel()
    whole = torch.as_tensor(torch.autograd.functional.jacobian(f, x))
    return whole.reshape(len(x), size, len(x), size).diagonal(dim1=0, dim2=2).permute(2, 0, 1)


def exact(step: OpenStep) -> Certificate:
    return certify(step, tolerance=1e-13)


def steps_of(
    solver: Solver | str,
    rule: Coefficient | None = None,
    denoiser: Gaussian | GaussianMixture = MIXTURE,
    x: Tensor = START,
    levels: list[float] = LEVELS,
) -> list[OpenStep]:
    return list(open_steps(denoiser, x, levels, resolve_solver(solver), rule))


# Two equal modes at +-m of variance v. Halfway between them, where m'x = 0, both are as likely, and
# Cov[x0|x]/sigma^2 = v/(v + sigma^2) I + sigma^2/(v + sigma^2)^2 m m'.
DISTANCE, SPREAD = 1.5, 0.1
TWO = GaussianMixture(
    torch.tensor([[DISTANCE, 0, 0, 0], [-DISTANCE, 0, 0, 0]], dtype=torch.float64), SPREAD
)
BETWEEN = normal(3, 4, seed=5) * torch.tensor([0.0, 1, 1, 1], dtype=torch.float64)


def between_the_modes(sigma: float) -> float:
    """The largest eigenvalue there; above 1 where |m|^2 > v + sigma^2."""
    total = SPREAD + sigma**2
    return SPREAD / total + (sigma * DISTANCE / total) ** 2


def between(
    solver: str, rule: Coefficient | None = None, levels: list[float] = LEVELS
) -> list[OpenStep]:
    """Steps that stay halfway between the modes."""
    return steps_of(solver, rule, TWO, BETWEEN, levels)


def test_the_closed_form_between_two_modes() -> None:
    """By autograd, and L_D of the certificate."""
    for step in between("euler"):
        assert step.x[:, 0].abs().max() == 0
        value = between_the_modes(step.sigma)
        top = torch.linalg.eigvalsh(matrices(step.denoiser, step.x))[:, -1]
        expected = torch.full_like(top, value)
        torch.testing.assert_close(top, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(exact(step).denoiser.constant, expected, rtol=1e-10, atol=0)
        assert (value > 1) == (SPREAD + step.sigma**2 < DISTANCE**2)


@pytest.mark.parametrize("where", ["mixture", "between"])
def test_euler_meets_its_bound(where: str) -> None:
    """L_T = r + (1 - r) L_D of an exact denoiser, so that L_T > 1 exactly where L_D > 1."""
    steps = between("euler") if where == "between" else steps_of("euler")
    expansive = []
    for step in steps:
        found, r = exact(step), step.sigma_next / step.sigma
        l_d, l_t = found.denoiser.constant, found.step.constant
        torch.testing.assert_close(l_t, r + (1 - r) * l_d, rtol=1e-9, atol=0)
        torch.testing.assert_close(found.published, l_t, rtol=1e-9, atol=0)
        torch.testing.assert_close(found.own, l_t, rtol=1e-9, atol=0)
        assert torch.equal(l_t > 1, l_d > 1)
        expansive.append(l_t > 1)
    found = torch.stack(expansive)
    assert found.any()
    assert not found.all()


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_no_size_of_step_makes_an_expansive_step_contractive(steps: int) -> None:
    """From where L_D > 1, however near the next level is, and L_T - 1 = (1 - r)(L_D - 1)."""
    levels = [1.0, *(1.0 - 0.5 * k / steps for k in range(1, steps + 1))]
    step = between("euler", None, levels)[0]
    excess = (1 - levels[1]) * (between_the_modes(1.0) - 1)
    assert excess > 0
    found = exact(step).step.constant
    torch.testing.assert_close(found - 1, torch.full_like(found, excess), rtol=1e-8, atol=0)


def test_the_literal_bound_is_none() -> None:
    """Data of large variance at low noise: L_T is nearly 1, the literal bound nearly r."""
    denoiser, levels = Gaussian(variance=100.0), [0.2, 0.05, 0.01]
    for step in steps_of("euler", None, denoiser, normal(2, *SHAPE), levels):
        found = exact(step)
        r = step.sigma_next / step.sigma
        l_d = 100.0 / (100.0 + step.sigma**2)
        expected = r + step.sigma_next * math.log(step.sigma / step.sigma_next) * l_d
        torch.testing.assert_close(found.literal, torch.full_like(found.literal, expected))
        assert (found.step.constant > 0.999).all()
        assert (found.literal < 0.35).all()
        assert (found.published >= found.step.constant * (1 - 1e-12)).all()


def test_the_step_into_zero() -> None:
    """r = 0: T = D, and the literal bound's second term is at its limit 0."""
    step = steps_of("dpmpp_2m", None, levels=[1.0, 0.3, 0.0])[-1]
    found, weights = exact(step), step_weights(step)
    assert weights == pytest.approx((0, 1), abs=1e-12)
    torch.testing.assert_close(found.step.constant, found.denoiser.constant, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.published, found.denoiser.constant, rtol=1e-12, atol=0)
    assert found.literal.eq(0).all()


@pytest.mark.parametrize("rule", [None, Energy()], ids=["plain", "energy"])
@pytest.mark.parametrize("solver", ONE_CALL)
def test_own_bound(solver: str, rule: Coefficient | None) -> None:
    """L_T = max |a + b lambda| over the eigenvalues of J_D, which |a| + |b| L_D bounds."""
    for step in steps_of(solver, rule):
        found, weights = exact(step), step_weights(step)
        assert weights is not None
        a, b = weights
        values = torch.linalg.eigvalsh(matrices(step.denoiser, step.x))
        expected = (a + b * values).abs().amax(dim=1)
        torch.testing.assert_close(found.step.constant, expected, rtol=1e-7, atol=1e-9)
        assert found.own is not None
        own = abs(a) + abs(b) * values[:, -1]
        torch.testing.assert_close(found.own, own, rtol=1e-8, atol=0)
        assert (found.step.constant <= found.own * (1 + 1e-9)).all()


@pytest.mark.parametrize("solver", ["dpmpp_2m", "dpmpp_3m", "ipndm", "deis"])
def test_the_published_bound_is_of_first_order(solver: str) -> None:
    """A multistep solver extrapolates, and goes over it, by b - (1 - r) times lambda at least."""
    over = [(c.step.constant > 1.05 * c.published).any() for c in map(exact, between(solver))]
    assert not over[0]
    assert any(over)


def test_heun_has_no_own_bound() -> None:
    for step in steps_of("heun"):
        assert step_weights(step) is None
        found = exact(step)
        assert found.own is None
        expected = torch.linalg.svdvals(matrices(step.base, step.x))[:, 0]
        torch.testing.assert_close(found.step.constant, expected, rtol=1e-9, atol=0)


ADAMS = {1: 1.0, 2: 3 / 2, 3: 23 / 12, 4: 55 / 24}
"""The newest weight of Adams and Bashforth."""


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_weights_of_ipndm(order: int, precision: str) -> None:
    """x' = x - (sigma - sigma') w (x - D)/sigma + history: a = 1 - (1 - r) w, b = (1 - r) w."""
    x = START if precision == "double" else START.float()
    within = 1e-11 if precision == "double" else 1e-5
    for step in steps_of(IPNDM(order), x=x):
        b = (1 - step.ratio) * ADAMS[min(order, step.index + 1)]
        assert step_weights(step) == pytest.approx((1 - b, b), rel=within, abs=within)


def test_weights_of_dpmpp_2m() -> None:
    """a = r, b = (1 - r)(1 + h/(2 h0)); the first and the last step are of first order."""
    for step in steps_of("dpmpp_2m"):
        k, r = step.index, step.ratio
        b = 1 - r
        if 0 < k < len(LEVELS) - 2:
            h, before = (math.log(LEVELS[i] / LEVELS[i + 1]) for i in (k, k - 1))
            b *= 1 + h / (2 * before)
        assert step_weights(step) == pytest.approx((r, b), rel=1e-11)


def test_weights_of_unipc() -> None:
    """After its first step it departs from a corrected state, which x enters by D alone."""
    plain = steps_of(UniPC(order=2, corrector=False))
    for step in steps_of(UniPC(order=2)):
        weights = step_weights(step)
        assert weights is not None
        assert weights.state == pytest.approx(step.ratio if step.index == 0 else 0, abs=1e-11)
        if step.index == 0:
            assert weights.denoised == pytest.approx(1 - step.ratio, rel=1e-11)
    for step in plain:
        weights = step_weights(step)
        assert weights is not None
        assert weights.state == pytest.approx(step.ratio, rel=1e-10)


@pytest.mark.parametrize("gamma", [0.5, 0.75, 1.25])
def test_relaxing_scales_the_excess(gamma: float) -> None:
    """L - 1 = gamma (L_T - 1): what is expansive stays so, by gamma times as much."""
    excesses = []
    for step in between("euler", Constant(gamma))[:-1]:
        found = exact(step)
        l_t = found.step.constant
        expected = (1 - gamma) + gamma * (
            step.ratio + (1 - step.ratio) * between_the_modes(step.sigma)
        )
        assert l_t.ne(found.frozen.constant).all()
        for relaxed in (found.frozen.constant, found.relaxed.constant):
            torch.testing.assert_close(
                relaxed, torch.full_like(relaxed, expected), rtol=1e-9, atol=0
            )
            torch.testing.assert_close(relaxed - 1, gamma * (l_t - 1), rtol=1e-7, atol=0)
            assert torch.equal(relaxed > 1, l_t > 1)
        excesses.append(l_t - 1)
    assert torch.stack(excesses).min() < 0 < torch.stack(excesses).max()


def test_relaxing_by_a_gamma_of_each_sample() -> None:
    """The same at the states of a relaxed sampling of a mixture, with the default coefficient."""
    relaxed = 0
    for step in steps_of("euler", BARE):
        found, gamma = exact(step), step.gamma
        expected = (1 - gamma) + gamma * found.step.constant
        torch.testing.assert_close(found.frozen.constant, expected, rtol=1e-9, atol=0)
        assert torch.equal(found.frozen.constant > 1, found.step.constant > 1)
        relaxed += int((gamma < 0.98).any())
    assert relaxed >= 2


def test_the_moving_gamma() -> None:
    """L of the relaxed map itself, by its whole Jacobian, which is not the frozen one's."""
    apart = 0.0
    for step in steps_of("euler", BARE)[:-1]:
        found = exact(step)
        expected = torch.linalg.svdvals(matrices(step.relaxation, step.x))[:, 0]
        torch.testing.assert_close(found.relaxed.constant, expected, rtol=1e-8, atol=0)
        apart = max(apart, (found.relaxed.constant - found.frozen.constant).abs().max().item())
    assert apart > 1e-3


def test_relaxed_flow_of_a_gaussian() -> None:
    """The bare energy rule gives the flow, which has sqrt((v + sigma'^2)/(v + sigma^2))."""
    for step in steps_of("euler", BARE, Gaussian(variance=0.4))[:-1]:
        expected = math.sqrt((0.4 + step.sigma_next**2) / (0.4 + step.sigma**2))
        found = exact(step).relaxed.constant
        torch.testing.assert_close(found, torch.full_like(found, expected), rtol=1e-9, atol=0)


def test_the_published_coefficient_has_the_denoisers_constant() -> None:
    """It lands on D."""
    rule = Published(estimator="ratio", gamma_max=None)
    for step in steps_of("euler", rule)[:-1]:
        found = exact(step)
        wanted = found.denoiser.constant
        torch.testing.assert_close(found.relaxed.constant, wanted, rtol=1e-8, atol=0)
        torch.testing.assert_close(found.frozen.constant, wanted, rtol=1e-8, atol=0)


def test_a_plain_step_has_one_constant() -> None:
    for step in steps_of("ipndm")[:2]:
        found = certify(step)
        assert torch.equal(found.relaxed.constant, found.step.constant)
        assert torch.equal(found.frozen.constant, found.step.constant)


def test_rounds_and_tolerance_are_handed_on() -> None:
    step = steps_of("euler", Constant(0.7))[1]
    for found in certify(step, rounds=2, tolerance=1e-14)[:4]:
        assert isinstance(found, Lipschitz)
        assert found.rounds == 2
    with pytest.raises(ValueError, match="rounds is 0"):
        certify(step, rounds=0)
