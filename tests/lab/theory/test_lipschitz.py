"""Local Lipschitz constants against singular values."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from draws import normal
from maps import MATRIX, MIXTURE, SHAPE, SIZE, Map, attention, linear, matrices, network
from torch import Tensor

from steindiff.denoisers import Gaussian
from steindiff.lab.theory import local_lipschitz

NONLINEAR: dict[str, Map] = {
    "network": network,
    "mixture": lambda x: MIXTURE(x, 0.6),
    "attention": attention,
}


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 20.0])
def test_denoiser_of_a_gaussian(sigma: float) -> None:
    """The largest eigenvalue of C/(C + sigma^2)."""
    covariance = MATRIX @ MATRIX.T / SIZE
    denoiser = Gaussian(covariance=covariance)
    top = torch.linalg.eigvalsh(covariance)[-1].item()
    found = local_lipschitz(lambda x: denoiser(x, sigma), normal(3, SIZE), tolerance=1e-12)
    expected = torch.full((3,), top / (top + sigma**2), dtype=torch.float64)
    torch.testing.assert_close(found.constant, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("seed", range(4))
def test_linear_map_without_symmetry(seed: int) -> None:
    """The largest singular value, which is no eigenvalue, and its right singular vector."""
    matrix = normal(SIZE, SIZE, seed=10 + seed)
    found = local_lipschitz(linear(matrix), normal(2, *SHAPE), tolerance=1e-13)
    values, right = torch.linalg.svd(matrix)[1:]
    torch.testing.assert_close(found.constant, values[:1].expand(2), rtol=1e-10, atol=0)
    along = (found.direction.flatten(1) @ right[0]).abs()
    torch.testing.assert_close(along, torch.ones_like(along), rtol=1e-9, atol=0)
    assert torch.linalg.eigvals(matrix).abs().max() < 0.97 * values[0]


@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear_maps(name: str) -> None:
    """The largest singular value of the Jacobian of each sample, at that sample."""
    f, x = NONLINEAR[name], normal(5, *SHAPE, seed=4)
    expected = torch.linalg.svdvals(matrices(f, x))[:, 0]
    found = local_lipschitz(f, x, tolerance=1e-12)
    torch.testing.assert_close(found.constant, expected, rtol=1e-9, atol=0)
    assert expected.std() > 1e-2


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", NONLINEAR)
def test_gradients_may_be_off_around_it(name: str, guard: Any) -> None:
    f, x = NONLINEAR[name], normal(3, *SHAPE, seed=4)
    free = local_lipschitz(f, x)
    with guard():
        guarded = local_lipschitz(f, x * 1)
        assert not torch.is_grad_enabled()
    assert torch.equal(guarded.constant, free.constant)
    for tensor in (*guarded[:3], *free[:3]):
        assert not tensor.requires_grad


@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 8])
def test_the_residual_bounds_the_error(rounds: int) -> None:
    """J'J has an eigenvalue within the residual's share of L^2, of which v is the vector."""
    x = normal(6, *SHAPE, seed=4)
    matrix = matrices(network, x)
    gram = matrix.mT @ matrix
    found = local_lipschitz(network, x, rounds=rounds, tolerance=1e-12)
    square, v = found.constant.square(), found.direction.flatten(1)
    assert found.rounds == rounds
    off = (gram @ v[..., None])[..., 0] - square[:, None] * v
    torch.testing.assert_close(found.residual, off.norm(dim=1) / square, rtol=1e-7, atol=1e-9)
    distance = (torch.linalg.eigvalsh(gram) - square[:, None]).abs().amin(dim=1)
    assert (distance <= found.residual * square * (1 + 1e-9)).all()
    assert found.residual.min() > 1e-6 or rounds > 5


def test_more_rounds_come_nearer_from_below() -> None:
    x = normal(6, *SHAPE, seed=4)
    exact = torch.linalg.svdvals(matrices(network, x))[:, 0]
    found = [local_lipschitz(network, x, rounds=k, tolerance=1e-14).constant for k in range(1, 13)]
    errors = exact - torch.stack(found)
    assert (errors > -1e-10).all()
    assert (errors.diff(dim=0) < 1e-10).all()
    assert errors[2].min() > 1e-3
    assert errors[-1].abs().max() < 1e-10


def test_the_direction_is_stretched_by_the_constant() -> None:
    """|v| = 1 and |J v| = L whatever the rounds."""
    x = normal(6, *SHAPE, seed=4)
    for rounds in (1, 4):
        found = local_lipschitz(network, x, rounds=rounds)
        v = found.direction.flatten(1)
        assert found.direction.shape == x.shape
        torch.testing.assert_close(v.norm(dim=1), torch.ones(6, dtype=torch.float64))
        image = (matrices(network, x) @ v[..., None])[..., 0]
        torch.testing.assert_close(image.norm(dim=1), found.constant, rtol=1e-10, atol=0)


@pytest.mark.parametrize("tolerance", [0.2, 1e-2, 1e-4])
def test_it_stops_as_soon_as_every_residual_is_below(tolerance: float) -> None:
    values = torch.linspace(0.2, 1, 40, dtype=torch.float64)
    f, x = linear(values.diag()), normal(3, 40)
    found = local_lipschitz(f, x, rounds=40, tolerance=tolerance)
    assert found.residual.max() < tolerance
    before = local_lipschitz(f, x, rounds=found.rounds - 1, tolerance=1e-14)
    assert before.residual.max() >= tolerance
    assert 1 < found.rounds < 40


@pytest.mark.parametrize("rounds", [2, 3, 5])
def test_it_is_the_best_in_the_span_of_the_power_iterates(rounds: int) -> None:
    """The largest Rayleigh quotient over v, J'J v, ..., where the power iteration has the last."""
    start = local_lipschitz(linear(MATRIX), normal(1, SIZE), rounds=1).direction[0]
    gram, iterates = MATRIX.T @ MATRIX, [start]
    for _ in range(rounds - 1):
        iterates.append(gram @ iterates[-1])
    basis = torch.linalg.qr(torch.stack(iterates, dim=1)).Q
    best = torch.linalg.eigvalsh(basis.T @ gram @ basis)[-1].sqrt()
    found = local_lipschitz(linear(MATRIX), normal(1, SIZE), rounds=rounds, tolerance=1e-14)
    torch.testing.assert_close(found.constant, best[None], rtol=1e-10, atol=0)
    power = (MATRIX @ iterates[-1]).norm() / iterates[-1].norm()
    assert best > power * (1 + 1e-4)


