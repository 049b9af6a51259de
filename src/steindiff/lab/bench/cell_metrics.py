"""From the samples of one coefficient to its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import torch
from torch import Tensor

from ..metrics import (
    bootstrap,
    fd_infinity,
    frechet_distance,
    kernel_distance,
    paired_bootstrap,
    prdc,
    rmse,
    sliced_wasserstein,
)
from ..subjects import Subject
from .results import BASE, Band, Interval, MeanAndDeviation, Metrics, Modes

NEIGHBOURS = 5
ABSURD = 1e6


@dataclass(frozen=True)
class Reference:
    """What samples are held against, sample by sample from the same noise.

    Attributes:
        x: (N, *shape), the fine solution where the few-step sampling ends.
        features: (N, D) of it.
        exact: (N, D), features of the exact denoiser's fine solution where the model has an error.
    """

    x: Tensor
    features: Tensor
    exact: Tensor | None = None


def figures(
    subject: Subject,
    x: Tensor,
    features: Tensor,
    reference: Reference,
    seeds: Sequence[int],
    resamples: int = 200,
) -> Metrics:
    """The metrics of a coefficient but for its Fréchet distance, whose interval is a paired one."""
    block = min(1000, len(features) // 2)
    kernel = kernel_distance(features, reference.features, block_size=block, blocks=50)
    variances = [samples.double().var(dim=0).mean() for samples in (x, reference.x)]
    exact = reference.exact
    return Metrics(
        fd_infinity=fd_infinity(features, reference.features).value,
        kid=MeanAndDeviation(value=kernel.mean, std=kernel.std),
        **prdc(reference.features, features, NEIGHBOURS)._asdict(),
        sliced_wasserstein=sliced_wasserstein(features, reference.features),
        rmse=rmse(x, reference.x).pooled,
        relative_error=_relative_error(x, reference.x, resamples),
        variance_ratio=(variances[0] / variances[1]).item(),
        fd_to_exact=None if exact is None else frechet_distance(features, exact),
        **msgspec.structs.asdict(msgspec.convert(subject.judge(x, features, seeds), _Judged)),
    )


def _relative_error(x: Tensor, fine: Tensor, resamples: int) -> Interval:
    """Root mean square of x - fine over that of the fine samples, resampled sample by sample."""
    squares = [part.double().flatten(1).square().sum(dim=1) for part in (x - fine, fine)]
    found = bootstrap(lambda a, b: float((a.sum() / b.sum()).sqrt()), *squares, resamples=resamples)
    return Interval(**found._asdict())


class _Judged(msgspec.Struct, forbid_unknown_fields=True):
    """What a subject itself says of its samples."""

    modes: Modes | None = None
    as_label: float | None = None


def distances(
    features: Mapping[str, Tensor], reference: Tensor, resamples: int
) -> dict[str, tuple[Interval, Interval | None]]:
    """Fréchet distance of every coefficient, and its ratio to the base's, paired, if it has one."""
    apart = [name for name, x in features.items() if _apart(x, reference)]
    if not apart:
        return {name: (Interval(value=0.0, low=0.0, high=0.0), None) for name in features}
    baseline = BASE if BASE in apart else apart[0]
    found = paired_bootstrap(features, reference, baseline=baseline, resamples=resamples)
    return {
        name: (
            Interval(**paired.distance._asdict()),
            Interval(**paired.ratio._asdict()) if name != baseline == BASE else None,
        )
        for name, paired in found.items()
    }


def _apart(x: Tensor, reference: Tensor) -> bool:
    """Whether there is a distance that ratios could be taken to: not the fine solution itself."""
    difference = (x.double() - reference.double()).square().sum(dim=1).mean()
    return bool(difference > 1e-8 * reference.double().var(dim=0).sum())


def spread(values: Tensor) -> Band:
    """Mean and 5th and 95th percentile of each row of (steps, N)."""
    low, high = torch.quantile(values.double(), torch.tensor([0.05, 0.95]).double(), dim=1)
    mean = values.double().mean(dim=1)
    return Band(mean=mean.tolist(), low=low.tolist(), high=high.tolist())


def count_absurd(features: Tensor, reference: Tensor) -> int:
    """How many rows are not finite, or farther out than any of the reference by `ABSURD`."""
    limit = ABSURD * float(reference.double().norm(dim=1).max())
    return int((~(features.double().norm(dim=1) <= limit)).sum())
