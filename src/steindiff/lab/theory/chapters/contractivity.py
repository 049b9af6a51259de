"""Lipschitz constants of the denoiser, of the steps, and of the relaxed steps; the certificate."""

from __future__ import annotations

import math
from typing import Literal, NotRequired, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...report.look import BLACK, BLUE, FAINT, GREEN, GREY, ORANGE, PURPLE, plain_numbers, tidy
from ..certificate import Certificate, certify
from ..diagnosis import Diagnosis
from ..estimates import Positive, Some, Spread, spread_of
from ..lipschitz import local_lipschitz
from ..plots import band, entitle, finish, medians, panels
from ..sizes import Sizes
from ..statement import Chapter, Drawing, Grade, Tell, Verdict, counted, percent
from ..steps import OpenStep, open_steps

TOLERANCE = 0.02
SLACK = 1.02  # Lanczos stops at a residual of 2%: less than that is not a violation
FEW = 10
"""A sampling of so many steps is one of few steps."""
Bound = Literal["published", "literal", "own"]
_RUN_COLOURS = (ORANGE, BLUE, GREEN, PURPLE, BLACK, GREY)


class Level(TypedDict):
    """The denoiser at one level: its Lipschitz constant, and how far that is from converged."""

    sigma: Positive
    constant: Spread
    residual: float


class Above(TypedDict):
    """Shares of the samples whose constants exceed 1."""

    denoiser: float
    step: float
    relaxed: float
    frozen: float


class Violations(TypedDict):
    """Shares of the samples that break each bound by more than the constants are known to."""

    published: float
    literal: float
    own: float | None


class Step(TypedDict):
    """One step: the constants and bounds of a `Certificate`, and that of the exact flow."""

    sigma: Positive
    sigma_next: float
    gamma: float
    residual: float
    denoiser: Spread
    step: Spread
    relaxed: Spread
    frozen: Spread
    above: Above
    published: Spread
    literal: Spread
    own: Spread | None
    violations: Violations
    flow: NotRequired[Spread]


class Run(TypedDict):
    """A sampling; `complete` where each of its steps was looked at."""

    steps: int
    complete: bool
    rows: Some[Step]


class Contractivity(TypedDict):
    """All of it; `asked` is the number of steps asked for, `count` that of the samples."""

    solver: str
    coefficient: str
    asked: int
    count: int
    denoiser: Some[Level]
    runs: Some[Run]


# -- measured -------------------------------------------------------------------------------------


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


# -- judged ---------------------------------------------------------------------------------------


def judge(found: Contractivity) -> list[Verdict]:
    """One verdict for each statement about contraction and its certificate."""
    return [
        _trap(found), _of_the_flow(found), _published(found), _literal(found), *_own(found),
        _relaxing(found),
    ]  # fmt: skip


def _trap(found: Contractivity) -> Verdict:
    runs = found["runs"]
    peaks = [_peak(run, "step") for run in runs]
    text = ", ".join(
        f"{run['steps']} steps: {top:.3g}" for run, top in zip(runs, peaks, strict=True)
    )
    text = f"Largest L_T over {found['count']} samples, by number of steps: {text}."
    if not all(run["complete"] for run in runs):
        text += " Of many steps only some were looked at."
    few = [top for run, top in zip(runs, peaks, strict=True) if run["steps"] <= FEW]
    if not few:
        grade = Grade.UNDECIDED
        text += f" No sampling of {FEW} steps or fewer was looked at."
    elif max(few) <= 1:
        grade = Grade.FAILS
    elif min(peaks) > 1 and peaks == sorted(peaks, reverse=True):
        grade = Grade.HOLDS
    else:
        grade = Grade.CONDITIONS
        text += (
            " It does not fall with every step more."
            if min(peaks) > 1
            else " Not every number of steps has one above 1."
        )
    return Verdict(
        "The contractivity trap: few-step samplings have steps with L_T > 1, the larger the fewer "
        "they are, and even many steps leave some above 1.",
        text,
        grade,
    )


def _of_the_flow(found: Contractivity) -> Verdict:
    asked = next(run for run in found["runs"] if run["steps"] == found["asked"])
    rows = [(row, row["flow"]["median"]) for row in asked["rows"] if "flow" in row]
    shown = "; ".join(
        f"{row['sigma']:.2g} → {row['sigma_next']:.2g}: {row['step']['median']:.2f} and {flow:.2f}"
        for row, flow in rows
    )
    beyond = [row for row, flow in rows if row["step"]["median"] > SLACK * flow]
    text = (
        f"L of the step and of the exact flow over the same interval (medians): {shown}. The step "
        f"expands more than the flow in {len(beyond)} of {len(rows)}. Where data split into modes "
        "the exact flow expands as well: L_T > 1 is not in itself an error, and a sampler that "
        "contracts there is wrong."
    )
    statement = "The expansion is a fault of few steps: the exact flow expands less."
    return Verdict(statement, text, counted(len(beyond), len(rows)))


