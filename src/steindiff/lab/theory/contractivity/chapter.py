"""Lipschitz constants of the denoiser, of the steps, and of the relaxed steps; the certificate."""

from __future__ import annotations

import numpy as np

from ..diagnosis import Diagnosis
from ..estimates import spread_of
from ..sizes import Sizes
from ..statement import Chapter, Tell
from ..steps import OpenStep, open_steps
from .certificate import Certificate, certify
from .draw import draw
from .fields import Above, Contractivity, Level, Run, Step, Violations
from .judge import SLACK, judge
from .lipschitz import local_lipschitz

TOLERANCE = 0.02


def measure(diagnosis: Diagnosis, tell: Tell) -> Contractivity:
    """Constants at the levels of the survey, and of the steps of several samplings."""
    sizes, sampling = diagnosis.sizes, diagnosis.sampling
    tell("Lipschitz constant of the denoiser")
    denoiser = [_level(diagnosis, sigma) for sigma in diagnosis.survey_levels()]
    counts = {min(sizes.counts), sampling.steps, max(sizes.counts), *sizes.dense}
    runs = []
    for steps in sorted(counts):
        tell(f"Lipschitz constants of {steps} steps")
        runs.append(_run(diagnosis, steps))
    return Contractivity(
        solver=sampling.solver_text, coefficient=sampling.coefficient_text, asked=sampling.steps,
        count=sizes.jacobians, denoiser=denoiser, runs=runs,
    )  # fmt: skip


def _level(diagnosis: Diagnosis, sigma: float) -> Level:
    count, rounds = diagnosis.sizes.jacobians, diagnosis.sizes.rounds
    x, denoiser = diagnosis.fine.at(sigma)[:count], diagnosis.batch(count).at(sigma)
    found = local_lipschitz(denoiser, x, rounds=rounds, tolerance=TOLERANCE)
    residual = found.residual.max().item()
    return Level(sigma=sigma, constant=spread_of(found.constant), residual=residual)


def _run(diagnosis: Diagnosis, steps: int) -> Run:
    sizes, sampling = diagnosis.sizes, diagnosis.sampling
    shown = set(np.linspace(0, steps - 1, min(steps, sizes.steps_shown)).round().astype(int))
    denoiser, x, given = diagnosis.batch(sizes.jacobians)
    opened = open_steps(
        denoiser, x, diagnosis.levels(steps), sampling.solver, sampling.coefficient,
        conditioning=given,
    )  # fmt: skip
    with_flow = steps == sampling.steps
    rows = [_step(step, sizes, with_flow) for step in opened if step.index in shown]
    return Run(steps=steps, complete=len(shown) == steps, rows=rows)


def _step(step: OpenStep, sizes: Sizes, with_flow: bool) -> Step:
    found = certify(step, rounds=sizes.rounds, tolerance=TOLERANCE)
    row = Step(
        sigma=step.sigma,
        sigma_next=step.sigma_next,
        gamma=step.gamma.mean().item(),
        residual=max(part.residual.max().item() for part in found[:4]),
        denoiser=spread_of(found.denoiser.constant),
        step=spread_of(found.step.constant),
        relaxed=spread_of(found.relaxed.constant),
        frozen=spread_of(found.frozen.constant),
        above=_above(found),
        published=spread_of(found.published),
        literal=spread_of(found.literal),
        own=None if found.own is None else spread_of(found.own),
        violations=_violations(found),
    )
    if with_flow:
        count = max(1, sizes.jacobians // 2)  # each product goes through the whole flow
        flow = local_lipschitz(step.flow(count=count), step.x[:count], rounds=8, tolerance=0.05)
        row["flow"] = spread_of(flow.constant)
    return row


def _above(found: Certificate) -> Above:
    denoiser, step, relaxed, frozen = (
        (part.constant > 1).double().mean().item() for part in found[:4]
    )
    return Above(denoiser=denoiser, step=step, relaxed=relaxed, frozen=frozen)


def _violations(found: Certificate) -> Violations:
    published, literal, own = (
        None if bound is None else (found.step.constant > SLACK * bound).double().mean().item()
        for bound in (found.published, found.literal, found.own)
    )
    assert published is not None
    assert literal is not None
    return Violations(published=published, literal=literal, own=own)


CHAPTER = Chapter(
    "contractivity",
    "Contractivity",
    "A step T from σ to σ' is contractive where its local Lipschitz constant L_T, the largest "
    "singular value of its Jacobian, is below 1. The published analysis says that few steps need "
    "a strong contraction that an expressive network does not have, and bounds L_T by that of the "
    "denoiser. For an exact denoiser and Euler L_T = σ'/σ + (1 − σ'/σ) L_D exactly, so that a step "
    "expands where the denoiser does, however short it is.",
    Contractivity,
    measure,
    judge,
    draw,
)
