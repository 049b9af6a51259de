"""Fréchet distance against closed forms and other implementations; its limit in N."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from steindiff.lab.metrics import (
    Moments,
    Statistics,
    fd_infinity,
    frechet_distance,
    frechet_from_statistics,
)

Draw = Callable[..., torch.Tensor]


def normal(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).double()


def white(count: int, width: int) -> torch.Tensor:
    """Features whose sample mean is 0 and whose sample covariance is the identity, exactly."""
    x = normal(count, width)
    x = x - x.mean(dim=0)
    return torch.linalg.qr(x).Q * math.sqrt(count - 1)


def statistics(x: torch.Tensor, features: str | None = None) -> Statistics:
    return Statistics(x.mean(dim=0), torch.cov(x.T), len(x), features)


def test_closed_form_for_axis_aligned_gaussians() -> None:
    x, shift = white(200, 3), torch.tensor([0.5, -1.0, 2.0]).double()
    scale_a, scale_b = torch.tensor([1.0, 2.0, 0.1]), torch.tensor([3.0, 2.0, 0.4])
    expected = shift.square().sum() + (scale_a - scale_b).square().sum()
    a, b = x * scale_a, x * scale_b + shift
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-6)
    found = frechet_from_statistics(statistics(a), statistics(b))
    assert found == pytest.approx(expected.item(), rel=1e-6)


def test_closed_form_for_gaussians_that_do_not_commute() -> None:
    """In the plane tr (A B)^(1/2) is sqrt(tr(A B) + 2 sqrt(det(A B)))."""
    a = torch.tensor([[2.0, 0.7], [0.7, 0.5]]).double()
    b = torch.tensor([[0.4, -0.3], [-0.3, 1.5]]).double()
    product = a @ b
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = a.trace() + b.trace() - 2 * root
    found = frechet_from_statistics(
        Statistics(torch.zeros(2), a), Statistics(torch.zeros(2).double(), b)
    )
    assert found == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(300, 200), (10, 300), (6, 9)])
def test_matches_the_trace_of_the_matrix_root(n: int, m: int, draw: Draw) -> None:
    """Also with fewer samples than features, where the covariances are singular."""
    a, b = draw(n, 16, 1), draw(m, 16, 2, shift=0.3)
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    root = torch.linalg.eigvals(cov_a @ cov_b).real.clamp_min(0).sqrt().sum()
    difference = a.mean(dim=0) - b.mean(dim=0)
    expected = difference.square().sum() + cov_a.trace() + cov_b.trace() - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.upstream
@pytest.mark.parametrize("width", [8, 64])
def test_agrees_with_torch_fidelity_and_torchmetrics(width: int, draw: Draw, others: Any) -> None:
    a, b = draw(600, width, 1), draw(500, width, 2, shift=0.2)
    theirs = [others.fid.fid_features_to_statistics(x) for x in (a, b)]
    key = others.fid.KEY_METRIC_FID
    fidelity = others.fid.fid_statistics_to_metric(*theirs, verbose=False)[key]
    arguments = [torch.from_numpy(x[name]) for x in theirs for name in ("mu", "sigma")]
    torchmetrics = others.torchmetrics_fid._compute_fid(*arguments).item()
    ours = frechet_distance(a, b)
    assert ours == pytest.approx(fidelity, rel=1e-9)
    assert ours == pytest.approx(torchmetrics, rel=1e-9)
    moments = [Moments(width), Moments(width)]
    for part, x in zip(moments, (a, b), strict=True):
        part.add(x)
    from_moments = frechet_from_statistics(*map(Statistics.from_moments, moments))
    # Features rounded to 2^-32.
    assert from_moments == pytest.approx(fidelity, rel=1e-7)


def test_statistics_of_few_rows_give_what_the_features_give(draw: Draw) -> None:
    """A covariance of rank 9 in 40 dimensions: what both sets lack must not turn into distance."""
    a, b = draw(10, 40, 1), draw(10, 40, 2)
    expected = frechet_distance(a, b)
    assert frechet_from_statistics(statistics(a), statistics(b)) == pytest.approx(expected, 1e-6)
    assert frechet_from_statistics(statistics(a), statistics(a)) < 1e-12 * float(a.var() * 40)


def test_is_zero_for_equal_sets_and_symmetric(draw: Draw) -> None:
    a, b = draw(100, 8, 1), draw(80, 8, 2)
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_extrapolation_takes_off_the_bias_of_few_samples() -> None:
    """Both sets are of one distribution: the distance is all bias, and its limit is zero."""
    exact = Statistics(torch.zeros(8), torch.eye(8))
    values, biased = [], []
    for seed in range(6):
        limit = fd_infinity(normal(3000, 8, seed), exact, seed=seed)
        values.append(limit.value)
        biased.append(limit.distances[-1])
    mean = sum(values) / len(values)
    assert sum(biased) / len(biased) > 0.008
    assert abs(mean) < 0.3 * sum(biased) / len(biased)
    assert limit.sizes[0] == 300
    assert limit.sizes[-1] == 3000


def test_extrapolation_is_the_fit_of_its_own_distances(draw: Draw) -> None:
    """Against the normal equations of a line in 1/N, and whole subsets against the distance."""
    a, b = draw(400, 4, 1), draw(300, 4, 2)
    limit = fd_infinity(a, b, fractions=(0.25, 0.5, 1.0))
    x = torch.tensor([1 / 100, 1 / 200, 1 / 400]).double()
    y = torch.tensor(limit.distances).double()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert limit.value == pytest.approx(float(y.mean() - slope * x.mean()), rel=1e-9)
    assert limit.distances[-1] == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert fd_infinity(a, statistics(b)).value == pytest.approx(fd_infinity(a, b).value, rel=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 4), "a has 3 features and b 4"),
        (torch.zeros(1, 3), torch.zeros(5, 3), r"a has shape \(1, 3\)"),
        (torch.zeros(5, 3), torch.zeros(5), r"b has shape \(5,\)"),
        (torch.zeros(5, 3), torch.full((5, 3), math.nan), "b holds NaN"),
    ],
)
def test_bad_features_are_named(a: torch.Tensor, b: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_what_does_not_belong_together_is_refused(draw: Draw) -> None:
    with pytest.raises(TypeError, match=r"a has dtype torch.int64"):
        frechet_distance(torch.zeros(5, 3).long(), torch.zeros(5, 3))
    three, four = Statistics(torch.zeros(3), torch.eye(3)), Statistics(torch.zeros(4), torch.eye(4))
    with pytest.raises(ValueError, match="a has 3 features and b 4"):
        frechet_from_statistics(three, four)
    with pytest.raises(ValueError, match="a has 4 features and reference 3"):
        fd_infinity(draw(20, 4), three)
    x = draw(20, 4)
    with pytest.raises(ValueError, match="statistics of 'pixels' and b of 'other'"):
        frechet_from_statistics(statistics(x, "pixels"), statistics(x, "other"))
    with pytest.raises(ValueError, match=r"fractions holds 1\.5"):
        fd_infinity(x, x, fractions=(0.5, 1.5))
    with pytest.raises(ValueError, match=r"fractions give the sizes \[10\]"):
        fd_infinity(x, x, fractions=(0.5,))
