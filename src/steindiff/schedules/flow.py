"""Schedules of rectified flows, in VE coordinates: sigma = t / (1 - t) of the flow's time t.

A flow model begins at pure noise, t = 1, which has no VE level: here `sigma_max` is where a
schedule begins, and a high one stands for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._errors import check_number
from .checks import check_final, check_positive, check_range, check_sigmas, check_steps
from .spaced import warped


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
    check_positive("shift", shift)
    return warped(
        steps,
        sigma_min,
        sigma_max,
        final,
        lambda s: s / (s + shift),
        lambda u: shift * u / (1 - u),
    )


def simple(
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    shift: float = 1.0,
    final: str = "sigma_min",
) -> Tensor:
    """Uniform in the time u before it is shifted, and the end is one of the levels.

    So `flow_shift` with final="sigma_min". With final="zero" the last step is as long in u as the
    others, where `flow_shift` still goes to `sigma_min`: the levels of ComfyUI's "simple" scheduler
    for a flow model (but for the rounding of its table), and of the pipelines of diffusers.

    Args:
        shift: of the model, as for `flow_shift`.

    The other arguments, result and errors as for `karras`; also shift <= 0.
    """
    return _between(steps, sigma_min, sigma_max, final, _even(steps), shift)


def sgm_uniform(
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    shift: float = 1.0,
    final: str = "sigma_min",
) -> Tensor:
    """Uniform in the time u before it is shifted; a final 0 takes the place of `sigma_min`.

    ComfyUI's scheduler of this name for a flow model, after the samplers of Stability's
    generative-models. Arguments, result and errors as for `simple`.
    """
    check_final(final)
    levels = flow_shift(steps, sigma_min, sigma_max, shift)
    return torch.cat([levels[:-1], levels.new_zeros(1)]) if final == "zero" else levels


def beta(
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    shift: float = 1.0,
    alpha: float = 0.6,
    beta: float = 0.6,
    final: str = "sigma_min",
) -> Tensor:
    """Quantiles of a Beta distribution in the time u before it is shifted: dense at both ends.

    Lee et al. 2024, "Beta Sampling is All You Need", section 4, with ComfyUI's alpha = beta = 0.6
    (RES4LYF's "beta57" is alpha = 0.5, beta = 0.7). The levels of ComfyUI's "beta" scheduler for a
    flow model, but for the rounding of its table. For a discrete-time VP model:
    `from_alphas_cumprod(..., spacing="beta")`.

    Args:
        alpha: > 0; the smaller, the more of the levels are low.
        beta: > 0; the smaller, the more of the levels are high.

    The other arguments, result and errors as for `simple`; also alpha <= 0 or beta <= 0.

    Raises:
        ImportError: scipy is not installed.
    """
    return _between(steps, sigma_min, sigma_max, final, beta_quantiles(steps, alpha, beta), shift)


def linear_quadratic(
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    threshold: float = 0.025,
    final: str = "sigma_min",
) -> Tensor:
    """The first half of the steps even in t and short, the second half quadratic to the end.

    The steps of the first half leave `threshold` of the way behind them, as the first of a long
    sampling would; the second half goes on from there with no kink. Polyak et al. 2024, "Movie
    Gen", the linear-quadratic t-schedule, in the form of Mochi 1 and of ComfyUI's scheduler.

    Args:
        threshold: above 0 and up to 1/2, the share of t that the first half goes.

    The other arguments, result and errors as for `karras`; also a threshold that is not.
    """
    if not 0 < check_number("threshold", threshold) <= 0.5:
        raise ValueError(f"threshold is {threshold}; a number above 0 and up to 0.5 is needed")
    check_range(steps, sigma_min, sigma_max, final)
    half = steps // 2
    if not half:
        return _between(steps, sigma_min, sigma_max, final, _even(steps))
    # a parabola over the other steps: slope threshold/half at their start, 1 at their end
    index = torch.arange(steps + 1, dtype=torch.float64, device="cpu")
    rest, slope = steps - half, threshold / half
    bend = (1 - threshold - slope * rest) / rest**2
    gone = slope * index + bend * (index - half).clamp_min(0) ** 2
    return _between(steps, sigma_min, sigma_max, final, 1 - gone)


def bong_tangent(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, final: str = "sigma_min"
) -> Tensor:
    """Two arctangents in t that meet halfway: steep in the middle, flat at both ends.

    RES4LYF's scheduler of this name at its defaults (ClownsharkBatwing, 2025; no paper), written
    from its formula: from t = 1 to 1/2, and from 1/2 to 0, each a piece of arctan(s k) with
    s = 8 / (steps + 2), the steps k counted from six tenths of the way.

    Arguments, result and errors as for `karras`.
    """
    check_range(steps, sigma_min, sigma_max, final)
    pivot = int((steps + 2) * 0.6)
    if pivot < 2:
        return _between(steps, sigma_min, sigma_max, final, _even(steps))
    slope = 8 / (steps + 2)
    index = torch.arange(-pivot, steps + 2 - pivot, dtype=torch.float64, device="cpu")
    upper, lower = _arctangent(index[:pivot], slope), _arctangent(index[pivot:], slope)
    return _between(
        steps, sigma_min, sigma_max, final, torch.cat([0.5 + upper[:-1] / 2, lower / 2])
    )


def beta_quantiles(steps: int, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """(steps + 1,) float64: the quantiles of 1, 1 - 1/steps, ..., 0 of a Beta distribution.

    Raises:
        ImportError: scipy is not installed. TypeError, ValueError: as for `beta`.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        check_positive(name, value)
    try:
        from scipy.special import betaincinv
    except ImportError as error:
        raise ImportError("the beta schedule needs scipy: pip install scipy") from error
    quantiles: Any = betaincinv(alpha, beta, _even(steps).numpy())
    return torch.from_numpy(quantiles)


def _even(steps: int) -> Tensor:
    """1 to 0 in equal steps."""
    check_steps(steps)
    return 1 - torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps


def _arctangent(steps: Tensor, slope: float) -> Tensor:
    """arctan(-slope * steps), brought to run from 1 to 0; increasing `steps`, two or more."""
    curve = (-slope * steps).atan()
    return (curve - curve[-1]) / (curve[0] - curve[-1])


def _between(
    steps: int,
    sigma_min: float,
    sigma_max: float,
    final: str,
    shares: Tensor,
    shift: float = 1.0,
) -> Tensor:
    """The levels at those shares of the time u: 1 at `sigma_max`, 0 at the end."""
    check_range(steps, sigma_min, sigma_max, final)
    check_positive("shift", shift)
    end = 0.0 if final == "zero" else sigma_min
    low, high = end / (end + shift), sigma_max / (sigma_max + shift)
    u = low + shares * (high - low)
    levels = shift * u / (1 - u)
    levels[0], levels[-1] = sigma_max, end
    check_sigmas(levels)
    return levels
