"""The calibrated solver: known solvers as special cases, independence, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.calibrated import Calibrated
from steindiff.calibrated.solver import multistep_scalars, scalar_counts
from steindiff.denoisers import GaussianMixture
from steindiff.solvers import DPMpp2M

GENERATOR = torch.Generator().manual_seed(0)
POINTS = torch.randn(7, 12, generator=GENERATOR, dtype=torch.float64)
MIXTURE = GaussianMixture(POINTS, 0.1)
LEVELS = tuple(sd.schedules.karras(5, 0.05, 10.0).tolist())
SCALARS = ((-0.01,), (0.8, -0.02), (1.2, -0.5, 0.01), (0.9, -0.3, -0.02), (0.7, -0.1, 0.1))


def start(count: int = 6) -> Tensor:
    return sd.noise((12,), LEVELS[0], range(count), dtype=torch.float64)


def run(solver: object, levels: object = LEVELS, x: Tensor | None = None) -> Tensor:
    x = start() if x is None else x
    return sd.sample(MIXTURE, x, levels, solver, None).x  # type: ignore[arg-type]


@pytest.mark.parametrize("final", ["sigma_min", "zero"])
@pytest.mark.parametrize("schedule", sorted(sd.schedules.SCHEDULES))
def test_zeros_are_euler_to_the_bit(schedule: str, final: str) -> None:
    levels = tuple(sd.schedules.SCHEDULES[schedule](5, 0.05, 10.0, final=final).tolist())
    zeros = tuple((0.0,) * count for count in scalar_counts(levels))
    assert torch.equal(run(Calibrated(levels, zeros), levels), run("euler", levels))


@pytest.mark.parametrize("final", ["sigma_min", "zero"])
def test_multistep_scalars_are_dpmpp_2m(final: str) -> None:
    levels = tuple(sd.schedules.karras(6, 0.05, 10.0, final=final).tolist())
    found = run(Calibrated(levels, multistep_scalars(levels)), levels)
    wanted = run(DPMpp2M(lower_order_final=False), levels)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_scalars_of_ipndm_2() -> None:
    """x2 = x1 + (s2 - s1)(3/2 e1 - 1/2 e0); with e0 and e1 in the basis, three steps are exact."""
    levels = LEVELS[:3] + LEVELS[4:5]
    _, s1, s2, s3 = levels
    # e1 = (x1 - D1)/s1 in terms of x2, D1 and D0: x2 = x1 + h(3/2 e1 - 1/2 e0), e0 = (x1 - D0)/s1
    h = s2 - s1
    z = 1 + h / s1  # x2 = z x1 - (3/2) (h/s1) D1 + (1/2) (h/s1) D0
    of_x, of_1, of_0 = 1 / (z * s1), (1.5 * h / (z * s1) - 1) / s1, -0.5 * h / (z * s1) / s1
    # x3 - Euler = (s3 - s2)/2 (e2 - e1), e2 = (x2 - D2)/s2: -D2/s2 + x2/s2 - e1
    half = (s3 - s2) / 2
    on_x, on_1, on_0 = half * (1 / s2 - of_x), -half * of_1, -half * of_0
    step = 1 - s3 / s2
    third = (-on_1 / step, -on_0 / step, -on_x / step)
    assert math.isclose(sum((on_x, on_1, on_0)), half / s2, rel_tol=1e-12)
    found = run(Calibrated(levels, ((0.0,), (0.5, 0.0), third)), levels)
    torch.testing.assert_close(found, run(sd.solvers.IPNDM(2), levels))


def test_the_state_scalar_relaxes_euler() -> None:
    """c alone is Krasnosel'skii-Mann with gamma = 1 + c."""
    levels = LEVELS[:3]
    relaxed = sd.sample(MIXTURE, start(), levels[:2], "euler", None).x * 0.9 + 0.1 * start()
    step = Calibrated(levels[:2], ((-0.1,),))
    torch.testing.assert_close(run(step, levels[:2]), relaxed)


