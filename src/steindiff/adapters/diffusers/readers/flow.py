"""Schedulers of flow models, in flow coordinates: x = (1 - sigma) x0 + sigma eps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ....levels import NoiseLevel, denoised_from
from ....stein.relax import working
from ...coordinates import flow_level
from .base import StepCall, refuse_if
from .discrete import EulerReader, HeunReader


class FlowEulerReader(EulerReader):
    """One call a step. FlowMatchEulerDiscrete, inverted sigmas (Mochi) included."""

    coordinates = "flow"
    noise_arguments = ()

    def check_config(self, config: Mapping[str, Any]) -> None:
        refuse_if(
            bool(config.get("stochastic_sampling")),
            "stochastic_sampling=True",
            "set stochastic_sampling=False",
        )

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        super().check_arguments(arguments)
        if arguments.get("per_token_timesteps") is not None:
            raise ValueError(
                "per_token_timesteps is given: the tokens of one sample are then at different "
                "noise levels, and such a sample has no energy law; use the plain scheduler"
            )

    def level(self, scheduler: Any, sigma: float) -> NoiseLevel:
        level = flow_level(sigma)
        return NoiseLevel(level.sigma, level.alpha) if _inverted(scheduler) else level

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        # The velocity of inverted sigmas points from noise to data.
        velocity = -call.model_output if _inverted(scheduler) else call.model_output
        return denoised_from(velocity, working(call.sample), level, "flow")


class DataWardReader(FlowEulerReader):
    """One call a step, with a velocity that points to the data. MiniMaxH3."""

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        return denoised_from(-call.model_output, working(call.sample), level, "flow")


class FlowHeunReader(HeunReader):
    """Two calls a step, the last step one. FlowMatchHeunDiscrete."""

    coordinates = "flow"
    level = FlowEulerReader.level

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        return denoised_from(call.model_output, working(call.sample), level, "flow")


def _inverted(scheduler: Any) -> bool:
    return bool(scheduler.config.get("invert_sigmas"))
