"""The images of a shard: the same bits in any shard, process and order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ... import sampling
from ..._errors import NonFiniteError
from ...denoisers import Denoiser
from ...solvers import Solver
from ...stein import Coefficient
from ..images import to_uint8
from .folder import Setting
from .formats import Shard

# Where a thread has fewer images than this, libraries switch to other routines, with other last
# bits; and they split an image between threads where the threads do not divide the batch. So
# batches are filled up: the last one of a shard would differ from the same images in a full batch.
SMALLEST_BATCH = 16
IMAGES_PER_THREAD = 4


@dataclass(frozen=True)
class Sampler:
    """Samples shards of images of `shape` (C, H, W), with what `steindiff.sample` takes."""

    denoiser: Denoiser
    shape: tuple[int, ...]
    sigmas: Any
    solver: Solver
    coefficient: Coefficient | None
    end: str
    device: torch.device

    def shard(self, setting: Setting, number: int, advance: Callable[[int], object]) -> Shard:
        """The images of a shard, in batches that depend on the shard only.

        Image k of the run comes from seed first_seed + k and has class classes[k % len(classes)].

        Raises:
            ValueError: samples that are not finite, named by their seeds, with the step.
        """
        indices = setting.indices(number)
        seeds = [setting.first_seed + k for k in indices]
        classes = [setting.classes[k % len(setting.classes)] for k in indices]
        # A compiled network is compiled for one size of batch.
        least = setting.batch if setting.compile else SMALLEST_BATCH
        parts = []
        for begin in range(0, len(indices), setting.batch):
            part = slice(begin, begin + setting.batch)
            try:
                parts.append(self._batch(setting.sigma_max, seeds[part], classes[part], least))
            except NonFiniteError as error:
                raise _diverged(error, number, seeds[part]) from error
            advance(len(parts[-1]))
        return Shard(number, indices[0], np.concatenate(parts), seeds, classes)

    def _batch(self, sigma: float, seeds: list[int], classes: list[int], least: int) -> np.ndarray:
        """uint8 (N, H, W, C); repeats the images up to `least`, and drops the repetitions."""
        rows = [k % len(seeds) for k in range(_filled_up(max(len(seeds), least), self.device))]
        noise = sampling.noise(self.shape, sigma, seeds, device=self.device)
        labels = torch.tensor([classes[k] for k in rows], device=self.device)
        result = sampling.sample(
            self.denoiser,
            noise[rows],
            self.sigmas,
            self.solver,
            self.coefficient,
            end=self.end,
            conditioning={"class_labels": labels},
        )
        return to_uint8(result.x[: len(seeds)])


def _filled_up(count: int, device: torch.device) -> int:
    """The batch size to sample `count` images with."""
    if device.type != "cpu":
        return count
    threads = torch.get_num_threads()
    return threads * max(math.ceil(count / threads), IMAGES_PER_THREAD)


def _diverged(error: NonFiniteError, number: int, seeds: list[int]) -> ValueError:
    affected = [seeds[k] for k in error.samples if k < len(seeds)]
    shown = ", ".join(map(str, affected[:8])) + (", ..." if len(affected) > 8 else "")
    return ValueError(
        f"shard {number:06d} has samples that are not finite from step {error.step} on, of seeds "
        f"{shown}; shards that are written stay"
    )
