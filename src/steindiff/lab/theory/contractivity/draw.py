"""Figures of Lipschitz constants, of the trap, and of the bounds."""

from __future__ import annotations

import math
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...report.look import BLACK, BLUE, FAINT, GREEN, GREY, ORANGE, PURPLE, plain_numbers, tidy
from ..plots import band, entitle, finish, medians, panels
from ..statement import Drawing
from .fields import Contractivity, Step, peak, steps_of

_RUN_COLOURS = (ORANGE, BLUE, GREEN, PURPLE, BLACK, GREY)


def draw(found: Contractivity) -> list[Drawing]:
    """Constants by noise level, the trap, and the certificate."""
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
            _trap(found),
        ),
        Drawing(
            "certificate",
            "L_T against its bounds, a point a step (medians). Below the diagonal a bound holds.",
            _certificate(found),
        ),
    ]


def _along_sigma(found: Contractivity) -> Figure:
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


def _trap(found: Contractivity) -> Figure:
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
        peaks = [peak(run, part) for run in found["runs"]]
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


def _certificate(found: Contractivity) -> Figure:
    figure, (row,) = panels(3, 3.3, sharex=True, sharey=True)
    for axes in row:
        axes.set_xlabel("bound", fontsize=8)
    steps = steps_of(found)
    _bound(row[0], steps, "published", "σ'/σ + (1 − σ'/σ) L_D")
    _bound(row[1], steps, "literal", "σ'/σ + σ' ln(σ/σ') L_D")
    _bound(row[2], steps, "own", "|a| + |b| L_D")
    row[0].set_ylabel("measured L_T", fontsize=8)
    plain_numbers(row[0].xaxis, row[0].yaxis)
    return figure


def _bound(
    axes: Axes, steps: list[Step], key: Literal["published", "literal", "own"], title: str
) -> None:
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