@pytest.mark.parametrize("coefficient", [None, "energy"])
def test_a_sample_does_not_depend_on_its_batch(coefficient: str | None) -> None:
    solver, x = Calibrated(LEVELS, SCALARS), start(9)
    whole = sd.sample(MIXTURE, x, LEVELS, solver, coefficient).x
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    shuffled = sd.sample(MIXTURE, x[order], LEVELS, solver, coefficient).x
    assert torch.equal(shuffled, whole[order])
    alone = sd.sample(MIXTURE, x[3:4], LEVELS, solver, coefficient).x
    assert torch.equal(alone[0], whole[3])


def test_one_call_a_step_and_no_step_changes_another() -> None:
    solver = Calibrated(LEVELS, SCALARS)
    assert sd.sample(MIXTURE, start(), LEVELS, solver, "energy").nfe == 5
    x, state = start(), solver.init(start(), LEVELS)
    first, again = (
        solver.step(lambda x, s: MIXTURE(x, s), x, LEVELS[0], LEVELS[1], state) for _ in range(2)
    )
    assert torch.equal(first.x, again.x)
    assert torch.equal(x, start())


def test_energy_relaxes_it() -> None:
    result = sd.sample(MIXTURE, start(), LEVELS, Calibrated(LEVELS, SCALARS), record=True)
    assert result.record is not None
    assert bool((result.record.gamma < 1).any())


def test_other_levels_are_refused() -> None:
    solver = Calibrated(LEVELS, SCALARS)
    off = [*LEVELS[:2], LEVELS[2] * (1 + 1e-5), *LEVELS[3:]]
    near = [*LEVELS[:2], LEVELS[2] * (1 + 1e-8), *LEVELS[3:]]
    for levels in (off, LEVELS[:-1], sd.schedules.karras(6, 0.05, 10.0)):
        with pytest.raises(ValueError, match=r"sigmas is \[10, .*calibrated for 5 steps, \[10, "):
            run(solver, levels)
    assert torch.isfinite(run(solver, near)).all()


@pytest.mark.parametrize(
    ("scalars", "said"),
    [
        (SCALARS[:-1], "scalars has 4 rows; 5"),
        ((*SCALARS[:-1], (0.1, 0.2)), r"scalars\[4\] has 2 numbers; 3"),
        (((0.1, 0.2), *SCALARS[1:]), r"scalars\[0\] has 2 numbers; 1"),
        (((math.nan,), *SCALARS[1:]), r"scalars\[0\] holds nan; finite"),
        (((math.inf,), *SCALARS[1:]), r"scalars\[0\] holds inf; finite"),
        ((("1",), *SCALARS[1:]), r"scalars\[0\] holds '1'; numbers"),
    ],
)
def test_bad_scalars_are_refused(scalars: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Calibrated(LEVELS, scalars)  # type: ignore[arg-type]


def test_bad_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="levels must strictly decrease"):
        Calibrated((1.0, 2.0), ((0.0,),))
    with pytest.raises(ValueError, match=r"scalars\[1\] has 2 numbers; 1 or fewer are needed"):
        Calibrated((2.0, 1.0, 0.0), ((0.0,), (0.0, 0.0)))


def test_scalars_into_zero_are_an_end() -> None:
    """With a = w1 = sigma/(sigma_ - sigma) and b = 0 it is the linear end; with none, x0 = D."""
    levels = (10.0, 3.0, 1.0, 0.0)
    rows = ((0.0,), (0.4, 0.0))
    x = sd.noise((6,), 10.0, range(4))
    points = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    mixture = GaussianMixture(points, 0.2)
    plain = Calibrated(levels, (*rows, ()))
    fitted = Calibrated(levels, (*rows, (1 / (3 - 1), 0.0)))
    linear = sd.sample(mixture, x, levels, plain, None, end="linear").x
    assert torch.allclose(sd.sample(mixture, x, levels, fitted, None).x, linear, atol=1e-6)
    assert not torch.allclose(sd.sample(mixture, x, levels, plain, None).x, linear, atol=1e-2)
