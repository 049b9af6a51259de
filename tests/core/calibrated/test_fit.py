"""The fit: exact where it can be, its ridge, its independence of order, and what it refuses."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.calibrated.fit import Equations, normal_equations, pooled, solve
from steindiff.calibrated.path import FewStepPath, Rows, fine_solution
from steindiff.calibrated.run import evaluations, fit_paths, prior_scalars
from steindiff.denoisers import Gaussian, GaussianMixture

POINTS = torch.randn(7, 12, generator=torch.Generator().manual_seed(0))
MIXTURE = GaussianMixture(POINTS, 0.1)
LEVELS = sd.schedules.karras(5, 0.05, 10.0)
FEW: dict[str, Any] = {"shape": (12,), "noises": 8, "held_out": 4, "fine_steps": 12}


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    return Gaussian(variance=torch.full((12,), 0.25, dtype=x.dtype))(x, sigma)


@pytest.mark.parametrize("schedule", ["karras", "log_snr", "vp_time"])
def test_an_isotropic_gaussian_is_fitted_exactly(schedule: str) -> None:
    """D is linear in x, so that the state's scalar alone brings every state where it should be."""
    levels = sd.schedules.SCHEDULES[schedule](5, 0.01, 80.0)
    solver = sd.calibrate(gaussian, levels, **FEW, ridge=0.0)
    made = solver.calibration
    assert made is not None
    assert made.fit_error < 1e-6
    assert made.held_out_error < 1e-6
    x = sd.noise((12,), 80.0, range(100, 110))
    path = Rows(gaussian, {}, 64, lambda done: None)
    fine = fine_solution(path, x, levels.tolist(), 12)
    found = sd.sample(gaussian, x, levels, solver, None, return_trajectory=True).trajectory
    assert found is not None
    for state, level in zip(found, levels.tolist(), strict=True):
        torch.testing.assert_close(state, fine.at(level), rtol=1e-5, atol=1e-6)


def test_the_solver_takes_the_path_that_was_fitted() -> None:
    """Its last state has the errors that the fit reports, on both sets of noises."""
    solver = sd.calibrate(MIXTURE, LEVELS, **FEW, seed=5)
    made = solver.calibration
    assert made is not None
    for seeds, error in ((range(5, 13), made.fit_error), (range(13, 17), made.held_out_error)):
        x = sd.noise((12,), 10.0, seeds)
        rows = Rows(MIXTURE, {}, 64, lambda done: None)
        fine = fine_solution(rows, x, LEVELS.tolist(), 12).at(0.05)
        end = sd.sample(MIXTURE, x, LEVELS, solver, None).x
        squares = (end - fine).square().sum(dim=1) / fine.square().sum(dim=1)
        assert float(squares.mean().sqrt()) == pytest.approx(error, rel=1e-4)


def test_it_beats_euler_and_dpmpp_2m_on_noises_it_has_not_seen() -> None:
    solver = sd.calibrate(MIXTURE, LEVELS, **{**FEW, "noises": 32})
    x = sd.noise((12,), 10.0, range(1000, 1064))
    fine = fine_solution(Rows(MIXTURE, {}, 64, lambda n: None), x, LEVELS.tolist(), 12).at(0.05)

    def error(method: Any) -> float:
        return float((sd.sample(MIXTURE, x, LEVELS, method, None).x - fine).norm())

    assert error(solver) < 0.9 * min(error("euler"), error("dpmpp_2m"))


