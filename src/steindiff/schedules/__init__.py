"""Noise schedules: which VE noise levels a sampling visits.

Every schedule is a float64 CPU tensor of `steps + 1` strictly decreasing levels sigma, in the
units of the data, from sigma_max on. With final="sigma_min" the last is sigma_min. With
final="zero" it is 0; the level before is sigma_min, or, where a schedule is named after ComfyUI's
that spaces 0 along with the others ("simple" and what follows it in `SCHEDULES`), where that falls.
Either way a sampling makes `steps` steps.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .checks import FINALS, check_sigmas
from .flow import beta, bong_tangent, flow_shift, linear_quadratic, sgm_uniform, simple
from .spaced import karras, kl_optimal, linear, log_snr, without_penultimate
from .vp import SPACINGS, from_alphas_cumprod, vp_time

__all__ = [
    "FINALS",
    "SCHEDULES",
    "SPACINGS",
    "beta",
    "bong_tangent",
    "check_sigmas",
    "flow_shift",
    "from_alphas_cumprod",
    "karras",
    "kl_optimal",
    "linear",
    "linear_quadratic",
    "log_snr",
    "sgm_uniform",
    "simple",
    "vp_time",
    "without_penultimate",
]

SCHEDULES: dict[str, Callable[..., Tensor]] = {
    "karras": karras,
    "log_snr": log_snr,
    "linear": linear,
    "kl_optimal": kl_optimal,
    "vp_time": vp_time,
    "flow_shift": flow_shift,
    "simple": simple,
    "sgm_uniform": sgm_uniform,
    "beta": beta,
    "linear_quadratic": linear_quadratic,
    "bong_tangent": bong_tangent,
}
"""The schedules that need nothing from a model, by name."""
