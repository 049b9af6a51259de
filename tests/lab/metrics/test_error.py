"""Error to the fine solution."""

from __future__ import annotations

import math

import pytest
import torch

from steindiff.lab.metrics import rmse


def test_per_sample_and_pooled() -> None:
    fine = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    x = fine.double() + torch.tensor([3.0, 4.0]).double()[:, None, None, None]
    found = rmse(x, fine)
    assert found.per_sample.tolist() == pytest.approx([3, 4])
    assert found.pooled == pytest.approx(math.sqrt(12.5))
    assert rmse(fine, fine).pooled == 0


def test_a_sample_does_not_depend_on_its_batch() -> None:
    x, fine = torch.randn(2, 9, 3, 5, generator=torch.Generator().manual_seed(0))
    whole = rmse(x, fine).per_sample
    assert torch.equal(rmse(x[4:6], fine[4:6]).per_sample, whole[4:6])


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\) and fine \(2, 4\)"):
        rmse(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="fine holds NaN"):
        rmse(torch.zeros(2, 3), torch.full((2, 3), math.nan))
    with pytest.raises(TypeError, match=r"x has dtype torch.int64"):
        rmse(torch.zeros(2, 3).long(), torch.zeros(2, 3))