def test_the_zero_and_the_identity() -> None:
    x = normal(3, *SHAPE)
    for f, constant in ((lambda x: 0 * x, 0.0), (torch.round, 0.0), (lambda x: x, 1.0)):
        found = local_lipschitz(f, x)
        expected = torch.full((3,), constant, dtype=torch.float64)
        torch.testing.assert_close(found.constant, expected, rtol=1e-14, atol=0)
        torch.testing.assert_close(found.residual, torch.zeros_like(expected), atol=1e-14, rtol=0)
        norm = found.direction.flatten(1).norm(dim=1)
        torch.testing.assert_close(norm, torch.ones_like(norm))
        assert found.rounds == 1


@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank(rank: int) -> None:
    """The span of the iterates is exhausted before the rounds are."""
    matrix = normal(SIZE, rank, seed=1) @ normal(rank, SIZE, seed=2)
    found = local_lipschitz(linear(matrix), normal(2, SIZE), tolerance=1e-15)
    top = torch.linalg.svdvals(matrix)[:1].expand(2)
    torch.testing.assert_close(found.constant, top, rtol=1e-12, atol=0)


def test_a_zero_sample_beside_others() -> None:
    """One whose Jacobian is 0 leaves its neighbours as they are."""
    gain = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)[:, None]
    top = torch.linalg.svdvals(MATRIX)[0]
    found = local_lipschitz(
        lambda x: gain * (x @ MATRIX.T), normal(3, SIZE), rounds=12, tolerance=1e-12
    )
    torch.testing.assert_close(found.constant, gain[:, 0] * top, rtol=1e-9, atol=1e-12)


def test_a_sample_does_not_see_its_batch() -> None:
    """With as many rounds; a batch goes on until all its samples have converged."""
    x = normal(9, *SHAPE, seed=4)

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        found = local_lipschitz(network, x, rounds=5, tolerance=1e-14)
        return found.constant, found.residual

    whole = run(x)
    for rows in (slice(2, 3), slice(4, 7), torch.arange(8, -1, -1)):
        for alone, among in zip(run(x[rows]), whole, strict=True):
            torch.testing.assert_close(alone, among[rows], rtol=1e-9, atol=1e-12)


def test_the_start_is_one_for_all_samples_and_by_the_seed() -> None:
    x = normal(1, *SHAPE).expand(3, *SHAPE)
    first, again, other = (local_lipschitz(network, x, rounds=2, seed=k) for k in (0, 0, 1))
    assert torch.equal(first.constant, again.constant)
    torch.testing.assert_close(first.constant, first.constant[:1].expand(3))
    assert (first.constant - other.constant).abs().min() > 1e-3


def test_single_precision() -> None:
    """Results in float64, the direction as x is, the constant to the map's own rounding."""
    x = normal(4, *SHAPE, seed=4)
    exact = torch.linalg.svdvals(MATRIX)[0]
    found = local_lipschitz(linear(MATRIX), x.float(), tolerance=1e-5)
    assert found.direction.dtype == torch.float32
    assert found.constant.dtype == found.residual.dtype == torch.float64
    torch.testing.assert_close(found.constant, exact.expand(4), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rounds": 0}, ValueError, "rounds is 0 and tolerance"),
        ({"tolerance": 0.0}, ValueError, r"tolerance 0\.0; >= 1 and > 0 are needed"),
        ({"tolerance": math.nan}, ValueError, "tolerance nan"),
        ({"x": torch.ones(3)}, ValueError, r"x has shape \(3,\)"),
        ({"x": torch.ones(2, 3).int()}, TypeError, "dtype torch.int32"),
        ({"f": lambda x: x.detach()}, ValueError, "not connected"),
        ({"f": lambda x: x[:, :1]}, ValueError, r"f\(x\) has shape"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"f": torch.tanh, "x": torch.ones(2, 3)} | options
    with pytest.raises(error, match=message):
        local_lipschitz(arguments.pop("f"), arguments.pop("x"), **arguments)
