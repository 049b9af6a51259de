"""What the adapter has to know of a scheduler's step, and cannot ask it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from ....levels import NoiseLevel
from ....stein import Ahead
from ...coordinates import finite_ve
from ...relaxation import WholeStep
from ..timesteps import index_in_memory

_ROUNDING = 1e-6
"""Relative difference of levels that are the same."""


class StepCall(NamedTuple):
    """One call of `scheduler.step`: what went in, and what upstream made of it.

    Attributes:
        arguments: those of `step`, by name, defaults included.
        result: upstream's output; result[0] is the sample that it proposes.
        before: what `Reader.before` saw before upstream moved on.
    """

    arguments: Mapping[str, Any]
    result: Any
    before: Any

    @property
    def model_output(self) -> Tensor:
        return self.arguments["model_output"]

    @property
    def sample(self) -> Tensor:
        return self.arguments["sample"]


class Place(NamedTuple):
    """Where a call stands among the whole steps of the solver.

    Attributes:
        opens: a whole step departs from this call's sample, which is at `level`.
        closes: a whole step arrives with this call's result, which is at `level_next`.
        level: that of the step's start; None where it is not said.
        level_next: that of its end; None where it is not said.
        ahead: the whole steps still to do, this one included; its levels are VE ones.
        predicted: of a step of two calls: its first call proposed the first-order candidate (Heun).
    """

    opens: bool
    closes: bool
    level: NoiseLevel | None
    level_next: NoiseLevel | None
    ahead: Ahead
    predicted: bool = False


class Reader(ABC):
    """Reads one family of schedulers. Holds nothing: all state is the scheduler's own.

    Attributes:
        coordinates: in which the family holds its state, for the documentation.
        noise_arguments: arguments of `step` that add noise unless they are 0 or None.
    """

    coordinates: ClassVar[str]
    noise_arguments: ClassVar[tuple[str, ...]] = ()

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Raises ValueError for settings under which a step is no deterministic ODE step."""
        return

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Raises ValueError for arguments of `step` under which it is no deterministic ODE step."""
        for name in self.noise_arguments:
            if arguments.get(name):
                raise ValueError(
                    f"{name} is {arguments[name]}, which adds noise at every step on purpose: a "
                    f"relaxation would take it for error and remove it; {name}=0 is needed"
                )

    def before(self, scheduler: Any) -> Any:
        """What upstream will have overwritten after its step."""
        return None

    @abstractmethod
    def place(self, scheduler: Any, call: StepCall) -> Place:
        """Where the call stood; asked after upstream's step."""

    @abstractmethod
    def denoised(self, scheduler: Any, call: StepCall, level: NoiseLevel) -> Tensor:
        """The estimate of x0 that an opening call worked with, (B, *shape)."""

    def first_order(self, scheduler: Any) -> bool:
        """Whether the scheduler's step into level 0 is of first order: what it proposes is D."""
        return True

    def start(self, scheduler: Any, call: StepCall) -> Tensor:
        """What an opening call departs from: its sample, unless the scheduler corrects it first."""
        return call.sample

    def replace(self, scheduler: Any, move: WholeStep, accepted: Tensor) -> None:
        """Tells a scheduler that remembers more than it returns that its candidate was replaced."""
        return


class IndexedReader(Reader):
    """One call a step, counted in `_step_index`, between the levels written in `sigmas`."""

    def place(self, scheduler: Any, call: StepCall) -> Place:
        index = scheduler._step_index - 1
        sigmas = numbers(scheduler, "sigmas")[index : index + 2]
        level, level_next = (self.level(scheduler, sigma) for sigma in sigmas)
        return Place(True, True, level, level_next, self.ahead(scheduler, index))

    def ahead(self, scheduler: Any, index: int) -> Ahead:
        """What is ahead of the step that departs from the level of this index."""
        # Of Euler with "log_linear" there is one more than is visited.
        visited = numbers(scheduler, "sigmas")[: len(scheduler.timesteps) + 1]
        places = [finite_ve(self.level(scheduler, sigma)) for sigma in visited]
        # Steps to where they began are none: Z-Image ends on 0 twice, final_sigmas_type="sigma_min"
        # on the lowest level; Heun has every level twice.
        departs = [
            (i, start)
            for i, (start, to) in enumerate(pairwise(places))
            if not math.isclose(start, to, rel_tol=_ROUNDING)
        ]
        left = sum(i >= index for i, _ in departs)
        return Ahead(left, places[-1], departs[-1][1] if departs else math.inf)

    @abstractmethod
    def level(self, scheduler: Any, sigma: float) -> NoiseLevel:
        """The level that the scheduler writes as `sigma`."""


def numbers(scheduler: Any, name: str) -> list[float]:
    """A tensor attribute of the scheduler, as Python numbers: read once, not at every step.

    Reading from an accelerator waits for it; a tensor that is the same object, unchanged, is not
    read again. One made under `inference_mode` does not tell whether it was changed.
    """
    tensor: Tensor = getattr(scheduler, name)
    if tensor.is_inference() and tensor.device.type == "cpu":
        return tensor.flatten().tolist()
    version = 0 if tensor.is_inference() else tensor._version
    known = scheduler.__dict__.setdefault("_stein_numbers", {})
    if name not in known or known[name][0] is not tensor or known[name][1] != version:
        known[name] = (tensor, version, tensor.flatten().tolist())
    return known[name][2]


def timestep_number(scheduler: Any, timestep: Any) -> int:
    """The integer time step, without waiting where it is an element of `scheduler.timesteps`."""
    index = index_in_memory(timestep, scheduler.timesteps)
    return int(timestep if index is None else numbers(scheduler, "timesteps")[index])


def refuse_if(condition: bool, setting: str, instead: str) -> None:
    """Raises ValueError: the setting makes steps random."""
    if condition:
        raise ValueError(
            f"{setting} adds noise at every step on purpose, which a relaxation would take for "
            f"error and remove; {instead}"
        )
