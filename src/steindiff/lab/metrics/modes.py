"""Which modes or classes of the target the samples reach, and how often."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch


class ModeCoverage(NamedTuple):
    """How a set of samples is spread over K modes.

    Attributes:
        modes: K' <= K, the number of modes with a target probability above zero.
        covered: how many of them have at least one sample.
        kl: KL(empirical || target) in nats, infinite where a mode of probability zero has samples.
        total_variation: half the sum of |empirical - target|, in [0, 1].
        frequencies: (K,) float64, part of the samples in each mode.
    """

    modes: int
    covered: int
    kl: float
    total_variation: float
    frequencies: Tensor


def mode_coverage(assignments: Tensor, target: Tensor) -> ModeCoverage:
    """Compares how often each mode was reached with how often it should be.

    With N samples of the target itself the KL divergence is about (K - 1) / (2 N), not zero.

    Args:
        assignments: (N,) int, the mode of each sample in 0 .. K - 1.
        target: (K,) probabilities of the modes, summing to one.

    Raises:
        TypeError: assignments that are no integers.
        ValueError: no samples, modes outside of 0 .. K - 1, or no probabilities.
    """
    target = torch.as_tensor(target)
    _check_target(target)
    if not isinstance(assignments, Tensor) or assignments.dtype.is_floating_point:
        raise TypeError("assignments holds no integers; the mode of each sample is needed")
    if assignments.ndim != 1 or len(assignments) == 0:
        raise ValueError(f"assignments has shape {tuple(assignments.shape)}; (N >= 1,) is needed")
    low, high = int(assignments.min()), int(assignments.max())
    if low < 0 or high >= len(target):
        wrong = low if low < 0 else high
        raise ValueError(f"assignments holds {wrong}; modes 0 to {len(target) - 1} are needed")
    target = target.double().cpu()
    counts = torch.bincount(assignments.cpu().long(), minlength=len(target)).double()
    frequencies = counts / counts.sum()
    return ModeCoverage(
        modes=int((target > 0).sum()),
        covered=int(((counts > 0) & (target > 0)).sum()),
        kl=float((torch.xlogy(frequencies, frequencies) - torch.xlogy(frequencies, target)).sum()),
        total_variation=float((frequencies - target).abs().sum() / 2),
        frequencies=frequencies,
    )


def nearest_mode(samples: Tensor, means: Tensor) -> Tensor:
    """(N,) int64: the mean that each sample is nearest to, the first of equally near ones.

    Args:
        samples: (N, *shape).
        means: (K, *shape), the means of the modes of a mixture of equal isotropic components.

    Raises:
        TypeError: not floating-point tensors.
        ValueError: different sample shapes, nothing in them, or non-finite samples.
    """
    check_batch(samples, "samples")
    check_batch(means, "means")
    if samples.shape[1:] != means.shape[1:]:
        raise ValueError(
            f"samples have shape {tuple(samples.shape[1:])} and means "
            f"{tuple(means.shape[1:])}; the same is needed"
        )
    if not torch.isfinite(samples).all():
        raise ValueError("samples holds NaN or infinite values, which are nearest to no mode")
    flat = samples.flatten(1).double(), means.to(samples.device).flatten(1).double()
    distances = torch.cdist(*flat, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.argmin(dim=1)


def _check_target(target: Tensor) -> None:
    if target.ndim != 1 or len(target) == 0 or not target.dtype.is_floating_point:
        raise ValueError(
            f"target has shape {tuple(target.shape)} and dtype {target.dtype}; "
            "(K,) floating-point probabilities are needed"
        )
    total = float(target.double().sum())
    if not bool((target >= 0).all()) or abs(total - 1) > 1e-5:
        raise ValueError(
            f"target sums to {total:g}, its smallest is {float(target.min()):g}; "
            "probabilities that sum to one are needed"
        )
