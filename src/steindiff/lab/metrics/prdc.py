"""Precision, recall, density and coverage of a set of samples with respect to data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._errors import check_count
from .checks import check_pair

_PAIRS = 1 << 24  # distances held at a time


class PRDC(NamedTuple):
    """Fidelity (precision, density) and variety (recall, coverage).

    Attributes:
        precision: part of the fake samples that lie in the manifold of the real ones.
        recall: part of the real samples that lie in the manifold of the fake ones.
        density: mean number of real balls around a fake sample, over k; may exceed 1.
        coverage: part of the real samples whose ball holds a fake one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> PRDC:
    """All four from the balls around each sample that reach to its k-th nearest neighbour.

    A sample lies in a ball if it is strictly nearer than the radius. Distances are summed in
    float64 without the expansion |x|^2 + |y|^2 - 2 x.y, which would cancel for near neighbours.

    Args:
        real: (N, D) features, N > k.
        fake: (M, D) features, M > k.
        k: neighbours, not counting the sample itself.

    Raises:
        TypeError: not a floating-point tensor, or `k` no integer.
        ValueError: different widths, non-finite features, or too few rows for `k`.

    Source: Kynkäänniemi et al. 2019 (improved precision and recall); Naeem et al. 2020, "Reliable
    Fidelity and Diversity Metrics for Generative Models", eq. (1) to (8).
    """
    check_count("k", k)
    real, fake = check_pair(real, fake, ("real", "fake"), least=k + 1)
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    balls = torch.zeros(len(fake), dtype=torch.int64, device=real.device)
    recalled, covered = [], []
    for part, radii in zip(_parts(real, fake), _parts(real_radii, fake), strict=True):
        distances = _distances(part, fake)
        balls += (distances < radii[:, None]).sum(dim=0)
        recalled.append((distances < fake_radii).any(dim=1))
        covered.append(distances.amin(dim=1) < radii)
    return PRDC(
        precision=_mean(balls > 0),
        recall=_mean(torch.cat(recalled)),
        density=_mean(balls) / k,
        coverage=_mean(torch.cat(covered)),
    )


def _radii(x: Tensor, k: int) -> Tensor:
    """(N,): distance of each row to its k-th nearest other one; the nearest of all is itself."""
    parts = [_distances(part, x).kthvalue(k + 1, dim=1).values for part in _parts(x, x)]
    return torch.cat(parts)


def _parts(x: Tensor, other: Tensor) -> tuple[Tensor, ...]:
    return x.split(max(1, _PAIRS // len(other)))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _mean(x: Tensor) -> float:
    return float(x.double().mean())
