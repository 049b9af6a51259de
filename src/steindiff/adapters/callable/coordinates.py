"""Where a network lives: what it wants its input multiplied by, and what it calls the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._errors import unknown_name
from ...levels import NoiseLevel

OfSigma = Callable[[Tensor], Tensor]
"""A function of VE sigma, (B,) -> (B,), elementwise."""


@dataclass(frozen=True)
class Coordinates:
    """x_native = alpha x0 + sigma eps, and the time that the network is told.

    Attributes:
        alpha, sigma: functions of VE sigma with sigma(s) / alpha(s) = s.
        time: function of VE sigma.
        name: for messages.
        sigma_max: the highest level that the network knows, as far as that is known.
    """

    alpha: OfSigma
    sigma: OfSigma
    time: OfSigma
    name: str = "own"
    sigma_max: float = 80.0

    def level(self, sigma: Tensor) -> NoiseLevel:
        """The native level of VE `sigma` (B,)."""
        return NoiseLevel(self.alpha(sigma), self.sigma(sigma))


def ve() -> Coordinates:
    """Variance exploding: x = x0 + sigma eps, and the network is told sigma (EDM, NCSN)."""
    return Coordinates(torch.ones_like, _same, _same, "ve")


def flow(scale: float = 1.0) -> Coordinates:
    """Rectified flow: x = (1 - t) x0 + t eps; the network is told scale * t, t = 1 being noise.

    Args:
        scale: 1 for t in [0, 1]; 1000 for networks in the habit of timesteps (SD3, Flux).

    Raises:
        ValueError: scale is not positive.
    """
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale is {scale}; a positive number, such as 1 or 1000, is needed")

    def t(sigma: Tensor) -> Tensor:
        return sigma / (1 + sigma)

    name = "flow" if scale == 1 else f"flow({scale:g})"
    return Coordinates(lambda sigma: 1 / (1 + sigma), t, lambda sigma: scale * t(sigma), name)


def vp(alphas_cumprod: Tensor | Sequence[float]) -> Coordinates:
    """Variance preserving by discrete timesteps: x = sqrt(a_t) x0 + sqrt(1 - a_t) eps (DDPM).

    The network is told the timestep, a fraction between two of them by linear interpolation in
    ln sigma, clamped to the first and the last. One that needs whole numbers rounds them itself:
    `lambda x, t: net(x, t.round().long())`.

    Args:
        alphas_cumprod: (T,), decreasing, inside (0, 1): the product of 1 - beta up to each step.

    Raises:
        ValueError: fewer than two values, values outside (0, 1), or not decreasing.
    """
    table = torch.as_tensor(alphas_cumprod, dtype=torch.float64, device="cpu")
    if table.ndim != 1 or len(table) < 2:
        raise ValueError(f"alphas_cumprod has shape {tuple(table.shape)}; (T,), T > 1, is needed")
    if not bool(((table > 0) & (table < 1)).all()) or not bool((table.diff() < 0).all()):
        raise ValueError(
            f"alphas_cumprod goes from {table[0]:g} to {table[-1]:g}; values that decrease "
            "strictly, inside (0, 1), are needed"
        )
    logs = ((1 - table) / table).log() / 2

    def time(sigma: Tensor) -> Tensor:
        known, wanted = logs.to(sigma.device, sigma.dtype), sigma.log()
        right = torch.searchsorted(known, wanted).clamp(1, len(known) - 1)
        low, high = known[right - 1], known[right]
        return right - 1 + ((wanted - low) / (high - low)).clamp(0, 1)

    highest = float(logs[-1].exp())
    return Coordinates(_vp_alpha, lambda s: s * _vp_alpha(s), time, "vp", highest)


def resolve_coordinates(coordinates: str | Coordinates) -> Coordinates:
    """Coordinates by name, "ve" or "flow", or as they are.

    Raises:
        ValueError: an unknown name. TypeError: something else.
    """
    if isinstance(coordinates, Coordinates):
        return coordinates
    if not isinstance(coordinates, str):
        raise TypeError(f"coordinates is a {type(coordinates).__name__}; Coordinates are needed")
    if coordinates == "vp":
        raise ValueError("coordinates is 'vp', which needs its table: pass vp(alphas_cumprod)")
    named = {"ve": ve, "flow": flow}
    if coordinates not in named:
        raise unknown_name("coordinates", coordinates, named)
    return named[coordinates]()


def _same(sigma: Tensor) -> Tensor:
    return sigma


def _vp_alpha(sigma: Tensor) -> Tensor:
    return (1 + sigma**2).rsqrt()
