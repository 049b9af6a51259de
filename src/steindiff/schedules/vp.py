"""Schedules of variance-preserving models: by the time of the SDE, or by the steps of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .._errors import shown, unknown_name
from .checks import check_final, check_positive, check_steps
from .flow import beta_quantiles
from .spaced import warped

SPACINGS = ("trailing", "linspace", "leading", "simple", "sgm_uniform", "beta")


def vp_time(
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 2.0,
    beta_min: float = 0.1,
    beta_max: float = 20.0,
    final: str = "sigma_min",
) -> Tensor:
    """Uniform in t^(1/rho), t the time of the variance-preserving diffusion.

    With a linear rate of noise, ln(1 + sigma^2) = beta_min t + (beta_max - beta_min) t^2 / 2 (Song
    et al. 2021, "Score-Based Generative Modeling through SDEs", equation 33, in VE coordinates).
    rho = 1 is uniform in time; rho = 2, quadratic, is the schedule that DEIS is used with (Zhang &
    Chen 2023, "Fast Sampling of Diffusion Models with Exponential Integrator", appendix).

    Args:
        rho: > 0; the larger, the more of the levels are low.
        beta_min: > 0, the rate of noise at t = 0.
        beta_max: > beta_min, the rate of noise at t = 1.

    The other arguments, result and errors as for `karras`; also beta_min >= beta_max.
    """
    for name, value in (("rho", rho), ("beta_min", beta_min), ("beta_max", beta_max)):
        check_positive(name, value)
    if beta_min >= beta_max:
        raise ValueError(
            f"beta_min is {beta_min} and beta_max {beta_max}; beta_min must be the lower"
        )
    slope = beta_max - beta_min

    def time(sigma: float) -> float:
        root = math.sqrt(beta_min**2 + 2 * slope * math.log1p(sigma**2))
        return 2 * math.log1p(sigma**2) / (root + beta_min)  # no cancellation at low levels

    def level(u: Tensor) -> Tensor:
        t = u**rho
        return (beta_min * t + slope * t**2 / 2).expm1().sqrt()

    return warped(steps, sigma_min, sigma_max, final, lambda s: time(s) ** (1 / rho), level)


def from_alphas_cumprod(
    alphas_cumprod: Tensor,
    steps: int,
    spacing: str = "trailing",
    final: str = "sigma_min",
) -> Tensor:
    """Levels of a discrete-time VP model at time steps spaced as diffusers or ComfyUI space them.

    sigma = sqrt((1 - a) / a). The first three spacings are those of Lin et al. 2024, "Common
    Diffusion Noise Schedules and Sample Steps are Flawed", table 2, the others ComfyUI's schedulers
    of those names; of N training time steps, with `steps` = 5 and N = 1000:

    * "trailing": 999, 799, 599, 399, 199: starts at the highest level.
    * "linspace": from N - 1 to 0, both included, rounded: 999, 749, 500, 250, 0 (a single step
      starts at N - 1).
    * "leading": multiples of N // steps: 800, 600, 400, 200, 0: never starts at the highest level.
    * "simple": trailing, rounded up: 999, 799, 599, 399, 199.
    * "sgm_uniform": from N - 1 to 0 in equal steps, 0 left out: 999, 799.2, 599.4, 399.6, 199.8;
      between two time steps ln sigma is linear.
    * "beta": rounded quantiles of Beta(0.6, 0.6) (Lee et al. 2024, "Beta Sampling is All You
      Need"): 999, 876, 637, 362, 123. Needs scipy.

    With final="zero" a 0 follows these `steps` levels, as in diffusers' Euler and DDIM schedulers.
    With final="sigma_min" the sampling ends at time step 0, the lowest level that the model was
    trained on, as diffusers' multistep schedulers do with final_sigmas_type="sigma_min": "trailing"
    is followed by time step 0; the other two end there by themselves, so that one time step more
    is spaced.

    Args:
        alphas_cumprod: (N,), strictly decreasing, in (0, 1).
        steps: number of steps, 1 to N; with final="sigma_min" to N - 1, "trailing" to about 2/3 N.
        spacing: one of `SPACINGS`.
        final: "sigma_min" or "zero".

    Returns:
        (steps + 1,) float64.

    Raises:
        TypeError: `steps` is not an int.
        ValueError: `alphas_cumprod` not as above (0 at the end, "zero terminal SNR", has no VE
            level), more steps than it has time steps, unknown `spacing` or `final`.
    """
    check_steps(steps)
    check_final(final)
    if spacing not in SPACINGS:
        raise unknown_name("spacing", spacing, SPACINGS)
    alphas = _check_alphas(alphas_cumprod)
    most = len(alphas) - (final == "sigma_min")
    if steps > most:
        raise ValueError(
            f"steps is {steps}; {len(alphas)} time steps allow at most {most} with final={final!r}"
        )
    times = _time_steps(len(alphas), steps, spacing, final == "sigma_min")
    if any(time == after for time, after in pairwise(times)):
        raise ValueError(
            f"steps is {steps}; {spacing} spacing of {len(alphas)} time steps is then so dense "
            "that it holds one of them twice; take fewer steps"
            + (", or final='zero'" if times[-2:] == [0, 0] else "")
        )
    levels = _levels_at(((1 - alphas) / alphas).sqrt(), times)
    return torch.cat([levels, levels.new_zeros(1)]) if final == "zero" else levels


def _time_steps(total: int, steps: int, spacing: str, to_lowest: bool) -> Sequence[float]:
    """Decreasing time steps; `steps` of them, or one more, the last being 0."""
    if spacing in ("linspace", "leading"):
        return _ending(total, steps + 1 if to_lowest else steps, spacing)
    if spacing == "trailing":
        times = [round(total - index * (total / steps)) - 1 for index in range(steps)]
    elif spacing == "simple":
        times = [total - 1 - int(index * (total / steps)) for index in range(steps)]
    elif spacing == "sgm_uniform":
        times = [(total - 1) * (1 - index / steps) for index in range(steps)]
    else:
        times = (beta_quantiles(steps)[:-1] * (total - 1)).round().tolist()
    return [*times, 0] if to_lowest else times


def _ending(total: int, count: int, spacing: str) -> Sequence[float]:
    """`count` decreasing time steps that end on 0 by themselves."""
    if spacing == "leading":
        return [index * (total // count) for index in reversed(range(count))]
    if count == 1:
        return [total - 1]
    stride = (total - 1) / (count - 1)
    return [round(index * stride) for index in reversed(range(count))]


def _levels_at(table: Tensor, times: Sequence[float]) -> Tensor:
    """The levels of time steps; between two of the table's, ln sigma is linear."""
    wanted = torch.tensor(times, dtype=torch.float64, device="cpu")
    low = wanted.floor().long()
    logs, share = table.log(), wanted - low
    between = ((1 - share) * logs[low] + share * logs[wanted.ceil().long()]).exp()
    return torch.where(share == 0, table[low], between)


def _check_alphas(alphas_cumprod: Tensor) -> Tensor:
    try:
        alphas = torch.as_tensor(alphas_cumprod, device="cpu").detach().double()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(
            f"alphas_cumprod is {shown(alphas_cumprod)}; a tensor of numbers is needed"
        ) from error
    if alphas.ndim != 1 or len(alphas) == 0:
        raise ValueError(f"alphas_cumprod has shape {tuple(alphas.shape)}; one dimension is needed")
    if not bool(((alphas > 0) & (alphas < 1)).all()):
        raise ValueError(
            f"alphas_cumprod holds values from {alphas.min():g} to {alphas.max():g}; they must lie "
            "strictly between 0 and 1 (a model with zero terminal SNR has no VE level at its end)"
        )
    if not bool((alphas.diff() < 0).all()):
        index = int((alphas.diff() >= 0).nonzero()[0])
        raise ValueError(
            f"alphas_cumprod[{index}] is {alphas[index]:g} and alphas_cumprod[{index + 1}] is "
            f"{alphas[index + 1]:g}; it must strictly decrease"
        )
    return alphas
