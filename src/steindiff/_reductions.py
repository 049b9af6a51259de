"""Sums whose result for one sample does not depend on the batch that it is in.

Library sums pick their order of summation from the layout of the whole tensor, and a matrix
product from its size: the same sample then differs in its last bits between batches. Elementwise
additions do not, nor does pooling, in which every window is summed in order by one thread.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

_WIDEST = 256
"""Numbers that are summed one after the other at most."""


def accumulator_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has no float64 (mps)."""
    return torch.float32 if device.type == "mps" else torch.float64


def smallest(dtype: torch.dtype) -> float:
    """As small as a number can be whose root has a second derivative."""
    return torch.finfo(dtype).tiny ** (1 / 3)


def root_of(square: Tensor) -> Tensor:
    """The square root, 0 where there is none, with a derivative everywhere.

    Not clamped at 0, where a root has no derivative.
    """
    return square.clamp_min(smallest(square.dtype)).sqrt()


def row_sum(v: Tensor) -> Tensor:
    """Sum over the last dimension, in an order fixed by its length.

    A row's sum depends on that row only, to the last bit, on any device. In float64 it is taken
    window by window, in two operations for up to 65,536 numbers: what a sum costs a GPU is the
    number of its operations. In narrower types, where the order matters to the result, one half is
    added to the other again and again: the rounding error grows with the logarithm of the length
    (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 4.2).

    Args:
        v: (..., n), n may be 0.

    Returns:
        (...), in the dtype of `v`.

    Raises:
        ValueError: `v` has no dimension to sum over.
    """
    if v.ndim == 0:
        raise ValueError("v has no dimension to sum over; a tensor of shape (..., n) is needed")
    if v.numel() == 0:
        return v.new_zeros(v.shape[:-1])
    return _windowed_sum(v) if v.dtype == torch.float64 else _halving_sum(v)


def _windowed_sum(v: Tensor) -> Tensor:
    length = v.shape[-1]
    passes = next(k for k in range(1, 64) if length <= _WIDEST**k)
    width = next(w for w in range(1, _WIDEST + 1) if w**passes >= length)
    rows = v.reshape(-1, 1, length)
    for _ in range(passes):
        rows = avg_pool2d(rows, (1, width), ceil_mode=True, divisor_override=1)
    return rows.reshape(v.shape[:-1])


def _halving_sum(v: Tensor) -> Tensor:
    while (length := v.shape[-1]) > 1:
        half = length // 2
        folded = v[..., :half] + v[..., half : 2 * half]
        v = torch.cat([folded, v[..., -1:]], dim=-1) if length % 2 else folded
    return v[..., 0]


def inner(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each sample: the sum of the product over all dimensions but the first.

    Args:
        a: (B, *shape).
        b: (B, *shape), of the same shape.

    Returns:
        (B,), accumulated and returned in float64 (float32 on mps).

    Raises:
        ValueError: different shapes, or no batch dimension.
    """
    return inners((a, b))[0]


def inners(*pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """`inner` of every pair, all of one shape, to the same bits with far fewer operations.

    The pairs are folded together: what a sum costs a GPU is the number of its operations.

    Raises:
        ValueError: different shapes, or no batch dimension.
    """
    shape = pairs[0][0].shape
    for a, b in pairs:
        if not a.shape == b.shape == shape or a.ndim == 0:
            raise ValueError(
                f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}; "
                "both need the same shape (batch, *sample shape)"
            )
    dtype = accumulator_dtype(pairs[0][0].device)
    wide = {id(v): v.to(dtype).reshape(shape[0], math.prod(shape[1:])) for p in pairs for v in p}
    return row_sum(torch.stack([wide[id(a)] * wide[id(b)] for a, b in pairs])).unbind()
