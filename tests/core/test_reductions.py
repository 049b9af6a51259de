import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steindiff._reductions import inner, row_sum


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 7, 8, 17, 784])
def test_row_sum_is_the_sum(length):
    v = torch.randn(4, 3, length, dtype=torch.float64)
    torch.testing.assert_close(row_sum(v), v.sum(-1), rtol=1e-13, atol=1e-13)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40))
def test_row_sum_is_close_to_the_exact_sum(values):
    result = row_sum(torch.tensor(values, dtype=torch.float64)).item()
    assert result == pytest.approx(math.fsum(values), abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, 13, 784])
def test_a_row_does_not_see_its_neighbours(dtype, length):
    v = torch.randn(17, length, dtype=dtype)
    whole = row_sum(v)
    order = torch.randperm(17)
    assert torch.equal(row_sum(v[order]), whole[order])
    assert torch.equal(row_sum(v[:3]), whole[:3])
    assert torch.equal(row_sum(v[5]), whole[5])
    assert torch.equal(row_sum(v.T.contiguous().T), whole)


def test_row_sum_is_differentiable():
    v = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(row_sum, (v,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_inner_accumulates_in_double(dtype):
    a, b = torch.randn(3, 2, 4, 5, dtype=dtype), torch.randn(3, 2, 4, 5, dtype=dtype)
    result = inner(a, b)
    assert result.dtype == torch.float64
    assert result.shape == (3,)
    torch.testing.assert_close(result, (a.double() * b.double()).flatten(1).sum(1))


def test_inner_of_an_empty_batch_is_empty():
    assert inner(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)


def test_errors():
    with pytest.raises(ValueError, match="no dimension"):
        row_sum(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"\(2, 3\) and b \(3, 3\)"):
        inner(torch.zeros(2, 3), torch.zeros(3, 3))
