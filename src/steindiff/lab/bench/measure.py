"""One rule's samples -> its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..metrics import (
    fd_infinity,
    frechet_distance,
    kernel_distance,
    paired_bootstrap,
    prdc,
    rmse,
    sliced_wasserstein,
)
from ..subjects import Subject

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
    subject: Subject, x: Tensor, features: Tensor, reference: Reference, seeds: Sequence[int]
) -> dict[str, Any]:
    """The metrics of one rule but for its Fréchet distance, whose interval is a paired one."""
    neighbours = prdc(reference.features, features, NEIGHBOURS)
    block = min(1000, len(features) // 2)
    kernel = kernel_distance(features, reference.features, block_size=block, blocks=50)
    found = {
        "fd_infinity": fd_infinity(features, reference.features).value,
        "kid": {"value": kernel.mean, "std": kernel.std},
        **neighbours._asdict(),
        "sliced_wasserstein": sliced_wasserstein(features, reference.features),
        "rmse": rmse(x, reference.x).pooled,
        "variance_ratio": (
            x.double().var(dim=0).mean() / reference.x.double().var(dim=0).mean()
        ).item(),
        **subject.judge(x, features, seeds),
    }
    if reference.exact is not None:
        found["fd_to_exact"] = frechet_distance(features, reference.exact)
    return found


def distances(
    features: Mapping[str, Tensor], reference: Tensor, resamples: int
) -> dict[str, dict[str, Any]]:
    """Fréchet distance of every rule with its interval, and its ratio to the base's, paired."""
    apart = [rule for rule, x in features.items() if _apart(x, reference)]
    if not apart:
        return {rule: {"fd": {"value": 0.0, "low": 0.0, "high": 0.0}} for rule in features}
    baseline = "base" if "base" in apart else apart[0]
    found: dict[str, dict[str, Any]] = {}
    for rule, paired in paired_bootstrap(
        features, reference, baseline=baseline, resamples=resamples
    ).items():
        found[rule] = {"fd": paired.distance._asdict()}
        if rule != "base" and baseline == "base":
            found[rule]["ratio"] = paired.ratio._asdict()
    return found


def _apart(x: Tensor, reference: Tensor) -> bool:
    """Whether there is a distance that ratios could be taken to: not the fine solution itself."""
    difference = (x.double() - reference.double()).square().sum(dim=1).mean()
    return bool(difference > 1e-8 * reference.double().var(dim=0).sum())


def spread(values: Tensor) -> dict[str, list[float]]:
    """Mean and 5th and 95th percentile of each row of (steps, N)."""
    low, high = torch.quantile(values.double(), torch.tensor([0.05, 0.95]).double(), dim=1)
    mean = values.double().mean(dim=1)
    return {"mean": mean.tolist(), "low": low.tolist(), "high": high.tolist()}


def count_absurd(features: Tensor, reference: Tensor) -> int:
    """How many rows are not finite, or farther out than any of the reference by `ABSURD`."""
    limit = ABSURD * float(reference.double().norm(dim=1).max())
    return int((~(features.double().norm(dim=1) <= limit)).sum())
