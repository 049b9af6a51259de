"""The step into sigma = 0: exact for Gaussians, of higher order than D, and nothing elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import steindiff as sd
from steindiff._reductions import inner
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.recipes import COEFFICIENT, END
from steindiff.solvers import SOLVERS, Euler, resolve_solver
from steindiff.stein import (
    ENDS,
    Ended,
    Energy,
    Relaxed,
    stein_weight,
    step_into_zero,
)
from steindiff.stein.end import Remembered, nearness, steadiness

ACTING = [end for end in ENDS if end != "none"]
POINTS = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
MIXTURE = GaussianMixture(POINTS, 0.05)
LEVELS = [10.0, 3.0, 1.0, 0.3, 0.0]
START = 10 * torch.randn(9, 3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def end_of(end: str, exact: Gaussian, x: Tensor, sigma_before: float, sigma: float) -> Tensor:
    """The end from the exact trajectory through `x` at `sigma_before`."""
    at = exact.transport(x, sigma_before, sigma)
    before = Remembered(exact(x, sigma_before), sigma_before)
    return step_into_zero(end, at, exact(at, sigma), sigma, [before])


@pytest.mark.parametrize(("sigma_before", "sigma"), [(1.0, 0.5), (0.5, 0.1), (0.1, 0.02)])
def test_stein_end_is_exact_for_isotropic_gaussians(sigma_before: float, sigma: float) -> None:
    """D - D_ points along x0, and <x, D> is |x0|^2; on coarser levels the bound of w binds."""
    exact = Gaussian(variance=0.7, shape=(3, 4))
    x = sigma_before * START
    wanted = exact.transport(x, sigma_before, 0.0)
    torch.testing.assert_close(end_of("stein", exact, x, sigma_before, sigma), wanted)
    assert not torch.allclose(end_of("none", exact, x, sigma_before, sigma), wanted, rtol=1e-5)


def errors(end: str, sizes: tuple[float, ...]) -> list[float]:
    exact = Gaussian(variance=POINTS[0].square() + 0.3)
    found = []
    for size in sizes:
        x = exact.transport(START, 10.0, 3 * size)
        wanted = exact.transport(START, 10.0, 0.0)
        gap = end_of(end, exact, x, 3 * size, size) - wanted
        found.append(float(gap.square().mean().sqrt()))
    return found


def test_stein_end_is_of_second_order_where_the_plain_one_is_of_first() -> None:
    """In sigma^2, in which the flow is regular: D is off by O(sigma^2), the end by O(sigma^4)."""
    plain, ended = errors("none", (0.05, 0.025)), errors("stein", (0.05, 0.025))
    assert plain[0] / plain[1] == pytest.approx(4, rel=0.05)
    assert ended[0] / ended[1] == pytest.approx(16, rel=0.1)
    assert ended[0] < plain[0] / 20


def test_linear_end_is_not_of_second_order_at_low_noise() -> None:
    """It is for coarse levels, where D moves about linearly: the law of docs/theory/end.md."""
    low = errors("linear", (0.02, 0.01))
    assert low[0] / low[1] == pytest.approx(4, rel=0.05)
    coarse = errors("linear", (1.0,))[0]
    assert coarse < 0.6 * errors("none", (1.0,))[0]


def test_linear_end_extrapolates_what_is_linear() -> None:
    clean, slope = POINTS, torch.flip(POINTS, [0])
    before = Remembered(clean + 2.0 * slope, 2.0)
    x0 = step_into_zero("linear", clean, clean + 0.5 * slope, 0.5, [before])
    torch.testing.assert_close(x0, clean)


def test_mean_end_is_halfway() -> None:
    denoised, before = MIXTURE(START, 1.0), Remembered(MIXTURE(START, 4.0), 4.0)
    ends = {end: step_into_zero(end, START, denoised, 1.0, [before]) for end in ACTING}
    torch.testing.assert_close(ends["mean"], (ends["linear"] + ends["stein"]) / 2)


def test_weight_meets_the_energy() -> None:
    """|D + w (D - D_)|^2 = <x, D> wherever D lacks energy, w = 0 elsewhere."""
    generator = torch.Generator().manual_seed(7)
    noise, denoised, before = (torch.randn(200, 5, generator=generator).double() for _ in range(3))
    x = denoised + noise
    weight = stein_weight(x, denoised, before)
    wanted = (x * denoised).sum(1)
    got = (denoised + weight[:, None] * (denoised - before)).square().sum(1)
    lacks = wanted > denoised.square().sum(1)
    assert 50 < int(lacks.sum()) < 150
    torch.testing.assert_close(got[lacks], wanted[lacks])
    assert (weight >= 0).all()
    assert (weight[~lacks] == 0).all()


@pytest.mark.parametrize("end", ["steady", "stein", "mean"])
def test_weight_is_bounded(end: str) -> None:
    """Where D hardly moved, its energy would ask for any weight."""
    x, denoised = 3 * POINTS, POINTS
    before = Remembered(denoised - 1e-6 * POINTS.flip(0), 2.0)
    moved = step_into_zero(end, x, denoised, 0.5, [before]) - denoised
    bound = (0.5 / 1.5) * (denoised - before.denoised).abs() + 1e-15
    assert (moved.abs() <= bound).all()


def test_steadiness_is_a_cosine() -> None:
    """Per sample: 1 straight on, 0 at a right angle and where D turned back or stood still."""
    right, up = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    moves = torch.cat([right, up, -right, 0 * right, (right + up) / 2**0.5])
    before = right.expand(5, 2)
    found = steadiness(inner(3 * moves, before), inner(3 * moves, 3 * moves), inner(before, before))
    torch.testing.assert_close(found[:4], torch.tensor([1.0, 0.0, 0.0, 0.0]).double())
    assert found[4] == 1  # a cosine of .707
    half, one = torch.tensor([0.5]).double(), torch.ones(1).double()
    torch.testing.assert_close(steadiness(half, one, one), half)


def test_steady_end_leaves_alone_what_has_turned() -> None:
    denoised, latest = MIXTURE(START, 1.0), Remembered(MIXTURE(START, 4.0), 4.0)
    turned = Remembered(latest.denoised + (denoised - latest.denoised), 9.0)
    steady = Remembered(latest.denoised - (denoised - latest.denoised), 9.0)
    stein = step_into_zero("stein", START, denoised, 1.0, [latest])
    assert torch.equal(step_into_zero("steady", START, denoised, 1.0, [latest, turned]), denoised)
    assert torch.equal(step_into_zero("steady", START, denoised, 1.0, [latest, steady]), stein)
    assert torch.equal(step_into_zero("steady", START, denoised, 1.0, [latest]), stein)


def test_steady_end_does_not_go_on_from_a_long_step() -> None:
    """The bound of its weight, w1, from levels 4 times apart on; nothing left of it at 7."""
    assert [nearness(ratio) for ratio in (0.01, 0.15, 0.25, 0.9)] == [0, 0, 1, 1]
    assert nearness(0.2) == pytest.approx(0.5)
    denoised = POINTS
    before = Remembered(denoised - 1e-6 * POINTS.flip(0), 2.0)  # its energy asks for any weight
    for sigma, share in [(0.5, 1.0), (0.4, 0.5), (0.3, 0.0)]:
        moved = step_into_zero("steady", 3 * POINTS, denoised, sigma, [before]) - denoised
        linear = sigma / (2.0 - sigma) * 1e-6 * POINTS.flip(0)
        torch.testing.assert_close(moved, share * linear, rtol=1e-6, atol=1e-14)
    assert step_into_zero("steady", 3 * POINTS, denoised, 0.3, [before]) is denoised


@pytest.mark.parametrize("coefficient", [None, "energy"])
@pytest.mark.parametrize("end", ACTING)
@pytest.mark.parametrize("solver", SOLVERS)
def test_only_the_step_into_zero_changes(solver: str, end: str, coefficient: str | None) -> None:
    """Not a bit elsewhere, and no call."""
    plain = sd.sample(
        MIXTURE, START, LEVELS, solver, coefficient, end="none", return_trajectory=True
    )
    ended = sd.sample(MIXTURE, START, LEVELS, solver, coefficient, end=end, return_trajectory=True)
    assert plain.trajectory is not None
    assert ended.trajectory is not None
    assert ended.nfe == plain.nfe
    for a, b in zip(plain.trajectory[:-1], ended.trajectory[:-1], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(plain.x, ended.x)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("levels", [LEVELS[:-1], [3.0, 0.0]], ids=["stops above 0", "one step"])
def test_nothing_to_do(levels: list[float], end: str) -> None:
    ended = sd.sample(MIXTURE, START, levels, "unipc", None, end=end)
    assert torch.equal(ended.x, sd.sample(MIXTURE, START, levels, "unipc", None).x)


@pytest.mark.parametrize("solver", SOLVERS)
def test_coefficient_and_end_are_two_options(solver: str) -> None:
    """The end is on with relaxing, off without, and either can be had alone."""
    default = sd.sample(MIXTURE, START, LEVELS, solver)
    named = sd.sample(MIXTURE, START, LEVELS, solver, COEFFICIENT, end=END)
    assert torch.equal(default.x, named.x)
    plain = sd.sample(MIXTURE, START, LEVELS, solver, None)
    assert torch.equal(plain.x, sd.sample(MIXTURE, START, LEVELS, solver, "none", end="none").x)


@pytest.mark.parametrize("end", ACTING)
def test_a_sample_does_not_depend_on_its_batch(end: str) -> None:
    whole = sd.sample(MIXTURE, START, LEVELS, "dpmpp_2m", None, end=end).x
    assert torch.equal(
        sd.sample(MIXTURE, START[2:5], LEVELS, "dpmpp_2m", None, end=end).x, whole[2:5]
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("end", ACTING)
def test_low_precision_follows_float64(end: str, dtype: torch.dtype) -> None:
    exact = Gaussian(variance=POINTS[0].square() + 0.3)
    x = START.to(dtype)
    low = sd.sample(exact, x, LEVELS, "euler", None, end=end).x
    full = sd.sample(exact, x.double(), LEVELS, "euler", None, end=end).x
    assert low.dtype == dtype
    assert float((low - full).abs().max()) < 40 * torch.finfo(dtype).eps


class _Count(TorchDispatchMode):
    """How many operations reach the device."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_linear_end_costs_one_operation() -> None:
    denoised, before = MIXTURE(START, 1.0), Remembered(MIXTURE(START, 4.0), 4.0)
    with _Count() as count:
        step_into_zero("linear", START, denoised, 1.0, [before])
    assert count.calls == 1


