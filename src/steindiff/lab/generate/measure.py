"""Features of a stored set of images, on any number of processes: never more than a part at a time.

Mean and covariance are summed as the parts come by. What needs the features themselves gets those
of a random sample of bounded size: each image has a random key, and the smallest keys stay. Keys
are drawn from the place of the image in the set, so that the sample is the same for any number of
processes, and nobody needs to know beforehand how many images there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..metrics import Features, Moments, Statistics, to_unit
from .processes import Processes
from .reading import Images

SEED = 0
"""Of the sample."""
KEPT = 2 * 2**30
"""Bytes that the features of the sample of one set may take, in float32."""


class Measured(NamedTuple):
    """What is known of a set.

    Attributes:
        statistics: of all images; the same bits for any number of processes.
        sample: (N, D), features of all images or of a random sample of as many as were asked for,
            in the order of the set; in rank 0 and when asked for, otherwise None.
    """

    statistics: Statistics
    sample: Tensor | None


class Kept(NamedTuple):
    """Rows of a sample.

    Attributes:
        keys: (N,) random numbers; the smallest stay.
        places: (N, 2) number of the part, and of the row in it.
        rows: (N, D) float32 features.
    """

    keys: np.ndarray
    places: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, number: int, features: Tensor) -> Kept:
        """All rows of a part."""
        count = len(features)
        keys = np.random.default_rng((SEED, number)).random(count)
        places = np.stack([np.full(count, number), np.arange(count)], axis=1)
        return cls(keys, places, features.numpy())

    @classmethod
    def fewest(cls, parts: Iterable[Kept], most: int) -> Kept:
        """The rows with the smallest keys, at most so many, in the order of the set."""
        keys, places, rows = (np.concatenate(field) for field in zip(*parts, strict=True))
        smallest = np.argsort(keys, kind="stable")[:most]
        order = smallest[np.lexsort(places[smallest].T[::-1])]
        return cls(keys[order], places[order], rows[order])


def measure(images: Images, extractor: Features, world: Processes, most: int = 0) -> Measured:
    """Statistics, and features of a sample if asked for, of a set. All processes must call it.

    Args:
        images: the set; each process loads a part of its parts.
        extractor: what computes the features.
        world: the processes.
        most: of how many images to keep the features, `most` x D numbers in each process and as
            many for each of them in rank 0; 0 for none.

    Raises:
        ValueError: damaged images, images of different sizes, fewer than two, or a sample of more
            than 2 GiB.
    """
    kept: Kept | None = None
    shapes: set[tuple[int, ...]] = set()
    moments: Moments | None = None
    with world.together():
        if most and extractor.dim:
            check_sample(most, extractor.dim)
        for number, load in enumerate(images.parts()):
            if number % world.size != world.rank:
                continue
            part = torch.from_numpy(load())
            shapes.add(tuple(part.shape[1:]))
            _one_size(images, shapes)
            features = extractor.features(to_unit(part))
            if moments is None:
                if most:
                    check_sample(most, features.shape[1])
                moments = Moments(features.shape[1])
            moments.add(features)
            if most:
                more = Kept.of(number, features)
                kept = Kept.fewest([more] if kept is None else [kept, more], most)
    shapes = set().union(*world.gather(shapes))
    with world.together():
        _one_size(images, shapes)
    dim = max(world.gather(moments.dim if moments else 0))
    with world.together():
        if not dim:
            raise ValueError(f"{images.path} holds no images")
    moments = moments or Moments(dim)
    if world.size > 1:
        moments.all_reduce()
    with world.together():
        if moments.count < 2:
            raise ValueError(f"{images.path} holds {moments.count} image; two or more are needed")
    statistics = Statistics.from_moments(moments, extractor.name)
    return Measured(statistics, _together(kept, most, world) if most else None)


def check_sample(most: int, dim: int) -> None:
    """Raises ValueError for a sample whose features would take more than `KEPT`."""
    if 4 * most * dim > KEPT:
        raise ValueError(
            f"most is {most}: so many images with {dim} features each take "
            f"{4 * most * dim / 2**30:.3g} GiB; at most {KEPT // (4 * dim)} of them are possible"
        )


def _one_size(images: Images, shapes: set[tuple[int, ...]]) -> None:
    if len(shapes) > 1:
        found = " and ".join(map(str, sorted(shapes)))
        raise ValueError(
            f"{images.path} holds images of shapes {found} (height, width, channels); one is needed"
        )


def _together(kept: Kept | None, most: int, world: Processes) -> Tensor | None:
    parts = world.collect(kept)
    if parts is None:
        return None
    return torch.from_numpy(Kept.fewest(filter(None, parts), most).rows)
