"""Schedulers that look levels up by integer time step: DDIM and PNDM."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ....levels import NoiseLevel, denoised_from
from ....stein import Ahead
from ....stein.relax import working
from ...coordinates import finite_ve
from .base import Place, Reader, StepCall, numbers, timestep_number


class DDIMReader(Reader):
    """One call a step. DDIM, DDIMParallel (`step` only) and CogVideoXDDIM."""

    coordinates = "VP"
    noise_arguments = ("eta",)

    def place(self, scheduler: Any, call: StepCall) -> Place:
        timestep = timestep_number(scheduler, call.arguments["timestep"])
        before = timestep - stride(scheduler)
        level, level_next = level_at(scheduler, timestep), level_at(scheduler, before)
        return Place(True, True, level, level_next, ahead_of(scheduler, timestep))

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        return call.result[1]


class PNDMReader(Reader):
    """PLMS: one call a step, but two in the first; PRK: four calls in each of the first three.

    The first step of PLMS is Heun's: Euler, then the trapezoid from the same sample. It is not read
    as a predictor and its corrector: the step after it extrapolates from the slopes of both.
    """

    coordinates = "VP"

    def before(self, scheduler: Any) -> int:
        return scheduler.counter

    def place(self, scheduler: Any, call: StepCall) -> Place:
        timestep = timestep_number(scheduler, call.arguments["timestep"])
        warm_up = 0 if scheduler.config.skip_prk_steps else len(scheduler.prk_timesteps)
        if call.before < warm_up:
            return self._runge_kutta(scheduler, call.before, timestep)
        ahead = ahead_of(scheduler, timestep)
        if warm_up == 0 and call.before == 1:  # the first step again, now with its end known
            ahead = ahead._replace(steps_left=ahead.steps_left + 1)
            return Place(False, True, None, level_at(scheduler, timestep), ahead)
        level = level_at(scheduler, timestep)
        level_next = level_at(scheduler, timestep - stride(scheduler))
        alone = timestep == int(numbers(scheduler, "timesteps")[-1])  # no second call follows
        return Place(True, call.before > 0 or alone, level, level_next, ahead)

    def first_order(self, scheduler: Any) -> bool:
        return False

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        kind = "v" if scheduler.config.prediction_type == "v_prediction" else "epsilon"
        return denoised_from(call.model_output, working(call.sample), level, kind)

    def _runge_kutta(self, scheduler: Any, counter: int, timestep: int) -> Place:
        group, call = divmod(counter, 4)
        departs = int(scheduler.prk_timesteps[4 * group])
        groups = len(scheduler.prk_timesteps) // 4
        left = groups - group + len(scheduler.plms_timesteps) - _idles(scheduler)
        level, level_next = level_at(scheduler, departs), level_at(scheduler, timestep)
        ahead = ahead_of(scheduler, timestep)._replace(steps_left=left)
        return Place(call == 0, call == 3, level, level_next, ahead)


def stride(scheduler: Any) -> int:
    """How many training time steps a step spans."""
    return scheduler.config.num_train_timesteps // scheduler.num_inference_steps


def level_at(scheduler: Any, timestep: int) -> NoiseLevel:
    """The level of a training time step; below 0 the one that the scheduler ends at."""
    if timestep < 0:
        return NoiseLevel.vp(numbers(scheduler, "final_alpha_cumprod")[0])
    return NoiseLevel.vp(max(numbers(scheduler, "alphas_cumprod")[timestep], 0.0))


def ending(scheduler: Any) -> NoiseLevel:
    """The level that the last of the scheduler's time steps ends at."""
    return level_at(scheduler, int(numbers(scheduler, "timesteps")[-1]) - stride(scheduler))


def ahead_of(scheduler: Any, timestep: int) -> Ahead:
    """What is ahead of the step from `timestep`: of different time steps, those that remove noise.

    The end is infinite where steps end elsewhere than the next begins, as with "linspace": such
    steps leave more noise than their levels say, and nothing is to be added to it.
    """
    listed = [int(number) for number in numbers(scheduler, "timesteps")]
    different = list(dict.fromkeys(listed))
    if _idles(scheduler):
        different.pop()
    apart = len(listed) > 1 and abs(listed[-2] - listed[-1] - stride(scheduler)) > 1
    end = math.inf if apart else finite_ve(ending(scheduler))
    last = finite_ve(level_at(scheduler, different[-1])) if different else math.inf
    if timestep not in listed:  # a schedule of the caller's own
        return Ahead(timestep // stride(scheduler) + 1, end, last)
    return Ahead(max(1, sum(one <= timestep for one in different)), end, last)


def _idles(scheduler: Any) -> bool:
    """Whether the last step ends where it begins: from time step 0 to `final_alpha_cumprod`."""
    return level_at(scheduler, int(numbers(scheduler, "timesteps")[-1])) == ending(scheduler)
