"""Fréchet distance between two sets of features, or their statistics, and its limit in N.

Source: Dowson & Landau 1982; Heusel et al. 2017 (FID, with features of another network).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ...tuning.frechet import Root, root_distance, root_of
from .checks import check_features, check_pair


class HasMoments(Protocol):
    """What `Statistics` is here: a mean (D,) and a covariance (D, D)."""

    @property
    def mu(self) -> Tensor: ...
    @property
    def sigma(self) -> Tensor: ...


class Extrapolation(NamedTuple):
    """Fréchet distances of subsets, and their limit for infinitely many samples.

    Attributes:
        value: the limit.
        sizes: N of each subset.
        distances: the distance of each.
    """

    value: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in float64.

    The trace of the root is the nuclear norm of X_a X_b^T with X the centred features over
    sqrt(N - 1): singular values only, so that N < D needs no regularisation.

    Args:
        a: (N, D) features.
        b: (M, D) features.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: different widths, fewer than two rows, or non-finite features.
    """
    a, b = check_pair(a, b)
    return root_distance(root_of(a), root_of(b))


def frechet_from_statistics(a: HasMoments, b: HasMoments) -> float:
    """The Fréchet distance from means and covariances, in float64.

    Symmetric roots R of both covariances by eigen-decomposition, then the nuclear norm of
    R_a R_b^T: directions that neither set has are lost in rounding errors of the size of the
    rounding of sigma, not of its square root.

    Args:
        a: `Statistics`, or anything with `mu` (D,) and `sigma` (D, D).
        b: the same of the other set.

    Raises:
        ValueError: different widths, or statistics of different feature extractors.
    """
    if len(a.mu) != len(b.mu):
        raise ValueError(f"a has {len(a.mu)} features and b {len(b.mu)}; the same are needed")
    names = getattr(a, "features", None), getattr(b, "features", None)
    if None not in names and names[0] != names[1]:
        raise ValueError(f"a holds statistics of {names[0]!r} and b of {names[1]!r}")
    return root_distance(_root_of_statistics(a), _root_of_statistics(b))


def fd_infinity(
    a: Tensor,
    reference: Tensor | HasMoments,
    *,
    fractions: Sequence[float] = tuple(np.linspace(0.1, 1, 15)),
    seed: int = 0,
) -> Extrapolation:
    """The Fréchet distance for infinitely many samples, extrapolated in 1/N by least squares.

    A finite set of samples has a bias of order 1/N that depends on the model: distances of random
    subsets of `a` are fitted by value + slope / N. `reference` is used whole, and its own bias
    stays in: with `Statistics` of a data set of fixed size this is the FID_infinity of the paper;
    with a set of features of M samples the limit is still that of a finite reference, and to be
    compared only with others at the same M. The fit holds where the subsets have several times
    more rows than features.

    Args:
        a: (N, D) features.
        reference: (M, D) features, or `Statistics`.
        fractions: sizes of the subsets over N, in (0, 1]; at least two different ones.
        seed: of the subsets.

    Raises:
        ValueError: bad features, or fractions that give fewer than two sizes of two rows or more.

    Source: Chong & Forsyth 2020, "Effectively Unbiased FID and Inception Score", section 4.
    """
    a = check_features("a", a)
    if isinstance(reference, Tensor):
        a, reference = check_pair(a, reference, ("a", "reference"))
        target = root_of(reference)
    else:
        target = _root_of_statistics(reference)
        if len(target.mean) != a.shape[1]:
            raise ValueError(
                f"a has {a.shape[1]} features and reference {len(target.mean)}; the same are needed"
            )
    sizes = _sizes(len(a), fractions)
    generator = np.random.default_rng(seed)
    distances = []
    for size in sizes:
        rows = torch.from_numpy(generator.permutation(len(a))[:size])
        distances.append(root_distance(root_of(a[rows]), target))
    _, value = np.polyfit(1 / np.array(sizes), distances, 1)
    return Extrapolation(float(value), sizes, tuple(distances))


def _root_of_statistics(statistics: HasMoments) -> Root:
    sigma = statistics.sigma.double()
    values, vectors = torch.linalg.eigh((sigma + sigma.mT) / 2)
    return Root(statistics.mu.double(), values.clamp_min(0).sqrt()[:, None] * vectors.mT)


def _sizes(count: int, fractions: Sequence[float]) -> tuple[int, ...]:
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ValueError(f"fractions holds {fraction:g}; numbers in (0, 1] are needed")
    sizes = tuple(max(2, round(count * fraction)) for fraction in fractions)
    if len(set(sizes)) < 2:
        raise ValueError(
            f"fractions give the sizes {sorted(set(sizes))} of {count} rows; "
            "at least two different ones are needed"
        )
    return sizes