def _bound(
    found: Contractivity,
    key: Bound,
    statement: str,
    holds: str,
    fails: str = "",
    always: bool = False,
) -> Verdict:
    rows = [row for row in _steps_of(found) if row["violations"][key] is not None]
    broken = [row for row in rows if row["violations"][key]]
    bounds = [(row["step"], row[key]) for row in rows]
    worst = max((step["max"] / bound["max"] for step, bound in bounds if bound), default=0.0)
    text = f"Broken in {len(broken)} of {len(rows)} steps"
    if broken:
        text += f", by a factor of up to {worst:.3g}. {fails}"
    else:
        text += f"; {holds}"
    grade = Grade.HOLDS if not broken else Grade.FAILS if always else Grade.CONDITIONS
    return Verdict(statement, text.strip(), grade)


def _published(found: Contractivity) -> Verdict:
    ratios = [row["step"]["median"] / row["published"]["median"] for row in _steps_of(found)]
    return _bound(
        found,
        "published",
        "The certificate L_T ≤ σ'/σ + σ'h L_D bounds a step, h being the step of 1/σ: then "
        "σ'h = 1 − σ'/σ.",
        f"L_T is {percent(min(ratios))} to {percent(max(ratios))} of it (medians).",
        "It is the triangle inequality of a first-order step; a solver that extrapolates weighs D "
        "by more than 1 − σ'/σ.",
    )


def _literal(found: Contractivity) -> Verdict:
    return _bound(
        found,
        "literal",
        "The same certificate with h read as the log-SNR step ln(σ/σ').",
        "no step breaks it here.",
        "σ' ln(σ/σ') falls below 1 − σ'/σ at low noise, whatever the denoiser: read so, it is no "
        "bound.",
        always=True,
    )


def _own(found: Contractivity) -> list[Verdict]:
    rows = [(row["step"], row["own"]) for row in _steps_of(found) if row["own"] is not None]
    statement = "With the solver's own weights, L_T ≤ |a| + |b| L_D for T = a x + b D + history."
    if not rows:
        text = "The solver evaluates more than once a step: T is not linear in one D."
        return [Verdict(statement, text, Grade.UNDECIDED)]
    tight = [step["median"] / own["median"] for step, own in rows]
    held = f"L_T is {percent(min(tight))} to {percent(max(tight))} of it (medians)."
    return [_bound(found, "own", statement, held, always=True)]


def _relaxing(found: Contractivity) -> Verdict:
    rows = [row for row in _steps_of(found) if row["gamma"] < 1]
    expanding = [row for row in rows if row["step"]["median"] > 1]
    rescued = [row for row in expanding if row["frozen"]["median"] <= 1]
    lowered = [row for row in expanding if row["frozen"]["median"] < row["step"]["median"]]
    moving = [row["relaxed"]["median"] / row["frozen"]["median"] for row in rows]
    text = (
        f"Of {len(rows)} relaxed steps {len(expanding)} expand (median L_T > 1). With γ held fixed "
        f"relaxing lowers the constant in {len(lowered)} of them and makes {len(rescued)} "
        "contractive: what is above 1 shrinks by about the factor γ. With γ moving as "
        "the state does, as it is sampled, "
    )
    text += (
        f"the constant is {min(moving):.2g} to {max(moving):.2g} times that."
        if moving
        else "nothing was relaxed."
    )
    if not expanding:
        grade = Grade.UNDECIDED
    else:
        grade = Grade.HOLDS if len(rescued) == len(expanding) else Grade.FAILS
    return Verdict("Relaxing makes expansive steps contractive.", text, grade)


def _steps_of(found: Contractivity) -> list[Step]:
    """The steps of all samplings."""
    return [row for run in found["runs"] for row in run["rows"]]


def _peak(run: Run, part: str) -> float:
    """The largest constant of any step and sample."""
    return max(row[part]["max"] for row in run["rows"])  # type: ignore[literal-required]


# -- drawn ----------------------------------------------------------------------------------------


