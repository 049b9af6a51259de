"""What residuals are made of, and how near coefficients come to the best one."""

from __future__ import annotations

import math

from ..statement import Grade, Verdict, percent
from .fields import PUBLISHED, Coefficients, euler_table, every_step

ROUNDING = 1e-2
"""Of a small squared distance; results from before differences were taken in float64 have it."""


def judge(found: Coefficients) -> list[Verdict]:
    """One verdict for each statement about residuals, coefficients and their errors."""
    return [
        _residual(found), _degenerates(found), _near_oracle(found), _projection(found),
        _bound(found),
    ]  # fmt: skip


def _residual(found: Coefficients) -> Verdict:
    texts = []
    for solver, rows in found["tables"].items():
        cosine, length = (
            ", ".join(f"{row[key]['median']:.3f}" for row in rows) for key in ("cosine", "length")
        )
        texts.append(f"{solver}: cosine {cosine}, length {length}")
    text = (
        "Between u = x − T(x) and the noise x − D that the denoiser sees, step by step (medians): "
        f"{'; '.join(texts)}; length in units of (1 − σ'/σ)|x − D|. For Euler they are one; for "
        "the others the rest is extrapolation."
    )
    rows = every_step(found)
    aligned = min(row["cosine"]["median"] for row in rows)
    grade = Grade.HOLDS if aligned > 0.999 else Grade.CONDITIONS if aligned > 0.8 else Grade.FAILS
    return Verdict("The residual u of a step is the noise that the denoiser sees.", text, grade)


def _degenerates(found: Coefficients) -> Verdict:
    rows = euler_table(found)
    ratios = [row["gamma"][PUBLISHED]["median"] / row["one_over"] for row in rows]
    worst = max(row["error"][PUBLISHED] for row in rows)
    above = sum(row["gamma"][PUBLISHED]["median"] > 1 for row in rows)
    text = (
        f"For Euler the published γ* (Hutchinson, 5 probes) is {min(ratios):.2f} to "
        f"{max(ratios):.2f} times 1/(1 − σ'/σ) (medians): {_clamped(above, len(rows))}; unclamped "
        f"it multiplies the squared distance to the fine trajectory by up to {worst:.3g}."
    )
    useful = not above or worst < 1
    return Verdict(
        "The published coefficient improves a step towards the next state.",
        text,
        Grade.HOLDS if useful else Grade.FAILS,
    )


def _clamped(above: int, steps: int) -> str:
    """What a clamp to 1 does to a coefficient that is above 1 in so many steps."""
    if above == steps:
        return "above 1 in every step, so that its clamp to 1 does nothing"
    return f"above 1 in {above} of {steps} steps, where its clamp makes it 1"


def _near_oracle(found: Coefficients) -> Verdict:
    rows, rule = found["tables"][found["solver"]], found["rule"]
    own = math.exp(sum(math.log(row["error"][rule]) for row in rows) / len(rows))
    best = math.exp(sum(math.log(row["error"]["oracle"]) for row in rows) / len(rows))
    off = [abs(row["gamma"][rule]["median"] - row["gamma"]["oracle"]["median"]) for row in rows]
    lower = sum(row["error"][rule] < 1 for row in rows)
    text = (
        f"Squared distance to the fine trajectory after a step, relative to γ = 1, geometric mean "
        f"over {len(rows)} steps of {found['solver']}: {own:.3f} with {rule}, {best:.3f} with the "
        f"oracle; {rule} lowers it in {lower} of {len(rows)}. |γ − γ*| of the medians is "
        f"{min(off):.2g} to {max(off):.2g}. This is a distance from one state to another; what the "
        "rule does to the distribution is another question (energy and modes)."
    )
    grade = (
        Grade.HOLDS if own < 1 and lower == len(rows)
        else Grade.CONDITIONS if own < 1 or lower
        else Grade.FAILS
    )  # fmt: skip
    return Verdict(f"The {rule} coefficient brings a step nearer to the exact state.", text, grade)


def _projection(found: Coefficients) -> Verdict:
    rows = every_step(found)
    worst = max(row["identity"] for row in rows)
    rho = [row["rho"]["median"] for row in rows]
    text = (
        f"E' = E (1 − ρ (1 − (1 − γ/γ*)²)) holds to {worst:.0e} (states in float32) for every "
        "rule and step; it is the projection on u, for one step and one target. ρ is "
        f"{min(rho):.3f} to {max(rho):.3f} (medians): nearly all of E is the way that any "
        "step goes, so ρ near 1 says nothing of a sampler's error. That the error decays over a "
        "sampling does not follow: the target moves."
    )
    return Verdict(
        "Error decay: E' = (1 − ρ)E for the best coefficient.",
        text,
        Grade.CONDITIONS if worst < ROUNDING else Grade.FAILS,
    )


def _bound(found: Coefficients) -> Verdict:
    rows = found["discrepancies"]
    wrong = [row for row in rows if row["perturbation"]]
    broken = [row for row in rows if row["error"] > row["bound"] * (1 + 1e-9)]
    share = [row["error"] / row["bound"] for row in wrong]
    floor = abs(rows[0]["kernel"])
    text = (
        f"On {found['mixture']}, {found['pairs']} states: |γ̃ − γ*| is {percent(min(share))} to "
        f"{percent(max(share))} of C·S over perturbations of {wrong[0]['perturbation']:g} to "
        f"{wrong[-1]['perturbation']:g} of the posterior's spread, from {wrong[0]['error']:.1e} to "
        f"{wrong[-1]['error']:.1e}. The kernelised discrepancy sees a perturbation only above its "
        f"noise of {floor:.2g} with so many states. A coefficient from the divergence of the step "
        f"itself needs no score and errs by its sampling error alone (on these states "
        f"{max(abs(row['by_divergence'] - row['truth']) for row in rows):.2g})."
    )
    return Verdict(
        "The error of a coefficient is bounded by the Stein discrepancy of the score, "
        "|γ̃ − γ*| ≤ C·S.", text, Grade.FAILS if broken else Grade.HOLDS,
    )  # fmt: skip
