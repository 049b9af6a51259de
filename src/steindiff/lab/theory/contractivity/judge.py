"""Whether steps contract, which bounds hold, and what relaxing does to the constants."""

from __future__ import annotations

from typing import Literal

from ..statement import Grade, Verdict, counted, percent
from .fields import Contractivity, peak, steps_of

SLACK = 1.02  # Lanczos stops at a residual of 2%: less than that is not a violation
FEW = 10
"""A sampling of so many steps is one of few steps."""


def judge(found: Contractivity) -> list[Verdict]:
    """One verdict for each statement about contraction and its certificate."""
    return [
        _trap(found), _of_the_flow(found), _published(found), _literal(found), *_own(found),
        _relaxing(found),
    ]  # fmt: skip


def _trap(found: Contractivity) -> Verdict:
    runs = found["runs"]
    peaks = [peak(run, "step") for run in runs]
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
    key: Literal["published", "literal", "own"],
    statement: str,
    holds: str,
    fails: str = "",
    always: bool = False,
) -> Verdict:
    rows = [row for row in steps_of(found) if row["violations"][key] is not None]
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
    ratios = [row["step"]["median"] / row["published"]["median"] for row in steps_of(found)]
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
    rows = [(row["step"], row["own"]) for row in steps_of(found) if row["own"] is not None]
    statement = "With the solver's own weights, L_T ≤ |a| + |b| L_D for T = a x + b D + history."
    if not rows:
        text = "The solver evaluates more than once a step: T is not linear in one D."
        return [Verdict(statement, text, Grade.UNDECIDED)]
    tight = [step["median"] / own["median"] for step, own in rows]
    held = f"L_T is {percent(min(tight))} to {percent(max(tight))} of it (medians)."
    return [_bound(found, "own", statement, held, always=True)]


def _relaxing(found: Contractivity) -> Verdict:
    rows = [row for row in steps_of(found) if row["gamma"] < 1]
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
