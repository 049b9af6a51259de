"""Schedulers in VE coordinates: Euler, LMS, Heun, DPM2 and Euler of EDM."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ....levels import NoiseLevel
from .base import IndexedReader, Place, StepCall, numbers


class EulerReader(IndexedReader):
    """One call a step; x0 is returned beside the sample. EulerDiscrete and EDMEuler."""

    coordinates = "VE"
    noise_arguments = ("s_churn",)

    def level(self, scheduler: Any, sigma: float) -> NoiseLevel:
        return NoiseLevel.ve(sigma)

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        return call.result[1]


class LMSReader(EulerReader):
    """One call a step; x0 is returned beside the sample. LMSDiscrete."""

    def first_order(self, scheduler: Any) -> bool:
        return False


class HeunReader(EulerReader):
    """Two calls a step, the last step one: Euler, then the trapezoid. HeunDiscrete."""

    predicts: ClassVar[bool] = True
    """Whether the first call's proposal is Euler's for the end of the step."""

    def before(self, scheduler: Any) -> bool:
        return scheduler.state_in_first_order

    def place(self, scheduler: Any, call: StepCall) -> Place:
        index, first = scheduler._step_index - 1, call.before
        sigmas = numbers(scheduler, "sigmas")
        level = self.level(scheduler, sigmas[index])
        if not first:
            return Place(False, True, None, level, self.ahead(scheduler, index - 1), self.predicts)
        alone = index + 1 == len(scheduler.timesteps)  # no second call follows
        last = self.level(scheduler, sigmas[index + 1]) if alone else None
        return Place(True, alone, level, last, self.ahead(scheduler, index))


class DPM2Reader(HeunReader):
    """Two calls a step: to the middle, then all the way. KDPM2Discrete."""

    predicts = False
