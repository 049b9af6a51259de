"""Stein's identities along the trajectory: a check of the network's health that needs no data."""

from __future__ import annotations

import math
from typing import Literal, TypedDict

import torch
from matplotlib.figure import Figure

from ....denoisers import Gaussian
from ...metrics import bootstrap
from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE
from ..diagnosis import Diagnosis, LevelSurvey
from ..estimates import Mean, Positive, Some, Spread, interval, mean_of, spread_of, without_chance
from ..hutchinson import COUNTS, asymmetry, study_probes
from ..identities import Identity, stein_identity
from ..plots import entitle, finish, panels, points
from ..statement import Chapter, Drawing, Grade, Tell, Verdict, decided, graded, percent

LARGEST = 1024  # elements of a sample whose exact trace is affordable
DIMENSIONS = (2, 8, 32, 128, 512, 3072)
HEALTHY = 0.02
"""|kappa - 1| of a well-trained network where its noise is more than a tenth of the data."""
SEEN = 0.05
"""|J|/sqrt(d) below which a Jacobian's shape says nothing."""


class Level(TypedDict):
    """The identities at one level; `ratio` is j, `trace` and `frobenius` are of J_D, over d."""

    sigma: Positive
    kappa: Mean
    second_order: Mean
    ratio: Mean
    trace: Mean
    frobenius: Mean
    asymmetry: Spread


class Exact(TypedDict):
    """Three estimates of (div D)/d on a few samples."""

    sigma: Positive
    samples: int
    exact: float
    ratio: float
    hutchinson: float


class Study(TypedDict):
    """Relative standard deviation of a trace by the number of probes, and its prediction."""

    sigma: Positive
    size: int
    counts: Some[int]
    measured: Some[float]
    predicted: Some[Positive]


class Dimension(TypedDict):
    """Relative standard deviation of one probe on an exact denoiser, and its closed form."""

    size: int
    measured: float
    closed: float


class Identities(TypedDict):
    """All of it; `size` is d, `sigma_data` the scale of the fine solution."""

    samples: int
    probes: int
    sigma_data: float
    levels: Some[Level]
    exact: list[Exact]
    study: Some[Study]
    dimensions: Some[Dimension]
    size: int


# -- measured -------------------------------------------------------------------------------------


