"""Diagnoses that take a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from steindiff.denoisers import GaussianMixture
from steindiff.lab.theory import Diagnosis, Sizes, make_diagnosis, run_chapters
from steindiff.lab.theory.collapse import MixtureModes

SIZES: dict[str, Any] = {
    "samples": 6, "jacobians": 3, "levels": 3, "probes": 2, "study": 8, "modes": 12, "counts": (3,),
    "dense": (6,), "steps_shown": 3, "fine_steps": 12, "rounds": 4, "pairs": 24,
}  # fmt: skip


@pytest.fixture(scope="session")
def mixture() -> GaussianMixture:
    """Three modes in five dimensions."""
    means = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    return GaussianMixture(means, 0.1)


@pytest.fixture(scope="session")
def make(mixture: GaussianMixture) -> Callable[..., Diagnosis]:
    """A diagnosis of the mixture; `sizes` and options of `make_diagnosis` may be others."""

    def diagnosis(*, sizes: dict[str, Any] | None = None, **options: Any) -> Diagnosis:
        given = {
            "denoiser": mixture, "shape": (5,), "exact": mixture, "modes": MixtureModes(mixture),
            "name": "a mixture", "steps": 4, **options,
        }  # fmt: skip
        return make_diagnosis(**given, sizes=Sizes(**{**SIZES, **(sizes or {})}))

    return diagnosis


@pytest.fixture(scope="session")
def whole(make: Callable[..., Diagnosis], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of all chapters of one diagnosis; tests copy what they change."""
    folder = tmp_path_factory.mktemp("whole")
    run_chapters(make(), folder, command="steindiff diagnose --model m")
    return folder / "results.json"
