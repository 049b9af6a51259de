"""Noise levels of `SteinScheduler`: what it has to know of a model, and which calls it will make.

`sigma` is the level in VE coordinates, in which the solvers compute. `held` is the same level in
the coordinates that a pipeline's latents are held in: sigma itself for "vp" and "edm" models, the
time t of x = (1 - t) x0 + t eps for "flow" models.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ...._errors import unknown_name
from ....schedules import FINALS, SCHEDULES, check_sigmas
from ....solvers import Solver

SLACK = 1e-3


class Levels(NamedTuple):
    """Of one sampling: steps + 1 of `sigmas` and `held`, and a timestep for each step's opening."""

    sigmas: tuple[float, ...]
    held: tuple[float, ...]
    timesteps: tuple[float, ...]


class ModelCall(NamedTuple):
    """One model call: at which level, in which step, and whether it opens that step."""

    sigma: float
    held: float
    timestep: float
    step: int
    opens: bool


class ModelKind(ABC):
    """What a scheduler has to know of a model.

    Attributes:
        own: name of its own schedule, which is used when none is asked for.
        spacings: names of schedules beside those of `SCHEDULES`.
        lowest: the level sigma that `SCHEDULES` run down to.
        highest: the level sigma that they start from.
        limits: the levels sigma that the model knows.
    """

    own: ClassVar[str | None]
    spacings: ClassVar[tuple[str, ...]] = ()
    lowest: float
    highest: float

    @property
    def limits(self) -> tuple[float, float]:
        return self.lowest, self.highest

    def held(self, sigma: float) -> float:
        return sigma

    @abstractmethod
    def timestep(self, sigma: float) -> float:
        """What the model is told at `sigma`."""

    @abstractmethod
    def sigma(self, timestep: float) -> float:
        """The level of a timestep: the inverse of `timestep`."""

    def input_scale(self, sigma: float) -> float:
        """What the held state is multiplied by before the model sees it."""
        return 1.0

    @abstractmethod
    def read(self, output: Tensor, x: Tensor, call: ModelCall) -> tuple[Tensor, Tensor]:
        """The VE state and D, from the model's output at the held state `x`."""

    def write(self, x: Tensor, held: float) -> Tensor:
        """The held state of the VE state `x`."""
        return x

    def at(self, sigmas: Sequence[float]) -> Levels:
        """VE levels with what belongs to them."""
        levels = check_sigmas(sigmas)
        times = tuple(map(self.timestep, levels[:-1]))
        return Levels(levels, tuple(map(self.held, levels)), times)

    def scheduled(
        self, steps: int, schedule: str | None, options: Mapping[str, Any], final: str, mu: Any
    ) -> Levels:
        """The levels of a schedule; `mu` is for a flow model's own."""
        ends = {"sigma_min": self.lowest, "sigma_max": self.highest}
        function = SCHEDULES[schedule or self.own or ""]
        found = self.at(function(steps, **{**ends, **options}, final=final).tolist())
        self.check(found.sigmas)
        return found

    def training(self, count: int) -> Levels:
        """The levels of training, or `count` of them."""
        return self.scheduled(count, None, {}, "zero", None)

    def given_timesteps(self, timesteps: Sequence[float], final: str, mu: Any) -> Levels:
        """The levels of custom timesteps, down to the final level."""
        end = 0.0 if final == "zero" else self.lowest
        return self.at([*map(self.sigma, timesteps), end])

    def given_sigmas(self, sigmas: Sequence[float], timesteps: Any, mu: Any) -> Levels:
        """Custom levels, the last included."""
        if timesteps is not None:
            raise ValueError("timesteps and sigmas are both given; this model takes one of them")
        return self.at(sigmas)

    def check(self, sigmas: Sequence[float]) -> None:
        """Raises ValueError for levels that the model does not know."""
        low, high = self.limits
        smallest = sigmas[-1] or sigmas[-2]
        for sigma in (sigmas[0], smallest):
            if not low * (1 - SLACK) <= sigma <= high * (1 + SLACK):
                raise ValueError(
                    f"the levels run from sigma = {sigmas[0]:g} to {smallest:g}; "
                    f"the model knows {low:g} to {high:g}"
                )


def check_schedule(
    model: ModelKind, name: str | None, options: Mapping[str, Any], final: str
) -> None:
    """Raises ValueError for a schedule, an option or an end that there is not."""
    if final not in FINALS:
        raise unknown_name("final_sigmas_type", final, FINALS)
    if name is not None and name not in (*SCHEDULES, *model.spacings):
        raise unknown_name("schedule", name, (*SCHEDULES, *model.spacings))
    function = SCHEDULES.get(name or model.own or "")
    known = set(inspect.signature(function).parameters) - {"steps", "final"} if function else set()
    for option in options:
        if option not in known:
            raise unknown_name(f"schedule option of {name or 'the own schedule'}", option, known)


def plan(model: ModelKind, solver: Solver, levels: Levels) -> tuple[ModelCall, ...]:
    """The model calls that the solver will make on these levels, found by a dry run."""
    told = {
        sigma: (held, timestep)
        for sigma, held, timestep in zip(levels.sigmas, levels.held, levels.timesteps, strict=False)
    }
    asked: list[float] = []

    def listen(x: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return x

    x, calls = torch.zeros(1, 1, device="cpu"), []
    state = solver.init(x, levels.sigmas)
    for step, (sigma, sigma_next) in enumerate(pairwise(levels.sigmas)):
        asked.clear()
        state = solver.step(listen, x, sigma, sigma_next, state).state
        for i, at in enumerate(asked):
            held, timestep = told.get(at) or (model.held(at), model.timestep(at))
            calls.append(ModelCall(at, held, timestep, step, i == 0))
    return tuple(calls)
