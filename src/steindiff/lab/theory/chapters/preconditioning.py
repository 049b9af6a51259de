"""What each choice of c_skip leaves to the network, and what Stein's identity would choose."""

from __future__ import annotations

import math
from typing import Any, TypedDict

from matplotlib.figure import Figure

from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE
from ..diagnosis import Diagnosis, LevelSurvey
from ..estimates import Positive, Some
from ..plots import entitle, finish, panels
from ..skips import SKIPS, c_skip, gaussian_variance, least_squares_skip, precondition, stein_skip
from ..statement import Chapter, Drawing, Grade, Tell, Verdict, graded

_LABELS = {
    "edm": "EDM", "stein": "Stein ratio", "least squares": "least squares",
    "vp": "noise (c_skip = 1)", "flow": "flow", "sample": "sample (c_skip = 0)",
}  # fmt: skip
_COLOURS = dict(zip(_LABELS, (ORANGE, BLUE, GREEN, GREY, PURPLE, BLACK), strict=True))
SEEN = 0.01
"""Below, a Stein ratio is too small to be told from an error of the network."""


class Left(TypedDict):
    """What a choice of c_skip leaves to the network: a `Preconditioning`."""

    skip: float
    out: float
    gain: float


Choices = TypedDict(
    "Choices",
    {"edm": Left, "stein": Left, "least squares": Left, "vp": Left, "flow": Left, "sample": Left},
)
"""By parameterisation, and by what the data would choose."""


class Variances(TypedDict):
    """Of the Gaussian data whose Stein ratio each c_skip is; None where it is infinite."""

    edm: float
    vp: float | None
    iddpm: float | None
    v: float
    flow: float
    sample: float


class Level(TypedDict):
    """One level of the survey."""

    sigma: Positive
    choices: Choices
    variance: Variances


class Preconditionings(TypedDict):
    """What is measured; `sigma_data` is the scale of the fine solution."""

    sigma_data: float
    samples: int
    probes: int
    levels: Some[Level]


# -- measured -------------------------------------------------------------------------------------


def measure(diagnosis: Diagnosis, tell: Tell) -> Preconditionings:
    """What each choice of c_skip leaves to the network, at the levels of the survey."""
    tell("pre-conditioning")
    scale = diagnosis.data_scale
    return Preconditionings(
        sigma_data=scale,
        samples=diagnosis.sizes.samples,
        probes=diagnosis.sizes.probes,
        levels=[_level(part, scale, diagnosis.size) for part in diagnosis.survey],
    )


def _level(part: LevelSurvey, scale: float, size: int) -> Level:
    found = part.identity
    skips = {name: c_skip(name, part.sigma, scale) for name in SKIPS}
    trace, frobenius = found.trace * size, found.frobenius * size
    variance = {name: gaussian_variance(skip, part.sigma) for name, skip in skips.items()}
    skips["stein"] = stein_skip(trace, size)
    skips["least squares"] = least_squares_skip(part.x, found.denoised)
    choices = {
        name: Left(**precondition(part.x, found.denoised, trace, frobenius, skips[name])._asdict())
        for name in _LABELS
    }
    finite: Any = {name: v if math.isfinite(v) else None for name, v in variance.items()}
    return Level(sigma=part.sigma, choices=Choices(**choices), variance=Variances(**finite))


# -- judged ---------------------------------------------------------------------------------------


def judge(found: Preconditionings) -> list[Verdict]:
    """One verdict for each statement about c_skip."""
    return [_gaussian(found), _data(found), _stable(found)]


def _gaussian(found: Preconditionings) -> Verdict:
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
        Grade.CONDITIONS if spread < 1e-9 else Grade.FAILS,
    )


def _data(found: Preconditionings) -> Verdict:
    rows = [(row["sigma"], row["choices"]) for row in found["levels"]]
    share = [
        (choices["stein"]["skip"] / choices["edm"]["skip"], sigma)
        for sigma, choices in rows
        if choices["edm"]["skip"] > SEEN
    ]
    statement = "The data's own Stein ratio is EDM's c_skip."
    if not share:
        text = f"EDM's c_skip for σ_data = {found['sigma_data']:.3g} exceeds {SEEN} at no level."
        return Verdict(statement, text, Grade.UNDECIDED)
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
    return Verdict(statement, text, graded(worst, 1.05, 1.25))


def _stable(found: Preconditionings) -> Verdict:
    rows = [(row["sigma"], row["choices"]) for row in found["levels"]]
    gains = {name: max(choices[name]["gain"] for _, choices in rows) for name in _LABELS}
    outs = {name: max(choices[name]["out"] for _, choices in rows) for name in _LABELS}
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
        Grade.CONDITIONS if bounded else Grade.FAILS,
    )


# -- drawn ----------------------------------------------------------------------------------------


def draw(found: Preconditionings) -> list[Drawing]:
    """c_skip, c_out and gain by noise level."""
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


def _figure(found: Preconditionings) -> Figure:
    figure, (row,) = panels(3, 3.3)
    sigma = [level["sigma"] for level in found["levels"]]
    for name, label in _LABELS.items():
        left: list[Left] = [level["choices"][name] for level in found["levels"]]
        own = name in ("stein", "least squares")
        look = {"color": _COLOURS[name], "markersize": 3, "linewidth": 1.3, "label": label}
        style = "o-" if own else "--"
        row[0].plot(sigma, [part["skip"] for part in left], style, **look)
        row[1].plot(sigma, [part["out"] for part in left], style, **look)
        row[2].plot(sigma, [part["gain"] for part in left], style, **look)
    row[1].set_yscale("log")
    for axes, label, title in zip(
        row, ("c_skip", "c_out", "|J − c_skip|/√d"),
        ("The skip", "What an error of F is multiplied by", "What passes through F"), strict=True,
    ):  # fmt: skip
        axes.set(xscale="log", xlabel="σ", ylabel=label)
        entitle(axes, title)
    finish(row, plain=True)
    handles, labels = row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    return figure


CHAPTER = Chapter(
    "preconditioning",
    "Pre-conditioning",
    "A network is trained through D = c_skip x + c_out F(c_in x). The c_skip that leaves F the "
    "least to say is E<D, x>/E|x|² (EDM's, for data of variance σ_data²); the one that leaves F "
    "the least sensitive is the Stein ratio E(div D)/d. For isotropic Gaussian data they are the "
    "same number. The second is what Stein's identity would choose for these data.",
    Preconditionings,
    measure,
    judge,
    draw,
)
