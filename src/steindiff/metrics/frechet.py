"""Fréchet distance between two sets of features, and its bootstrap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Interval(NamedTuple):
    """A figure with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in float64.

    The trace of the root is the nuclear norm of X_a X_b^T with X the centred features over
    sqrt(N - 1): singular values only, so that N < D needs no regularisation.

    Args:
        a, b: (N, D) and (M, D) features.

    Raises:
        ValueError: different widths, fewer than two rows, or non-finite features.

    Source: Dowson & Landau 1982; Heusel et al. 2017 (FID, with features of another network).
    """
    for name, value in (("a", a), ("b", b)):
        if value.ndim != 2 or len(value) < 2:
            raise ValueError(f"{name} has shape {tuple(value.shape)}; (N >= 2, D) is needed")
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} holds NaN or infinite features")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a has {a.shape[1]} features and b {b.shape[1]}; the same are needed")
    (mean_a, root_a), (mean_b, root_b) = _moments(a), _moments(b)
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum()
    return float((distance - 2 * cross).clamp_min(0))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and a root R with R^T R the covariance: triangular where that is the smaller."""
    x = x.double()
    mean = x.mean(dim=0)
    root = (x - mean) / (len(x) - 1) ** 0.5
    return mean, torch.linalg.qr(root, mode="r").R if len(x) > x.shape[1] else root


def paired_bootstrap(
    base: Tensor, relaxed: Tensor, reference: Tensor, resamples: int = 200, seed: int = 0
) -> tuple[Interval, Interval, Interval]:
    """Fréchet distances of base and relaxed to the reference, and their ratio relaxed/base.

    The three sets come from the same noises, row by row; each resample draws rows of all three
    together, so that the interval of the ratio is that of a paired comparison.

    Args:
        base, relaxed, reference: (N, D) features, row k of each from noise k.
        resamples, seed: of the percentile bootstrap.
    """
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        rows = torch.from_numpy(generator.integers(0, len(reference), len(reference)))
        target = reference[rows]
        draws.append([frechet_distance(x[rows], target) for x in (base, relaxed)])
    drawn = np.array(draws)
    value = np.array([frechet_distance(x, reference) for x in (base, relaxed)])
    return (
        _interval(value[0], drawn[:, 0]),
        _interval(value[1], drawn[:, 1]),
        _interval(value[1] / value[0], drawn[:, 1] / drawn[:, 0]),
    )


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