@pytest.mark.parametrize("end", ACTING)
def test_gradients_are_finite_where_the_network_is_zero(end: str) -> None:
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    out = sd.sample(lambda x, _: weight * x, START, LEVELS, "euler", None, end=end, grad=True)
    (gradient,) = torch.autograd.grad(out.x.square().mean(), weight)
    assert torch.isfinite(gradient)


def test_weight_passes_gradcheck() -> None:
    generator = torch.Generator().manual_seed(1)
    noise, denoised, before = (torch.randn(6, 3, generator=generator).double() for _ in range(3))
    parts = [part.requires_grad_() for part in (denoised + noise, denoised, before)]
    lacks = ((parts[0] - parts[1]) * parts[1]).sum(1)
    assert bool((lacks > 0).any())
    assert bool((lacks < 0).any())
    assert torch.autograd.gradcheck(stein_weight, parts)


def test_a_record_sees_the_end() -> None:
    ended = sd.sample(MIXTURE, START, LEVELS, "euler", "energy", end="linear", record=True)
    assert ended.record is not None
    energy = ended.x.square().flatten(1).mean(1)
    torch.testing.assert_close(ended.record.energy_next[-1], energy)


def test_objects_compose() -> None:
    by_hand = Relaxed(Ended(resolve_solver("unipc"), "stein"), Energy())
    x = sd.sample(MIXTURE, START, LEVELS, by_hand).x
    assert torch.equal(x, sd.sample(MIXTURE, START, LEVELS, "unipc", "energy", end="stein").x)
    ended = Ended(Euler(), "linear")
    x = sd.sample(MIXTURE, START, LEVELS, ended, None).x
    assert torch.equal(x, sd.sample(MIXTURE, START, LEVELS, "euler", None, end="linear").x)
    assert ended.calls_per_step == 1
    assert Ended(resolve_solver("heun")).calls_per_step == 2


@pytest.mark.parametrize(
    ("solver", "end", "error", "message"),
    [
        (Euler(), "linaer", ValueError, "end 'linaer' is unknown. Did you mean 'linear'"),
        (Ended(Euler()), "linear", TypeError, "a Solver object without an end is needed"),
        ("euler", "linear", TypeError, "solver is 'euler'; a Solver object without an end"),
    ],
)
def test_bad_input(solver: Any, end: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Ended(solver, end)


@pytest.mark.parametrize("solver", [Relaxed(Euler(), Energy()), Relaxed(Ended(Euler()), Energy())])
def test_end_beside_a_relaxed_solver(solver: Relaxed) -> None:
    with pytest.raises(ValueError, match="coefficient and end belong to it"):
        sd.sample(MIXTURE, START, LEVELS, solver, end="linear")
