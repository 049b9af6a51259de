"""Hutchinson's estimate: its mean, its variance, and how both scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from draws import normal
from torch import Tensor

from steindiff.denoisers import Empirical, Gaussian, GaussianMixture
from steindiff.lab.theory import ProbeStudy, asymmetry, study_probes

SIZE, COPIES = 6, 2000
Map = Callable[[Tensor], Tensor]


GENERAL = normal(SIZE, SIZE, seed=1)
MATRICES = {
    "symmetric": GENERAL @ GENERAL.T / 4,
    "general": GENERAL + torch.eye(SIZE, dtype=torch.float64),
    "rank one": torch.ones(SIZE, SIZE, dtype=torch.float64),
    "skew": (GENERAL - GENERAL.T) / 2,
}


def linear(matrix: Tensor) -> Map:
    return lambda x: x @ matrix.T.to(x)


def study(matrix: Tensor, probes: int = 32, copies: int = COPIES) -> ProbeStudy:
    """Of as many copies of one sample, whose probes are independent."""
    return study_probes(linear(matrix), torch.ones(copies, len(matrix)).double(), probes=probes)


@pytest.mark.parametrize("name", MATRICES)
def test_one_probe(name: str) -> None:
    """Mean tr J and variance |J + J'|^2/2, which for a symmetric J is 2 |J|^2."""
    matrix = MATRICES[name]
    singles = study(matrix).singles.flatten()
    wanted = ((matrix + matrix.T).square().sum() / 2).item()
    if name == "skew":
        assert singles.abs().max() < 1e-12
        return
    error = (singles.mean() - matrix.trace()).item()
    assert abs(error) < 4 * math.sqrt(wanted / len(singles))
    assert singles.var().item() == pytest.approx(wanted, rel=0.06)
    if name in ("symmetric", "rank one"):
        assert wanted == pytest.approx(2 * matrix.square().sum().item())


def on_the_sphere(matrix: Tensor) -> float:
    """Variance of d w'Mw, w uniform on the unit sphere: 2 d/(d + 2) |S - (tr S/d) I|^2.

    S is the symmetric part. From E(w'Sw)^2 = (tr^2 S + 2 |S|^2)/(d (d + 2)).
    """
    symmetric = (matrix + matrix.T) / 2
    trace = symmetric.trace() / SIZE
    rest = symmetric - trace * torch.eye(SIZE, dtype=torch.float64)
    return (2 * SIZE / (SIZE + 2) * rest.square().sum()).item()


@pytest.mark.parametrize("probes", [1, 8])
@pytest.mark.parametrize("name", MATRICES)
def test_trace_and_frobenius_norm(name: str, probes: int) -> None:
    """tr J = d E w'Jw and |J|^2 = d E|J'w|^2 over unit probes, an nth of their variance for n."""
    matrix, found = MATRICES[name], study(MATRICES[name], probes)
    for values, of in ((found.trace, matrix), (found.frobenius, matrix @ matrix.T)):
        wanted = on_the_sphere(of) / probes
        error = (values.mean() - of.trace()).item()
        assert abs(error) <= 4 * math.sqrt(wanted / COPIES) + 1e-12
        assert values.var().item() == pytest.approx(wanted, rel=0.2, abs=1e-20)


def test_a_multiple_of_the_identity_takes_one_probe() -> None:
    """Its length does not matter."""
    found = study_probes(lambda x: 3 * x, normal(4, SIZE), probes=1)
    torch.testing.assert_close(found.trace, torch.full((4,), 3.0 * SIZE).double())
    torch.testing.assert_close(found.frobenius, torch.full((4,), 9.0 * SIZE).double())


@pytest.mark.parametrize("name", MATRICES)
def test_the_distance_from_a_multiple_of_the_identity_is_positive(name: str) -> None:
    """|J|^2 - 2 c tr J + c^2 d >= 0 of the estimates, at the c = tr J/d where it is least."""
    for probes in (1, 3):
        found = study(MATRICES[name], probes)
        least = found.frobenius - found.trace.square() / SIZE
        assert (least >= -1e-12 * found.frobenius).all()


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_n_probes_have_an_nth_of_the_variance(count: int) -> None:
    """Measured over disjoint groups, and predicted, which is for a symmetric J."""
    matrix = MATRICES["symmetric"]
    found, wanted = study(matrix), 2 * matrix.square().sum().item() / count
    # A variance of m Gaussian values is known to sqrt(2/(m - 1)), of products to a little less.
    assert found.variance(count).mean().item() == pytest.approx(wanted, rel=0.12)
    assert found.predicted(count).mean().item() == pytest.approx(wanted, rel=0.02)
    assert found.variance(count).shape == found.predicted(count).shape == (COPIES,)


def test_the_prediction_is_of_symmetric_maps() -> None:
    """|J + J'|^2/2 is never above 2 |J|^2, and 0 of a skew map."""
    for name in ("general", "skew"):
        found = study(MATRICES[name])
        assert found.variance(1).mean() < 0.8 * found.predicted(1).mean()


@pytest.mark.parametrize("probes", [1, 4])
@pytest.mark.parametrize("size", [2, 12, 192, 3072])
def test_the_relative_error_falls_with_the_dimension(size: int, probes: int) -> None:
    """sqrt(2/(n d)) for J = I, by n probes in d dimensions."""
    found = study_probes(lambda x: 1 * x, torch.ones(8, size).double(), probes=256)
    relative = (found.variance(probes).mean().sqrt() / size).item()
    assert relative == pytest.approx(math.sqrt(2 / (probes * size)), rel=0.12)


