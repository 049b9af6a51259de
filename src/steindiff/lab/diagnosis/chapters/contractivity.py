"""Lipschitz constants of the denoiser, of the steps, and of the relaxed steps; the certificate."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...diagnostics import certify, local_lipschitz, open_steps
from ...diagnostics.certificate import Certificate
from ...diagnostics.steps import OpenStep
from ...report.look import BLACK, BLUE, FAINT, GREEN, GREY, ORANGE, PURPLE, plain_numbers, tidy
from ..setting import Setting, spread_of
from .base import Chapter, Drawing, Found, Outcome, Tell, Verdict, counted, percent

TOLERANCE = 0.02
_SLACK = 1.02  # Lanczos stops at a residual of 2%: less than that is not a violation


def _measure(setting: Setting, tell: Tell) -> Found:
    sizes = setting.sizes
    count = sizes.jacobians
    given, x = setting.given(count), setting.start(count)
    tell("Lipschitz constant of the denoiser")
    denoiser = [_denoiser_at(setting, sigma, count) for sigma in setting.survey_levels()]
    runs = []
    for steps in sorted({min(sizes.counts), setting.steps, max(sizes.counts), *sizes.dense}):
        tell(f"Lipschitz constants of {steps} steps")
        levels = setting.levels(steps)
        shown = set(np.linspace(0, steps - 1, min(steps, sizes.steps_shown)).round().astype(int))
        opened = open_steps(
            setting.denoiser, x, levels, setting.solver, setting.coefficient, conditioning=given
        )
        rows = [
            _step(setting, step, with_flow=steps == setting.steps)
            for step in opened
            if step.index in shown
        ]
        runs.append({"steps": steps, "complete": len(shown) == steps, "rows": rows})
    return {
        "solver": setting.solver_text,
        "coefficient": setting.coefficient_text,
        "asked": setting.steps,
        "count": count,
        "denoiser": denoiser,
        "runs": runs,
    }


def _denoiser_at(setting: Setting, sigma: float, count: int) -> Found:
    x, rounds = setting.fine.at(sigma)[:count], setting.sizes.rounds
    denoiser = setting.denoiser_at(sigma, count)
    found = local_lipschitz(denoiser, x, rounds=rounds, tolerance=TOLERANCE)
    return {
        "sigma": sigma,
        "constant": spread_of(found.constant),
        "residual": found.residual.max().item(),
    }


def _step(setting: Setting, step: OpenStep, with_flow: bool) -> Found:
    rounds = setting.sizes.rounds
    found = certify(step, rounds=rounds, tolerance=TOLERANCE)
    row: Found = {
        "sigma": step.sigma,
        "sigma_next": step.sigma_next,
        "gamma": step.gamma.mean().item(),
        "residual": max(part.residual.max().item() for part in found[:4]),
    }
    parts = ("denoiser", "step", "relaxed", "frozen")
    row |= {name: spread_of(getattr(found, name).constant) for name in parts}
    row |= {"above": _above(found), "published": spread_of(found.published)}
    row |= {"literal": spread_of(found.literal)}
    row["own"] = None if found.own is None else spread_of(found.own)
    row["violations"] = _violations(found)
    if with_flow:
        count = max(1, setting.sizes.jacobians // 2)  # each product goes through the whole flow
        flow = local_lipschitz(step.flow(count=count), step.x[:count], rounds=8, tolerance=0.05)
        row["flow"] = spread_of(flow.constant)
    return row


def _above(found: Certificate) -> Found:
    """Shares of the samples whose constants exceed 1."""
    return {
        name: (getattr(found, name).constant > 1).double().mean().item()
        for name in ("denoiser", "step", "relaxed", "frozen")
    }


def _violations(found: Certificate) -> Found:
    """Shares of the samples that break each bound by more than the constants are known to."""
    bounds = {"published": found.published, "literal": found.literal, "own": found.own}
    return {
        name: None if bound is None
        else (found.step.constant > _SLACK * bound).double().mean().item()
        for name, bound in bounds.items()
    }  # fmt: skip


def _rows(found: Found) -> list[Found]:
    return [row for run in found["runs"] for row in run["rows"]]


def _peak(run: Found, part: str) -> float:
    return max(row[part]["max"] for row in run["rows"])


def _judge(found: Found) -> list[Verdict]:
    return [
        _trap(found), _of_the_flow(found), _published(found), _literal(found), *_own(found),
        _relaxing(found),
    ]  # fmt: skip


def _trap(found: Found) -> Verdict:
    runs = found["runs"]
    peaks = [_peak(run, "step") for run in runs]
    text = ", ".join(
        f"{run['steps']} steps: {peak:.3g}" for run, peak in zip(runs, peaks, strict=True)
    )
    text = f"Largest L_T over {found['count']} samples, by number of steps: {text}."
    if not all(run["complete"] for run in runs):
        text += " Of many steps only some were looked at."
    few = [peak for run, peak in zip(runs, peaks, strict=True) if run["steps"] <= 10]
    if max(few) <= 1:
        outcome = Outcome.FAILS
    elif min(peaks) > 1 and peaks == sorted(peaks, reverse=True):
        outcome = Outcome.HOLDS
    else:
        outcome = Outcome.CONDITIONS
        text += (
            " It does not fall with every step more."
            if min(peaks) > 1
            else " Not every number of steps has one above 1."
        )
    return Verdict(
        "The contractivity trap: few-step samplings have steps with L_T > 1, the larger the fewer "
        "they are, and even many steps leave some above 1.",
        text,
        outcome,
    )


def _of_the_flow(found: Found) -> Verdict:
    asked = next(run for run in found["runs"] if run["steps"] == found["asked"])
    rows = [row for row in asked["rows"] if "flow" in row]
    shown = "; ".join(
        f"{row['sigma']:.2g} → {row['sigma_next']:.2g}: {row['step']['median']:.2f} and "
        f"{row['flow']['median']:.2f}"
        for row in rows
    )
    beyond = [row for row in rows if row["step"]["median"] > _SLACK * row["flow"]["median"]]
    text = (
        f"L of the step and of the exact flow over the same interval (medians): {shown}. The step "
        f"expands more than the flow in {len(beyond)} of {len(rows)}. Where data split into modes "
        "the exact flow expands as well: L_T > 1 is not in itself an error, and a sampler that "
        "contracts there is wrong."
    )
    statement = "The expansion is a fault of few steps: the exact flow expands less."
    return Verdict(statement, text, counted(len(beyond), len(rows)))


def _bound(
    found: Found, key: str, statement: str, holds: str, fails: str = "", always: bool = False
) -> Verdict:
    rows = [row for row in _rows(found) if row["violations"][key] is not None]
    broken = [row for row in rows if row["violations"][key]]
    worst = max((row["step"]["max"] / row[key]["max"] for row in rows), default=0.0)
    text = f"Broken in {len(broken)} of {len(rows)} steps"
    if broken:
        text += f", by a factor of up to {worst:.3g}. {fails}"
    else:
        text += f"; {holds}"
    outcome = Outcome.HOLDS if not broken else Outcome.FAILS if always else Outcome.CONDITIONS
    return Verdict(statement, text.strip(), outcome)


def _published(found: Found) -> Verdict:
    ratios = [row["step"]["median"] / row["published"]["median"] for row in _rows(found)]
    return _bound(
        found,
        "published",
        "The certificate L_T ≤ σ'/σ + σ'h L_D bounds a step, h being the step of 1/σ: then "
        "σ'h = 1 − σ'/σ.",
        f"L_T is {percent(min(ratios))} to {percent(max(ratios))} of it (medians).",
        "It is the triangle inequality of a first-order step; a solver that extrapolates weighs D "
        "by more than 1 − σ'/σ.",
    )


def _literal(found: Found) -> Verdict:
    return _bound(
        found,
        "literal",
        "The same certificate with h read as the log-SNR step ln(σ/σ').",
        "no step breaks it here.",
        "σ' ln(σ/σ') falls below 1 − σ'/σ at low noise, whatever the denoiser: read so, it is no "
        "bound.",
        always=True,
    )


def _own(found: Found) -> list[Verdict]:
    rows = [row for row in _rows(found) if row["own"] is not None]
    statement = "With the solver's own weights, L_T ≤ |a| + |b| L_D for T = a x + b D + history."
    if not rows:
        text = "The solver evaluates more than once a step: T is not linear in one D."
        return [Verdict(statement, text, Outcome.UNDECIDED)]
    tight = [row["step"]["median"] / row["own"]["median"] for row in rows]
    held = f"L_T is {percent(min(tight))} to {percent(max(tight))} of it (medians)."
    return [_bound(found, "own", statement, held, always=True)]


def _relaxing(found: Found) -> Verdict:
    rows = [row for row in _rows(found) if row["gamma"] < 1]
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
        outcome = Outcome.UNDECIDED
    else:
        outcome = Outcome.HOLDS if len(rescued) == len(expanding) else Outcome.FAILS
    return Verdict("Relaxing makes expansive steps contractive.", text, outcome)


def _draw(found: Found) -> list[Drawing]:
    return [
        Drawing(
            "lipschitz",
            "Local Lipschitz constants along the noise level: median, the middle 90% as a band. "
            "Left: the denoiser. Right: steps, base (solid) and relaxed as sampled (dotted), by "
            "number of steps.",
            _along_sigma(found),
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


_RUN_COLOURS = (ORANGE, BLUE, GREEN, PURPLE, BLACK, GREY)


def _along_sigma(found: Found) -> Figure:
    figure = Figure(figsize=(9.2, 3.5), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    sigma = [row["sigma"] for row in found["denoiser"]]
    constants = [row["constant"] for row in found["denoiser"]]
    left.fill_between(
        sigma, [c["low"] for c in constants], [c["high"] for c in constants],
        color=BLUE, alpha=0.18, linewidth=0,
    )  # fmt: skip
    left.plot(sigma, [c["median"] for c in constants], "o-", color=BLUE, markersize=3)
    left.set(xscale="log", yscale="log", xlabel="σ", ylabel="L of the denoiser")
    for run, colour in zip(found["runs"], _RUN_COLOURS, strict=False):
        at = [row["sigma"] for row in run["rows"]]
        right.plot(at, [row["step"]["median"] for row in run["rows"]], "o-", color=colour,
                   markersize=3, label=f"{run['steps']} steps")  # fmt: skip
        right.plot(at, [row["relaxed"]["median"] for row in run["rows"]], ":", color=colour)
    right.set(xscale="log", yscale="log", xlabel="σ", ylabel="L of the step")
    for axes in (left, right):
        axes.axhline(1, color=BLACK, linewidth=0.8)
        plain_numbers(axes.yaxis)
        tidy(axes)
    right.legend(fontsize=7.5, frameon=False)
    return figure


def _trap_figure(found: Found) -> Figure:
    figure = Figure(figsize=(9.2, 3.5), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for run, colour in zip(found["runs"], _RUN_COLOURS, strict=False):
        rows = [row for row in run["rows"] if row["sigma_next"]]
        length = [np.log(row["sigma"] / row["sigma_next"]) for row in rows]
        left.plot(length, [row["step"]["median"] for row in rows], "o", color=colour,
                  markersize=4, label=f"{run['steps']} steps")  # fmt: skip
        left.plot(length, [row["frozen"]["median"] for row in rows], "x", color=colour,
                  markersize=4)  # fmt: skip
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
    for axes in (left, right):
        axes.axhline(1, color=BLACK, linewidth=0.8)
        plain_numbers(axes.yaxis)
        tidy(axes)
    left.legend(fontsize=7.5, frameon=False)
    right.legend(fontsize=7.5, frameon=False)
    return figure


def _certificate_figure(found: Found) -> Figure:
    figure = Figure(figsize=(9.2, 3.3), dpi=110, layout="constrained")
    names = {
        "published": "σ'/σ + (1 − σ'/σ) L_D",
        "literal": "σ'/σ + σ' ln(σ/σ') L_D",
        "own": "|a| + |b| L_D",
    }
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axes, (key, label) in zip(panels, names.items(), strict=True):
        _bound_panel(axes, [row for row in _rows(found) if row[key] is not None], key)
        axes.set_title(label, fontsize=9)
        axes.set_xlabel("bound", fontsize=8)
    panels[0].set_ylabel("measured L_T", fontsize=8)
    plain_numbers(panels[0].xaxis, panels[0].yaxis)
    return figure


def _bound_panel(axes: Axes, rows: list[Found], key: str) -> None:
    for row in rows:
        broken = bool(row["violations"][key])
        axes.plot(row[key]["median"], row["step"]["median"], "^" if broken else "o",
                  color=ORANGE if broken else BLUE, markersize=4)  # fmt: skip
    axes.axline((1, 1), (2, 2), color=FAINT, linewidth=1)
    axes.set(xscale="log", yscale="log")
    if not rows:
        axes.text(0.5, 0.5, "several evaluations a step", transform=axes.transAxes, ha="center")
    tidy(axes)


CHAPTER = Chapter(
    "contractivity",
    "Contractivity",
    "A step T from σ to σ' is contractive where its local Lipschitz constant L_T, the largest "
    "singular value of its Jacobian, is below 1. The published analysis says that few steps need "
    "a strong contraction that an expressive network does not have, and bounds L_T by that of the "
    "denoiser. For an exact denoiser and Euler L_T = σ'/σ + (1 − σ'/σ) L_D exactly, so that a step "
    "expands where the denoiser does, however short it is.",
    _measure,
    _judge,
    _draw,
)
