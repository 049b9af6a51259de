"""Errors along a sampling, and what becomes of one that enters at a step."""

from __future__ import annotations

import itertools
import math
from typing import TypedDict

from matplotlib.figure import Figure
from torch import Tensor

from ....stein import Coefficient
from ...report.look import BLACK, BLUE, GREY
from ..diagnosis import Diagnosis
from ..estimates import Mean, Some, Spread, interval, mean_of, spread_of
from ..plots import band, entitle, finish, medians, panels, points
from ..propagation import propagate_errors, rms_error
from ..statement import Chapter, Drawing, Grade, Tell, Verdict, counted, decided, listed

FOLLOWED = 32
"""Samples whose errors are followed to the end: the flow costs dozens of evaluations each."""


class Errors(TypedDict):
    """Mean |x - x*|/sqrt(d) after each step."""

    base: Some[Mean]
    relaxed: Some[Mean]


class Growth(TypedDict):
    """What a small error before each step is multiplied by until the end."""

    base: Some[Spread]
    relaxed: Some[Spread]
    flow: Some[Spread]


class Decay(TypedDict):
    """What is measured; `ratios` are of the relaxed error to the base's."""

    solver: str
    samples: int
    followed: int
    levels: Some[float]
    errors: Errors
    ratios: Some[Mean]
    propagation: Growth


# -- measured -------------------------------------------------------------------------------------


def measure(diagnosis: Diagnosis, tell: Tell) -> Decay:
    """Errors to the fine solution after each step, and how errors propagate to the end."""
    sampling, levels = diagnosis.sampling, diagnosis.levels()
    tell("errors along the sampling")
    base, relaxed = (_errors(diagnosis, rule) for rule in sampling.ways.values())
    ratios = [mean_of(b / a) for a, b in zip(base, relaxed, strict=True)]
    tell("propagation of errors")
    few = min(diagnosis.sizes.samples, FOLLOWED)
    return Decay(
        solver=sampling.solver_text,
        samples=diagnosis.sizes.samples,
        followed=few,
        levels=levels,
        errors=Errors(base=[*map(mean_of, base)], relaxed=[*map(mean_of, relaxed)]),
        ratios=ratios,
        propagation=_propagation(diagnosis, few),
    )


def _errors(diagnosis: Diagnosis, rule: Coefficient | None) -> list[Tensor]:
    """(B,) after each step."""
    levels = diagnosis.levels()
    states = diagnosis.samples.follow(levels, diagnosis.sampling.solver, rule)
    return [
        rms_error(state, diagnosis.fine.at(level))
        for state, level in zip(states, levels[1:], strict=True)
    ]


def _propagation(diagnosis: Diagnosis, count: int) -> Growth:
    denoiser, x, given = diagnosis.batch(count)
    base, relaxed = (
        propagate_errors(
            denoiser, x, diagnosis.levels(), diagnosis.sampling.solver, rule, conditioning=given,
            flow_steps=None if rule else 12,
        )
        for rule in diagnosis.sampling.ways.values()
    )  # fmt: skip
    assert base.flow is not None
    return Growth(
        base=[*map(spread_of, base.sampler)],
        flow=[*map(spread_of, base.flow)],
        relaxed=[*map(spread_of, relaxed.sampler)],
    )


# -- judged ---------------------------------------------------------------------------------------


def judge(found: Decay) -> list[Verdict]:
    """One verdict for each statement about errors."""
    return [_decays(found), _lower(found), _propagates(found)]


