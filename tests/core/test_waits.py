"""No step of a sampling waits for the device; the end does once, to look for what is not finite."""

from __future__ import annotations

import pytest
import torch
from meta import NoWait, reads_counted
from torch import Tensor

import steindiff as sd
from steindiff.composition import AUTO
from steindiff.denoisers import ClassifierFreeGuidance
from steindiff.solvers import SOLVERS

LEVELS = (80.0, 20.0, 5.0, 1.0, 0.2, 0.0)
START = torch.zeros(2, 3, 8, 8, device="meta")
LABELS = torch.zeros(2, dtype=torch.int64, device="meta")


def conditional(x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
    shift = 0.0 if class_labels is None else class_labels.to(x.dtype).reshape(-1, 1, 1, 1)
    return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2) + shift


def guided(interval: tuple[float, float] | None = None) -> ClassifierFreeGuidance:
    return ClassifierFreeGuidance(conditional, 3.0, {"class_labels": 10}, interval)


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("coefficient", [AUTO, "energy", None])
@pytest.mark.parametrize("solver", SOLVERS)
def test_no_step_waits(solver: str, coefficient: str | None, record: bool) -> None:
    with reads_counted() as reads, NoWait():
        sd.sample(conditional, START, LEVELS, solver, coefficient, record=record)
    assert reads == [(11, 2)]  # the start, and two flags a step and sample


@pytest.mark.parametrize("end", ["steady", "stein", "linear", "mean"])
def test_no_end_waits(end: str) -> None:
    with reads_counted() as reads, NoWait():
        sd.sample(conditional, START, LEVELS, "dpmpp_2m", end=end)
    assert len(reads) == 1


@pytest.mark.parametrize("interval", [None, (0.5, 10.0)])
@pytest.mark.parametrize("steps", [5, None])
def test_neither_recipe_nor_conditioning_nor_guidance_waits(
    steps: int | None, interval: tuple[float, float] | None
) -> None:
    told = {"class_labels": LABELS}
    sigmas = None if steps else LEVELS
    for denoiser in (conditional, guided(interval)):
        seen = []
        with reads_counted() as reads, NoWait():
            sd.sample(denoiser, START, sigmas, steps=steps, conditioning=told, callback=seen.append)
        assert len(reads) == 1
        assert len(seen) == 5


def test_what_is_not_finite_is_told_from_the_one_look() -> None:
    with (
        reads_counted(flags=True) as reads,
        pytest.raises(sd.NonFiniteError, match=r"x is not finite at step 0 \(sigma = 80\)"),
    ):
        sd.sample(conditional, START, LEVELS)
    assert len(reads) == 1


def test_a_wait_is_seen() -> None:
    def curious(x: Tensor, sigma: Tensor) -> Tensor:
        return x * float(sigma.max())

    def eager(x: Tensor, sigma: Tensor) -> Tensor:
        return x * torch.tensor(0.5).to(x.device)

    for denoiser, why in ((curious, "waits|meta"), (eager, "copies between")):
        with NoWait(), pytest.raises((AssertionError, RuntimeError), match=why):
            sd.sample(denoiser, START, LEVELS)
