"""Other people's coordinates: what a network wants its input multiplied by, and calls the time.

All of it is told in VE sigma, in which SteinDiff computes; `steindiff.levels` has the levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._errors import check_number, shown, unknown_name
from ..levels import NoiseLevel, Scalar

OfSigma = Callable[[Tensor], Tensor]
"""A function of VE sigma, (B,) -> (B,), elementwise."""

PURE_NOISE = 4096.0
"""sigma/alpha above which a state counts as pure noise: signal is below the rounding of float16."""


def finite_ve(level: NoiseLevel) -> float:
    """VE sigma; of pure noise, where it is infinite, `PURE_NOISE`."""
    return min(float(level.ve_sigma), PURE_NOISE)


def stand_in(ve_next: float) -> float:
    """A finite VE sigma in place of pure noise's, far above the next level `ve_next`."""
    return max(PURE_NOISE, 2 * ve_next)


def flow_time(sigma: Scalar) -> Scalar:
    """Time t of x = (1 - t) x0 + t eps at VE `sigma`."""
    return sigma / (1 + sigma)


def flow_sigma(t: float) -> float:
    """VE sigma of the time t; infinite from t = 1 on, which shifting may round past."""
    return t / (1 - t) if t < 1 else math.inf


def flow_level(t: float) -> NoiseLevel:
    """Of a flow's time, which shifting may have rounded past its ends."""
    return NoiseLevel.flow(min(max(t, 0.0), 1.0))


class VPTable:
    """Training timesteps 0 .. T - 1 and their VE levels; between two, ln sigma is linear.

    Args:
        alphas_cumprod: (T,), decreasing, inside (0, 1): the product of 1 - beta up to each step.

    Raises:
        ValueError: fewer than two values, values outside (0, 1), or not decreasing.
    """

    def __init__(self, alphas_cumprod: Tensor | Sequence[float]) -> None:
        try:
            kept = torch.as_tensor(alphas_cumprod, dtype=torch.float64, device="cpu")
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise TypeError(
                f"alphas_cumprod is {shown(alphas_cumprod)}; a tensor of numbers is needed"
            ) from error
        if kept.ndim != 1 or len(kept) < 2:
            raise ValueError(
                f"alphas_cumprod has shape {tuple(kept.shape)}; (T,), T > 1, is needed"
            )
        if not bool(((kept > 0) & (kept < 1)).all()) or not bool((kept.diff() < 0).all()):
            raise ValueError(
                f"alphas_cumprod goes from {kept[0]:g} to {kept[-1]:g}; values that decrease "
                "strictly, inside (0, 1), are needed"
            )
        self.logs = ((1 - kept) / kept).sqrt().log()
        self.sigmas = self.logs.exp()

    @property
    def last(self) -> int:
        """The last timestep, T - 1."""
        return len(self.logs) - 1

    def time(self, sigma: Tensor) -> Tensor:
        """The timestep of VE `sigma`, elementwise; clamped to the first and the last."""
        known, wanted = self.logs.to(sigma.device, sigma.dtype), sigma.log()
        right = torch.searchsorted(known, wanted).clamp(1, self.last)
        low, high = known[right - 1], known[right]
        return right - 1 + ((wanted - low) / (high - low)).clamp(0, 1)

    def sigma(self, timestep: float) -> float:
        """The VE level of a timestep, which may be a fraction.

        Raises:
            ValueError: a timestep outside of 0 .. T - 1.
        """
        if not 0 <= timestep <= self.last:
            raise ValueError(f"timesteps holds {timestep:g}; 0 to {self.last} are needed")
        below = min(int(timestep), self.last - 1)
        low, high = self.logs[below].item(), self.logs[below + 1].item()
        return math.exp(low + (timestep - below) * (high - low))


@dataclass(frozen=True)
class Preconditioning:
    """D = c_skip x + c_out F(c_in x, ln(sigma)/4): Karras et al. 2022, table 1.

    Attributes:
        sigma_data: standard deviation of the data.
        sign: of c_out; -1 for a network that predicts v.
    """

    sigma_data: float
    sign: float = 1.0

    def c_in(self, sigma: Scalar) -> Scalar:
        """What the network's input is multiplied by."""
        return (sigma**2 + self.sigma_data**2) ** -0.5

    def denoised(self, output: Tensor, x: Tensor, sigma: Scalar) -> Tensor:
        """D from the network's output F at `x` (B, *shape); `sigma` broadcasts against x."""
        scale = self.sigma_data * self.c_in(sigma)
        return scale**2 * x + self.sign * sigma * scale * output.to(x.dtype)


@dataclass(frozen=True)
class Coordinates:
    """x_native = alpha x0 + sigma eps, and the time that the network is told.

    Attributes:
        alpha: function of VE sigma s, the scale of the data.
        sigma: function of VE sigma s, the scale of the noise; sigma(s) / alpha(s) = s.
        time: function of VE sigma.
        name: for messages.
        sigma_max: the highest level that the network knows; infinite where that is not known.
        pure_noise: whether it knows infinite sigma besides: a flow's t = 1.
    """

    alpha: OfSigma
    sigma: OfSigma
    time: OfSigma
    name: str = "own"
    sigma_max: float = math.inf
    pure_noise: bool = False

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
    if not 0 < check_number("scale", scale) < float("inf"):
        raise ValueError(f"scale is {scale}; a positive number, such as 1 or 1000, is needed")

    def t(sigma: Tensor) -> Tensor:
        return sigma / (1 + sigma)

    name = "flow" if scale == 1 else f"flow({scale:g})"
    return Coordinates(
        lambda sigma: 1 / (1 + sigma), t, lambda sigma: scale * t(sigma), name, pure_noise=True
    )


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
    table = VPTable(alphas_cumprod)
    highest = table.sigmas[-1].item()
    return Coordinates(_vp_alpha, lambda s: s * _vp_alpha(s), table.time, "vp", highest)


def resolve_coordinates(coordinates: str | Coordinates) -> Coordinates:
    """Coordinates by name, "ve" or "flow", or as they are.

    Raises:
        ValueError: an unknown name.
        TypeError: something else.
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
