"""Errors along a sampling, and what becomes of one that enters at a step."""

from __future__ import annotations

import itertools
import math

import torch
from matplotlib.figure import Figure

from ....sampling import sample
from ...diagnostics import propagate_errors, rms_error
from ...report.look import BLACK, BLUE, GREY, plain_numbers, tidy
from ..setting import Setting, mean_of, spread_of
from .base import Chapter, Drawing, Found, Outcome, Tell, Verdict, counted, interval

FOLLOWED = 32
"""Samples whose errors are followed to the end: the flow costs dozens of evaluations each."""


def _measure(setting: Setting, tell: Tell) -> Found:
    tell("errors along the sampling")
    count, levels = setting.sizes.samples, setting.levels()
    given, x = setting.given(count), setting.start(count)
    errors: dict[str, list[Found]] = {}
    paths: dict[str, list[torch.Tensor]] = {}
    for name, rule in (("base", None), ("relaxed", setting.coefficient)):
        trajectory = sample(
            setting.denoiser, x, levels, setting.solver, rule,
            conditioning=given, return_trajectory=True,
        ).trajectory  # fmt: skip
        assert trajectory is not None
        paths[name] = [
            rms_error(state, setting.fine.at(level))
            for state, level in zip(trajectory[1:], levels[1:], strict=True)
        ]
        errors[name] = [mean_of(values) for values in paths[name]]
    ratios = [
        mean_of(relaxed / base)
        for relaxed, base in zip(paths["relaxed"], paths["base"], strict=True)
    ]
    tell("propagation of errors")
    propagation = {}
    few = min(count, FOLLOWED)
    for name, rule in (("base", None), ("relaxed", setting.coefficient)):
        found = propagate_errors(
            setting.denoiser, x[:few], levels, setting.solver, rule,
            conditioning=setting.given(few), flow_steps=None if rule else 12,
        )  # fmt: skip
        propagation[name] = [spread_of(row) for row in found.sampler]
        if found.flow is not None:
            propagation["flow"] = [spread_of(row) for row in found.flow]
    return {
        "solver": setting.solver_text,
        "samples": count,
        "followed": few,
        "levels": levels,
        "errors": errors,
        "ratios": ratios,
        "propagation": propagation,
    }


def _judge(found: Found) -> list[Verdict]:
    return [_decays(found), _lower(found), _propagates(found)]


def _decays(found: Found) -> Verdict:
    """Whether the error to where the state should be falls from step to step."""
    steps = {
        name: [row["value"] for row in rows] for name, rows in found["errors"].items()
    }  # fmt: skip
    falls = {
        name: sum(b < a for a, b in itertools.pairwise(values)) for name, values in steps.items()
    }
    count = len(steps["base"]) - 1
    text = (
        "Mean |x − x*|/√d at the levels of the sampling, x* on the fine trajectory: base "
        f"{_listed(steps['base'])}, relaxed {_listed(steps['relaxed'])}. It falls in "
        f"{falls['base']} of {count} steps without relaxing and in {falls['relaxed']} with it."
    )
    outcome = (
        Outcome.HOLDS if falls["relaxed"] == count
        else Outcome.CONDITIONS if falls["relaxed"] > falls["base"]
        else Outcome.FAILS
    )  # fmt: skip
    return Verdict("Relaxed, the error decays from step to step.", text, outcome)


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _lower(found: Found) -> Verdict:
    last = found["ratios"][-1]
    text = (
        f"At the end the relaxed sampling's error is {interval(last)} times the base's (mean of "
        f"{found['samples']} samples)."
    )
    outcome = (
        Outcome.HOLDS if last["high"] < 1 else Outcome.FAILS if last["low"] > 1
        else Outcome.UNDECIDED
    )  # fmt: skip
    return Verdict("Relaxing lowers the error to the fine solution at the end.", text, outcome)


def _propagates(found: Found) -> Verdict:
    base, relaxed, flow = (
        [row["median"] for row in found["propagation"][name]]
        for name in ("base", "relaxed", "flow")
    )
    lower = sum(b < a for a, b in zip(base, relaxed, strict=True))
    count = len(base) - 1  # nothing is relaxed after the last step's start
    nearer = sum(
        abs(math.log(b / f)) < abs(math.log(a / f))
        for a, b, f in zip(base[:count], relaxed, flow, strict=False)
    )
    text = (
        "An error of 1% of the level's noise that enters before step k is multiplied, at the end, "
        f"by (medians) {_listed(base)} in the base sampling, {_listed(relaxed)} in the relaxed "
        f"one, and {_listed(flow)} by the exact flow. Relaxing lowers it in {lower} of {count} "
        f"steps, and brings it nearer to the flow's in {nearer}."
    )
    statement = "Relaxing damps errors on their way to the end."
    return Verdict(statement, text, counted(lower, count))


def _draw(found: Found) -> list[Drawing]:
    return [
        Drawing(
            "decay",
            "Left: rms distance to the fine trajectory at the levels of the sampling, mean "
            "over samples with 95% intervals. Right: what a small error is multiplied by until the "
            "end, by the step before which it enters (median, and the middle 90% as a band).",
            _figure(found),
        )
    ]


def _figure(found: Found) -> Figure:
    figure = Figure(figsize=(9.2, 3.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = list(range(1, len(found["levels"])))
    for name, colour in (("base", GREY), ("relaxed", BLUE)):
        rows = found["errors"][name]
        ends = [[abs(row["value"] - row[end]) for row in rows] for end in ("low", "high")]
        left.errorbar(steps, [row["value"] for row in rows], yerr=ends, color=colour, marker="o",
                      markersize=4, label=name)  # fmt: skip
        rows = found["propagation"][name]
        right.fill_between(steps, [row["low"] for row in rows], [row["high"] for row in rows],
                           color=colour, alpha=0.13, linewidth=0)  # fmt: skip
        right.plot(steps, [row["median"] for row in rows], "o-", color=colour, markersize=4,
                   label=name)  # fmt: skip
    flow = found["propagation"]["flow"]
    right.plot(steps, [row["median"] for row in flow], "x--", color=BLACK, markersize=5,
               label="exact flow")  # fmt: skip
    left.set(xlabel="after step", ylabel="|x − x*|/√d", yscale="log")
    right.set(xlabel="error enters before step", ylabel="multiplied by", yscale="log")
    for axes in (left, right):
        axes.set_xticks(steps)
        axes.legend(fontsize=8, frameon=False)
        plain_numbers(axes.yaxis)
        tidy(axes)
    return figure


CHAPTER = Chapter(
    "decay",
    "Errors",
    "The published error decay is about one step and a fixed target. What a user has is a whole "
    "sampling, whose target moves down the fine trajectory: here is what becomes of its error, and "
    "of a small error that enters at one step, beside what the exact flow makes of the same error.",
    _measure,
    _judge,
    _draw,
)
