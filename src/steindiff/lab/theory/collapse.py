"""Collapse of modes: which are reached, and how much is left of the variety within each."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..._errors import check_batch
from ...denoisers import GaussianMixture
from ..metrics import ClassifierFeatures, ModeCoverage, mode_coverage, nearest_mode
from ..subjects import Mixture, Network, Subject


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
        features: (N, D), of the samples.
        assignments: (N,) int, their classes.
        reference: (M, D), features of the reference.
        reference_assignments: (M,) int, its classes.

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


class Modes(Protocol):
    """What tells the modes or classes of samples."""

    what: str

    def collapse(self, samples: Tensor, reference: Tensor) -> Collapse:
        """How `samples` are spread over and within modes, beside the reference's."""
        ...


class MixtureModes:
    """The modes of a mixture that is known."""

    def __init__(self, mixture: GaussianMixture) -> None:
        self.mixture = mixture
        self.what = f"{len(mixture.means)} modes in {mixture.means[0].numel()} dimensions"

    def collapse(self, samples: Tensor, reference: Tensor) -> Collapse:
        mixture = self.mixture
        return mixture_collapse(samples, mixture.means, mixture.variances, mixture.weights)


class ClassModes:
    """The classes that the classifier of a shipped model sees, in its features."""

    def __init__(self, name: str) -> None:
        self.classifier = ClassifierFeatures(name)
        self.what = "classes seen by the shipped classifier, variance in its features"

    def collapse(self, samples: Tensor, reference: Tensor) -> Collapse:
        pairs = []
        for x in (samples, reference):
            features = self.classifier.features(x)
            pairs += [features, self.classifier.classify(features).argmax(dim=1)]
        return class_collapse(*pairs)


def modes_of(subject: Subject) -> Modes | None:
    """What tells the modes of a subject; None if nothing is known to."""
    if isinstance(subject, Network):
        return ClassModes(subject.model)
    return MixtureModes(subject.mixture) if isinstance(subject, Mixture) else None
