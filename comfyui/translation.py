"""Which of ComfyUI's samplers have a twin among SteinDiff's solvers, and why others have not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .lazy import comfy

_NONE: Mapping[str, Any] = MappingProxyType({})


class Twin(NamedTuple):
    """A solver that means the same as a sampler function of ComfyUI.

    Attributes:
        solver: its name.
        options: set to agree with ComfyUI.
        renamed: options of ComfyUI's function -> options of the solver.
        zero: options that have to be 0.
        idle: options that have no meaning left then.
    """

    solver: str
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
    "sample_unipc": Twin("unipc", {"order": 3, "variant": "bh1"}, {"variant": "variant"}),
    "sample_unipc_bh2": Twin("unipc", {"order": 3, "variant": "bh2"}),
}
"""By the name of the sampler function. ComfyUI's ddim is its euler with other noise in masks."""

_NOISE = "adds noise at every step on purpose, which a relaxation would take for error and remove"
_JUMPS = "is for distilled models that jump along the path: no step loses energy"

_REFUSED: tuple[tuple[str, str, str], ...] = (
    ("cfg_pp", "steps from the unconditional prediction, so that its step is none of the ODE", ""),
    ("cfgpp", "steps from the unconditional prediction, so that its step is none of the ODE", ""),
    ("ancestral", _NOISE, ""),
    ("3m_sde", _NOISE, "Stein Sampler with dpmpp_3m"),
    ("sde", _NOISE, ""),
    ("ddpm", _NOISE, "ddim"),
    ("lcm", f"{_JUMPS}, and it adds noise", "an undistilled model with dpmpp_2m"),
    ("seeds", _NOISE, ""),
    ("sa_solver", _NOISE, "uni_pc"),
    ("dpm_adaptive", "chooses its own steps by its own estimate of their error", ""),
    ("dpm_fast", "makes its model calls at levels of its own, several a step", ""),
    ("dpm_2", "calls the model twice a step, in the middle of it", "heun"),
    ("heunpp", "changes its formula from step to step", "heun"),
    ("exp_heun", "calls the model twice a step, in log-SNR", "heun"),
    ("lms", "has a twin that ends otherwise", "Stein Sampler with deis, order 4"),
    ("ipndm_v", "weighs by ratios of steps", "ipndm, or deis, whose weights are exact"),
    ("res_multistep", "has no twin here", "dpmpp_2m"),
    ("gradient_estimation", "already changes the strength of its steps", "euler"),
)
"""Part of a name -> why it is refused, what to use instead; the first match counts."""


def translate(sampler: Any) -> tuple[str, dict[str, Any]]:
    """The solver, and its options, that mean the same as a SAMPLER of ComfyUI.

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
    return twin.solver, options


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
    module = getattr(function, "__module__", None) or ""
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
