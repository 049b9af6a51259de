"""Bootstrap intervals over samples, paired where several sets come from the same noises.

Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3 (percentiles).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..._errors import check_count, unknown_name
from ...tuning.frechet import root_distance, root_of
from .checks import check_pair

_ZERO = 1e-9
"""Distances below this part of the reference's variance are rounding errors."""


class Interval(NamedTuple):
    """A figure with its 95% percentile bootstrap interval."""

    value: float
    low: float
    high: float


class Paired(NamedTuple):
    """One candidate of `paired_bootstrap`.

    Attributes:
        distance: Fréchet distance to the reference.
        ratio: the same over that of the baseline; 1 for the baseline itself.
    """

    distance: Interval
    ratio: Interval


def bootstrap(
    statistic: Callable[..., float], *rows: Tensor, resamples: int = 200, seed: int = 0
) -> Interval:
    """`statistic(*rows)` with its interval, all of `rows` resampled together.

    Args:
        statistic: takes as many tensors as are given here, and returns a number.
        rows: tensors with the same length; row k of each belongs together.
        resamples: of the percentile bootstrap.
        seed: of the draws.

    Raises:
        TypeError: no tensors.
        ValueError: none, empty ones, or ones of different lengths.
    """
    check_count("resamples", resamples)
    for value in rows:
        if not isinstance(value, Tensor) or value.ndim == 0:
            raise TypeError(f"rows holds a {type(value).__name__}; tensors (N, ...) are needed")
    lengths = {len(value) for value in rows}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"rows have the lengths {sorted(lengths)}; one length >= 1 is needed")
    drawn = [
        float(statistic(*(value[drawn_rows] for value in rows)))
        for drawn_rows in _draws(lengths.pop(), resamples, seed)
    ]
    return _interval(float(statistic(*rows)), np.array(drawn))


def paired_bootstrap(
    candidates: Mapping[str, Tensor],
    reference: Tensor,
    *,
    baseline: str,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Paired]:
    """Fréchet distances of every candidate to the reference, and their ratios to the baseline's.

    All sets come from the same noises, row by row, and each resample draws the same rows of all of
    them, so that the interval of a ratio is that of a paired comparison. The values are
    `frechet_distance` of the whole sets. That distance grows as rows become fewer, and a resample
    has fewer different rows than the set: its distances lie above the value, and its ratios nearer
    to one. The intervals are therefore centred: the resamples' 2.5 and 97.5 percentiles, relative
    to their geometric mean, about the value (a bias correction in the sense of Efron & Tibshirani
    1993, "An Introduction to the Bootstrap", chapter 10, on the logarithmic scale).

    Args:
        candidates: name -> (N, D) features, row k of each from noise k.
        reference: (N, D) features, row k from noise k.
        baseline: the candidate that the ratios are taken to.
        resamples: of the percentile bootstrap.
        seed: of the draws.

    Returns:
        The same names, in the same order.

    Raises:
        TypeError: not floating-point tensors.
        ValueError: an unknown baseline, or one that equals the reference; different shapes,
            fewer than two rows, or non-finite features.
    """
    check_count("resamples", resamples)
    if baseline not in candidates:
        raise unknown_name("baseline", baseline, candidates)
    sets, target = _checked(candidates, reference)
    values = np.array(_distances(sets, target))
    drawn = np.array(
        [
            _distances([x[rows] for x in sets], target[rows])
            for rows in _draws(len(target), resamples, seed)
        ]
    )
    index = list(candidates).index(baseline)
    if min(values[index], drawn[:, index].min()) <= _ZERO * float(target.var(dim=0).sum()):
        raise ValueError(
            f"baseline {baseline!r} has distance 0 to the reference; no ratio to it is defined"
        )
    return {
        name: Paired(
            _centred(values[k], drawn[:, k]),
            _centred(values[k] / values[index], drawn[:, k] / drawn[:, index]),
        )
        for k, name in enumerate(candidates)
    }


def _checked(candidates: Mapping[str, Tensor], reference: Tensor) -> tuple[list[Tensor], Tensor]:
    sets = []
    for name, value in candidates.items():
        x, _ = check_pair(value, reference, (f"candidates[{name!r}]", "reference"))
        if len(x) != len(reference):
            raise ValueError(
                f"candidates[{name!r}] has {len(x)} rows and reference {len(reference)}; "
                "the same noises are needed for both"
            )
        sets.append(x)
    return sets, reference.detach().double()


def _draws(count: int, resamples: int, seed: int) -> Iterator[Tensor]:
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield torch.from_numpy(generator.integers(0, count, count))


def _distances(sets: list[Tensor], target: Tensor) -> list[float]:
    """Of every set to the target, whose root is the same for all of them."""
    root = root_of(target)
    return [root_distance(root_of(x), root) for x in sets]


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def _centred(value: float, drawn: np.ndarray) -> Interval:
    """The spread of positive draws about their geometric mean, put about the value."""
    if value <= 0 or drawn.min() <= 0:
        return _interval(value, drawn)
    return _interval(value, drawn * (value / np.exp(np.log(drawn).mean())))
