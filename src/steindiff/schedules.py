"""Noise schedules: which VE noise levels a sampling visits.

Every schedule is a float64 CPU tensor of `steps + 1` strictly decreasing levels sigma, in the
units of the data. With final="sigma_min" they run from sigma_max to sigma_min; with final="zero"
`steps` levels run from sigma_max to sigma_min and a 0 follows. Either way a sampling makes `steps`
steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._errors import check_count, check_number, shown, unknown_name

FINALS = ("sigma_min", "zero")
MOST_STEPS = 1_000_000
SPACINGS = ("trailing", "linspace", "leading")


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
    _check_positive("rho", rho)
    return _warped(steps, sigma_min, sigma_max, final, lambda s: s ** (1 / rho), lambda u: u**rho)


def log_snr(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, final: str = "sigma_min"
) -> Tensor:
    """Uniform in ln sigma, and so in log-SNR (Lu et al. 2022, "DPM-Solver", section 3.4).

    Arguments, result and errors as for `karras`.
    """
    return _warped(steps, sigma_min, sigma_max, final, math.log, torch.exp)


def linear(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, final: str = "sigma_min"
) -> Tensor:
    """Uniform in sigma. Arguments, result and errors as for `karras`."""
    return _warped(steps, sigma_min, sigma_max, final, float, lambda u: u)


def flow_shift(
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    shift: float = 3.0,
    final: str = "sigma_min",
) -> Tensor:
    """Uniform in the time u of a rectified flow before it is shifted.

    The time of a level is t = sigma / (1 + sigma), and t = shift u / (1 + (shift - 1) u) (Esser et
    al. 2024, "Scaling Rectified Flow Transformers", equation 23): in VE coordinates the shift
    multiplies sigma, sigma = shift * u / (1 - u). u runs between the values that belong to
    `sigma_max` and `sigma_min`, so that the ends are these levels whatever the shift.

    Args:
        shift: > 0; 1 is uniform in t, more puts more of the levels at high noise.

    The other arguments, result and errors as for `karras`; also shift <= 0.
    """
    _check_positive("shift", shift)
    return _warped(
        steps,
        sigma_min,
        sigma_max,
        final,
        lambda s: s / (s + shift),
        lambda u: shift * u / (1 - u),
    )


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
        _check_positive(name, value)
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

    return _warped(steps, sigma_min, sigma_max, final, lambda s: time(s) ** (1 / rho), level)


SCHEDULES: dict[str, Callable[..., Tensor]] = {
    "karras": karras,
    "log_snr": log_snr,
    "linear": linear,
    "flow_shift": flow_shift,
    "vp_time": vp_time,
}
"""The schedules that need nothing from a model, by name."""


def from_alphas_cumprod(
    alphas_cumprod: Tensor,
    steps: int,
    spacing: str = "trailing",
    final: str = "sigma_min",
) -> Tensor:
    """Levels of a discrete-time VP model at time steps spaced as diffusers spaces them.

    sigma = sqrt((1 - a) / a). The spacings are those of Lin et al. 2024, "Common Diffusion Noise
    Schedules and Sample Steps are Flawed", table 2; of N training time steps, with `steps` = 5 and
    N = 1000:

    * "trailing": 999, 799, 599, 399, 199: starts at the highest level.
    * "linspace": from N - 1 to 0, both included, rounded: 999, 749, 500, 250, 0 (a single step
      starts at N - 1).
    * "leading": multiples of N // steps: 800, 600, 400, 200, 0: never starts at the highest level.

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
    _check_steps(steps)
    _check_final(final)
    if spacing not in SPACINGS:
        raise unknown_name("spacing", spacing, SPACINGS)
    alphas = _check_alphas(alphas_cumprod)
    most = len(alphas) - (final == "sigma_min")
    if steps > most:
        raise ValueError(
            f"steps is {steps}; {len(alphas)} time steps allow at most {most} with final={final!r}"
        )
    times = _time_steps(len(alphas), steps, spacing, final == "sigma_min")
    if times[-2:] == [0, 0]:
        raise ValueError(
            f"steps is {steps}; trailing spacing of {len(alphas)} time steps is then so dense that "
            "it ends on time step 0 by itself; take fewer steps, or final='zero'"
        )
    levels = ((1 - alphas) / alphas).sqrt()[times]
    return torch.cat([levels, levels.new_zeros(1)]) if final == "zero" else levels


