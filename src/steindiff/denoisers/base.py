"""What a denoiser is."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Denoiser(Protocol):
    """D(x, sigma) ~ E[x0 | x0 + sigma * eps = x], in VE coordinates.

    Anything callable this way will do: an `nn.Module`, a function, an exact posterior mean.
    """

    def __call__(self, x: Tensor, sigma: Tensor, /, *_: Any, **conditioning: Any) -> Tensor:
        """Denoised estimate of shape, dtype and device of `x`.

        Args:
            x: (B, *shape), the noisy states.
            sigma: (B,), their noise levels; float32, or float64 when `x` is.
            **conditioning: whatever the model takes, such as `class_labels`.
        """
        ...


def highest_known(denoiser: Any) -> float:
    """The highest VE level that a denoiser says it knows, by its `sigma_max`.

    Infinite where it says none, or that it knows `pure_noise`.
    """
    known = getattr(denoiser, "sigma_max", None)
    if not isinstance(known, float) or getattr(denoiser, "pure_noise", False):
        return math.inf
    return known
