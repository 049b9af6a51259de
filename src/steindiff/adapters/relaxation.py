"""Relaxes the steps of a sampler that is not ours, in whatever coordinates it holds its state."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._errors import Watch, non_finite_samples, require_finite
from ..levels import NoiseLevel
from ..solvers.base import Step
from ..stein import Ahead, Coefficient, Decision, Record, StepRecord, check_end, stack_records
from ..stein.end import MOVES, Remembered, step_into_zero
from ..stein.relax import blend, measure, propose, working
from .coordinates import PURE_NOISE, finite_ve

_AFTER = "the state after the step"


class WholeStep(NamedTuple):
    """A whole step as the sampler made it.

    Attributes:
        step: start, denoised, candidate and predictor; all but `denoised` in the sampler's own
            coordinates, the start in those of `level`, candidate and predictor of `level_next`.
        level: where the step departed from.
        level_next: where it arrived.
        ahead: the steps still to do, this one included; its levels are VE ones.
        first_order: whether the sampler's step into level 0 is of first order, so that what it
            proposes is D itself. Only such a step is given another end.
    """

    step: Step
    level: NoiseLevel
    level_next: NoiseLevel
    ahead: Ahead
    first_order: bool = True


class Seen:
    """A tensor that is known again, and not kept alive. A copy knows none."""

    def __init__(self, tensor: Tensor | None = None) -> None:
        self._reference = None if tensor is None else weakref.ref(tensor)

    def __call__(self, tensor: Tensor) -> bool:
        return self._reference is not None and self._reference() is tensor

    def __reduce__(self) -> Any:
        return Seen, ()


@dataclass(frozen=True, eq=False)
class _Memory:
    """What is known of one sample's sampling after its steps so far.

    Attributes:
        shape: of its states.
        state: of the coefficient.
        sigma: VE level of its last step that removed noise; infinite before the first.
        start: the state that this step departed from.
        result: the last state that was handed out.
        before: the memory before that step.
        denoised: what its last steps that removed noise saw, the latest first; empty where the
            sampling has no end to step into.
        levels: visited so far.
        records: what was measured in the steps.
        bad: what was found non-finite.
        count: steps made.
    """

    shape: torch.Size
    state: Any
    sigma: float = math.inf
    start: Seen = field(default_factory=Seen)
    result: Seen = field(default_factory=Seen)
    before: _Memory | None = None
    denoised: tuple[Remembered, ...] = ()
    levels: tuple[float, ...] = ()
    records: tuple[StepRecord, ...] = ()
    bad: tuple[Tensor, ...] = ()
    count: int = 0


class Relaxation:
    """The relaxation of one sampling: x' = (1 - gamma)(alpha'/alpha) x + gamma T.

    gamma is decided in VE coordinates, where it means the same for every model. A step that is made
    again, from the very same tensor, is the same step: the memory before it is put back. Samples
    that take steps by turns are told apart by the tensors that were handed out for them. What is
    noisier than the step before, or of another shape, begins anew.

    The step into sigma = 0 is not relaxed. Where it is of first order, and another step was made
    before it, `end` takes its place (`steindiff.stein.end`).

    Args:
        coefficient: the rule.
        end: one of `steindiff.stein.ENDS`; "none" leaves the step into sigma = 0 as it is.
        record: whether every step is measured.
        strict: whether one sample that is not finite is an error, or a warning as long as there
            are others (`_errors.Watch`).

    Raises:
        ValueError: an unknown end, or a coefficient that calls the model: who relaxes finished
            steps cannot.
    """

    def __init__(
        self,
        coefficient: Coefficient,
        end: str = "steady",
        record: bool = False,
        strict: bool = True,
    ) -> None:
        if coefficient.extra_calls:
            raise ValueError(
                f"coefficient is {coefficient!r}, which calls the model {coefficient.extra_calls} "
                "times a step; here the model belongs to the pipeline: use 'energy' or 'constant'"
            )
        self.coefficient, self.end, self.recording = coefficient, check_end(end), record
        self._watch = Watch(strict)
        self._memories: list[_Memory] = []  # the newest last

    def __call__(self, move: WholeStep) -> Tensor:
        """The relaxed state, in the coordinates and the dtype of the candidate.

        Raises:
            ValueError: several samples take steps by turns, and this is not known to be one.
            NonFiniteError: a NaN or an infinity, on the CPU only: elsewhere looking would wait for
                the device, and `record` reports it.
        """
        if move.level.sigma == 0:
            return move.step.x  # no noise to remove: a step of nothing
        sigma, sigma_next = finite_ve(move.level), finite_ve(move.level_next)
        step = _in_ve(move, sigma)
        memory = self._recall(move.step.start, step, sigma)
        decision = self._decide(move, step, memory, sigma, sigma_next)
        scale = move.level_next.alpha / move.level.alpha if move.level.alpha else 0.0
        relaxed = move.step.x
        if decision is None:
            decision = Decision(torch.ones(len(relaxed), device=relaxed.device), memory.state)
            relaxed = self._ended(move, step, memory, sigma, sigma_next)
        else:
            relaxed = blend(working(move.step.start) * scale, move.step, decision)
        following = self._noted(memory, step, relaxed, decision, move, sigma, sigma_next)
        if sigma_next < sigma:
            before = replace(memory, before=None)
            start = Seen(move.step.start)
            following = replace(
                following,
                sigma=sigma,
                start=start,
                before=before,
                denoised=self._remembered(move, step, memory, sigma),
            )
        self._memories.append(replace(following, state=decision.state, result=Seen(relaxed)))
        return relaxed

    def record(self) -> Record:
        """Measurements of all steps since the sampling began, in VE coordinates.

        Raises:
            ValueError: nothing was recorded. NonFiniteError: as for a step, on any device.
        """
        if not self.recording:
            raise ValueError("record is False; nothing was measured: relax with record=True")
        memory = self._memories[-1] if self._memories else None
        if memory is None or not memory.records:
            raise ValueError("no step was made yet; there is nothing to report")
        found = torch.stack(memory.bad).tolist()  # waits once
        for index, (sigma, bad) in enumerate(zip(memory.levels, found, strict=False)):
            require_finite(_AFTER, bad, index, sigma)
        return stack_records(memory.levels, memory.records)

    def _recall(self, start: Tensor, step: Step, sigma: float) -> _Memory:
        """The memory that the step goes on from; what it replaces is forgotten."""
        alike = [memory for memory in self._memories if memory.shape == start.shape]
        for memory in alike:
            if memory.before is not None and memory.sigma == sigma and memory.start(start):
                self._memories.remove(memory)
                return memory.before
        waiting = [memory for memory in alike if sigma < memory.sigma]
        own = [memory for memory in waiting if memory.result(start)] or waiting
        if len(own) > 1:
            raise ValueError(
                f"{len(own)} samples take steps by turns with one scheduler, and the sample at "
                f"sigma {sigma:.4g} is none that it handed out: give each sample a scheduler of "
                "its own (copy.deepcopy), or pass on prev_sample itself"
            )
        if own:
            self._memories.remove(own[0])
            return own[0]
        if all(memory.sigma < sigma for memory in alike):  # a new sampling, and not a second sample
            self._memories = [memory for memory in self._memories if memory.shape != start.shape]
        return _Memory(start.shape, self.coefficient.init(step.start))

    def _decide(
        self, move: WholeStep, step: Step, memory: _Memory, sigma: float, sigma_next: float
    ) -> Decision | None:
        """None where nothing is to be relaxed: in the last step, and where no noise is removed."""
        if move.ahead.steps_left <= 1 or sigma_next >= sigma:
            return None
        decision = self.coefficient(
            propose(step, sigma, sigma_next, move.ahead, _no_model), memory.state
        )
        return spare_noise(decision, sigma)

    def _ended(
        self, move: WholeStep, step: Step, memory: _Memory, sigma: float, sigma_next: float
    ) -> Tensor:
        """What takes the place of a candidate that is not relaxed; in its dtype.

        At sigma = 0 alpha is 1, so that x0 is the sampler's own state. Where there is no end to
        step into, or no step before, it is the candidate itself.
        """
        candidate = move.step.x
        if move.ahead.steps_left > 1 or sigma_next > 0 or not self._has_end(move):
            return candidate
        x0 = step_into_zero(self.end, step.start, step.denoised, sigma, memory.denoised)
        return candidate if x0 is step.denoised else x0.to(candidate.dtype)

    def _remembered(
        self, move: WholeStep, step: Step, memory: _Memory, sigma: float
    ) -> tuple[Remembered, ...]:
        """What the end will want to know, with this step in front."""
        if not self._has_end(move):
            return ()
        return (Remembered(step.denoised, sigma), *memory.denoised)[:MOVES]

    def _has_end(self, move: WholeStep) -> bool:
        """Whether the sampling goes into sigma = 0, by a step that may be replaced."""
        return self.end != "none" and move.ahead.end == 0 and move.first_order

    def _noted(
        self,
        memory: _Memory,
        step: Step,
        relaxed: Tensor,
        decision: Decision,
        move: WholeStep,
        sigma: float,
        sigma_next: float,
    ) -> _Memory:
        """The memory with what is measured of the step."""
        if relaxed.device.type == "cpu":
            self._watch.look(_AFTER, relaxed, memory.count, sigma)
        memory = replace(memory, count=memory.count + 1)
        if not self.recording:
            return memory
        arrived = working(relaxed) / move.level_next.alpha
        return replace(
            memory,
            levels=(*memory.levels[:-1], sigma, sigma_next),
            records=(*memory.records, measure(step, arrived, decision, sigma)),
            bad=(*memory.bad, non_finite_samples(relaxed)),
        )


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
