"""Which model another scheduler is of, in the arguments of `SteinScheduler`."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

from ....composition import AUTO
from .models import alphas_cumprod

FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
DISTILLED = ("LCMScheduler", "TCDScheduler")

_FLOW_KEYS = (
    "num_train_timesteps", "use_dynamic_shifting", "base_shift", "max_shift", "base_image_seq_len",
    "max_image_seq_len", "shift_terminal", "time_shift_type",
)  # fmt: skip


def options_of(scheduler: Any) -> dict[str, Any]:
    """The arguments that describe the model of a scheduler of diffusers, relaxed or not.

    Raises:
        TypeError: no scheduler.
        ValueError: a model that is none of ours; says why.
    """
    config = getattr(scheduler, "config", None)
    if not isinstance(scheduler, SchedulerMixin) or config is None:
        raise TypeError(f"scheduler is a {type(scheduler).__name__}; a scheduler is needed")
    names = {cls.__name__ for cls in type(scheduler).__mro__}
    found: dict[str, Any]
    if names & {*FLOW} or config.get("use_flow_sigmas"):
        found = _flow(scheduler)
    elif names & {*EDM}:
        found = _edm(config)
    elif names & {*DISTILLED} or not hasattr(scheduler, "alphas_cumprod"):
        raise _refusal(scheduler, "it is of another kind of model")
    else:
        found = _vp(scheduler)
    return {**found, **_relaxation(config.get("_stein"))}


def _refusal(scheduler: Any, why: str) -> ValueError:
    return ValueError(
        f"scheduler is a {type(scheduler).__name__}: {why}. Known are VP models (schedulers with "
        f"alphas_cumprod), EDM models ({', '.join(EDM)}) and flow models ({', '.join(FLOW)}, or "
        "use_flow_sigmas=True)"
    )


def _vp(scheduler: Any) -> dict[str, Any]:
    config = scheduler.config
    if config.get("timestep_type", "discrete") != "discrete":
        raise _refusal(scheduler, f"timestep_type {config['timestep_type']!r} is not supported")
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise _refusal(scheduler, f"prediction_type {prediction!r} is not supported")
    keys = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    found = {key: config[key] for key in keys if key in config}
    if found.get("trained_betas") is not None:
        found["trained_betas"] = torch.as_tensor(found["trained_betas"], device="cpu").tolist()
    found["rescale_betas_zero_snr"] = bool(config.get("rescale_betas_zero_snr", False))
    products = scheduler.alphas_cumprod.detach().cpu()
    if not _describe(found, products):
        betas = _betas_of(products)
        found = {"num_train_timesteps": len(betas), "trained_betas": betas}
    return {"model": "vp", "prediction_type": prediction, **found}


def _describe(found: dict[str, Any], products: Tensor) -> bool:
    """Whether these arguments make the `alphas_cumprod` that the scheduler has."""
    try:
        made = alphas_cumprod({"trained_betas": None, **found})
    except (KeyError, ValueError):
        return False
    return made.shape == products.shape and torch.allclose(
        made.double(), products.double(), rtol=1e-5, atol=1e-7
    )


def _betas_of(products: Tensor) -> list[float]:
    """The betas of `alphas_cumprod`; an end at 0 is brought to 2^-24, which has a level."""
    kept = products.double().clamp_min(2**-24)
    before = torch.cat([kept.new_ones(1), kept[:-1]])
    return (1 - kept / before).tolist()


def _edm(config: Any) -> dict[str, Any]:
    keys = ("sigma_min", "sigma_max", "sigma_data", "prediction_type", "num_train_timesteps")
    found = {"model": "edm", **{key: config[key] for key in keys}}
    if config["sigma_schedule"] == "exponential":
        return {**found, "schedule": "log_snr"}
    return {**found, "schedule": "karras", "schedule_options": {"rho": config["rho"]}}


def _flow(scheduler: Any) -> dict[str, Any]:
    config = scheduler.config
    prediction = config.get("prediction_type", "flow_prediction")
    if prediction != "flow_prediction":
        raise _refusal(scheduler, f"prediction_type {prediction!r} on flow levels is not supported")
    if config.get("invert_sigmas"):
        raise _refusal(scheduler, "invert_sigmas=True is not supported")
    shift = getattr(scheduler, "shift", None) if "shift" in config else config["flow_shift"]
    found = {key: config[key] for key in _FLOW_KEYS if config.get(key) is not None}
    return {"model": "flow", "shift": shift, **found}


def _relaxation(kept: dict[str, Any] | None) -> dict[str, Any]:
    """What a relaxed scheduler is relaxed with."""
    if not kept:
        return {}
    return {
        "coefficient": kept.get("coefficient"),
        "coefficient_options": dict(kept.get("options") or {}),
        "end": kept.get("end", AUTO),
        "record": bool(kept.get("record", False)),
    }
