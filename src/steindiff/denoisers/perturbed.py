"""A denoiser with a known, smooth error: what an imperfect network does, at a size one can set."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .._errors import LARGEST, check_callable, check_count, check_number, check_values
from .base import Denoiser


class Perturbed:
    """D(x, sigma) + error * s(sigma) * g(x / sqrt(sigma^2 + sigma_data^2)).

    g is a fixed random two-layer network (tanh) whose outputs have a root mean square of about 1 on
    normal input, and s = sigma sigma_data / sqrt(sigma^2 + sigma_data^2) the posterior's standard
    deviation for Gaussian data: `error` is the denoiser's error in units of what no denoiser can
    know. It separates what a solver does wrong (against the exact solution of this denoiser) from
    what the model does wrong (against the exact denoiser).

    Args:
        denoiser: what is perturbed.
        size: elements of one sample.
        error: >= 0, root mean square of the error in units of s(sigma).
        sigma_data: standard deviation of the data.
        hidden: width of g.
        seed: of its weights.

    Raises:
        TypeError: `denoiser` cannot be called, or an argument is no number.
        ValueError: a count < 1, `sigma_data` not above 0, `error` negative or not finite; when
            called, samples of another size.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        size: int,
        error: float,
        sigma_data: float = 0.5,
        hidden: int = 64,
        seed: int = 0,
    ) -> None:
        check_callable("denoiser", denoiser)
        check_count("size", size, 1, LARGEST)
        check_count("hidden", hidden, 1, LARGEST)
        check_count("seed", seed, -(2**63), 2**63 - 1)
        if not 0 < check_number("sigma_data", sigma_data) < math.inf:
            raise ValueError(f"sigma_data is {sigma_data!r}; a finite number > 0 is needed")
        if not (math.isfinite(check_number("error", error)) and error >= 0):
            raise ValueError(f"error is {error!r}; a finite number >= 0 is needed")
        self.denoiser, self.error, self.sigma_data = denoiser, error, sigma_data
        generator = torch.Generator().manual_seed(seed)
        self.inner = _normal(size, hidden, generator) / math.sqrt(size)
        outer = _normal(hidden, size, generator)
        # tanh of a standard normal has a mean square of 0.394.
        self.outer = outer / math.sqrt(0.394 * hidden)

    def __call__(self, x: Tensor, sigma: Tensor | float, /, **conditioning: Any) -> Tensor:
        """(B, *shape) from x (B, *shape) and sigma, a number or (B,), as every denoiser."""
        if x.flatten(1).shape[1] != len(self.inner):
            found, wanted = tuple(x.shape[1:]), len(self.inner)
            raise ValueError(f"x has samples of shape {found}; {wanted} elements are needed")
        precise = torch.promote_types(x.dtype, torch.float32)
        sigma = torch.as_tensor(check_values("sigma", sigma, x), dtype=precise, device=x.device)
        level = sigma.to(x.dtype).expand(len(x))[:, None]
        total = (level**2 + self.sigma_data**2).sqrt()
        z = x.flatten(1) / total
        g = torch.tanh(z @ self.inner.to(x)) @ self.outer.to(x)
        shift = self.error * level * self.sigma_data / total * g
        return self.denoiser(x, sigma, **conditioning) + shift.reshape(x.shape)


def _normal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """(rows, columns), the same whatever the default dtype and device are."""
    return torch.randn(rows, columns, generator=generator, dtype=torch.float32, device="cpu")
