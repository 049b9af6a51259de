"""Schedulers that convert the model's output and keep it: DPM-Solver, DEIS, UniPC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....levels import NoiseLevel, denoised_from
from ....stein import Ahead
from ....stein.relax import working
from ...coordinates import flow_level
from ...relaxation import WholeStep
from .base import IndexedReader, Place, StepCall, numbers, refuse_if


class MultistepReader(IndexedReader):
    """One call a step; the converted output is the newest of `model_outputs`.

    `converts_to` is what it is converted to; None asks the config. DPMSolverMultistep,
    EDMDPMSolverMultistep and DEISMultistep.
    """

    coordinates = "VP, or flow with use_flow_sigmas=True"
    converts_to: ClassVar[str | None] = None

    def check_config(self, config: Mapping[str, Any]) -> None:
        algorithm = str(config.get("algorithm_type"))
        refuse_if(algorithm.startswith("sde"), f"algorithm_type={algorithm!r}", 'use "dpmsolver++"')

    def level(self, scheduler: Any, sigma: float) -> NoiseLevel:
        if scheduler.config.get("use_flow_sigmas"):
            return flow_level(sigma)
        return NoiseLevel.vp_from_ve(sigma)

    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        output = scheduler.model_outputs[-1]
        if self._kept(scheduler) == "sample":
            return output
        if level.alpha == 0:  # pure noise says nothing of x0
            return torch.zeros_like(output)
        return denoised_from(output, working(call.sample), level, "epsilon")

    def _kept(self, scheduler: Any) -> str:
        if self.converts_to is not None:
            return self.converts_to
        return "sample" if scheduler.config.algorithm_type == "dpmsolver++" else "epsilon"


class DEISReader(MultistepReader):
    """One call a step, on the noise prediction. DEISMultistep."""

    converts_to = "epsilon"


class EDMMultistepReader(MultistepReader):
    """One call a step, in VE coordinates. EDMDPMSolverMultistep."""

    coordinates = "VE"
    converts_to = "sample"

    def level(self, scheduler: Any, sigma: float) -> NoiseLevel:
        return NoiseLevel.ve(sigma)


class UniPCReader(MultistepReader):
    """One call a step, which also corrects the step before. UniPCMultistep.

    A step departs from the corrected sample, which the scheduler keeps as `last_sample`; the coming
    correction is built on it, linear with the factor sigma'/sigma (alpha'/alpha for noise
    prediction). Moving it by the relaxation over that factor moves the correction by the
    relaxation: else the corrector would undo it.
    """

    def check_config(self, config: Mapping[str, Any]) -> None:
        return

    def first_order(self, scheduler: Any) -> bool:
        return scheduler.config.lower_order_final or scheduler.config.solver_order == 1

    def start(self, scheduler: Any, call: StepCall) -> Tensor:
        return scheduler.last_sample

    def replace(self, scheduler: Any, move: WholeStep, accepted: Tensor) -> None:
        before, after = move.level, move.level_next
        if scheduler.predict_x0:
            factor = after.sigma / before.sigma
        else:
            factor = after.alpha / before.alpha if before.alpha else 0.0
        if factor == 0:  # no correction follows, or none that remembers
            return
        last = scheduler.last_sample
        moved = working(last) + (working(accepted) - working(move.step.x)) / factor
        scheduler.last_sample = moved.to(last.dtype)

    def _kept(self, scheduler: Any) -> str:
        return "sample" if scheduler.predict_x0 else "epsilon"


class SinglestepReader(MultistepReader):
    """As many calls a step as its order, each an evaluation inside of it. DPMSolverSinglestep.

    `order_list` says the order of every call; a step begins where the order is 1, and there the
    scheduler keeps the sample.
    """

    def place(self, scheduler: Any, call: StepCall) -> Place:
        index = scheduler._step_index - 1
        sigmas, following = numbers(scheduler, "sigmas"), scheduler.order_list[index + 1 :]
        following = following[: len(scheduler.timesteps) - index - 1]
        return Place(
            opens=scheduler.sample is call.sample,
            closes=not following or following[0] == 1,
            level=self.level(scheduler, sigmas[index]),
            level_next=self.level(scheduler, sigmas[index + 1]),
            ahead=self.ahead(scheduler, index)._replace(steps_left=1 + following.count(1)),
        )

    def ahead(self, scheduler: Any, index: int) -> Ahead:
        ahead = super().ahead(scheduler, index)
        last = scheduler.order_list[: len(scheduler.timesteps)][-1]
        return ahead if last == 1 else ahead._replace(end=math.inf)
