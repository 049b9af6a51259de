"""Any network as a denoiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._errors import check_values, unknown_name
from ...levels import PREDICTIONS, denoised_from
from ..coordinates import Coordinates, resolve_coordinates

Function = Callable[..., Tensor]
"""f(x_native, time, **conditioning) -> prediction, (B, *shape)."""


@dataclass(frozen=True)
class FunctionDenoiser:
    """D(x, sigma, **conditioning) of a function that speaks of something else.

    Attributes:
        f: f(x_native, time, **conditioning), time (B,).
        prediction: what it answers, one of `levels.PREDICTIONS`.
        coordinates: what it is asked in.
    """

    f: Function
    prediction: str
    coordinates: Coordinates

    @property
    def pure_noise(self) -> bool:
        """As in `Coordinates`."""
        return self.coordinates.pure_noise

    @property
    def sigma_max(self) -> float:
        """As in `Coordinates`."""
        return self.coordinates.sigma_max

    def __call__(self, x: Tensor, sigma: Tensor | float, /, **conditioning: Any) -> Tensor:
        """Denoised estimate of `x` (B, *shape) at VE `sigma`, a number or (B,).

        Raises:
            TypeError: f returned no tensor.
            ValueError: one of another shape than x.
        """
        dtype = torch.promote_types(x.dtype, torch.float32)
        sigma = torch.as_tensor(
            check_values("sigma", sigma, x), dtype=dtype, device=x.device
        ).expand(len(x))
        level = self.coordinates.level(sigma)
        native = level.from_ve(x)
        output = self.f(native, self.coordinates.time(sigma), **conditioning)
        if not isinstance(output, Tensor):
            raise TypeError(
                f"f returned a {type(output).__name__}; a tensor is needed (of an output object, "
                "such as diffusers', return its .sample)"
            )
        return denoised_from(output, native, level, self.prediction)


def from_function(
    f: Function, prediction: str = "epsilon", *, coordinates: str | Coordinates
) -> FunctionDenoiser:
    """A denoiser for `steindiff.sample` from any network. Check it with `probe`.

    Args:
        f: f(x_native, time, **conditioning) -> prediction, like x_native.
        prediction: what it answers: "epsilon", "v" (alpha eps - sigma x0), "sample" (x0), or
            "flow" (eps - x0).
        coordinates: what it is asked in: `vp(alphas_cumprod)`, "ve", "flow", `flow(1000)`, or
            `Coordinates` of your own.

    Raises:
        TypeError: f is not callable.
        ValueError: an unknown prediction or coordinates.
    """
    if not callable(f):
        raise TypeError(f"f is a {type(f).__name__}; a function of (x, time) is needed")
    if prediction not in PREDICTIONS:
        raise unknown_name("prediction kind", prediction, PREDICTIONS)
    return FunctionDenoiser(f, prediction, resolve_coordinates(coordinates))
