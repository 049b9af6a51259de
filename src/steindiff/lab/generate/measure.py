"""Features of a stored set of images, on any number of processes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..metrics import Features, Moments, Statistics, to_unit
from .processes import Processes
from .reading import Images


class Measured(NamedTuple):
    """What is known of a set.

    Attributes:
        statistics: of all images; the same bits for any number of processes.
        features: (N, D), in the order of the set; in rank 0 and when asked for, otherwise None.
    """

    statistics: Statistics
    features: Tensor | None


def measure(images: Images, extractor: Features, world: Processes, keep: bool = False) -> Measured:
    """Statistics, and features if asked for, of a set of images. All processes must call it.

    Args:
        images: the set; each process loads a part of its parts.
        extractor: what computes the features.
        world: the processes.
        keep: whether to keep the features, (N, D) in the memory of rank 0.

    Raises:
        ValueError: damaged images, images of different sizes, or fewer than two.
    """
    kept: list[tuple[int, Tensor]] = []
    shapes: set[tuple[int, ...]] = set()
    moments: Moments | None = None
    with world.together():
        for number, load in enumerate(images.parts()):
            if number % world.size != world.rank:
                continue
            part = torch.from_numpy(load())
            shapes.add(tuple(part.shape[1:]))
            _one_size(images, shapes)
            features = extractor.features(to_unit(part))
            moments = moments or Moments(features.shape[1])
            moments.add(features)
            if keep:
                kept.append((number, features))
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
    return Measured(statistics, _together(kept, world) if keep else None)


def _one_size(images: Images, shapes: set[tuple[int, ...]]) -> None:
    if len(shapes) > 1:
        found = " and ".join(map(str, sorted(shapes)))
        raise ValueError(
            f"{images.path} holds images of shapes {found} (height, width, channels); one is needed"
        )


def _together(kept: list[tuple[int, Tensor]], world: Processes) -> Tensor | None:
    parts = world.collect(kept)
    if parts is None:
        return None
    numbered = [entry for part in parts for entry in part]
    return torch.cat([rows for _, rows in sorted(numbered, key=lambda entry: entry[0])])
