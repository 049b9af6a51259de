"""Which of ComfyUI's samplers have a twin among SteinDiff's solvers, and why others have not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .lazy import comfy

_NONE: Mapping[str, Any] = MappingProxyType({})


class Twin(NamedTuple):
    """A solver that means the same as a sampler function of ComfyUI.

    Attributes:
        solver: its name; None where ComfyUI's own function is relaxed through its model calls.
        options: set to agree with ComfyUI.
        renamed: options of ComfyUI's function -> options of the solver.
        zero: options that have to be 0.
        idle: options that have no meaning left then.
    """

    solver: str | None
    options: Mapping[str, Any] = _NONE
    renamed: Mapping[str, str] = _NONE
    zero: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()


_ORDER = {"max_order": "order"}
_CHURN = {"zero": ("s_churn",), "idle": ("s_tmin", "s_tmax", "s_noise")}

TWINS: dict[str, Twin] = {
    "sample_euler": Twin("euler", **_CHURN),
    "sample_heun": Twin("heun", **_CHURN),
    "sample_dpmpp_2m": Twin("dpmpp_2m", {"lower_order_final": False}),
    "sample_dpmpp_3m": Twin("dpmpp_3m", {"lower_order_final": False}),
    "sample_ipndm": Twin("ipndm", {"order": 4}, _ORDER),
    "sample_deis": Twin("deis", {"order": 3}, _ORDER, idle=("deis_mode",)),
    "sample_lms": Twin("deis", {"order": 4}, {"order": "order"}),
    "sample_er_sde": Twin(None, {}, {n: n for n in ("max_stage", "noise_scaler", "s_noise")}),
    "sample_res_multistep": Twin("res_multistep", idle=("s_noise", "noise_sampler")),
    "sample_res_2s_ode": Twin("res_2s"),
    "sample_gradient_estimation": Twin("gradient_estimation", {}, {"ge_gamma": "gamma"}),
    "sample_unipc": Twin("unipc", {"order": 3, "variant": "bh1"}, {"variant": "variant"}),
    "sample_unipc_bh2": Twin("unipc", {"order": 3, "variant": "bh2"}),
}
"""By the name of the sampler function, of ComfyUI or (res_2s_ode) of RES4LYF.

ComfyUI's ddim is its euler with other noise in masks.
"""

_NOISE = "adds noise at every step on purpose, which a relaxation would take for error and remove"
_JUMPS = "is for distilled models that jump along the path: no step loses energy"

_UNCONDITIONAL = (
    "adds the noise of the unconditional prediction back, so that its steps do not follow the "
    "guided model, by whose energy a step is relaxed"
)

_REFUSED: tuple[tuple[str, str, str], ...] = (
    ("cfg_pp", _UNCONDITIONAL, "dpmpp_2m with a low cfg"),
    ("cfgpp", _UNCONDITIONAL, "dpmpp_2m with a low cfg"),
    ("ancestral", _NOISE, ""),
    ("3m_sde", _NOISE, "Stein Sampler with dpmpp_3m"),
    ("er_sde", f"{_NOISE}, unless its solver_type is ODE", "the node SamplerER_SDE with ODE"),
    ("sde", _NOISE, ""),
    ("ddpm", _NOISE, "ddim"),
    ("lcm", f"{_JUMPS}, and it adds noise", "an undistilled model with dpmpp_2m"),
    ("seeds", _NOISE, ""),
    ("sa_solver", _NOISE, "uni_pc"),
    ("dpm_adaptive", "chooses its own steps by its own estimate of their error", ""),
    ("dpm_fast", "makes its model calls at levels of its own, several a step", ""),
    ("dpm_2", "calls the model twice a step, in the middle of it", "Stein Sampler with res_2s"),
    (
        "ipndm_v",
        "has weights of order 4 that do not add up to 1 but on geometric levels",
        "deis, or Stein Sampler with deis of order 4, whose weights are those of the levels",
    ),
    ("heunpp", "changes its formula from step to step", "heun"),
    ("exp_heun", "calls the model twice a step, in log-SNR", "Stein Sampler with res_2s"),
    ("_ode", "takes or begins with steps of several model calls", "res_2s_ode or res_multistep"),
    ("res_2", f"{_NOISE} (its eta is 0.5)", "res_2s_ode or res_multistep"),
    ("res_3", f"{_NOISE} (its eta is 0.5)", "res_2s_ode or res_multistep"),
    ("res_5", f"{_NOISE} (its eta is 0.5)", "res_2s_ode or res_multistep"),
    ("res_6", f"{_NOISE} (its eta is 0.5)", "res_2s_ode or res_multistep"),
    ("deis_", f"{_NOISE} (its eta is 0.5)", "deis"),
    ("rk_", "is one of many methods, told by its node alone", "res_2s_ode or res_multistep"),
)
"""Part of a name -> why it is refused, what to use instead; the first match counts."""


_PACK = "RES4LYF"
"""The node package whose samplers are known by name beside ComfyUI's own."""