def _decays(found: Decay) -> Verdict:
    """Whether the error to where the state should be falls from step to step."""
    errors = found["errors"]
    ways = (("base", errors["base"]), ("relaxed", errors["relaxed"]))
    steps = {name: [row["value"] for row in rows] for name, rows in ways}
    falls = {
        name: sum(b < a for a, b in itertools.pairwise(values)) for name, values in steps.items()
    }
    count = len(steps["base"]) - 1
    text = (
        "Mean |x − x*|/√d at the levels of the sampling, x* on the fine trajectory: base "
        f"{listed(steps['base'])}, relaxed {listed(steps['relaxed'])}. It falls in "
        f"{falls['base']} of {count} steps without relaxing and in {falls['relaxed']} with it."
    )
    grade = decided(falls["relaxed"] == count, falls["relaxed"] > falls["base"])
    return Verdict("Relaxed, the error decays from step to step.", text, grade)


def _lower(found: Decay) -> Verdict:
    last = found["ratios"][-1]
    text = (
        f"At the end the relaxed sampling's error is {interval(last)} times the base's (mean of "
        f"{found['samples']} samples)."
    )
    grade = (
        Grade.HOLDS if last["high"] < 1 else Grade.FAILS if last["low"] > 1
        else Grade.UNDECIDED
    )  # fmt: skip
    return Verdict("Relaxing lowers the error to the fine solution at the end.", text, grade)


def _propagates(found: Decay) -> Verdict:
    growth = found["propagation"]
    base, relaxed, flow = map(medians, (growth["base"], growth["relaxed"], growth["flow"]))
    lower = sum(b < a for a, b in zip(base, relaxed, strict=True))
    count = len(base) - 1  # nothing is relaxed after the last step's start
    nearer = sum(
        abs(math.log(b / f)) < abs(math.log(a / f))
        for a, b, f in zip(base[:count], relaxed, flow, strict=False)
    )
    text = (
        "An error of 1% of the level's noise that enters before step k is multiplied, at the end, "
        f"by (medians) {listed(base)} in the base sampling, {listed(relaxed)} in the relaxed "
        f"one, and {listed(flow)} by the exact flow. Relaxing lowers it in {lower} of {count} "
        f"steps, and brings it nearer to the flow's in {nearer}."
    )
    statement = "Relaxing damps errors on their way to the end."
    return Verdict(statement, text, counted(lower, count))


# -- drawn ----------------------------------------------------------------------------------------


def draw(found: Decay) -> list[Drawing]:
    """Errors by step, and their propagation."""
    return [
        Drawing(
            "decay",
            "Left: rms distance to the fine trajectory at the levels of the sampling, mean "
            "over samples with 95% intervals. Right: what a small error is multiplied by until the "
            "end, by the step before which it enters (median, and the middle 90% as a band).",
            _figure(found),
        )
    ]


def _figure(found: Decay) -> Figure:
    figure, ((left, right),) = panels(2, 3.2)
    steps = list(range(1, len(found["levels"])))
    errors, growth = found["errors"], found["propagation"]
    for name, means, spreads, colour in (
        ("base", errors["base"], growth["base"], GREY),
        ("relaxed", errors["relaxed"], growth["relaxed"], BLUE),
    ):
        points(left, steps, means, color=colour, markersize=4, label=name)
        band(right, steps, spreads, colour, 0.13)
        right.plot(steps, medians(spreads), "o-", color=colour, markersize=4, label=name)
    right.plot(steps, medians(growth["flow"]), "x--", color=BLACK, markersize=5,
               label="exact flow")  # fmt: skip
    left.set(xlabel="after step", ylabel="|x − x*|/√d", yscale="log")
    right.set(xlabel="error enters before step", ylabel="multiplied by", yscale="log")
    entitle(left, "Distance to the fine trajectory")
    entitle(right, "Growth of a small error until the end")
    for axes in (left, right):
        axes.set_xticks(steps)
    finish((left, right), plain=True, legend=[left, right])
    return figure


CHAPTER = Chapter(
    "decay",
    "Errors",
    "The published error decay is about one step and a fixed target. What a user has is a whole "
    "sampling, whose target moves down the fine trajectory: here is what becomes of its error, and "
    "of a small error that enters at one step, beside what the exact flow makes of the same error.",
    Decay,
    measure,
    judge,
    draw,
)
