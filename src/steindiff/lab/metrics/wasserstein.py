"""Sliced Wasserstein distance: transport along lines, which needs no moments and no network."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._errors import check_count
from .checks import check_pair


def sliced_wasserstein(a: Tensor, b: Tensor, *, projections: int = 128, seed: int = 0) -> float:
    """Root mean square, over random directions, of the 2-Wasserstein distance of the projections.

    In one dimension the optimal coupling joins equal quantiles, exactly so for sets of different
    sizes too. In the units of the features; for a shift by t it tends to |t| / sqrt(D).

    Args:
        a: (N, D) features or flattened samples.
        b: (M, D) of them.
        projections: number of directions, uniform on the sphere.
        seed: of the directions.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: different widths, non-finite or no features.

    Source: Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures", eq. (7).
    """
    a, b = check_pair(a, b, least=1)
    check_count("projections", projections)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(a.shape[1], projections, generator=generator, dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).to(a.device)
    sorted_a, sorted_b = ((x @ directions).sort(dim=0).values for x in (a, b))
    rows_a, rows_b, mass = (x.to(a.device) for x in _coupling(len(a), len(b)))
    squares = (sorted_a[rows_a] - sorted_b[rows_b]).square().mean(dim=1)
    return float((mass * squares).sum().sqrt())


def _coupling(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which ranks of n and of m equal weights share which mass; counted in units of 1 / (n m)."""
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    return starts // m, starts // n, (ends - starts).double() / (n * m)