def translate(sampler: Any) -> tuple[str | Callable[..., Any], dict[str, Any]]:
    """The solver, or ComfyUI's own function, and its options, for a SAMPLER of ComfyUI.

    Raises:
        ValueError: a sampler without a twin, or an option that changes the method.
    """
    name = _function_name(sampler)
    if name not in TWINS:
        raise _refusal(name)
    twin = TWINS[name]
    options = dict(twin.options)
    for option, value in (sampler.extra_options or {}).items():
        if option in twin.renamed:
            options[twin.renamed[option]] = value
        elif option in twin.zero and value:
            raise ValueError(f"{option} is {value} in {name}: it {_NOISE}; {option} = 0 is needed")
        elif option not in twin.zero + twin.idle:
            raise ValueError(f"{name} has the option {option} = {value!r}, not known here")
    if name == "sample_er_sde" and not _is_ode(options.get("noise_scaler")):
        raise _refusal(name)
    return twin.solver or sampler.sampler_function, options


def _is_ode(scaler: Any) -> bool:
    """Whether this noise scaler of ER-SDE is that of its ODE, proportional to the level."""
    return scaler is not None and all(math.isclose(scaler(s), s * scaler(1.0)) for s in (0.1, 9.0))


def _function_name(sampler: Any) -> str:
    if type(sampler) is not comfy("samplers").KSAMPLER:
        raise ValueError(
            f"sampler is a {type(sampler).__name__} with a sampling of its own; a KSAMPLER, as "
            "KSamplerSelect gives it, is needed"
        )
    function = sampler.sampler_function
    name = getattr(function, "__name__", type(function).__name__)
    if name.startswith("sample_stein_"):
        raise ValueError(f"{name} is relaxed already; connect it as it is")
    if any(hasattr(value, "sampler_function") for value in (sampler.extra_options or {}).values()):
        raise ValueError(
            f"{name} works on another sampler (Detail Daemon and its like do): put it around a "
            "Stein sampler, which goes into its input, not into Stein Relaxation"
        )
    module = getattr(function, "__module__", None) or ""
    if _PACK in module:
        return name
    if module.partition(".")[0] != "comfy":
        raise ValueError(
            f"{name} comes from {module or 'an unknown module'}, not from ComfyUI, so that its "
            "name does not tell its method; use the Stein Sampler instead"
        )
    return name


def _refusal(name: str) -> ValueError:
    for part, reason, instead in _REFUSED:
        if part in name:
            use = instead or "euler or dpmpp_2m"
            return ValueError(f"{name} cannot be relaxed: it {reason}. Use {use} instead.")
    known = ", ".join(twin.removeprefix("sample_") for twin in TWINS)
    return ValueError(f"{name} cannot be relaxed: it has no twin here. Known: {known}.")
