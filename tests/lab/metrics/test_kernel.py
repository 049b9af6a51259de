"""Kernel distance against other implementations and a sum over pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from steindiff.lab.metrics import kernel_distance

Draw = Callable[..., torch.Tensor]


@pytest.mark.upstream
def test_agrees_with_torch_fidelity_and_torchmetrics(draw: Draw, others: Any) -> None:
    """One block with all rows, where nothing is drawn."""
    a, b = draw(200, 16, 1), draw(200, 16, 2, shift=0.1)
    ours = kernel_distance(a, b, block_size=200, blocks=1)
    assert ours.std == 0
    torchmetrics = others.torchmetrics_kid.poly_mmd(a, b).item()
    theirs = others.kid.kid_features_to_metric(
        a, b, kid_subsets=1, kid_subset_size=200, verbose=False
    )
    assert ours.mean == pytest.approx(theirs[others.kid.KEY_METRIC_KID_MEAN], rel=1e-9)
    assert ours.mean == pytest.approx(torchmetrics, rel=1e-9)


@pytest.mark.upstream
def test_blocks_agree_with_torch_fidelity_within_their_error(draw: Draw, others: Any) -> None:
    """The draws differ; their means and spreads may only by what so many blocks leave."""
    a, b = draw(800, 8, 1), draw(700, 8, 2, shift=0.3)
    ours = kernel_distance(a, b, block_size=100, blocks=100)
    theirs = others.kid.kid_features_to_metric(
        a, b, kid_subsets=100, kid_subset_size=100, verbose=False
    )
    difference = ours.mean - theirs[others.kid.KEY_METRIC_KID_MEAN]
    assert abs(difference) < 4 * ours.std * (2 / 100) ** 0.5
    assert ours.std == pytest.approx(theirs[others.kid.KEY_METRIC_KID_STD], rel=0.4)


def test_is_the_sum_over_pairs(draw: Draw) -> None:
    a, b = draw(5, 3, 1), draw(5, 3, 2)

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((x @ y / 3 + 1) ** 3)

    pairs = [(i, j) for i in range(5) for j in range(5)]
    within = sum(kernel(x[i], x[j]) for x in (a, b) for i, j in pairs if i != j) / 20
    between = sum(kernel(a[i], b[j]) for i, j in pairs) / 25
    found = kernel_distance(a, b, block_size=5, blocks=1)
    assert found.mean == pytest.approx(within - 2 * between, rel=1e-12)


def test_has_no_bias_and_repeats_itself() -> None:
    x = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0))
    same = kernel_distance(x[:2000], x[2000:], block_size=50, blocks=400)
    assert abs(same.mean) < 4 * same.std / 400**0.5
    assert kernel_distance(x[:2000], x[2000:], block_size=50, blocks=400) == same
    assert kernel_distance(x[:2000], x[2000:], block_size=50, blocks=400, seed=1) != same


def test_bad_input_is_named(draw: Draw) -> None:
    a = draw(20, 3)
    with pytest.raises(ValueError, match="block_size is 1000, but a has 20 rows and b 30"):
        kernel_distance(a, draw(30, 3))
    with pytest.raises(ValueError, match="block_size is 1;"):
        kernel_distance(a, a, block_size=1)
    with pytest.raises(ValueError, match="blocks is 0;"):
        kernel_distance(a, a, block_size=5, blocks=0)
    with pytest.raises(ValueError, match=r"blocks is 2\.5"):
        kernel_distance(a, a, block_size=5, blocks=2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="a has 3 features and b 4"):
        kernel_distance(a, draw(20, 4), block_size=5)
