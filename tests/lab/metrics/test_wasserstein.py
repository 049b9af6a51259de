"""Sliced Wasserstein distance against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from steindiff.lab.metrics import sliced_wasserstein

Draw = Callable[..., torch.Tensor]


def test_a_shift_in_one_dimension_is_its_length(draw: Draw) -> None:
    x = draw(100, 1)
    assert sliced_wasserstein(x, x.flip(0) + 0.7) == pytest.approx(0.7, rel=1e-12)


def test_a_shift_in_many_dimensions_tends_to_its_share(draw: Draw) -> None:
    """Each direction sees <t, theta>, whose mean square over the sphere is |t|^2 / D."""
    x, shift = draw(50, 5), torch.tensor([1.0, -2.0, 0.0, 3.0, 0.5])
    found = sliced_wasserstein(x, x + shift, projections=20000)
    assert found == pytest.approx(float(shift.norm()) / math.sqrt(5), rel=0.02)


def test_gaussians_of_different_width() -> None:
    """Scaled white rows: each direction sees |s - r| times a spread of exactly one."""
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    white = torch.linalg.qr(x - x.mean(dim=0)).Q * math.sqrt(500)
    assert sliced_wasserstein(1.5 * white, 0.4 * white) == pytest.approx(1.1, rel=1e-9)
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(20000, 3, generator=generator)
    b = 2 * torch.randn(15000, 3, generator=generator)
    assert sliced_wasserstein(a, b, projections=16) == pytest.approx(1, abs=0.03)


def test_sets_of_different_sizes_couple_by_quantiles(draw: Draw) -> None:
    x = draw(12, 2)
    assert sliced_wasserstein(x, x.repeat(3, 1)) == pytest.approx(0, abs=1e-12)
    # {0, 3} against {0, 1, 2}: thirds and halves meet in sixths.
    a, b = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    expected = math.sqrt((2 * 0 + 1 * 1 + 1 * 4 + 2 * 1) / 6)
    assert sliced_wasserstein(a, b, projections=4) == pytest.approx(expected, rel=1e-12)


def test_sizes_without_a_common_divisor_agree_with_repeated_rows(draw: Draw) -> None:
    """Each row repeated to a common size: the coupling of sorted rows, one by one."""
    x, y = draw(40, 1, 1), draw(17, 1, 2, shift=0.3)
    pairs = [z.sort(dim=0).values.repeat_interleave(n, dim=0) for z, n in ((x, 17), (y, 40))]
    expected = (pairs[0] - pairs[1]).square().mean().sqrt()
    assert sliced_wasserstein(x, y) == pytest.approx(float(expected), rel=1e-12)


def test_is_symmetric_and_repeats_itself(draw: Draw) -> None:
    a, b = draw(30, 4, 1), draw(50, 4, 2)
    found = sliced_wasserstein(a, b)
    assert found == pytest.approx(sliced_wasserstein(b, a), rel=1e-12)
    assert found == sliced_wasserstein(a, b)
    assert found != sliced_wasserstein(a, b, seed=1)


def test_bad_input_is_named(draw: Draw) -> None:
    with pytest.raises(ValueError, match="projections is 0"):
        sliced_wasserstein(draw(5, 2), draw(5, 2), projections=0)
    with pytest.raises(ValueError, match="a has 2 features and b 3"):
        sliced_wasserstein(draw(5, 2), draw(5, 3))
