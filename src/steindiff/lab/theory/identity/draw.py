"""Figures of the identities along the noise level, and of the study of probes."""

from __future__ import annotations

from matplotlib.figure import Figure

from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE
from ..plots import entitle, finish, panels, points
from ..statement import Drawing
from .fields import Identities
from .judge import HEALTHY


def draw(found: Identities) -> list[Drawing]:
    """The identities, and the probes."""
    return [
        Drawing(
            "identity",
            "Stein's identities along the fine trajectory, with 95% intervals; grey: within "
            f"{HEALTHY} of what is right. Left: κ. Middle: the residual of second order. Right: "
            "three readings of (div D)/d.",
            _identities(found),
        ),
        Drawing(
            "probes",
            "Relative standard deviation of Hutchinson's estimate. Left: by the number of probes, "
            "measured (dots) and √(2/n)|J|/tr J (lines). Right: of one probe by dimension, for "
            "exact denoisers of Gaussian data with variances 1/k.",
            _probes(found),
        ),
    ]


def _identities(found: Identities) -> Figure:
    figure, (row,) = panels(3, 3.0)
    levels, exact, scale = found["levels"], found["exact"], found["sigma_data"] ** 2
    sigma = [level["sigma"] for level in levels]
    look = {"linewidth": 1.2, "markersize": 3}
    for axes, means, label, wanted in (
        (row[0], [level["kappa"] for level in levels], "κ", 1.0),
        (row[1], [level["second_order"] for level in levels], "residual", 0.0),
    ):
        axes.axhspan(wanted - HEALTHY, wanted + HEALTHY, color="#efefef")
        axes.axhline(wanted, color=BLACK, linewidth=0.7)
        points(axes, sigma, means, color=BLUE, **look)
        room = max(0.05, 1.3 * max(abs(mean["value"] - wanted) for mean in means))
        axes.set(xscale="log", xlabel="σ", ylabel=label, ylim=(wanted - room, wanted + room))
    trace = row[2]
    points(trace, sigma, [level["trace"] for level in levels], color=GREY, label="Hutchinson",
           **look)  # fmt: skip
    points(trace, sigma, [level["ratio"] for level in levels], color=BLUE, label="free ratio j",
           **look)  # fmt: skip
    if exact:
        trace.plot([r["sigma"] for r in exact], [r["exact"] for r in exact], "x", color=ORANGE,
                   label=f"exact, {exact[0]['samples']} samples")  # fmt: skip
    trace.plot(sigma, [scale / (scale + s**2) for s in sigma], ":", color=GREEN,
               label="EDM's c_skip")  # fmt: skip
    trace.set(xscale="log", xlabel="σ", ylabel="(div D)/d", ylim=(-0.05, 1.1))
    for axes, title in zip(row, ("First order: κ", "Second order", "Divergence"), strict=True):
        entitle(axes, title)
    finish(row, legend=[trace])
    return figure


def _probes(found: Identities) -> Figure:
    figure, ((left, right),) = panels(2, 3.0)
    for study, colour in zip(found["study"], (BLUE, ORANGE), strict=False):
        left.plot(study["counts"], study["predicted"], "-", color=colour)
        left.plot(study["counts"], study["measured"], "o", color=colour, markersize=4,
                  label=f"σ = {study['sigma']:.2g}")  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="probes", ylabel="relative deviation")
    left.set_xticks(found["study"][0]["counts"], map(str, found["study"][0]["counts"]))
    left.minorticks_off()
    rows = found["dimensions"]
    at = [row["size"] for row in rows]
    right.plot(at, [row["closed"] for row in rows], "-", color=GREY, label="closed form")
    right.plot(at, [row["measured"] for row in rows], "o", color=BLUE, markersize=4,
               label="measured")  # fmt: skip
    right.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="relative deviation")
    entitle(left, "Hutchinson's estimate by the number of probes")
    entitle(right, "One probe by the dimension")
    finish((left, right), legend=[left, right])
    return figure
