"""Relaxes the steps of a sampler that is not ours, in whatever coordinates it holds its state."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._errors import non_finite_samples, require_finite
from ..levels import NoiseLevel
from ..solvers.base import Step
from ..stein import Coefficient, Decision, Record, StepRecord, stack_records
from ..stein.relax import blend, measure, propose, working
from .coordinates import PURE_NOISE, finite_ve

_AFTER = "the state after the step"


class WholeStep(NamedTuple):
    """A whole step as the sampler made it.

    Attributes:
        step: start, denoised, candidate and predictor; all but `denoised` in the sampler's own
            coordinates, the start in those of `level`, candidate and predictor of `level_next`.
        level, level_next: what the step went between.
        steps_left: steps still to do, this one included.
        end: VE level that the sampling ends at; infinite where its last step is of higher order.
    """

    step: Step
    level: NoiseLevel
    level_next: NoiseLevel
    steps_left: int
    end: float = 0.0


class Relaxation:
    """The relaxation of one sampling: x' = (1 - gamma)(alpha'/alpha) x + gamma T.

    gamma is decided in VE coordinates, where it means the same for every model. A sampling that
    does not go on from the step before (noisier than it, or of another shape) begins anew.

    Args:
        coefficient: the rule.
        record: whether every step is measured.

    Raises:
        ValueError: a coefficient that calls the model: who relaxes finished steps cannot.
    """

    def __init__(self, coefficient: Coefficient, record: bool = False) -> None:
        if coefficient.extra_calls:
            raise ValueError(
                f"coefficient is {coefficient!r}, which calls the model {coefficient.extra_calls} "
                "times a step; here the model belongs to the pipeline: use 'energy' or 'constant'"
            )
        self.coefficient, self.recording = coefficient, record
        self._restart()

    def __call__(self, move: WholeStep) -> Tensor:
        """The relaxed state, in the coordinates and the dtype of the candidate.

        Raises:
            NonFiniteError: a NaN or an infinity, on the CPU only: elsewhere looking would wait for
                the device, and `record` reports it.
        """
        sigma, sigma_next = finite_ve(move.level), finite_ve(move.level_next)
        if not (sigma < self._sigma and move.step.start.shape == self._shape):
            self._restart()
        step = _in_ve(move, sigma)
        decision = self._decide(move, step, sigma, sigma_next)
        scale = move.level_next.alpha / move.level.alpha if move.level.alpha else 0.0
        relaxed = move.step.x
        if decision is None:
            decision = Decision(torch.ones(len(relaxed), device=relaxed.device), self._state)
        else:
            relaxed = blend(working(move.step.start) * scale, move.step, decision)
        self._state, self._sigma, self._shape = decision.state, sigma, move.step.start.shape
        self._note(step, relaxed, decision, move, sigma, sigma_next)
        return relaxed

    def record(self) -> Record:
        """Measurements of all steps since the sampling began, in VE coordinates.

        Raises:
            ValueError: nothing was recorded. NonFiniteError: as for a step, on any device.
        """
        if not self.recording:
            raise ValueError("record is False; nothing was measured: relax with record=True")
        if not self._records:
            raise ValueError("no step was made yet; there is nothing to report")
        for index, (sigma, bad) in enumerate(zip(self._levels, self._bad, strict=False)):
            require_finite(_AFTER, bad, index, sigma)
        return stack_records(self._levels, self._records)

    def _restart(self) -> None:
        self._state: Any = None
        self._sigma, self._shape = math.inf, None
        self._count = 0
        self._levels: list[float] = []
        self._records: list[StepRecord] = []
        self._bad: list[Tensor] = []

    def _decide(
        self, move: WholeStep, step: Step, sigma: float, sigma_next: float
    ) -> Decision | None:
        """None where nothing is to be relaxed: in the last step, and where no noise is removed."""
        if self._shape is None:
            self._state, self._shape = self.coefficient.init(step.start), step.start.shape
        if move.steps_left <= 1 or sigma_next >= sigma:
            return None
        decision = self.coefficient(
            propose(step, sigma, sigma_next, move.steps_left, _no_model, move.end), self._state
        )
        return spare_noise(decision, sigma)

    def _note(
        self,
        step: Step,
        relaxed: Tensor,
        decision: Decision,
        move: WholeStep,
        sigma: float,
        sigma_next: float,
    ) -> None:
        if relaxed.device.type == "cpu":
            require_finite(_AFTER, non_finite_samples(relaxed), self._count, sigma)
        self._count += 1
        if self.recording:
            arrived = working(relaxed) / move.level_next.alpha
            self._levels = [*self._levels[:-1], sigma, sigma_next]
            self._records.append(measure(step, arrived, decision, sigma))
            self._bad.append(non_finite_samples(relaxed))


def spare_noise(decision: Decision, sigma: float) -> Decision:
    """gamma = 1 at pure noise: there is no scale alpha'/alpha that it could be kept at."""
    if sigma < PURE_NOISE:
        return decision
    return Decision(torch.ones_like(decision.gamma), decision.state)


def _in_ve(move: WholeStep, sigma: float) -> Step:
    """The step in VE coordinates. Pure noise is read as noise of the level `PURE_NOISE`."""
    alpha, alpha_next = move.level.sigma / sigma, move.level_next.alpha
    native, predictor = move.step, move.step.predictor
    return Step(
        x=working(native.x) / alpha_next,
        denoised=working(native.denoised),
        state=None,
        start=working(native.start) / alpha,
        predictor=None if predictor is None else working(predictor) / alpha_next,
    )


def _no_model(z: Tensor) -> Tensor:
    raise RuntimeError("this coefficient calls the model, which is not at hand here")
