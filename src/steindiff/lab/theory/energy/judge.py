"""What few steps lose of energy, variance and spectrum, and how much relaxing restores."""

from __future__ import annotations

from ..estimates import interval
from ..statement import Grade, Verdict, counted, percent
from .fields import Energies, Law

RESTORED = 0.8
"""Share of a distance that has to be taken away for what was lost to count as restored."""


def judge(found: Energies) -> list[Verdict]:
    """One verdict for each statement about what is lost, predicted and restored."""
    return [_euler(found), _on_fine(found), _on_coarse(found), _restored(found), _spectral(found)]


def _euler(found: Energies) -> Verdict:
    rows = found["law"]
    base = found["tables"]["euler" if "euler" in found["tables"] else found["solver"]]["base"]
    worst = max(row["identity"] for row in rows)
    text = (
        "A step of Euler lacks (1 − σ'/σ)²<D, x − D> of the energy law, an identity (to "
        f"{worst:.0e} of |x|²). Its mean is {percent(min(row['deficit'] for row in rows))} to "
        f"{percent(max(row['deficit'] for row in rows))} of |x|² a step. At the end Euler's "
        f"samples have {interval(base['energy'][-1])} of the fine solution's energy, and "
        f"{base['variance'][-1]:.3f} of its variance."
    )
    lost = base["energy"][-1]["high"] < 1 and base["variance"][-1] < 1
    return Verdict(
        "Few steps lose energy and variance: (1 − σ'/σ)² σ² E div D a step of Euler.",
        text,
        Grade.HOLDS if lost else Grade.CONDITIONS,
    )


def _on_fine(found: Energies) -> Verdict:
    rows = _of_two_levels(found["law"])
    better = sum(two < one for _, one, two in rows)
    shown = "; ".join(
        f"{_step(row)}: {row['rms']['mean_only']:.2g}, {one:.2g}, {two:.2g}"
        for row, one, two in rows
    )
    text = (
        "Error of the predicted loss of |x|² on the fine trajectory, rms over samples in units of "
        f"dσ², by κ = 1, one level and two levels: {shown}. Two levels are nearer in "
        f"{better} of {len(rows)} steps."
    )
    statement = "On a fine trajectory the law of two levels predicts a sample's energy better."
    return Verdict(statement, text, counted(better, len(rows)))


def _on_coarse(found: Energies) -> Verdict:
    rows = _of_two_levels(found["coarse"])
    better = sum(one < two for _, one, two in rows)
    shown = "; ".join(
        f"{_step(row)}: {row['mean']['one_level']:+.2g} and {one:.2g}, "
        f"{row['mean']['two_levels']:+.2g} and {two:.2g}"
        for row, one, two in rows
    )
    text = (
        f"From the states of {found['solver']} in {len(found['coarse'])} steps to where the exact "
        "flow takes each: mean and rms error of the predicted loss in units of dσ², by one level "
        f"and by two: {shown}. One level is nearer in {better} of {len(rows)} steps."
    )
    statement = "On the trajectory of few steps the law of one level predicts it better."
    return Verdict(statement, text, counted(better, len(rows)))


def _of_two_levels(rows: list[Law]) -> list[tuple[Law, float, float]]:
    """The steps that have both laws, with the rms error of one level and of two."""
    both = [(row, row["rms"]["one_level"], row["rms"]["two_levels"]) for row in rows]
    return [(row, one, two) for row, one, two in both if two is not None]


def _step(row: Law) -> str:
    return f"{row['sigma']:.2g} → {row['sigma_next']:.2g}"


def _restored(found: Energies) -> Verdict:
    texts, shares = [], []
    for name, table in found["tables"].items():
        base, relaxed = (table[kind]["energy"][-1] for kind in ("base", "relaxed"))
        shares.append(1 - abs(relaxed["value"] - 1) / abs(base["value"] - 1))
        texts.append(
            f"{name}: energy {interval(base)} → {interval(relaxed)}, variance "
            f"{table['base']['variance'][-1]:.3f} → {table['relaxed']['variance'][-1]:.3f}"
        )
    text = (
        f"Over the fine solution's, at the end, base → relaxed. {'; '.join(texts)}. Of the "
        f"energy's distance from 1 relaxing takes away {' and '.join(map(percent, shares))}."
    )
    return Verdict(f"Relaxing with {found['rule']} restores the energy.", text, _restores(shares))


def _restores(shares: list[float]) -> Grade:
    """Of shares of a distance that are taken away: nearly all of it everywhere, or some of it."""
    if min(shares) > RESTORED:
        return Grade.HOLDS
    return Grade.CONDITIONS if max(shares) > 0.25 else Grade.FAILS


def _spectral(found: Energies) -> Verdict:
    texts, shares = [], []
    for name, table in found["tables"].items():
        base, relaxed = (table[kind]["spectrum"] for kind in ("base", "relaxed"))
        better = sum(abs(r - 1) < abs(b - 1) for r, b in zip(relaxed, base, strict=True))
        shares += [1 - abs(r - 1) / abs(b - 1) for r, b in zip(relaxed, base, strict=True)]
        texts.append(
            f"{name}: coarsest band {base[0]:.3f} → {relaxed[0]:.3f}, finest {base[-1]:.3f} → "
            f"{relaxed[-1]:.3f}, nearer to 1 in {better} of {len(base)} bands"
        )
    text = f"Variance in bands over the fine solution's, base → relaxed. {'; '.join(texts)}."
    statement = "One γ a sample restores every band of the spectrum."
    return Verdict(statement, text, _restores(shares))
