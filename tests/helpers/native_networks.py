"""A denoiser as others would have trained it: VP, VE or flow, predicting anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from steindiff.levels import NoiseLevel, prediction_from

ALPHAS_CUMPROD = torch.cumprod(
    1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0
)
_LEVELS: dict[str, Callable[[Tensor], NoiseLevel]] = {
    "ve": NoiseLevel.ve,
    "vp": NoiseLevel.vp_from_ve,
    "flow": NoiseLevel.flow_from_ve,
    "flow1000": NoiseLevel.flow_from_ve,
    "reversed": NoiseLevel.flow_from_ve,
}


def _sigma(kind: str, time: Tensor) -> Tensor:
    """VE sigma behind a time; what makes no sense is read as the nearest that does."""
    if kind == "ve":
        sigma = time
    elif kind == "vp":
        table = ((1 - ALPHAS_CUMPROD) / ALPHAS_CUMPROD).log() / 2
        index = time.double().clamp(0, 999)
        low = index.floor().long().clamp(max=998)
        sigma = (table[low] + (index - low) * (table[low + 1] - table[low])).exp()
    else:
        t = {"flow": time, "flow1000": time / 1000, "reversed": 1 - time}[kind]
        sigma = t / (1 - t)
    big = 1e4
    return sigma.float().nan_to_num(big, big, 1 / big).clamp(1 / big, big)


def native(net: Callable[..., Tensor], kind: str, prediction: str) -> Callable[..., Tensor]:
    """`net` (VE, predicts x0) as f(x_native, time, **conditioning) -> prediction.

    Args:
        kind: "ve" (time = sigma), "vp" (time = index into `ALPHAS_CUMPROD`), "flow" (t),
            "flow1000" (1000 t) or "reversed" (1 - t).
        prediction: one of `levels.PREDICTIONS`, or "backwards", x0 - eps.
    """

    def f(x: Tensor, time: Tensor, **conditioning: Any) -> Tensor:
        sigma = _sigma(kind, time)
        level = _LEVELS[kind](sigma)
        denoised = net(level.to_ve(x), sigma, **conditioning)
        sign, name = (-1, "flow") if prediction == "backwards" else (1, prediction)
        return sign * prediction_from(denoised, x, level, name)

    return f


def highest(kind: str) -> float:
    """The highest VE sigma at which a native network is asked."""
    last = float(ALPHAS_CUMPROD[-1])
    return math.sqrt((1 - last) / last) if kind == "vp" else 80.0
