"""Collapse of modes: which are reached, and how much is left of the variety within each."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch
from ..metrics import ModeCoverage, mode_coverage, nearest_mode


class Collapse(NamedTuple):
    """How samples are spread over and within modes.

    Attributes:
        coverage: of the modes, and the divergence of their shares from the target's.
        within: variance within the modes over what it should be; below 1 they have shrunk.
    """

    coverage: ModeCoverage
    within: float


def mixture_collapse(
    samples: Tensor, means: Tensor, variances: Tensor, weights: Tensor | None = None
) -> Collapse:
    """Against a mixture of Gaussians, each sample counted to the mean that it is nearest to.

    Args:
        samples: (N, *shape).
        means: (K, *shape), far apart in units of the modes' spread.
        variances: (K,) or (K, *shape), of the modes; the mean over a mode's elements counts.
        weights: (K,), summing to one; equal if left out.

    Raises:
        TypeError, ValueError: as `nearest_mode` and `mode_coverage` raise.
    """
    assignments = nearest_mode(samples, means)
    equal = torch.full((len(means),), 1 / len(means), dtype=torch.float64)
    target = equal if weights is None else weights
    offset = (samples.double() - means.double()[assignments]).flatten(1)
    wanted = variances.double().reshape(len(means), -1).mean(dim=1)[assignments]
    within = (offset.square().mean(dim=1) / wanted).mean().item()
    return Collapse(mode_coverage(assignments, target.double()), within)


def class_collapse(
    features: Tensor, assignments: Tensor, reference: Tensor, reference_assignments: Tensor
) -> Collapse:
    """Against a reference set, such as the fine solution, by the classes that samples fall into.

    Args:
        features: (N, D), of the samples. assignments: (N,) int, their classes.
        reference, reference_assignments: the same of the reference.

    Raises:
        TypeError, ValueError: no batches, or no class that both have twice.
    """
    classes = int(max(assignments.max(), reference_assignments.max())) + 1
    counts = torch.bincount(reference_assignments, minlength=classes).double()
    coverage = mode_coverage(assignments, counts / counts.sum())
    spread, wanted = (
        _within(check_batch(x, "features"), labels, classes)
        for x, labels in ((features, assignments), (reference, reference_assignments))
    )
    both = ~(spread.isnan() | wanted.isnan())
    if not bool(both.any()):
        raise ValueError("no class has two samples in both sets; more samples are needed")
    return Collapse(coverage, (spread[both] / wanted[both]).log().mean().exp().item())


def _within(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes,): total variance of each class, NaN where it has fewer than two samples."""
    found = torch.full((classes,), torch.nan, dtype=torch.float64)
    for label in range(classes):
        members = x[labels == label].double()
        if len(members) > 1:
            found[label] = members.var(dim=0).sum()
    return found