def measure(diagnosis: Diagnosis, tell: Tell) -> Identities:
    """The identities at the levels of the survey, exact traces, and the study of probes."""
    sizes, survey, size = diagnosis.sizes, diagnosis.survey, diagnosis.size
    tell("Stein's identities along the trajectory")
    levels = [_level(diagnosis, part) for part in survey]
    tell("exact traces and the study of probes")
    middle = survey[len(survey) // 2 :: 3][:2]
    return Identities(
        samples=sizes.samples,
        probes=sizes.probes,
        sigma_data=diagnosis.data_scale,
        levels=levels,
        exact=[_exact(diagnosis, part) for part in middle[:1]] if size <= LARGEST else [],
        study=[_study(diagnosis, part) for part in middle],
        dimensions=[_dimension(size, sizes.study) for size in DIMENSIONS],
        size=size,
    )


def _level(diagnosis: Diagnosis, part: LevelSurvey) -> Level:
    found, count = part.identity, diagnosis.sizes.jacobians
    noises = diagnosis.noise_energy()
    denoiser = diagnosis.batch(count).at(part.sigma)
    return Level(
        sigma=part.sigma,
        kappa=mean_of(without_chance(found.kappa, noises)),
        second_order=mean_of(without_chance(found.second_order, noises)),
        ratio=_pooled(found),
        trace=mean_of(found.trace),
        frobenius=mean_of(found.frobenius),
        asymmetry=spread_of(asymmetry(denoiser, part.x[:count])),
    )


def _pooled(found: Identity) -> Mean:
    """E<D, x - D>/E<x, x - D> with its interval: a sample's own ratio has no mean at low noise."""
    ends = bootstrap(
        lambda ratio, kappa: float((ratio * kappa).mean() / kappa.mean()),
        found.ratio.double().cpu(), found.kappa.double().cpu(),
    )  # fmt: skip
    return Mean(value=ends.value, low=ends.low, high=ends.high)


def _exact(diagnosis: Diagnosis, part: LevelSurvey) -> Exact:
    """The three estimates on the first few samples."""
    batch = diagnosis.batch(min(4, diagnosis.sizes.samples))
    count = len(batch.x)
    exact = stein_identity(
        batch.denoiser, part.x[:count], part.sigma, conditioning=batch.conditioning, exact=True
    )
    return Exact(
        sigma=part.sigma,
        samples=count,
        exact=exact.trace.mean().item(),
        ratio=exact.ratio.mean().item(),
        hutchinson=part.identity.trace[:count].mean().item(),
    )


def _study(diagnosis: Diagnosis, part: LevelSurvey) -> Study:
    count = diagnosis.sizes.jacobians
    denoiser = diagnosis.batch(count).at(part.sigma)
    study = study_probes(denoiser, part.x[:count], probes=diagnosis.sizes.study)
    trace = study.trace.square().mean()
    counts = [count for count in COUNTS if 2 * count <= len(study.singles)]
    return Study(
        sigma=part.sigma,
        size=diagnosis.size,
        counts=counts,
        measured=[(study.variance(n).mean() / trace).sqrt().item() for n in counts],
        predicted=[(study.predicted(n).mean() / trace).sqrt().item() for n in counts],
    )


def _dimension(size: int, probes: int) -> Dimension:
    """One probe on an exact denoiser whose variances fall as those of images do, at sigma = 0.3."""
    variance = torch.arange(1, size + 1, dtype=torch.float64) ** -1.0
    gaussian = Gaussian(variance=variance)
    x = torch.zeros(4, size, dtype=torch.float64)
    study = study_probes(lambda z: gaussian(z, 0.3), x, probes=probes)
    gain = variance / (variance + 0.09)
    closed = (2 * gain.square().sum()).sqrt() / gain.sum()
    measured = (study.variance(1).mean().sqrt() / gain.sum()).item()
    return Dimension(size=size, measured=measured, closed=closed.item())


# -- judged ---------------------------------------------------------------------------------------


def judge(found: Identities) -> list[Verdict]:
    """One verdict for each identity, for the probes, and for the symmetry of the Jacobian."""
    return [_first(found), _second(found), _ratio(found), _probes(found), _gradient(found)]


def _where(rows: list[Level]) -> str:
    return ", ".join(f"{row['sigma']:.2g}" for row in rows)


def _identity(
    found: Identities,
    key: Literal["kappa", "second_order"],
    wanted: float,
    statement: str,
    name: str,
) -> Verdict:
    """Levels outside of the healthy band, and those where too few samples were taken to tell."""
    rows = found["levels"]
    broken = [
        row for row in rows
        if row[key]["low"] > wanted + HEALTHY or row[key]["high"] < wanted - HEALTHY
    ]  # fmt: skip
    vague = [row for row in rows if row[key]["high"] - row[key]["low"] > 2 * HEALTHY]
    decided = [row for row in rows if row not in vague]
    text = f"{len(decided)} of {len(rows)} levels are known to ± {HEALTHY}. "
    if decided:
        worst = max(decided, key=lambda row: abs(row[key]["value"] - wanted))
        text += f"Of these the farthest from {wanted:g} has {name} {interval(worst[key])} at "
        text += f"σ = {worst['sigma']:.2g}. "
    if vague:
        text += (
            f"At σ = {_where(vague)} the chance overlap of noise and signal hides it: the samples "
            "are too few. "
        )
    text += (
        f"Outside {wanted:g} ± {HEALTHY} with the whole interval: σ = {_where(broken)}."
        if broken
        else f"None is outside {wanted:g} ± {HEALTHY} with its whole interval."
    )
    if len(broken) > len(rows) / 2:
        grade = Grade.FAILS
    elif not decided and not broken:
        grade = Grade.UNDECIDED
    else:
        grade = Grade.CONDITIONS if broken or vague else Grade.HOLDS
    return Verdict(statement, text, grade)


def _first(found: Identities) -> Verdict:
    return _identity(
        found, "kappa", 1.0,
        "Stein's identity: κ = <x, x − D>/(dσ²) is 1 in the mean, at every level.", "κ =",
    )  # fmt: skip


def _second(found: Identities) -> Verdict:
    return _identity(
        found, "second_order", 0.0,
        "Stein's identity of second order: |x − D|²/(dσ²) = 1 − (div D)/d in the mean.",
        "a residual of",
    )  # fmt: skip


def _ratio(found: Identities) -> Verdict:
    rows = [row for row in found["levels"] if row["trace"]["value"] > 0.01]
    known = [
        row for row in rows
        if row["ratio"]["high"] - row["ratio"]["low"] < 0.5 * row["trace"]["value"]
    ]  # fmt: skip
    off = [row["ratio"]["value"] / row["trace"]["value"] - 1 for row in known]
    text = f"(div D)/d exceeds 0.01 at {len(rows)} levels. "
    if known:
        text += (
            f"At the {len(known)} of them where the samples suffice (σ = {_where(known)}) the free "
            f"ratio, pooled over samples, is {percent(min(off))} to {percent(max(off))} off "
            "Hutchinson's. "
        )
    if len(known) < len(rows):
        text += (
            "At lower noise the chance overlap of noise and signal is larger than what is "
            "estimated: there the ratio of few samples says nothing. "
        )
    text += " ".join(
        f"At σ = {row['sigma']:.2g}, {row['samples']} samples: exact {row['exact']:.4f}, "
        f"Hutchinson {row['hutchinson']:.4f}, ratio {row['ratio']:.4f}."
        for row in found["exact"]
    )
    worst = max(map(abs, off), default=math.inf)
    if not known:
        grade = Grade.FAILS if rows else Grade.UNDECIDED
    else:
        grade = decided(worst < 0.1 and len(known) == len(rows), worst < 0.25)
    return Verdict("The free Stein ratio j estimates (div D)/d.", text.strip(), grade)


def _probes(found: Identities) -> Verdict:
    errors = [
        measured / predicted - 1
        for study in found["study"]
        for measured, predicted in zip(study["measured"], study["predicted"], strict=True)
    ]
    one = [f"{study['predicted'][0]:.2g} at σ = {study['sigma']:.2g}" for study in found["study"]]
    dimensions = found["dimensions"]
    text = (
        f"Relative standard deviation of one probe: {', '.join(one)} (d = {found['size']}). Over 1 "
        f"to {found['study'][0]['counts'][-1]} probes the measured deviation is "
        f"{percent(min(errors))} to {percent(max(errors))} off √(2/n) |J|/tr J. On exact denoisers "
        f"it falls from {dimensions[0]['measured']:.2g} (d = {dimensions[0]['size']}) to "
        f"{dimensions[-1]['measured']:.2g} (d = {dimensions[-1]['size']})."
    )
    first = [study["measured"][0] / study["predicted"][0] - 1 for study in found["study"]]
    grade = Grade.HOLDS if max(map(abs, first)) < 0.15 else Grade.CONDITIONS
    return Verdict(
        "Hutchinson's variance falls as 1/n with the probes, and relative to the trace with the "
        "dimension.", text, grade,
    )  # fmt: skip


def _gradient(found: Identities) -> Verdict:
    statement = "The score is a gradient: the denoiser's Jacobian is symmetric."
    rows = [row for row in found["levels"] if row["frobenius"]["value"] > SEEN**2]
    if not rows:
        return Verdict(statement, f"|J|/√d never exceeds {SEEN}.", Grade.UNDECIDED)
    worst = max(rows, key=lambda row: row["asymmetry"]["median"])
    top = found["levels"][0]
    text = (
        f"Where |J|/√d exceeds {SEEN} (σ = {_where(rows)}), |J − Jᵀ|/|J + Jᵀ| is "
        f"{min(row['asymmetry']['median'] for row in rows):.2g} to "
        f"{worst['asymmetry']['median']:.2g} (medians; the most at σ = {worst['sigma']:.2g}). At "
        f"σ = {top['sigma']:.2g}, where there is next to nothing to learn, it is "
        f"{top['asymmetry']['median']:.2g}."
    )
    return Verdict(statement, text, graded(worst["asymmetry"]["median"], 0.02, 0.2))


# -- drawn ----------------------------------------------------------------------------------------


def draw(found: Identities) -> list[Drawing]:
    """The identities, and the probes."""
    return [
        Drawing(
            "identity",
            "Stein's identities along the fine trajectory, with 95% intervals; grey: within "
            f"{HEALTHY} of what is right. Left: κ. Middle: the residual of second order. Right: "
            "three readings of (div D)/d.",
            _identity_figure(found),
        ),
        Drawing(
            "probes",
            "Relative standard deviation of Hutchinson's estimate. Left: by the number of probes, "
            "measured (dots) and √(2/n)|J|/tr J (lines). Right: of one probe by dimension, for "
            "exact denoisers of Gaussian data with variances 1/k.",
            _probe_figure(found),
        ),
    ]


def _identity_figure(found: Identities) -> Figure:
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


def _probe_figure(found: Identities) -> Figure:
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


CHAPTER = Chapter(
    "identity",
    "Stein's identities",
    "For an exact denoiser at states of its own marginals E<x − D, f(x)> = σ² E div f for every f. "
    "Each f is a check that needs no data: f = x gives κ = 1, f = x − D the identity of second "
    "order, f = D the free estimate of the divergence that coefficients live on. Where a network "
    "breaks them, its D is not the posterior mean of what it samples.",
    Identities,
    measure,
    judge,
    draw,
)
