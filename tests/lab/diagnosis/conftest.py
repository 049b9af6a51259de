"""Settings that take a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from steindiff.denoisers import GaussianMixture
from steindiff.lab.diagnosis import Setting, Sizes, make_setting
from steindiff.lab.diagnosis.subjects import MixtureModes

SIZES: dict[str, Any] = {
    "samples": 6, "jacobians": 3, "levels": 3, "probes": 2, "study": 8, "modes": 12, "counts": (3,),
    "dense": (6,), "steps_shown": 3, "fine_steps": 12, "rounds": 4, "pairs": 24, "frames": 3,
}  # fmt: skip


@pytest.fixture(scope="session")
def mixture() -> GaussianMixture:
    """Three modes in five dimensions."""
    means = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    return GaussianMixture(means, 0.1)


@pytest.fixture(scope="session")
def make(mixture: GaussianMixture) -> Callable[..., Setting]:
    """A setting on the mixture; `sizes` and fields of `Setting` may be others."""

    def setting(*, sizes: dict[str, Any] | None = None, **options: Any) -> Setting:
        given = {
            "denoiser": mixture, "shape": (5,), "exact": mixture, "modes": MixtureModes(mixture),
            "name": "a mixture", "steps": 4, **options,
        }  # fmt: skip
        return make_setting(**given, sizes=Sizes(**{**SIZES, **(sizes or {})}))

    return setting
