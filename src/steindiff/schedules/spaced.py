"""Levels uniform in a function of VE sigma."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .checks import check_positive, check_range, check_sigmas


def karras(
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    final: str = "sigma_min",
) -> Tensor:
    """Uniform in sigma^(1/rho).

    Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models",
    equation 5.

    Args:
        steps: number of steps, >= 1.
        sigma_min: lowest level above 0.
        sigma_max: highest level.
        rho: > 0; the larger, the more of the levels are low.
        final: "sigma_min", or "zero" to end on sigma = 0.

    Returns:
        (steps + 1,) float64.

    Raises:
        TypeError: `steps` is not an int.
        ValueError: steps < 1, not 0 < sigma_min < sigma_max < inf, rho <= 0, unknown `final`, or
            levels so dense that two of them coincide.
    """
    check_positive("rho", rho)
    return warped(steps, sigma_min, sigma_max, final, lambda s: s ** (1 / rho), lambda u: u**rho)


def log_snr(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, final: str = "sigma_min"
) -> Tensor:
    """Uniform in ln sigma, and so in log-SNR (Lu et al. 2022, "DPM-Solver", section 3.4).

    Arguments, result and errors as for `karras`.
    """
    return warped(steps, sigma_min, sigma_max, final, math.log, torch.exp)


def linear(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, final: str = "sigma_min"
) -> Tensor:
    """Uniform in sigma. Arguments, result and errors as for `karras`."""
    return warped(steps, sigma_min, sigma_max, final, float, lambda u: u)


def kl_optimal(
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    sigma_data: float = 1.0,
    final: str = "sigma_min",
) -> Tensor:
    """Uniform in arctan(sigma / sigma_data): the least bound for data that are one Gaussian.

    Sabour et al. 2024, "Align Your Steps", theorem 3.1. ComfyUI's and A1111's "KL Optimal" is it
    with final="zero".

    Args:
        sigma_data: > 0, the deviation of the data.

    The other arguments, result and errors as for `karras`; also sigma_data <= 0.
    """
    check_positive("sigma_data", sigma_data)
    return warped(
        steps,
        sigma_min,
        sigma_max,
        final,
        lambda s: math.atan(s / sigma_data),
        lambda u: sigma_data * u.tan(),
    )


def without_penultimate(sigmas: Tensor | Sequence[float]) -> Tensor:
    """The levels without the one before the last: a longer last step, for a step less.

    What ComfyUI does for some samplers by itself, and users by hand: the levels of one step more,
    of which the lowest above 0 is left out, `without_penultimate(karras(6, final="zero"))` for 5
    steps.

    Args:
        sigmas: 1-D tensor or sequence of three levels or more, as `sample` takes them.

    Raises:
        ValueError: fewer levels, or what `check_sigmas` refuses.
    """
    levels = check_sigmas(sigmas)
    if len(levels) < 3:
        raise ValueError(f"sigmas has {len(levels)} levels; three or more are needed to leave one")
    return torch.tensor([*levels[:-2], levels[-1]], dtype=torch.float64, device="cpu")


def warped(
    steps: int,
    sigma_min: float,
    sigma_max: float,
    final: str,
    forward: Callable[[float], float],
    backward: Callable[[Tensor], Tensor],
) -> Tensor:
    """Levels uniform in forward(sigma), with the ends exactly as asked for."""
    check_range(steps, sigma_min, sigma_max, final)
    count = steps if final == "zero" else steps + 1
    grid = torch.linspace(0, 1, count, dtype=torch.float64, device="cpu")
    low, high = forward(sigma_min), forward(sigma_max)
    levels = backward(high + grid * (low - high))
    levels[-1], levels[0] = sigma_min, sigma_max  # in this order: a single level is sigma_max
    if final == "zero":
        levels = torch.cat([levels, levels.new_zeros(1)])
    check_sigmas(levels)
    return levels
