"""Noise levels, the coordinates they are written in, and what a network may predict.

A noisy sample is x = alpha * x0 + sigma * eps with eps ~ N(0, I). Dividing by alpha gives
variance-exploding (VE) coordinates, x0 + (sigma / alpha) * eps, in which SteinDiff computes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ._errors import check_number, check_values, unknown_name

PREDICTIONS = ("epsilon", "v", "sample", "flow")
"""Kinds of network output: eps, alpha * eps - sigma * x0, x0, eps - x0."""

Scalar = float | Tensor


@dataclass(frozen=True)
class NoiseLevel:
    """x = alpha * x0 + sigma * eps.

    Attributes:
        alpha: scale of the clean sample, >= 0: a number, a 0-dim tensor, or (B,), one per sample.
        sigma: standard deviation of the noise, >= 0, likewise.

    Raises:
        ValueError: a negative or non-finite value, or alpha and sigma both 0 (values that live on
            an accelerator are not looked at: that would wait for it).
    """

    alpha: Scalar
    sigma: Scalar

    def __post_init__(self) -> None:
        _check_range("alpha", self.alpha, 0.0, math.inf)
        _check_range("sigma", self.sigma, 0.0, math.inf)
        if _any_zero(self.alpha + self.sigma):
            raise ValueError("alpha and sigma are both 0; a level needs signal or noise")

    @classmethod
    def ve(cls, sigma: Scalar) -> NoiseLevel:
        """Variance exploding: alpha = 1."""
        return cls(torch.ones_like(sigma) if isinstance(sigma, Tensor) else 1.0, sigma)

    @classmethod
    def vp(cls, alpha_cumprod: Scalar) -> NoiseLevel:
        """Variance preserving: alpha^2 = alpha_cumprod, sigma^2 = 1 - alpha_cumprod.

        `alpha_cumprod` in [0, 1] is the product of 1 - beta up to the time step (Ho et al. 2020,
        "Denoising Diffusion Probabilistic Models", equation 4).
        """
        _check_range("alpha_cumprod", alpha_cumprod, 0.0, 1.0)
        return cls(_sqrt(alpha_cumprod), _sqrt(1 - alpha_cumprod))

    @classmethod
    def vp_from_ve(cls, sigma_ve: Scalar) -> NoiseLevel:
        """The variance-preserving level of the same signal-to-noise ratio as VE `sigma_ve`."""
        _check_range("sigma_ve", sigma_ve, 0.0, math.inf)
        alpha = 1 / _sqrt(1 + sigma_ve**2)
        return cls(alpha, sigma_ve * alpha)

    @classmethod
    def flow(cls, t: Scalar) -> NoiseLevel:
        """Rectified flow: alpha = 1 - t, sigma = t, t in [0, 1], 1 being pure noise.

        Liu et al. 2023, "Flow Straight and Fast", with time running from data to noise as in
        Esser et al. 2024, "Scaling Rectified Flow Transformers", equation 13.
        """
        _check_range("t", t, 0.0, 1.0)
        return cls(1 - t, t)

    @classmethod
    def flow_from_ve(cls, sigma_ve: Scalar) -> NoiseLevel:
        """The rectified-flow level of the same ratio as VE `sigma_ve`: t = s / (1 + s)."""
        _check_range("sigma_ve", sigma_ve, 0.0, math.inf)
        return cls(1 / (1 + sigma_ve), sigma_ve / (1 + sigma_ve))

    @property
    def ve_sigma(self) -> Scalar:
        """The same level in VE coordinates, sigma / alpha; infinite where alpha is 0."""
        if isinstance(self.alpha, Tensor) or isinstance(self.sigma, Tensor):
            return self.sigma / self.alpha
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def log_snr(self) -> Scalar:
        """2 ln(alpha / sigma), in nats; +inf without noise, -inf without signal."""
        ratio = self.ve_sigma
        if isinstance(ratio, Tensor):
            return -2 * ratio.log()
        return -2 * math.log(ratio) if ratio else math.inf

    def to_ve(self, x: Tensor) -> Tensor:
        """`x` (B, *shape) in native coordinates -> VE: x / alpha.

        Raises:
            ValueError: alpha is 0, where there are no VE coordinates.
        """
        _require_nonzero("alpha", self.alpha, "pure noise has no VE coordinates")
        working, alpha, _ = self._working(x)
        return (working / alpha).to(x.dtype)

    def from_ve(self, x: Tensor) -> Tensor:
        """`x` (B, *shape) in VE coordinates -> native: alpha * x. Raises as `to_ve`."""
        _require_nonzero("alpha", self.alpha, "pure noise has no VE coordinates")
        working, alpha, _ = self._working(x)
        return (working * alpha).to(x.dtype)

    def _working(self, x: Tensor) -> tuple[Tensor, Scalar, Scalar]:
        """`x` in float32 at least, and alpha and sigma shaped to multiply it."""
        working = x.to(torch.promote_types(x.dtype, torch.float32))
        return working, _per_sample(self.alpha, working), _per_sample(self.sigma, working)


def denoised_from(prediction: Tensor, x: Tensor, level: NoiseLevel, kind: str) -> Tensor:
    """The estimate of x0 behind a network's output.

    epsilon: x0 = (x - sigma eps) / alpha;
    v: x0 = (alpha x - sigma v) / (alpha^2 + sigma^2), v of Salimans & Ho 2022, "Progressive
    Distillation for Fast Sampling of Diffusion Models", appendix D;
    flow: x0 = (x - sigma u) / (alpha + sigma), u = eps - x0.

    Args:
        prediction: (B, *shape), the network's output.
        x: (B, *shape), the noisy sample in the native coordinates of `level`.
        level: where `x` is.
        kind: one of `PREDICTIONS`.

    Returns:
        (B, *shape), in the dtype of `x`.

    Raises:
        ValueError: unknown `kind`, different shapes, or "epsilon" at alpha = 0, where x holds
            nothing of x0.
    """
    _check_kind(kind, prediction, x)
    if kind == "sample":
        return prediction.to(x.dtype)
    working, alpha, sigma = level._working(x)
    output = prediction.to(working.dtype)
    if kind == "epsilon":
        _require_nonzero("alpha", level.alpha, "epsilon does not determine the clean sample there")
        denoised = (working - sigma * output) / alpha
    elif kind == "v":
        denoised = (alpha * working - sigma * output) / (alpha**2 + sigma**2)
    else:
        denoised = (working - sigma * output) / (alpha + sigma)
    return denoised.to(x.dtype)


def prediction_from(denoised: Tensor, x: Tensor, level: NoiseLevel, kind: str) -> Tensor:
    """The network output that means `denoised`: the inverse of `denoised_from`.

    Args:
        denoised: (B, *shape), the estimate of x0.
        x: (B, *shape), the noisy sample in the native coordinates of `level`.
        level: where `x` is.
        kind: one of `PREDICTIONS`.

    Returns:
        (B, *shape), in the dtype of `x`.

    Raises:
        ValueError: unknown `kind`, different shapes, or sigma = 0 for a kind other than "sample",
            where x holds nothing of eps.
    """
    _check_kind(kind, denoised, x)
    if kind == "sample":
        return denoised.to(x.dtype)
    _require_nonzero("sigma", level.sigma, f"x holds no noise there to write {kind!r} with")
    working, alpha, sigma = level._working(x)
    clean = denoised.to(working.dtype)
    if kind == "epsilon":
        prediction = (working - alpha * clean) / sigma
    elif kind == "v":
        prediction = (alpha * working - (alpha**2 + sigma**2) * clean) / sigma
    else:
        prediction = (working - (alpha + sigma) * clean) / sigma
    return prediction.to(x.dtype)


def _check_kind(kind: str, output: Tensor, x: Tensor) -> None:
    if kind not in PREDICTIONS:
        raise unknown_name("prediction kind", kind, PREDICTIONS)
    if not isinstance(output, Tensor):
        raise TypeError(f"the network's output is a {type(output).__name__}; a tensor is needed")
    if output.shape != x.shape:
        raise ValueError(
            f"the network's output has shape {tuple(output.shape)} and x {tuple(x.shape)}; "
            "both need the same shape"
        )
    check_values("the network's output", output, x)


def _per_sample(value: Scalar, x: Tensor) -> Scalar:
    """A level (B,) as (B, 1, ..., 1) in the dtype and on the device of `x`."""
    if not isinstance(value, Tensor):
        return value
    if value.ndim and value.shape != x.shape[:1]:
        raise ValueError(
            f"the level has shape {tuple(value.shape)}; x has shape {tuple(x.shape)}, so that "
            f"a number or ({len(x)},) is needed"
        )
    value = check_values("the level", value, x).to(x.device, x.dtype)
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value


def _sqrt(value: Scalar) -> Scalar:
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def _holds(condition: bool | Tensor) -> bool:
    """Whether `condition` holds throughout; taken on trust where asking would wait."""
    if not isinstance(condition, Tensor):
        return condition
    return condition.device.type != "cpu" or bool(condition.all())


def _any_zero(value: Scalar) -> bool:
    return not _holds(value != 0)


def _check_range(name: str, value: Scalar, low: float, high: float) -> None:
    if isinstance(value, Tensor):
        finite: bool | Tensor = torch.isfinite(value)
    else:
        finite = math.isfinite(check_number(name, value))
    if not (_holds(finite) and _holds(value >= low) and _holds(value <= high)):
        bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else f">= {low:g}"
        raise ValueError(f"{name} is {value}; finite values {bounds} are needed")


def _require_nonzero(name: str, value: Scalar, why: str) -> None:
    if _any_zero(value):
        raise ValueError(f"{name} is {value}; it may not be 0: {why}")
