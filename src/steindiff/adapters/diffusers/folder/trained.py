"""At which levels a network was trained, and in which words it is asked there: by its scheduler."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...callable import FunctionDenoiser, from_function
from ...callable.denoiser import Function
from ...coordinates import Preconditioning, VPTable, flow, vp
from ..stein_scheduler import SteinScheduler
from ..stein_scheduler.source import DISTILLED

HIGHEST = 160.0
"""The highest level that is asked for. Betas are made to end near pure noise: the linear ones of
DDPM at 157, those of Stable Diffusion at 15, the cosine ones, in the thousands, only by rounding.
From 160 on nothing is left to see of data of a standard deviation about 1."""

HIGHEST_OF_FLOW = 80.0

_STANDS_FOR_INFINITY = 2000.0  # a zero-terminal SNR is read as the level 4096
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}


@dataclass(frozen=True)
class Trained:
    """How a network was trained.

    Attributes:
        denoiser: makes D of the network, given as a `Function`.
        sigma_min: the lowest VE level.
        sigma_max: the highest VE level.
        name: of the kind of model and of what it predicts, such as "vp, epsilon".
    """

    denoiser: Callable[[Function], FunctionDenoiser]
    sigma_min: float
    sigma_max: float
    name: str


def trained_for(scheduler: Any) -> Trained:
    """How the network was trained that is sampled with `scheduler`, relaxed or not.

    Clipping and thresholding of predictions are the scheduler's, not the model's: they are left
    out.

    Raises:
        TypeError: no scheduler.
        ValueError: the scheduler of a distilled model, or of one that is none of vp, edm and flow;
            says why.
    """
    name = next((cls.__name__ for cls in type(scheduler).__mro__ if cls.__name__ in DISTILLED), "")
    if name:
        raise ValueError(
            f"scheduler is a {name}: the model is distilled, its steps are no steps of an ODE, and "
            "there is nothing to relax; the model that it was distilled from is needed"
        )
    read = SteinScheduler.from_scheduler(scheduler, solver="euler", coefficient=None, schedule=None)
    return {"vp": _vp, "edm": _edm, "flow": _flow}[read.config["model"]](read)


_NOISY = (
    "DDPMScheduler", "DDPMParallelScheduler", "EulerAncestralDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler", "SASolverScheduler",
    "CosineDPMSolverMultistepScheduler",
)  # fmt: skip


def noisy(scheduler: Any) -> str:
    """The name of a scheduler that adds noise at every step on purpose; "" for any other."""
    names = [cls.__name__ for cls in type(scheduler).__mro__]
    config = scheduler.config
    random = str(config.get("algorithm_type", "")).startswith("sde") or config.get(
        "stochastic_sampling"
    )
    return names[0] if random or {*names} & {*_NOISY} else ""


_STEPS_DISTILLED = re.compile(
    r"(?<![a-z])(lcm|tcd|turbo|lightning|schnell|hyper|dmd2?|sprint|flash)(?![a-z])"
)


def untunable(pipeline: Any) -> str:
    """Why there is nothing to tune for a pipeline, and what to do; "" where there is.

    A model of few steps by distillation is known by a word in its name, in that of its network, or
    of an adapter on it: no config says so. Guidance that was distilled is no hindrance.
    """
    scheduler = noisy(pipeline.scheduler)
    if scheduler:
        return (
            f"a pipeline whose {scheduler} adds noise at every step, where a tuning compares with "
            "the deterministic solution; give it a scheduler of the same model that adds none, "
            "such as DDIMScheduler.from_config(pipe.scheduler.config), first"
        )
    for name in _names(pipeline):
        found = _STEPS_DISTILLED.search(name.lower())
        if found:
            return (
                f"{name!r}, which by its name ({found[0]!r}) is distilled to few steps: they are "
                "no steps of an ODE, and there is nothing to tune; the model that it was distilled "
                "from is needed"
            )
    return ""


def _names(pipeline: Any) -> list[str]:
    """Names of a pipeline, its network and the adapters on it; of paths the last part."""
    networks = [getattr(pipeline, part, None) for part in ("unet", "transformer")]
    configs = [part.config for part in (pipeline, *networks) if part is not None]
    paths = [str(config.get("_name_or_path") or "") for config in configs]
    adapters = [name for part in networks for name in getattr(part, "peft_config", ())]
    cached = [part for path in paths for part in Path(path).parts if part.startswith("models--")]
    return [type(pipeline).__name__, *(Path(path).name for path in paths), *cached, *adapters]


def _vp(read: SteinScheduler) -> Trained:
    """Levels are those of the table of timesteps; between two of them the time is a fraction."""
    known, prediction = vp(read.alphas_cumprod), read.config["prediction_type"]

    def denoiser(network: Function) -> FunctionDenoiser:
        return from_function(network, _PREDICTIONS[prediction], coordinates=known)

    levels = VPTable(read.alphas_cumprod).sigmas
    highest = float(levels[levels < _STANDS_FOR_INFINITY].max())
    return Trained(denoiser, float(levels[0]), min(highest, HIGHEST), f"vp, {prediction}")


def _edm(read: SteinScheduler) -> Trained:
    config, prediction = read.config, read.config["prediction_type"]
    sign = -1.0 if prediction == "v_prediction" else 1.0
    known = Preconditioning(config["sigma_data"], sign)

    def denoiser(network: Function) -> FunctionDenoiser:
        def denoised(x: Tensor, sigma: Tensor, **conditioning: Any) -> Tensor:
            level = sigma.reshape(-1, *[1] * (x.ndim - 1))
            output = network(x * known.c_in(level), sigma.log() / 4, **conditioning)
            return known.denoised(output, x, level)

        return from_function(denoised, "sample", coordinates="ve")

    return Trained(denoiser, config["sigma_min"], config["sigma_max"], f"edm, {prediction}")


def _flow(read: SteinScheduler) -> Trained:
    """Times run from 1/T to 1, pure noise, in whose place stands `HIGHEST_OF_FLOW`."""
    steps = read.config["num_train_timesteps"]
    known = flow(steps)

    def denoiser(network: Function) -> FunctionDenoiser:
        return from_function(network, "flow", coordinates=known)

    return Trained(denoiser, 1 / (steps - 1), HIGHEST_OF_FLOW, "flow, flow_prediction")