def test_the_order_and_batches_of_the_noises_do_not_matter() -> None:
    x = sd.noise((12,), 10.0, range(8))
    prior = prior_scalars("euler", LEVELS.tolist())[1]

    def fitted(x: Tensor, batch: int) -> Tensor:
        rows = Rows(MIXTURE, {}, batch, lambda done: None)
        path = FewStepPath(rows, x, LEVELS.tolist(), fine_solution(rows, x, LEVELS.tolist(), 12))
        return torch.tensor(list(itertools.chain(*fit_paths([path], prior, 0.01))))

    whole = fitted(x, 64)
    torch.testing.assert_close(fitted(x.flip(0), 64), whole, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(fitted(x, 3), whole, rtol=1e-3, atol=1e-5)


def test_rows_of_the_conditioning_are_used_in_turn() -> None:
    """Noise k gets row k mod their number, in batches too."""
    seen = []

    def denoiser(x: Tensor, sigma: Tensor, label: Tensor, flag: str) -> Tensor:
        assert flag == "as it is"
        assert len(label) == len(x)
        seen.append(label)
        return x * (0.25 / (0.25 + sigma[:, None] ** 2)) + 0.1 * label[:, None]

    conditioning = {"label": torch.tensor([0.0, 1.0, 2.0]), "flag": "as it is"}
    options = {**FEW, "noises": 5, "held_out": 2, "batch": 4}
    solver = sd.calibrate(denoiser, LEVELS, conditioning=conditioning, **options)
    assert [part.tolist() for part in seen[:2]] == [[0, 1, 2, 0], [1]]
    assert any(part.tolist() == [2, 0] for part in seen)
    assert solver.calibration is not None
    assert math.isfinite(solver.calibration.held_out_error)


def test_evaluations_are_those_announced() -> None:
    done = []
    for levels in (LEVELS, sd.schedules.karras(5, 0.05, 10.0, final="zero")):
        done.clear()
        sd.calibrate(MIXTURE, levels, **FEW, told=done.append)
        assert sum(done) == evaluations(5, 8, 4, 12)


def test_into_zero_the_last_step_is_first_order() -> None:
    levels = sd.schedules.karras(5, 0.05, 10.0, final="zero")
    solver = sd.calibrate(MIXTURE, levels, **FEW)
    assert [len(row) for row in solver.scalars] == [1, 2, 3, 3, 0]


# -- equations ------------------------------------------------------------------------------------


def equations(missing: Tensor, basis: list[Tensor]) -> Equations:
    return normal_equations(missing.double(), [b.double() for b in basis])


def test_equations_are_those_of_the_weighted_least_squares() -> None:
    generator = torch.Generator().manual_seed(3)
    missing, *basis = torch.randn(4, 6, 5, generator=generator, dtype=torch.float64)
    norms = missing.norm(dim=1, keepdim=True)
    design = torch.stack([(b / norms).flatten() for b in basis], dim=1)
    wanted = torch.linalg.lstsq(design, (missing / norms).flatten()).solution
    found = equations(missing, basis)
    torch.testing.assert_close(torch.tensor(solve(found, [0.0] * 3, 0.0)).double(), wanted)
    remains = (missing / norms).flatten() - design @ wanted
    assert found.loss(wanted.tolist()) == pytest.approx(float(remains.square().sum()) / 6)
    assert found.loss([0.0] * 3) == pytest.approx(1.0)


def test_every_sample_and_every_network_counts_the_same() -> None:
    """A sample a thousand times as large, or a network with as much more to do, has no more say."""
    generator = torch.Generator().manual_seed(4)
    missing, b = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    size = torch.tensor([1000.0, 1, 1, 1, 1, 1], dtype=torch.float64)[:, None]
    one, scaled = equations(missing, [b]), equations(size * missing, [size * b])
    torch.testing.assert_close(one.matrix, scaled.matrix)
    torch.testing.assert_close(one.right, scaled.right)
    halves = pooled([equations(missing[:3], [b[:3]]), equations(1e3 * missing[3:], [1e3 * b[3:]])])
    torch.testing.assert_close(halves.matrix, one.matrix)
    torch.testing.assert_close(halves.right, one.right)


def test_samples_that_lack_nothing_have_no_say() -> None:
    missing = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    b = torch.tensor([[5.0, 5.0], [2.0, 4.0]])
    assert solve(equations(missing, [b]), [0.0], 0.0) == pytest.approx((0.5,))
    assert solve(equations(0 * missing, [b]), [0.25], 0.0) == pytest.approx((0.25,))


def test_the_ridge_draws_to_the_prior() -> None:
    generator = torch.Generator().manual_seed(5)
    missing, *basis = torch.randn(4, 6, 5, generator=generator, dtype=torch.float64)
    found = equations(missing, basis)
    prior = (0.3, -0.2, 0.1)
    free = torch.tensor(solve(found, prior, 0.0))
    apart = [
        float((torch.tensor(solve(found, prior, ridge)) - torch.tensor(prior)).norm())
        for ridge in (0.0, 0.1, 1.0, 10.0, 1e9)
    ]
    assert apart == sorted(apart, reverse=True)
    assert apart[0] == pytest.approx(float((free - torch.tensor(prior)).norm()))
    assert apart[-1] < 1e-6
    # one scalar: a ridge of 1 goes half the way, whatever the units
    for unit in (1.0, 1e4):
        alone = equations(missing, [unit * basis[0]])
        (least,), (half,) = solve(alone, [0.0], 0.0), solve(alone, [0.0], 1.0)
        assert half == pytest.approx(least / 2)


def test_what_the_data_do_not_show_stays_at_the_prior() -> None:
    """Parallel basis vectors: only their sum is seen, and the change is shared."""
    missing = torch.randn(6, 5, generator=torch.Generator().manual_seed(6))
    found = equations(missing, [missing, missing])
    assert solve(found, (0.7, 0.1), 0.0) == pytest.approx((0.8, 0.2))
    assert solve(equations(missing, [missing, 0 * missing]), (0.7, 0.1), 0.0) == pytest.approx(
        (1.0, 0.1)
    )


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noises": 0}, "noises is 0; an int >= 1"),
        ({"held_out": 0}, "held_out is 0; an int >= 1"),
        ({"fine_steps": 1}, "fine_steps is 1; an int >= 2"),
        ({"batch": True}, "batch is True; an int >= 1"),
        ({"ridge": -1.0}, "ridge is -1.0; a finite number >= 0"),
        ({"ridge": math.nan}, "ridge is nan; a finite number >= 0"),
        ({"prior": "eulr"}, "prior 'eulr' is unknown. Did you mean 'euler'?"),
        ({"prior": ((0.0,),)}, "scalars has 1 rows; 5"),
        ({"shape": None}, "shape is None; this denoiser has no sample_shape"),
        ({"conditioning": {"a": 1}}, None),
        ({"sigmas": [1.0, 2.0]}, "levels must strictly decrease"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], said: str | None) -> None:
    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return MIXTURE(x, sigma)

    arguments = {"sigmas": LEVELS, **FEW, **options}
    error = TypeError if said is None else ValueError
    with pytest.raises(error, match=said):
        sd.calibrate(denoiser, **arguments)


def test_a_denoiser_that_breaks_is_named_with_its_step() -> None:
    def broken(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.where(sigma[:, None] == float(LEVELS[2]), math.nan, MIXTURE(x, sigma))

    with pytest.raises(sd.NonFiniteError, match="denoiser's output is not finite at step 2"):
        sd.calibrate(broken, LEVELS.tolist(), **FEW)
