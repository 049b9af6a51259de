"""Pre-conditioning as a Stein ratio, and what Stein's identity would choose for this network."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from ...diagnostics import (
    SKIPS,
    Preconditioning,
    c_skip,
    gaussian_variance,
    least_squares_skip,
    precondition,
    stein_skip,
)
from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, plain_numbers, tidy
from ..setting import LevelSurvey, Setting
from .base import Chapter, Drawing, Found, Outcome, Tell, Verdict, graded
from .identity import data_scale

_CHOICES = ("edm", "stein", "least squares", "vp", "flow", "sample")
_LABELS = {
    "edm": "EDM", "stein": "Stein ratio", "least squares": "least squares",
    "vp": "noise (c_skip = 1)", "flow": "flow", "sample": "sample (c_skip = 0)",
}  # fmt: skip
_COLOURS = dict(zip(_CHOICES, (ORANGE, BLUE, GREEN, GREY, PURPLE, BLACK), strict=True))

SEEN = 0.01
"""Below, a Stein ratio is too small to be told from an error of the network."""


def _measure(setting: Setting, tell: Tell) -> Found:
    tell("pre-conditioning")
    scale = data_scale(setting)
    return {
        "sigma_data": scale,
        "samples": setting.sizes.samples,
        "probes": setting.sizes.probes,
        "levels": [_level(part, scale, setting.size) for part in setting.survey],
    }


def _level(part: LevelSurvey, scale: float, size: int) -> Found:
    found = part.identity
    skips = {name: c_skip(name, part.sigma, scale) for name in SKIPS}
    trace, frobenius = found.trace * size, found.frobenius * size
    skips["stein"] = stein_skip(trace, size)
    skips["least squares"] = least_squares_skip(part.x, found.denoised)

    def left_with(skip: float) -> Preconditioning:
        return precondition(part.x, found.denoised, trace, frobenius, skip)

    return {
        "sigma": part.sigma,
        "choices": {name: left_with(skips[name])._asdict() for name in _CHOICES},
        "variance": {name: _finite(gaussian_variance(skips[name], part.sigma)) for name in SKIPS},
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def _judge(found: Found) -> list[Verdict]:
    return [_gaussian(found), _data(found), _stable(found)]


def _gaussian(found: Found) -> Verdict:
    rows = found["levels"]
    edm = [row["variance"]["edm"] for row in rows]
    spread = max(edm) / min(edm) - 1
    text = (
        f"EDM's c_skip is the Stein ratio of N(0, {found['sigma_data']:.3g}²) at every level (its "
        f"variance varies by {spread:.0e}), v-prediction's that of N(0, 1). A predicted noise "
        "(VP, iDDPM: c_skip = 1) is that of data of infinite variance, a predicted sample of "
        "variance 0, and a flow's 1/(1 + σ) belongs to the variance σ: another Gaussian at every "
        "level. So the statement is one about EDM's and v's."
    )
    return Verdict(
        "c_skip of EDM, VP, iDDPM and flow are Stein ratios of Gaussian data.",
        text,
        Outcome.CONDITIONS if spread < 1e-9 else Outcome.FAILS,
    )


def _data(found: Found) -> Verdict:
    rows = [(row["sigma"], row["choices"]) for row in found["levels"]]
    share = [
        (choices["stein"]["skip"] / choices["edm"]["skip"], sigma)
        for sigma, choices in rows
        if choices["edm"]["skip"] > SEEN
    ]
    (low, at_low), (high, at_high) = min(share), max(share)
    text = (
        f"The data's own ratio E(div D)/d is between {low:.2g} (σ = {at_low:.2g}) and {high:.2g} "
        f"(σ = {at_high:.2g}) times EDM's c_skip for σ_data = {found['sigma_data']:.3g}, over "
        f"the levels where that exceeds {SEEN}."
    )
    if low < 0.95:
        text += (
            " Below 1: the data lie near something of fewer dimensions, and noise across it is "
            "seen for what it is earlier than a Gaussian's would be."
        )
    worst = max(1 / low, high) if low > 0 else math.inf
    return Verdict("The data's own Stein ratio is EDM's c_skip.", text, graded(worst, 1.05, 1.25))


def _stable(found: Found) -> Verdict:
    rows = [(row["sigma"], row["choices"]) for row in found["levels"]]
    gains = {name: max(choices[name]["gain"] for _, choices in rows) for name in _CHOICES}
    outs = {name: max(choices[name]["out"] for _, choices in rows) for name in _CHOICES}
    best_gain = sum(
        choices["stein"]["gain"] <= choices["edm"]["gain"] + 1e-12 for _, choices in rows
    )
    best_out = sum(choices["edm"]["out"] <= choices["stein"]["out"] + 1e-12 for _, choices in rows)
    text = (
        "What an error of F is multiplied by (c_out), at most over the levels: EDM "
        f"{outs['edm']:.3g}, Stein {outs['stein']:.3g}, predicted noise {outs['vp']:.3g}, "
        f"predicted sample {outs['sample']:.3g}. How much of a change of x passes through F "
        f"(|J − c_skip|/√d), at most: EDM {gains['edm']:.3g}, Stein {gains['stein']:.3g}, noise "
        f"{gains['vp']:.3g}, sample {gains['sample']:.3g}. The Stein ratio has the lower gain in "
        f"{best_gain} of {len(rows)} levels, EDM's the lower c_out in {best_out}: they are two "
        "answers to two questions, one for isotropic Gaussian data alone."
    )
    bounded = outs["edm"] < 0.5 * outs["vp"]
    return Verdict(
        "Pre-conditioned parameterisations are stable because c_skip is a Stein coefficient.",
        text,
        Outcome.CONDITIONS if bounded else Outcome.FAILS,
    )


def _draw(found: Found) -> list[Drawing]:
    return [
        Drawing(
            "preconditioning",
            "Left: c_skip of each parameterisation, and the data's own Stein ratio. Middle: c_out, "
            "what an error of F is multiplied by. Right: how much of a change of x passes through "
            f"F. σ_data = {found['sigma_data']:.3g}; {found['samples']} samples, "
            f"{found['probes']} probes.",
            _figure(found),
        )
    ]


def _figure(found: Found) -> Figure:
    figure = Figure(figsize=(9.2, 3.3), dpi=110, layout="constrained")
    panels = figure.subplots(1, 3)
    sigma = [row["sigma"] for row in found["levels"]]
    for name in _CHOICES:
        for axes, key in zip(panels, ("skip", "out", "gain"), strict=True):
            values = [row["choices"][name][key] for row in found["levels"]]
            own = name in ("stein", "least squares")
            axes.plot(sigma, values, "o-" if own else "--", color=_COLOURS[name], markersize=3,
                      linewidth=1.3, label=_LABELS[name])  # fmt: skip
    panels[1].set_yscale("log")
    for axes, label in zip(panels, ("c_skip", "c_out", "|J − c_skip|/√d"), strict=True):
        axes.set(xscale="log", xlabel="σ", ylabel=label)
        plain_numbers(axes.yaxis)
        tidy(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    return figure


CHAPTER = Chapter(
    "preconditioning",
    "Pre-conditioning",
    "A network is trained through D = c_skip x + c_out F(c_in x). The c_skip that leaves F the "
    "least to say is E<D, x>/E|x|² (EDM's, for data of variance σ_data²); the one that leaves F "
    "the least sensitive is the Stein ratio E(div D)/d. For isotropic Gaussian data they are the "
    "same number. The second is what Stein's identity would choose for these data.",
    _measure,
    _judge,
    _draw,
)
