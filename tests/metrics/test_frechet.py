"""Fréchet distance against closed forms and an independent computation; the paired bootstrap."""

import math

import pytest
import torch

from steindiff.metrics import frechet_distance, paired_bootstrap


def draw(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).double()


def white(count: int, width: int) -> torch.Tensor:
    """Features whose sample mean is 0 and whose sample covariance is the identity, exactly."""
    x = draw(count, width)
    x = x - x.mean(dim=0)
    return torch.linalg.qr(x).Q * math.sqrt(count - 1)


def test_closed_form_for_axis_aligned_gaussians() -> None:
    x, shift = white(200, 3), torch.tensor([0.5, -1.0, 2.0]).double()
    scale_a, scale_b = torch.tensor([1.0, 2.0, 0.1]), torch.tensor([3.0, 2.0, 0.4])
    expected = shift.square().sum() + (scale_a - scale_b).square().sum()
    found = frechet_distance(x * scale_a, x * scale_b + shift)
    assert found == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(300, 200), (10, 300), (6, 9)])
def test_matches_the_trace_of_the_matrix_root(n: int, m: int) -> None:
    """Also with fewer samples than features, where the covariances are singular."""
    a, b = draw(n, 16, 1) @ draw(16, 16, 2), draw(m, 16, 3) @ draw(16, 16, 4) + 0.3
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    root = torch.linalg.eigvals(cov_a @ cov_b).real.clamp_min(0).sqrt().sum()
    difference = a.mean(dim=0) - b.mean(dim=0)
    expected = difference.square().sum() + cov_a.trace() + cov_b.trace() - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-6)


def test_is_zero_for_equal_sets_and_symmetric() -> None:
    a, b = draw(100, 8, 1), 2 * draw(80, 8, 2)
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_bootstrap_pairs_its_rows() -> None:
    """Equal sets give a ratio of one in every resample; the worse set a ratio above one."""
    reference = draw(300, 4)
    near, far = reference + 0.3 * draw(300, 4, 5), reference + 0.6 * draw(300, 4, 6)
    _, _, same = paired_bootstrap(near, near.clone(), reference, resamples=40)
    assert same == (1.0, 1.0, 1.0)
    base, relaxed, ratio = paired_bootstrap(near, far, reference, resamples=40)
    assert ratio.value == pytest.approx(relaxed.value / base.value)
    assert 1 < ratio.low < ratio.value < ratio.high
    assert paired_bootstrap(near, far, reference, resamples=40)[2] == ratio


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
