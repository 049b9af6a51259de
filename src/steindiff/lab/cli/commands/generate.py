"""`steindiff generate`: many images, on one process or many, the same bytes every time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ..options import Device, FirstSeedOption, Labelled, Sampling, option

MOST = 10**9
"""Of one number in a run's setting, as `lab.generate.folder` reads it again."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Which images, where and in which form."""

    panel: ClassVar[str] = "Images"
    out: Annotated[Path, option("Folder for the images; new, or of an earlier run.")]
    count: Annotated[int, option("Images.", min=1, max=MOST)] = 50_000
    first_seed: FirstSeedOption = 0
    format: Annotated[str, option("png (folders), npz (shards) or wds (WebDataset tars).")] = "png"
    shard_size: Annotated[int, option("Images a shard.", min=1, max=MOST)] = 1000
    verify: Annotated[
        bool, option("Read the shards that are there, or only look at their sizes.")
    ] = True


@dataclass(frozen=True, kw_only=True)
class Batches(Device):
    """Where, how many at a time, and whether compiled."""

    batch: Annotated[
        int, option("Images at a time; at least 16 are computed.", min=1, max=MOST)
    ] = 100
    compile: Annotated[
        bool, option("Compile the network; may change the last bits.", name="--compile")
    ] = False


def generate(images: ImageSet, network: Labelled, sampling: Sampling, batches: Batches) -> None:
    """Generate images into a folder: PNG files, NPZ shards or WebDataset tars.

    Started again, the same command goes on where it was. For several processes or machines:
    torchrun --nproc-per-node 2 -m steindiff generate ..., or accelerate launch -m steindiff ...
    The bytes do not depend on the number of processes.
    """
    from ..generate import generate

    generate(images, network, sampling, batches)
