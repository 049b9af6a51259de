"""Energy, variance and spectrum of few-step trajectories, and the law behind them."""

from __future__ import annotations

import torch
from torch import Tensor

from ...._reductions import inner
from ....sampling import Bound
from ....solvers import Solver
from ....solvers.euler import euler_candidate
from ....stein import Coefficient, law
from ..diagnosis import Diagnosis
from ..estimates import mean_of
from ..statement import Chapter, Tell
from .draw import draw
from .fields import Energies, Errors, Law, Table, Way
from .judge import judge
from .measures import LawError, energy, euler_deficit, law_error, spectrum, variance


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
        law=_law(diagnosis),
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


def _law(diagnosis: Diagnosis) -> list[Law]:
    """The energy law between states of the fine trajectory at the levels of the sampling."""
    levels = diagnosis.levels()
    bound = Bound(*diagnosis.samples)
    with torch.no_grad():
        states = [(x := diagnosis.fine.at(s), bound(x, s), s) for s in levels[:-1]]
    found = []
    for index, (start, to) in enumerate(zip(states, levels[1:], strict=True)):
        before = states[index - 1] if index else None
        error = law_error(before, start, diagnosis.fine.at(to), to)
        found.append(_step(start, to, error))
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
        rms=Errors(
            one_level=_rms(error.one_level),
            two_levels=None if error.two_levels is None else _rms(error.two_levels),
            mean_only=_rms(error.mean_only),
        ),
        deficit=(deficit / inner(x, x)).mean().item(),
        identity=((lack - deficit).abs() / inner(x, x)).max().item(),
    )


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
