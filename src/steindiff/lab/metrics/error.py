"""Distance of samples to the fine solution from the same noise."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch
from ..._reductions import inner


class Rmse(NamedTuple):
    """Root mean square errors, in the units of the samples.

    Attributes:
        per_sample: (N,) float64, over the dimensions of each sample.
        pooled: over all samples and dimensions; not the mean of `per_sample`.
    """

    per_sample: Tensor
    pooled: float


def rmse(x: Tensor, fine: Tensor) -> Rmse:
    """How far each sample ends from where the exact flow takes its noise.

    Args:
        x: (N, *shape) samples.
        fine: (N, *shape) fine solutions, row k from the same noise as row k of `x`.

    Raises:
        TypeError: not floating-point tensors.
        ValueError: different shapes, no samples, or non-finite values.
    """
    for name, value in (("x", x), ("fine", fine)):
        if not torch.isfinite(check_batch(value, name)).all():
            raise ValueError(f"{name} holds NaN or infinite values")
    if x.shape != fine.shape:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and fine {tuple(fine.shape)}; the same is needed"
        )
    difference = x.detach().double() - fine.detach().double()
    squares = inner(difference, difference) / x[0].numel()
    return Rmse(squares.sqrt(), float(squares.mean().sqrt()))
