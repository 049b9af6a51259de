"""Levels and states of flow models in a sampler: what they are in VE coordinates, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._errors import unknown_name
from ...composition import compose
from ...levels import NoiseLevel
from ...schedules.checks import check_sigmas, numbers_of
from ...solvers import Euler, Solver, Step
from ...solvers.base import BoundDenoiser, HistoryKind
from ...stein import Coefficient, Decision, Proposal, Relaxed
from ...stein.relax import RelaxedState, working
from ..coordinates import PURE_NOISE, flow_level, flow_sigma, flow_time, stand_in
from ..relaxation import spare_noise

COORDINATES = ("ve", "flow")
"""x = x0 + sigma eps, or x = (1 - sigma) x0 + sigma eps with sigma from 0 to 1."""

_ROUNDING = 4 * torch.finfo(torch.float32).eps
"""How far above 1 a shift in float32 may round pure noise, which is 1 all the same."""


def check_levels(sigmas: Tensor | Sequence[float], coordinates: str) -> tuple[float, ...]:
    """The levels of a sampling as Python floats. Reads a tensor from its device, once.

    Raises:
        ValueError: unknown coordinates, what `schedules.check_sigmas` refuses, or a flow's level
            above 1.
    """
    if coordinates not in COORDINATES:
        raise unknown_name("coordinates", coordinates, COORDINATES)
    levels = check_sigmas(sigmas)
    if coordinates == "flow" and levels[0] > 1 + _ROUNDING:
        raise ValueError(
            f"sigmas[0] is {levels[0]}; with coordinates='flow' levels go from 1, pure noise, to 0"
        )
    return (min(levels[0], 1.0), *levels[1:]) if coordinates == "flow" else levels


def without_repeats(sigmas: Tensor | Sequence[float]) -> tuple[Any, Any]:
    """The levels without those that repeat the one before, which are steps of nothing.

    Twice: as they were given, and as numbers. Reads a tensor from its device, once.

    Raises:
        ValueError: no sequence of numbers.
    """
    values = numbers_of(sigmas)
    kept = [i for i, sigma in enumerate(values) if i == 0 or sigma != values[i - 1]]
    if len(kept) == len(values):
        return sigmas, values
    fewer = [sigmas[i] for i in kept]  # places of a tensor would be copied to its device
    given = torch.stack(fewer) if isinstance(sigmas, Tensor) else fewer  # type: ignore[arg-type]
    return given, [values[i] for i in kept]


def level_of(sigma: float, coordinates: str) -> NoiseLevel:
    """Signal and noise at `sigma`."""
    return flow_level(sigma) if coordinates == "flow" else NoiseLevel.ve(sigma)


@dataclass(frozen=True)
class FlowRelaxed(Relaxed):
    """`Relaxed` for a state, levels and a model in flow coordinates; it computes in VE ones.

    Of pure noise (sigma = 1) no VE state exists. There its place is taken by D + S x at a large
    level S, from which x' = sigma' x + (1 - sigma') D, the exact step of a constant D, follows for
    every solver, whatever S is. That step is not relaxed, and Heun's and RES 2S's is Euler's: a
    second evaluation has no place in an infinite step.
    """

    @classmethod
    def of(cls, solver: Solver, coefficient: Coefficient, end: str) -> FlowRelaxed:
        """With what has to be different from pure noise."""
        steady = _EulerFromNoise(solver) if solver.calls_per_step > 1 else solver
        return cls(compose(steady, None, end), _AfterNoise(coefficient))

    def init(self, x: Tensor, sigmas: Sequence[float]) -> RelaxedState:
        top, *rest = sigmas
        return super().init(working(x), [_ve(top, rest[0]), *map(flow_sigma, rest)])

    def step(
        self,
        denoiser: BoundDenoiser,
        x: Tensor,
        sigma: float,
        sigma_next: float,
        state: RelaxedState,
    ) -> Step:
        ve, ve_next = _ve(sigma, sigma_next), flow_sigma(sigma_next)
        model = _InVE(denoiser, {ve: sigma, ve_next: sigma_next}, x.dtype)
        start = model.open_noise(x, ve) if sigma == 1 else working(x) / (1 - sigma)
        step = super().step(model, start, ve, ve_next, state)
        return _in_flow(step, sigma, sigma_next, x.dtype)


class _InVE:
    """A flow's denoiser, called in VE coordinates.

    Args:
        denoiser: D in flow coordinates.
        flow: VE level -> the level that the denoiser knows, to the last bit.
        dtype: what the denoiser is called in.
    """

    def __init__(
        self, denoiser: BoundDenoiser, flow: dict[float, float], dtype: torch.dtype
    ) -> None:
        self.denoiser, self.flow, self.dtype = denoiser, flow, dtype
        self.opening: tuple[Tensor, Tensor] | None = None

    def __call__(self, z: Tensor, ve: float) -> Tensor:
        if self.opening is not None and z is self.opening[0]:
            return self.opening[1]
        native = (z / (1 + ve)).to(self.dtype)
        return working(self.denoiser(native, self.flow.get(ve, float(flow_time(ve)))))

    def open_noise(self, x: Tensor, ve: float) -> Tensor:
        """The VE state that stands for pure noise `x`; D of it is known with it."""
        denoised = working(self.denoiser(x, 1.0))
        start = denoised + ve * working(x)
        self.opening = start, denoised
        return start


@dataclass(frozen=True)
class _EulerFromNoise(Solver):
    """A solver of several calls a step, but Euler from pure noise."""

    solver: Solver

    @property
    def calls_per_step(self) -> int:
        return self.solver.calls_per_step

    @property
    def history(self) -> HistoryKind:
        return self.solver.history

    def init(self, x: Tensor, sigmas: Sequence[float]) -> Any:
        return self.solver.init(x, sigmas)

    def step(
        self, denoiser: BoundDenoiser, x: Tensor, sigma: float, sigma_next: float, state: Any
    ) -> Step:
        if sigma < PURE_NOISE:
            return self.solver.step(denoiser, x, sigma, sigma_next, state)
        return Euler().step(denoiser, x, sigma, sigma_next, state)._replace(state=state)


@dataclass(frozen=True)
class _AfterNoise(Coefficient):
    """A coefficient that leaves steps from pure noise alone: at no scale may noise be kept."""

    coefficient: Coefficient

    @property
    def extra_calls(self) -> int:
        return self.coefficient.extra_calls

    def init(self, x: Tensor) -> Any:
        return self.coefficient.init(x)

    def __call__(self, proposal: Proposal, state: Any) -> Decision:
        return spare_noise(self.coefficient(proposal, state), proposal.sigma)


def _ve(sigma: float, sigma_next: float) -> float:
    """The VE level of a flow's `sigma`; of pure noise a large one, above that of the next."""
    return flow_sigma(sigma) if sigma < 1 else stand_in(flow_sigma(sigma_next))


def _in_flow(step: Step, sigma: float, sigma_next: float, dtype: torch.dtype) -> Step:
    """A step in VE coordinates, its state left as it is."""
    ahead = 1 - sigma_next
    return Step(
        x=(step.x * ahead).to(dtype),
        denoised=step.denoised.to(dtype),
        state=step.state,
        start=(step.start * (1 - sigma)).to(dtype),
        predictor=None if step.predictor is None else (step.predictor * ahead).to(dtype),
    )
