"""The corrector rule acts where Heun fails, and leaves it alone where it is right."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from matrices import slow
from torch import Tensor

import steindiff as sd

LABELS = torch.arange(6)


def guided(scale: float) -> partial[Tensor]:
    net = sd.load_model("fashion-mnist")
    return partial(sd.ClassifierFreeGuidance(net, scale, {"class_labels": 10}), class_labels=LABELS)


def heun(denoiser: partial[Tensor], steps: int, coefficient: str | None) -> Tensor:
    x = sd.noise((1, 28, 28), 14.6, range(len(LABELS)))
    levels = sd.schedules.karras(steps, 0.0292, 14.6, final="zero")
    with torch.no_grad():
        return sd.sample(denoiser, x, levels, "heun", coefficient, end="none").x


@pytest.mark.parametrize(
    ("guidance", "steps", "least", "most"),
    [slow(2.0, 12, 0.95, 1.1), (4.0, 5, 0.0, 0.6), slow(1.0, 5, 0.0, 0.9)],
)
def test_a_guided_heun_is_cut_only_where_it_fails(
    guidance: float, steps: int, least: float, most: float
) -> None:
    """Root mean square error to the ODE, relaxed over plain."""
    denoiser = guided(guidance)
    fine = heun(denoiser, 4 * steps, None)
    plain, relaxed = (
        float((heun(denoiser, steps, rule) - fine).square().mean().sqrt())
        for rule in (None, "energy")
    )
    assert least * plain <= relaxed <= most * plain
