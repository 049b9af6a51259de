"""The Fréchet distance of two sets, by roots of their covariances.

Source: Dowson & Landau 1982.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Root(NamedTuple):
    """Mean (D,) of a set, and R (K, D) with R^T R its covariance, in float64."""

    mean: Tensor
    root: Tensor


def root_of(x: Tensor) -> Root:
    """Mean and root of float64 features (N, D): triangular where that is the smaller."""
    mean = x.mean(dim=0)
    root = (x - mean) / (len(x) - 1) ** 0.5
    return Root(mean, torch.linalg.qr(root, mode="r").R if len(x) > x.shape[1] else root)


def root_distance(a: Root, b: Root) -> float:
    """The Fréchet distance of sets with these means and roots."""
    cross = torch.linalg.svdvals(a.root @ b.root.T).sum()
    distance = (a.mean - b.mean).square().sum() + a.root.square().sum() + b.root.square().sum()
    return float((distance - 2 * cross).clamp_min(0))


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of features (N, D) of samples from the same noises, row by row.

    |mean(a - b)|^2 is too large by the variance of a - b over N in the mean; it is taken off.
    Without that the distance of few pairs leans to the relative error.
    """
    moved, here = a - b, a.new_zeros(())
    off = moved.mean(dim=0).square().sum() - moved.var(dim=0).sum() / len(a)
    spread = root_distance(*(root_of(one)._replace(mean=here) for one in (a, b)))
    return float(off.clamp_min(0)) + spread