def test_groups_are_disjoint_and_the_rest_is_left_out() -> None:
    """And probes are scaled to the length sqrt(d) for trace and norm, not for the variance."""
    singles = torch.tensor([[1.0, 0], [3, 0], [7, 1], [5, 3], [100, 100]], dtype=torch.float64)
    squares = torch.tensor([[1.0, 2], [1, 2], [1, 2], [1, 2], [6, 2]], dtype=torch.float64)
    lengths = torch.tensor([[1.0, 2], [1, 2], [1, 2], [1, 2], [2, 2]], dtype=torch.float64)
    found = ProbeStudy(singles, squares, lengths, size=10)
    assert found.variance(2).tolist() == [8.0, 2.0]  # of the means 2, 6 and of 0, 2
    assert found.trace.tolist() == pytest.approx([10 * 66 / 5, 10 * 52 / 5])
    assert found.frobenius.tolist() == pytest.approx([10 * 7 / 5, 10.0])
    assert found.predicted(2).tolist() == found.frobenius.tolist()
    with pytest.raises(ValueError, match="count is 3 of 5 probes"):
        found.variance(3)


def test_a_denoiser() -> None:
    """The trace of a mixture's is its divergence; probes differ from sample to sample."""
    denoiser = GaussianMixture(2 * normal(4, SIZE, seed=2), 0.1)
    x = normal(3, SIZE, seed=3)
    found = study_probes(lambda z: denoiser(z, 0.8), x, probes=1000)
    error = (2 * found.frobenius / 1000).sqrt()
    assert ((found.trace - denoiser.divergence(x, 0.8)).abs() < 4 * error).all()
    assert found.singles.shape == (1000, 3)
    same = study_probes(lambda z: denoiser(z, 0.8), x[:1].expand(3, SIZE), probes=2).singles
    assert len(same.unique()) == 6


def test_the_seed() -> None:
    x = normal(3, SIZE)
    first, again, other = (study_probes(torch.tanh, x, probes=5, seed=k).singles for k in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.ne(other).all()


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_exact_denoisers_are_gradients(sigma: float) -> None:
    covariance = MATRICES["symmetric"]
    for denoiser in (
        Gaussian(covariance=covariance),
        GaussianMixture(2 * normal(4, SIZE, seed=2), normal(4, SIZE, seed=3).square()),
        Empirical(normal(7, SIZE, seed=2)),
    ):
        found = asymmetry(lambda z, d=denoiser: d(z, sigma), normal(3, SIZE, seed=3))
        assert found.max() < 1e-7


@pytest.mark.parametrize("angle", [0.0, 0.1, 1.0, 1.5])
def test_a_rotation_has_the_tangent_of_its_angle(angle: float) -> None:
    """J = cos I + sin K, K'K = I: |J - J'|/|J + J'| = tan, by any probe."""
    c, s = math.cos(angle), math.sin(angle)
    rotation = torch.block_diag(*3 * [torch.tensor([[c, -s], [s, c]], dtype=torch.float64)])
    for seed in (0, 1):
        found = asymmetry(linear(rotation), normal(4, SIZE), seed=seed)
        expected = torch.full((4,), math.tan(angle), dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_skew_map_has_no_symmetric_part() -> None:
    assert asymmetry(linear(MATRICES["skew"]), normal(2, SIZE)).min() > 1e12


def test_asymmetry_of_a_general_map() -> None:
    """The quotient of the Frobenius norms, which one probe of many dimensions is near to."""
    matrix = normal(400, 400, seed=4) + 10 * torch.eye(400, dtype=torch.float64)
    wanted = ((matrix - matrix.T).norm() / (matrix + matrix.T).norm()).item()
    found = asymmetry(linear(matrix), normal(20, 400))
    assert found.mean().item() == pytest.approx(wanted, rel=0.05)
    assert len(found.unique()) == 20


def test_a_constant_map_is_a_gradient() -> None:
    points = torch.tensor([[0.0, 0.0], [5.0, 5.0]], dtype=torch.float64)
    denoiser = Empirical(points)
    found = asymmetry(lambda z: denoiser(z, 0.05), points[:1] + 0.01)
    assert found.tolist() == [0.0]


@pytest.mark.parametrize("f", [study_probes, asymmetry])
@pytest.mark.parametrize(
    ("map_", "x", "error", "message"),
    [
        (torch.tanh, torch.ones(3), ValueError, r"x has shape \(3,\)"),
        (torch.tanh, torch.ones(2, 3).int(), TypeError, "dtype torch.int32"),
        (lambda x: x.detach(), torch.ones(2, 3), ValueError, "not connected"),
    ],
)
def test_bad_arguments(f: Any, map_: Map, x: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        f(map_, x)


def test_one_probe_has_a_trace_but_no_variance() -> None:
    found = study(MATRICES["symmetric"], probes=1, copies=3)
    torch.testing.assert_close(found.trace, SIZE * found.singles[0] / found.lengths[0])
    with pytest.raises(ValueError, match="count is 1 of 1 probes; at least two groups"):
        found.variance(1)
    with pytest.raises(ValueError, match="probes is 0; at least 1"):
        study_probes(torch.tanh, torch.ones(2, 3), probes=0)
