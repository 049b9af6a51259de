"""Which identities hold at which levels, and how well probes estimate a trace."""

from __future__ import annotations

import math
from typing import Literal

from ..estimates import interval
from ..statement import Grade, Verdict, graded, percent
from .fields import Identities, Level

HEALTHY = 0.02
"""|kappa - 1| of a well-trained network where its noise is more than a tenth of the data."""
SEEN = 0.05
"""|J|/sqrt(d) below which a Jacobian's shape says nothing."""
_GRADIENT = "The score is a gradient: the denoiser's Jacobian is symmetric."


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
    elif worst < 0.1 and len(known) == len(rows):
        grade = Grade.HOLDS
    else:
        grade = Grade.CONDITIONS if worst < 0.25 else Grade.FAILS
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
    rows = [row for row in found["levels"] if row["frobenius"]["value"] > SEEN**2]
    if not rows:
        text = f"|J|/√d never exceeds {SEEN}."
        return Verdict(_GRADIENT, text, Grade.UNDECIDED)
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
