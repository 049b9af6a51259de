"""diffusers' iPNDM, which has a parameterisation of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....levels import NoiseLevel, denoised_from
from ....stein import Ahead
from ....stein.relax import working
from ...coordinates import finite_ve
from .base import Place, Reader, StepCall, numbers


class IPNDMReader(Reader):
    """One call a step. Its `betas` are standard deviations, and what it is given is v."""

    coordinates = "VP"

    def place(self, scheduler: Any, call: StepCall) -> Place:
        index = scheduler._step_index - 1
        alphas, sigmas = numbers(scheduler, "alphas"), numbers(scheduler, "betas")
        level, level_next = (NoiseLevel(alphas[i], sigmas[i]) for i in (index, index + 1))
        last, end = (finite_ve(NoiseLevel(alphas[i], sigmas[i])) for i in (-2, -1))
        ahead = Ahead(len(scheduler.timesteps) - index, end, last)
        return Place(True, True, level, level_next, ahead)

    def first_order(self, scheduler: Any) -> bool:
        return False

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        return denoised_from(call.model_output, working(call.sample), level, "v")
