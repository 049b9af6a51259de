"""Kernel distance (KID): a distance between feature sets whose estimate has no bias."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..._errors import check_count
from .checks import check_pair


class KernelDistance(NamedTuple):
    """Mean and standard deviation over the blocks; the mean may be slightly below zero."""

    mean: float
    std: float


def kernel_distance(
    a: Tensor, b: Tensor, *, block_size: int = 1000, blocks: int = 100, seed: int = 0
) -> KernelDistance:
    """Unbiased squared maximum mean discrepancy with the kernel (x . y / D + 1)^3, in float64.

    Each block draws `block_size` rows of each set without replacement. One block with all rows
    gives the estimate from the whole sets.

    Args:
        a: (N, D) features.
        b: (M, D) features.
        block_size: rows of each set in a block, at most N and M.
        blocks: number of blocks.
        seed: of the draws.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: different widths, non-finite features, or sets smaller than a block.

    Source: Bińkowski et al. 2018, "Demystifying MMD GANs", section 4 and eq. (4).
    """
    a, b = check_pair(a, b)
    check_count("block_size", block_size, 2)
    check_count("blocks", blocks)
    if block_size > min(len(a), len(b)):
        raise ValueError(
            f"block_size is {block_size}, but a has {len(a)} rows and b {len(b)}; "
            f"at most {min(len(a), len(b))} is needed"
        )
    generator = np.random.default_rng(seed)

    def draw(x: Tensor) -> Tensor:
        return x[torch.from_numpy(generator.permutation(len(x))[:block_size])]

    values = torch.stack([_mmd2(draw(a), draw(b)) for _ in range(blocks)])
    return KernelDistance(float(values.mean()), float(values.std(correction=0)))


def _mmd2(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased estimate from as many rows of each; the pairs of a row with itself left out."""
    count = len(a)
    within = sum(_kernel(x, x).fill_diagonal_(0).sum() for x in (a, b))
    return within / (count * (count - 1)) - 2 * _kernel(a, b).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.mT / x.shape[1] + 1) ** 3