def draw(found: Contractivity) -> list[Drawing]:
    """Constants by noise level, the trap, and the certificate."""
    return [
        Drawing(
            "lipschitz",
            "Local Lipschitz constants along the noise level: median, the middle 90% as a band. "
            "Left: the denoiser. Right: steps, base (solid) and relaxed as sampled (dotted), by "
            "number of steps.",
            _figure_by_sigma(found),
        ),
        Drawing(
            "trap",
            "The contractivity trap. Left: L_T against the length of the step ln(σ/σ'), base and "
            "relaxed with γ fixed. Right: the largest L_T by number of steps.",
            _trap_figure(found),
        ),
        Drawing(
            "certificate",
            "L_T against its bounds, a point a step (medians). Below the diagonal a bound holds.",
            _certificate_figure(found),
        ),
    ]


def _figure_by_sigma(found: Contractivity) -> Figure:
    figure, ((left, right),) = panels(2, 3.5)
    sigma = [row["sigma"] for row in found["denoiser"]]
    constants = [row["constant"] for row in found["denoiser"]]
    band(left, sigma, constants, BLUE, 0.18)
    left.plot(sigma, medians(constants), "o-", color=BLUE, markersize=3)
    left.set(xscale="log", yscale="log", xlabel="σ", ylabel="L of the denoiser")
    for run, colour in zip(found["runs"], _RUN_COLOURS, strict=False):
        rows = run["rows"]
        at = [row["sigma"] for row in rows]
        right.plot(at, medians(row["step"] for row in rows), "o-", color=colour, markersize=3,
                   label=f"{run['steps']} steps")  # fmt: skip
        right.plot(at, medians(row["relaxed"] for row in rows), ":", color=colour)
    right.set(xscale="log", yscale="log", xlabel="σ", ylabel="L of the step")
    entitle(left, "Lipschitz constant of the denoiser")
    entitle(right, "Lipschitz constant of a step")
    for axes in (left, right):
        axes.axhline(1, color=BLACK, linewidth=0.8)
    finish((left, right), plain=True, legend=[right])
    return figure


def _trap_figure(found: Contractivity) -> Figure:
    figure, ((left, right),) = panels(2, 3.5)
    for run, colour in zip(found["runs"], _RUN_COLOURS, strict=False):
        rows = [row for row in run["rows"] if row["sigma_next"]]
        length = [math.log(row["sigma"] / row["sigma_next"]) for row in rows]
        look = {"color": colour, "markersize": 4}
        left.plot(length, medians(row["step"] for row in rows), "o", label=f"{run['steps']} steps",
                  **look)  # fmt: skip
        left.plot(length, medians(row["frozen"] for row in rows), "x", **look)
    left.set(xlabel="length of the step, ln(σ/σ')", ylabel="L of the step (× relaxed)")
    left.set_yscale("log")
    steps = [run["steps"] for run in found["runs"]]
    for part, colour, label in (
        ("step", GREY, "base"), ("frozen", BLUE, "relaxed, γ fixed"),
        ("relaxed", ORANGE, "relaxed, as sampled"),
    ):  # fmt: skip
        peaks = [_peak(run, part) for run in found["runs"]]
        right.plot(steps, peaks, "o-", color=colour, markersize=4, label=label)
    right.set(xscale="log", yscale="log", xlabel="steps", ylabel="largest L of any step and sample")
    right.set_xticks(steps, [str(count) for count in steps])
    right.minorticks_off()
    entitle(left, "Constants by the length of the step")
    entitle(right, "Largest constant by number of steps")
    for axes in (left, right):
        axes.axhline(1, color=BLACK, linewidth=0.8)
    finish((left, right), plain=True, legend=[left, right])
    return figure


def _certificate_figure(found: Contractivity) -> Figure:
    figure, (row,) = panels(3, 3.3, sharex=True, sharey=True)
    for axes in row:
        axes.set_xlabel("bound", fontsize=8)
    steps = _steps_of(found)
    _bound_panel(row[0], steps, "published", "σ'/σ + (1 − σ'/σ) L_D")
    _bound_panel(row[1], steps, "literal", "σ'/σ + σ' ln(σ/σ') L_D")
    _bound_panel(row[2], steps, "own", "|a| + |b| L_D")
    row[0].set_ylabel("measured L_T", fontsize=8)
    plain_numbers(row[0].xaxis, row[0].yaxis)
    return figure


def _bound_panel(axes: Axes, steps: list[Step], key: Bound, title: str) -> None:
    found = [(bound, step) for step in steps if (bound := step[key]) is not None]
    for bound, step in found:
        marker, colour = ("^", ORANGE) if step["violations"][key] else ("o", BLUE)
        axes.plot(bound["median"], step["step"]["median"], marker, color=colour, markersize=4)
    axes.axline((1, 1), (2, 2), color=FAINT, linewidth=1)
    axes.set(xscale="log", yscale="log")
    if not found:
        axes.text(0.5, 0.5, "several evaluations a step", transform=axes.transAxes, ha="center")
    entitle(axes, title)
    tidy(axes)


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
