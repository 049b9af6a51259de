"""Mode coverage against hand counts."""

from __future__ import annotations

import math

import pytest
import torch

from steindiff.lab.metrics import mode_coverage, nearest_mode


def test_counts_and_divergence() -> None:
    target = torch.tensor([0.5, 0.25, 0.25])
    found = mode_coverage(torch.tensor([0, 0, 0, 1]), target)
    assert (found.modes, found.covered) == (3, 2)
    assert found.frequencies.tolist() == [0.75, 0.25, 0]
    assert found.kl == pytest.approx(0.75 * math.log(1.5))
    assert found.total_variation == pytest.approx(0.25)


def test_a_perfect_and_a_collapsed_set() -> None:
    target = torch.full((8,), 0.125)
    perfect = mode_coverage(torch.arange(8).repeat(5), target)
    assert (perfect.covered, perfect.kl) == (8, pytest.approx(0, abs=1e-12))
    collapsed = mode_coverage(torch.full((40,), 3), target)
    assert (collapsed.covered, collapsed.kl) == (1, pytest.approx(math.log(8)))


def test_modes_of_probability_zero() -> None:
    target = torch.tensor([1.0, 0.0])
    assert mode_coverage(torch.tensor([0]), target)[:3] == (1, 1, 0)
    stray = mode_coverage(torch.tensor([0, 1]), target)
    assert (stray.modes, stray.covered, stray.kl) == (1, 1, math.inf)


def test_nearest_mode() -> None:
    means = torch.tensor([[[0.0, 0.0]], [[4.0, 0.0]], [[0.0, 4.0]]])
    samples = torch.tensor([[[0.1, 3.0]], [[-5.0, 1.0]], [[2.1, 0.0]], [[2.0, 0.0]]])
    assert nearest_mode(samples, means).tolist() == [2, 0, 1, 0]


@pytest.mark.parametrize(
    ("assignments", "target", "message"),
    [
        ([0, 3], [0.5, 0.5], "assignments holds 3; modes 0 to 1"),
        ([-1, 0], [0.5, 0.5], "assignments holds -1"),
        ([0, 1], [0.5, 0.6], r"target sums to 1\.1"),
        ([0, 1], [1.5, -0.5], r"its smallest is -0\.5"),
        ([], [1.0], r"assignments has shape \(0,\)"),
        ([0], [[1.0]], r"target has shape \(1, 1\)"),
    ],
)
def test_bad_input_is_named(assignments: list[int], target: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mode_coverage(torch.tensor(assignments, dtype=torch.int64), torch.tensor(target))


def test_what_belongs_to_no_mode_is_refused() -> None:
    with pytest.raises(TypeError, match="no integers"):
        mode_coverage(torch.zeros(3), torch.ones(1))
    with pytest.raises(ValueError, match="samples holds NaN"):
        nearest_mode(torch.full((2, 2), math.nan), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"samples have shape \(2,\) and means \(3,\)"):
        nearest_mode(torch.zeros(2, 2), torch.zeros(3, 3))
