"""Energy, variance and spectrum of few-step trajectories, and the law behind them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...._reductions import inner
from ....sampling import Bound
from ....schedules import log_snr
from ....solvers import Heun, Solver
from ....solvers.euler import euler_candidate
from ....stein import Coefficient, law
from ..diagnosis import Diagnosis
from ..estimates import mean_of
from ..statement import Chapter, Tell
from .draw import draw
from .fields import Energies, Errors, Law, Table, Way
from .judge import judge
from .measures import LawError, energy, euler_deficit, law_error, spectrum, variance

FINE = 8
"""Heun steps within one step of a sampling, even in log sigma: the exact flow from its state."""


def measure(diagnosis: Diagnosis, tell: Tell) -> Energies:
    """The solver and Euler beside the fine solution, and the law along it."""
    sampling = diagnosis.sampling
    tell("energies along the trajectory")
    tables = {
        text: Table(
            base=_way(diagnosis, solver, None),
            relaxed=_way(diagnosis, solver, sampling.coefficient),
        )
        for text, solver in sampling.solvers.items()
    }
    return Energies(
        solver=sampling.solver_text,
        rule=sampling.coefficient_text,
        samples=diagnosis.sizes.samples,
        levels=diagnosis.levels(),
        tables=tables,
        law=_law(diagnosis, *_along_the_fine(diagnosis)),
        coarse=_law(diagnosis, *_along_the_coarse(diagnosis)),
        images=len(diagnosis.subject.shape) == 3,
    )


def _way(diagnosis: Diagnosis, solver: Solver, rule: Coefficient | None) -> Way:
    levels = diagnosis.levels()
    states = diagnosis.samples.follow(levels, solver, rule)
    fine = [diagnosis.fine.at(level) for level in levels[1:]]
    pairs = list(zip(states, fine, strict=True))
    return Way(
        energy=[mean_of(energy(state) / energy(exact)) for state, exact in pairs],
        variance=[variance(state) / variance(exact) for state, exact in pairs],
        spectrum=(spectrum(states[-1], fine[-1]) / spectrum(fine[-1], fine[-1])).tolist(),
    )


def _along_the_fine(diagnosis: Diagnosis) -> tuple[list[Tensor], list[Tensor]]:
    """States of the fine trajectory, and where each goes."""
    states = [diagnosis.fine.at(sigma) for sigma in diagnosis.levels()]
    return states[:-1], states[1:]


def _along_the_coarse(diagnosis: Diagnosis) -> tuple[list[Tensor], list[Tensor]]:
    """States of the plain sampling, and where the exact flow takes each in its step."""
    levels, samples, solver = diagnosis.levels(), diagnosis.samples, diagnosis.sampling.solver
    states = [samples.x, *samples.follow(levels, solver, None)[:-1]]
    ends = [
        samples._replace(x=x).follow(log_snr(FINE, to, sigma).tolist(), Heun(), None)[-1]
        for x, sigma, to in zip(states, levels, levels[1:], strict=False)
    ]
    return states, ends


def _law(diagnosis: Diagnosis, starts: list[Tensor], ends: list[Tensor]) -> list[Law]:
    """The energy law in each step of the sampling, from these starts to these ends."""
    levels = diagnosis.levels()
    bound = Bound(*diagnosis.samples)
    with torch.no_grad():
        states = [(x, bound(x, s), s) for x, s in zip(starts, levels, strict=False)]
    found = []
    for index, (start, end, to) in enumerate(zip(states, ends, levels[1:], strict=True)):
        before = states[index - 1] if index else None
        found.append(_step(start, to, law_error(before, start, end, to)))
    return found


def _step(start: tuple[Tensor, Tensor, float], to: float, error: LawError) -> Law:
    x, denoised, sigma = start
    candidate = euler_candidate(x, denoised, sigma, to)
    target = inner(x, x) - law.one_level(inner(x, x - denoised), sigma, to)
    lack = target - inner(candidate, candidate)
    deficit = euler_deficit(x, denoised, sigma, to)
    return Law(
        sigma=sigma,
        sigma_next=to,
        rms=_errors(error, _rms),
        mean=_errors(error, _mean),
        deficit=(deficit / inner(x, x)).mean().item(),
        identity=((lack - deficit).abs() / inner(x, x)).max().item(),
    )


def _errors(error: LawError, figure: Callable[[Tensor], float]) -> Errors:
    two = error.two_levels
    return Errors(
        one_level=figure(error.one_level),
        two_levels=None if two is None else figure(two),
        mean_only=figure(error.mean_only),
    )


def _mean(values: Tensor) -> float:
    return values.mean().item()


def _rms(values: Tensor) -> float:
    return values.square().mean().sqrt().item()


CHAPTER = Chapter(
    "energy",
    "Energy",
    "Along the flow d|x|²/d ln σ = 2<x, x − D>, for any D. What a step should lose follows from "
    "the state where <x, x − D> = aσ² + bσ, which is exact for x₀ + σε and an exact denoiser "
    "up to its own error as a guess of x₀. Few-step solvers lose more, and "
    "samples come out too alike.",
    Energies,
    measure,
    judge,
    draw,
)
