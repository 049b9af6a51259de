"""Schedulers that look levels up by integer time step: DDIM and PNDM."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....levels import NoiseLevel, denoised_from
from ....stein.relax import working
from .base import Place, Reader, StepCall, numbers, timestep_number


class DDIMReader(Reader):
    """One call a step. DDIM, DDIMParallel (`step` only) and CogVideoXDDIM."""

    coordinates = "VP"
    noise_arguments = ("eta",)

    def place(self, scheduler: Any, call: StepCall) -> Place:
        timestep = timestep_number(scheduler, call.arguments["timestep"])
        before = timestep - stride(scheduler)
        level, level_next = level_at(scheduler, timestep), level_at(scheduler, before)
        return Place(True, True, level, level_next, times_left(scheduler, timestep))

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        return call.result[1]


class PNDMReader(Reader):
    """PLMS: one call a step, but two in the first; PRK: four calls in each of the first three.

    The first step of PLMS is Heun's: Euler, then the trapezoid from the same sample.
    """

    coordinates = "VP"

    def before(self, scheduler: Any) -> int:
        return scheduler.counter

    def place(self, scheduler: Any, call: StepCall) -> Place:
        timestep = timestep_number(scheduler, call.arguments["timestep"])
        warm_up = 0 if scheduler.config.skip_prk_steps else len(scheduler.prk_timesteps)
        if call.before < warm_up:
            return self._runge_kutta(scheduler, call.before, timestep)
        left = times_left(scheduler, timestep)
        if warm_up == 0 and call.before == 1:  # the first step again, now with its end known
            return Place(False, True, None, level_at(scheduler, timestep), left + 1, predicted=True)
        closes = call.before > 0 or left == 1
        level, level_next = timestep, timestep - stride(scheduler)
        return Place(
            True, closes, level_at(scheduler, level), level_at(scheduler, level_next), left
        )

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        kind = "v" if scheduler.config.prediction_type == "v_prediction" else "epsilon"
        return denoised_from(call.model_output, working(call.sample), level, kind)

    def _runge_kutta(self, scheduler: Any, counter: int, timestep: int) -> Place:
        group, call = divmod(counter, 4)
        departs = int(scheduler.prk_timesteps[4 * group])
        groups = len(scheduler.prk_timesteps) // 4
        left = groups - group + len(scheduler.plms_timesteps)
        return Place(
            call == 0, call == 3, level_at(scheduler, departs), level_at(scheduler, timestep), left
        )


def stride(scheduler: Any) -> int:
    """How many training time steps a step spans."""
    return scheduler.config.num_train_timesteps // scheduler.num_inference_steps


def level_at(scheduler: Any, timestep: int) -> NoiseLevel:
    """The level of a training time step; below 0 the one that the scheduler ends at."""
    if timestep < 0:
        return NoiseLevel.vp(numbers(scheduler, "final_alpha_cumprod")[0])
    return NoiseLevel.vp(max(numbers(scheduler, "alphas_cumprod")[timestep], 0.0))


def times_left(scheduler: Any, timestep: int) -> int:
    """How many different time steps are left, this one included."""
    listed = [int(number) for number in numbers(scheduler, "timesteps")]
    if timestep in listed:
        return len(set(listed[listed.index(timestep) :]))
    return timestep // stride(scheduler) + 1  # a schedule of the caller's own
