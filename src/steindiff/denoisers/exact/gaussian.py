"""The exact denoiser of a Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..._errors import LARGEST, check_count, check_shape
from ..._reductions import row_sum
from .base import Exact, check_non_negative, common_dtype, draw_noise, parameter


class Gaussian(Exact):
    """x0 ~ N(mean, covariance).

    D = mean + C (C + sigma^2)^-1 (x - mean), div D = tr C (C + sigma^2)^-1.

    Args:
        mean: a number or a tensor that broadcasts to the sample shape.
        variance: >= 0, a number or a tensor that broadcasts to the sample shape: a diagonal
            covariance.
        covariance: (d, d), symmetric positive semi-definite, over the flattened sample; instead of
            `variance`.
        shape: the sample shape. Left out, it is what `mean` and `variance` broadcast to, or (d,);
            if all of these are numbers, samples of any shape are taken, and none can be drawn.

    Raises:
        TypeError: a parameter that is not of a floating-point dtype.
        ValueError: a NaN or an infinity, a negative variance, a `covariance` that is not symmetric
            or not positive semi-definite, both kinds of variance, or shapes that do not match.
    """

    def __init__(
        self,
        mean: float | Tensor = 0.0,
        variance: float | Tensor = 1.0,
        covariance: Tensor | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        shape = None if shape is None else check_shape("shape", shape)
        given = [value for value in (mean, variance, covariance) if isinstance(value, Tensor)]
        center, spread = parameter("mean", mean), parameter("variance", variance)
        check_non_negative("variance", spread)
        self._basis: Tensor | None = None
        shapes = [center.shape, spread.shape]
        if covariance is not None:
            if isinstance(variance, Tensor) or variance != 1.0:
                raise ValueError("variance and covariance are both given; give one of them")
            spread, self._basis = _spectrum(covariance)
            shapes = [center.shape] if center.ndim else [spread.shape]
        self.sample_shape = _sample_shape(shapes, shape)
        self._dtype = common_dtype(given)
        if self._basis is not None and math.prod(self.sample_shape or ()) != len(spread):
            raise ValueError(
                f"covariance is of {len(spread)} dimensions; samples have shape {self.sample_shape}"
            )
        self._mean = self._flat(center)
        self._spread = spread if self._basis is not None else self._flat(spread)

    def transport(self, x: Tensor, sigma: Tensor | float, sigma_next: Tensor | float) -> Tensor:
        """Exact solution at `sigma_next` of the probability-flow ODE dx/dsigma = (x - D)/sigma.

        x' = mean + ((C + sigma_next^2) (C + sigma^2)^-1)^(1/2) (x - mean).

        Args:
            x: (B, *shape), the states at `sigma`.
            sigma: > 0, a number, a 0-dim tensor, or (B,).
            sigma_next: >= 0, likewise; higher or lower than `sigma`.

        Returns:
            (B, *shape), in the dtype of `x`.

        Raises: as the call.
        """
        flat, variance = self._flatten(x), self._variance(x, sigma)
        at_zero = not isinstance(sigma_next, Tensor) and sigma_next == 0
        after = (
            torch.zeros_like(variance) if at_zero else self._variance(x, sigma_next, "sigma_next")
        )
        spread = self._spread.to(variance)
        gain = ((spread + after) / (spread + variance)).sqrt()
        return self._scaled(flat, gain).reshape(x.shape).to(x.dtype)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` clean samples, (count, *shape), in the dtype of the parameters.

        Raises:
            ValueError: the sample shape is not known.
        """
        if self.sample_shape is None:
            raise ValueError("the sample shape is not known; give the Gaussian a shape=")
        check_count("count", count, 1, LARGEST)
        size = math.prod(self.sample_shape)
        noise = draw_noise((count, size), generator).to(self._mean.device)
        flat = self._scaled(noise, self._spread.sqrt().to(noise), centered=True)
        return flat.reshape(count, *self.sample_shape).to(self._dtype)

    def _denoise(self, x: Tensor, variance: Tensor) -> Tensor:
        spread = self._spread.to(variance)
        return self._scaled(x, spread / (spread + variance))

    def _divergence(self, x: Tensor, variance: Tensor) -> Tensor:
        spread = self._spread.to(variance)
        return row_sum((spread / (spread + variance)).expand_as(x))

    def _scaled(self, x: Tensor, gain: Tensor, centered: bool = False) -> Tensor:
        """mean + gain (x - mean), the gain taken along the principal axes."""
        mean = self._mean.to(x)
        deviation = x if centered else x - mean
        if self._basis is None:
            return mean + gain * deviation
        basis = self._basis.to(x)
        return mean + ((deviation @ basis) * gain) @ basis.T

    def _flat(self, value: Tensor) -> Tensor:
        """(d,), or (1,) where any sample shape will do."""
        if self.sample_shape is None or value.ndim == 0:
            return value.reshape(1)
        return value.expand(self.sample_shape).reshape(-1)


def _sample_shape(
    shapes: Sequence[torch.Size], asked: Sequence[int] | None
) -> tuple[int, ...] | None:
    """The shape that parameters of these shapes broadcast to; None if they are numbers."""
    try:
        found = tuple(torch.broadcast_shapes(*shapes))
        if asked is not None and tuple(torch.broadcast_shapes(found, asked)) != tuple(asked):
            raise RuntimeError
    except RuntimeError as error:
        shown = " and ".join(str(tuple(shape)) for shape in shapes)
        wanted = "" if asked is None else f" to shape {tuple(asked)}"
        raise ValueError(f"parameters of shapes {shown} do not broadcast{wanted}") from error
    return tuple(asked) if asked is not None else found or None


def _spectrum(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Variances (d,) along the principal axes, and these axes as the columns of a (d, d) matrix."""
    matrix = parameter("covariance", covariance)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.numel() == 0:
        raise ValueError(f"covariance has shape {tuple(matrix.shape)}; (d, d) is needed")
    slack = 10 * torch.finfo(covariance.dtype).eps * len(matrix) * float(matrix.abs().max())
    skew = float((matrix - matrix.T).abs().max())
    if skew > slack:
        raise ValueError(f"covariance differs from its transpose by {skew:g}; it must be symmetric")
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    if float(values[0]) < -slack:
        raise ValueError(
            f"covariance has the eigenvalue {float(values[0]):g}; it must be positive semi-definite"
        )
    return values.clamp(min=0), vectors
