"""`steindiff sample`: images from a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ..options import (
    BatchOption,
    Device,
    EdmOption,
    Labelled,
    OverwriteOption,
    Sampling,
    TrustOption,
    option,
)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where the images go, and which they are."""

    panel: ClassVar[str] = "Images"
    out: Annotated[Path | None, option("PNG file for a grid of the images.", "no file")] = None
    npz: Annotated[
        Path | None, option("NPZ file for images (uint8, N H W C), seeds and labels.", "no file")
    ] = None
    seeds: Annotated[str, option("One image a seed, such as 0-15,20.")] = "0-29"
    overwrite: OverwriteOption = False


@dataclass(frozen=True, kw_only=True)
class AnyNetwork(Labelled):
    """A shipped model, a file of weights, or an EDM network."""

    edm: EdmOption = None
    trust: TrustOption = False


@dataclass(frozen=True, kw_only=True)
class Batches(Device):
    """Where, and how many at a time."""

    batch: BatchOption = 128


def sample(pictures: Pictures, network: AnyNetwork, sampling: Sampling, batches: Batches) -> None:
    """Sample images: a PNG grid, an NPZ file, or both.

    Says in the end with which solver, coefficient and levels.
    """
    from ..sample import sample

    sample(pictures, network, sampling, batches)
