"""Stein's identities along the trajectory: a check of the network's health that needs no data."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure

from ....denoisers import Gaussian
from ...diagnostics import Identity, ProbeStudy, asymmetry, stein_identity, study_probes
from ...diagnostics.probes import COUNTS
from ...metrics import bootstrap
from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE, tidy
from ..setting import LevelSurvey, Setting, mean_of, spread_of, without_chance
from .base import Chapter, Drawing, Found, Outcome, Tell, Verdict, graded, interval, percent

HEALTHY = 0.02
"""|kappa - 1| of a well-trained network where its noise is more than a tenth of the data."""
LARGEST = 1024  # elements of a sample whose exact trace is affordable
SEEN = 0.05
"""|J|/sqrt(d) below which a Jacobian's shape says nothing."""
_GRADIENT = "The score is a gradient: the denoiser's Jacobian is symmetric."
DIMENSIONS = (2, 8, 32, 128, 512, 3072)


def _measure(setting: Setting, tell: Tell) -> Found:
    tell("Stein's identities along the trajectory")
    levels = [_level(setting, part) for part in setting.survey]
    tell("exact traces and the study of probes")
    middle = setting.survey[len(setting.survey) // 2 :: 3][:2]
    return {
        "samples": setting.sizes.samples,
        "probes": setting.sizes.probes,
        "sigma_data": data_scale(setting),
        "levels": levels,
        "exact": [_exact(setting, part) for part in middle[:1]] if setting.size <= LARGEST else [],
        "study": [_study(setting, part) for part in middle],
        "dimensions": [_dimension(size, setting.sizes.study) for size in DIMENSIONS],
        "size": setting.size,
    }


def data_scale(setting: Setting) -> float:
    """Standard deviation of an element of the fine solution, over samples and elements."""
    return setting.fine.x.double().std().item()


def _level(setting: Setting, part: LevelSurvey) -> Found:
    found, count = part.identity, setting.sizes.jacobians
    noises = setting.noise_energy()
    denoiser = setting.denoiser_at(part.sigma, count)
    return {
        "sigma": part.sigma,
        "kappa": mean_of(without_chance(found.kappa, noises)),
        "second_order": mean_of(without_chance(found.second_order, noises)),
        "ratio": _pooled(found),
        "trace": mean_of(found.trace),
        "frobenius": mean_of(found.frobenius),
        "asymmetry": spread_of(asymmetry(denoiser, part.x[:count])),
    }


def _pooled(found: Identity) -> Found:
    """E<D, x - D>/E<x, x - D> with its interval: a sample's own ratio has no mean at low noise."""
    return bootstrap(
        lambda ratio, kappa: float((ratio * kappa).mean() / kappa.mean()),
        found.ratio.double().cpu(), found.kappa.double().cpu(),
    )._asdict()  # fmt: skip


def _exact(setting: Setting, part: LevelSurvey) -> Found:
    """The three estimates of (div D)/d on a few samples."""
    count = min(4, setting.sizes.samples)
    exact = stein_identity(
        setting.denoiser, part.x[:count], part.sigma, conditioning=setting.given(count), exact=True
    )
    mean = {"sigma": part.sigma, "samples": count, "exact": exact.trace.mean().item()}
    mean["ratio"] = exact.ratio.mean().item()
    return mean | {"hutchinson": part.identity.trace[:count].mean().item()}


def _study(setting: Setting, part: LevelSurvey) -> Found:
    count = setting.sizes.jacobians
    denoiser = setting.denoiser_at(part.sigma, count)
    study = study_probes(denoiser, part.x[:count], probes=setting.sizes.study)
    return {"sigma": part.sigma, "size": setting.size, **_scaling(study)}


def _scaling(study: ProbeStudy) -> Found:
    """Relative standard deviation of the trace by the number of probes, and the prediction."""
    trace = study.trace.square().mean()
    counts = [count for count in COUNTS if 2 * count <= len(study.singles)]
    return {
        "counts": counts,
        "measured": [(study.variance(n).mean() / trace).sqrt().item() for n in counts],
        "predicted": [(study.predicted(n).mean() / trace).sqrt().item() for n in counts],
    }


def _dimension(size: int, probes: int) -> Found:
    """One probe on an exact denoiser whose variances fall as those of images do, at sigma = 0.3."""
    variance = torch.arange(1, size + 1, dtype=torch.float64) ** -1.0
    gaussian = Gaussian(variance=variance)
    x = torch.zeros(4, size, dtype=torch.float64)
    study = study_probes(lambda z: gaussian(z, 0.3), x, probes=probes)
    gain = variance / (variance + 0.09)
    closed = (2 * gain.square().sum()).sqrt() / gain.sum()
    measured = (study.variance(1).mean().sqrt() / gain.sum()).item()
    return {"size": size, "measured": measured, "closed": closed.item()}


def _judge(found: Found) -> list[Verdict]:
    return [_first(found), _second(found), _ratio(found), _probes(found), _gradient(found)]


def _where(rows: list[Found]) -> str:
    return ", ".join(f"{row['sigma']:.2g}" for row in rows)


def _identity_verdict(found: Found, key: str, wanted: float, statement: str, name: str) -> Verdict:
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
        outcome = Outcome.FAILS
    elif not decided:
        outcome = Outcome.UNDECIDED
    else:
        outcome = Outcome.CONDITIONS if broken or vague else Outcome.HOLDS
    return Verdict(statement, text, outcome)


def _first(found: Found) -> Verdict:
    return _identity_verdict(
        found, "kappa", 1.0,
        "Stein's identity: κ = <x, x − D>/(dσ²) is 1 in the mean, at every level.", "κ =",
    )  # fmt: skip


def _second(found: Found) -> Verdict:
    return _identity_verdict(
        found, "second_order", 0.0,
        "Stein's identity of second order: |x − D|²/(dσ²) = 1 − (div D)/d in the mean.",
        "a residual of",
    )  # fmt: skip


def _ratio(found: Found) -> Verdict:
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
        outcome = Outcome.FAILS if rows else Outcome.UNDECIDED
    elif worst < 0.1 and len(known) == len(rows):
        outcome = Outcome.HOLDS
    else:
        outcome = Outcome.CONDITIONS if worst < 0.25 else Outcome.FAILS
    return Verdict("The free Stein ratio j estimates (div D)/d.", text.strip(), outcome)


def _probes(found: Found) -> Verdict:
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
    outcome = Outcome.HOLDS if max(map(abs, first)) < 0.15 else Outcome.CONDITIONS
    return Verdict(
        "Hutchinson's variance falls as 1/n with the probes, and relative to the trace with the "
        "dimension.", text, outcome,
    )  # fmt: skip


def _gradient(found: Found) -> Verdict:
    rows = [row for row in found["levels"] if row["frobenius"]["value"] > SEEN**2]
    if not rows:
        text = f"|J|/√d never exceeds {SEEN}."
        return Verdict(_GRADIENT, text, Outcome.UNDECIDED)
    worst = max(rows, key=lambda row: row["asymmetry"]["median"])
    top = found["levels"][0]
    text = (
        f"Where |J|/√d exceeds {SEEN} (σ = {_where(rows)}), |J − Jᵀ|/|J + Jᵀ| is "
        f"{min(row['asymmetry']['median'] for row in rows):.2g} to "
        f"{worst['asymmetry']['median']:.2g} (medians; the most at σ = {worst['sigma']:.2g}). At "
        f"σ = {top['sigma']:.2g}, where there is next to nothing to learn, it is "
        f"{top['asymmetry']['median']:.2g}."
    )
    return Verdict(_GRADIENT, text, graded(worst["asymmetry"]["median"], 0.02, 0.2))


def _draw(found: Found) -> list[Drawing]:
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


def _identity_figure(found: Found) -> Figure:
    figure = Figure(figsize=(9.2, 3.0), dpi=110, layout="constrained")
    panels = figure.subplots(1, 3)
    sigma = [row["sigma"] for row in found["levels"]]
    for axes, key, label, wanted in (
        (panels[0], "kappa", "κ", 1.0), (panels[1], "second_order", "residual", 0.0),
    ):  # fmt: skip
        axes.axhspan(wanted - HEALTHY, wanted + HEALTHY, color="#efefef")
        axes.axhline(wanted, color=BLACK, linewidth=0.7)
        _errorbars(axes, found, key, BLUE)
        values = [row[key]["value"] for row in found["levels"]]
        room = max(0.05, 1.3 * max(abs(value - wanted) for value in values))
        axes.set(xscale="log", xlabel="σ", ylabel=label, ylim=(wanted - room, wanted + room))
    _errorbars(panels[2], found, "trace", GREY, "Hutchinson")
    _errorbars(panels[2], found, "ratio", BLUE, "free ratio j")
    exact = found["exact"]
    if exact:
        panels[2].plot([r["sigma"] for r in exact], [r["exact"] for r in exact], "x", color=ORANGE,
                       label=f"exact, {exact[0]['samples']} samples")  # fmt: skip
    scale = found["sigma_data"] ** 2
    panels[2].plot(sigma, [scale / (scale + s**2) for s in sigma], ":", color=GREEN,
                   label="EDM's c_skip")  # fmt: skip
    panels[2].set(xscale="log", xlabel="σ", ylabel="(div D)/d", ylim=(-0.05, 1.1))
    panels[2].legend(fontsize=7, frameon=False)
    for axes in panels:
        tidy(axes)
    return figure


def _errorbars(axes, found: Found, key: str, colour: str, label: str | None = None) -> None:
    rows = found["levels"]
    values = np.array([[row[key][part] for part in ("value", "low", "high")] for row in rows])
    ends = np.abs(values[:, 1:] - values[:, :1]).T
    axes.errorbar([row["sigma"] for row in rows], values[:, 0], yerr=ends, color=colour,
                  marker="o", markersize=3, linewidth=1.2, label=label)  # fmt: skip


def _probe_figure(found: Found) -> Figure:
    figure = Figure(figsize=(9.2, 3.0), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for study, colour in zip(found["study"], (BLUE, ORANGE), strict=False):
        left.plot(study["counts"], study["predicted"], "-", color=colour)
        left.plot(study["counts"], study["measured"], "o", color=colour, markersize=4,
                  label=f"σ = {study['sigma']:.2g}")  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="probes", ylabel="relative deviation")
    left.set_xticks(found["study"][0]["counts"], map(str, found["study"][0]["counts"]))
    left.minorticks_off()
    left.legend(fontsize=8, frameon=False)
    rows = found["dimensions"]
    right.plot([r["size"] for r in rows], [r["closed"] for r in rows], "-", color=GREY)
    right.plot([r["size"] for r in rows], [r["measured"] for r in rows], "o", color=BLUE,
               markersize=4)  # fmt: skip
    right.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="relative deviation")
    for axes in (left, right):
        tidy(axes)
    return figure


CHAPTER = Chapter(
    "identity",
    "Stein's identities",
    "For an exact denoiser at states of its own marginals E<x − D, f(x)> = σ² E div f for every f. "
    "Each f is a check that needs no data: f = x gives κ = 1, f = x − D the identity of second "
    "order, f = D the free estimate of the divergence that coefficients live on. Where a network "
    "breaks them, its D is not the posterior mean of what it samples.",
    _measure,
    _judge,
    _draw,
)