def check_sigmas(sigmas: Tensor | Sequence[float]) -> tuple[float, ...]:
    """The levels of a sampling as Python floats, checked.

    Args:
        sigmas: 1-D tensor or sequence, strictly decreasing, positive; the last may be 0.

    Raises:
        ValueError: not one-dimensional, fewer than two levels, a NaN, an infinity, a negative
            level, a 0 before the end, or levels that do not decrease.
    """
    if isinstance(sigmas, Tensor) and sigmas.ndim != 1:
        raise ValueError(f"sigmas has shape {tuple(sigmas.shape)}; one dimension is needed")
    try:
        values = sigmas.tolist() if isinstance(sigmas, Tensor) else sigmas
        levels = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sigmas is {shown(sigmas)}; a sequence of numbers is needed") from error
    if len(levels) < 2:
        raise ValueError(f"sigmas has {len(levels)} level(s); a step needs two")
    for index, level in enumerate(levels):
        _check_level(levels, index, level)
    return levels


def _check_level(levels: tuple[float, ...], index: int, level: float) -> None:
    if not math.isfinite(level):
        raise ValueError(f"sigmas[{index}] is {level}; finite levels are needed")
    if level < 0:
        raise ValueError(f"sigmas[{index}] is {level}; levels may not be negative")
    if level == 0 and index < len(levels) - 1:
        raise ValueError(f"sigmas[{index}] is 0; only the last level may be 0")
    if index and not levels[index - 1] > level:
        raise ValueError(
            f"sigmas[{index - 1}] is {levels[index - 1]} and sigmas[{index}] is {level}; "
            "levels must strictly decrease"
        )


def _warped(
    steps: int,
    sigma_min: float,
    sigma_max: float,
    final: str,
    forward: Callable[[float], float],
    backward: Callable[[Tensor], Tensor],
) -> Tensor:
    """Levels uniform in forward(sigma), with the ends exactly as asked for."""
    _check_steps(steps)
    _check_final(final)
    _check_positive("sigma_min", sigma_min)
    _check_positive("sigma_max", sigma_max)
    if sigma_min >= sigma_max:
        raise ValueError(
            f"sigma_min is {sigma_min} and sigma_max {sigma_max}; sigma_min must be the lower"
        )
    count = steps if final == "zero" else steps + 1
    grid = torch.linspace(0, 1, count, dtype=torch.float64)
    low, high = forward(sigma_min), forward(sigma_max)
    levels = backward(high + grid * (low - high))
    levels[-1], levels[0] = sigma_min, sigma_max  # in this order: a single level is sigma_max
    if final == "zero":
        levels = torch.cat([levels, levels.new_zeros(1)])
    check_sigmas(levels)
    return levels


def _time_steps(total: int, steps: int, spacing: str, to_lowest: bool) -> list[int]:
    """Decreasing time steps; `steps` of them, or one more, the last being 0."""
    if spacing == "trailing":
        times = [round(total - index * (total / steps)) - 1 for index in range(steps)]
        return [*times, 0] if to_lowest else times
    count = steps + 1 if to_lowest else steps
    if spacing == "leading":
        return [index * (total // count) for index in reversed(range(count))]
    if count == 1:
        return [total - 1]
    stride = (total - 1) / (count - 1)
    return [round(index * stride) for index in reversed(range(count))]


def _check_alphas(alphas_cumprod: Tensor) -> Tensor:
    try:
        alphas = torch.as_tensor(alphas_cumprod).detach().to("cpu", torch.float64)
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


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps is {steps!r}; an int is needed")
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1 is needed")
    check_count("steps", steps, 1, MOST_STEPS)


def _check_final(final: str) -> None:
    if final not in FINALS:
        raise unknown_name("final", final, FINALS)


def _check_positive(name: str, value: float) -> None:
    number = check_number(name, value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {value}; a finite number > 0 is needed")
