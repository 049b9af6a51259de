"""Modes that are reached, and variety that is left within them, by number of steps."""

from __future__ import annotations

import math
from typing import NotRequired, TypedDict

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ....sampling import sample
from ....stein import Coefficient
from ...report.look import BLACK, BLUE, GREY
from ..collapse import Collapse
from ..diagnosis import Diagnosis
from ..plots import entitle, finish, panels
from ..sizes import MODES_BATCH
from ..statement import Chapter, Drawing, Grade, Tell, Verdict, counted, decided

BATCH = MODES_BATCH
_CLEAR = 0.02  # of within-mode variance: differences below are not told apart by so few samples


class Shares(TypedDict):
    """A `Collapse`; `kl` is None where it is infinite, which JSON has no number for."""

    modes: int
    covered: int
    kl: float | None
    within: float


class Row(TypedDict):
    """A number of steps, without relaxing and with it."""

    steps: int
    base: Shares
    relaxed: Shares


class Counted(TypedDict):
    """What is measured; without modes there are no rows, and nothing else."""

    what: str | None
    rows: list[Row]
    solver: NotRequired[str]
    samples: NotRequired[int]
    fine: NotRequired[Shares]


# -- measured -------------------------------------------------------------------------------------


def measure(diagnosis: Diagnosis, tell: Tell) -> Counted:
    """Modes of the fine solution, and of samplings by number of steps."""
    modes, sizes = diagnosis.modes, diagnosis.sizes
    if modes is None:
        return Counted(what=None, rows=[])
    tell("fine solution of the modes")
    reference = _fine(diagnosis)
    rows = []
    for steps in sorted({*sizes.counts, diagnosis.sampling.steps}):
        tell(f"modes at {steps} steps")
        base, relaxed = (
            _shares(modes.collapse(_ends(diagnosis, steps, rule), reference))
            for rule in diagnosis.sampling.ways.values()
        )
        rows.append(Row(steps=steps, base=base, relaxed=relaxed))
    return Counted(
        what=modes.what,
        solver=diagnosis.sampling.solver_text,
        samples=sizes.modes,
        fine=_shares(modes.collapse(reference, reference)),
        rows=rows,
    )


def _fine(diagnosis: Diagnosis) -> Tensor:
    """The fine solution at the level where the few-step samplings end."""
    end, batches = diagnosis.levels()[-1], diagnosis.batches(diagnosis.sizes.modes, BATCH)
    return torch.cat([diagnosis.solve(batch).at(end).cpu() for batch in batches])


def _ends(diagnosis: Diagnosis, steps: int, rule: Coefficient | None) -> Tensor:
    """The samples of so many steps."""
    solver, levels = diagnosis.sampling.solver, diagnosis.levels(steps)
    found = [
        sample(denoiser, x, levels, solver, rule, end="none", conditioning=given).x.cpu()
        for denoiser, x, given in diagnosis.batches(diagnosis.sizes.modes, BATCH)
    ]
    return torch.cat(found)


def _shares(found: Collapse) -> Shares:
    coverage = found.coverage
    return Shares(
        modes=coverage.modes,
        covered=coverage.covered,
        kl=coverage.kl if math.isfinite(coverage.kl) else None,
        within=found.within,
    )


# -- judged ---------------------------------------------------------------------------------------


def judge(found: Counted) -> list[Verdict]:
    """Whether few steps collapse modes, and whether relaxing leaves less of it."""
    if not found["rows"] or "fine" not in found:
        text = "This denoiser has neither classes that a classifier tells nor known modes."
        return [Verdict("Few steps collapse modes.", text, Grade.UNDECIDED)]
    return [_collapses(found, found["fine"]), _relieved(found["rows"], found["fine"]["within"])]


def _collapses(found: Counted, fine: Shares) -> Verdict:
    rows = found["rows"]
    shown = ", ".join(f"{row['steps']}: {row['base']['within']:.3f}" for row in rows)
    kl = [_kl(row["base"]) for row in rows]
    lost = [row for row in rows if row["base"]["covered"] < row["base"]["modes"]]
    text = (
        f"{found.get('samples')} samples, {found['what']}. Variance within modes over what it "
        f"should be, base, by number of steps: {shown} (fine solution {fine['within']:.3f}). "
        f"{_missing(lost)} KL of the shares: {min(kl):.3g} to {max(kl):.3g} (fine solution "
        f"{_kl(fine):.3g})."
    )
    shrunk = sum(row["base"]["within"] < fine["within"] - _CLEAR for row in rows)
    grade = decided(shrunk == len(rows) and bool(lost), shrunk > 0 or bool(lost))
    if grade is Grade.CONDITIONS and not lost:
        text += " Collapse is within the modes here, not between them."
    return Verdict("Few steps collapse modes: some are missed, others lose variety.", text, grade)


def _missing(lost: list[Row]) -> str:
    if not lost:
        return "No mode is missed at any number of steps."
    return "Missed: " + ", ".join(
        f"{row['base']['modes'] - row['base']['covered']} of {row['base']['modes']} at "
        f"{row['steps']} steps" for row in lost
    ) + "."  # fmt: skip


def _kl(found: Shares) -> float:
    """Infinite where samples fall into a class that the reference has none of."""
    return math.inf if found["kl"] is None else found["kl"]


def _relieved(rows: list[Row], fine: float) -> Verdict:
    nearer = [
        row for row in rows
        if abs(row["relaxed"]["within"] - fine) < abs(row["base"]["within"] - fine)
    ]  # fmt: skip
    shares = [row for row in rows if _kl(row["relaxed"]) <= _kl(row["base"])]
    shown = ", ".join(
        f"{row['steps']}: {row['base']['within']:.3f} → {row['relaxed']['within']:.3f}"
        for row in rows
    )
    text = (
        f"Variance within modes, base → relaxed, by number of steps: {shown}; nearer to the fine "
        f"solution's {fine:.3f} in {len(nearer)} of {len(rows)}. KL of the shares no larger in "
        f"{len(shares)} of {len(rows)}."
    )
    statement = "Relaxing leaves less collapse at large steps."
    return Verdict(statement, text, counted(len(nearer), len(rows)))


# -- drawn ----------------------------------------------------------------------------------------


def draw(found: Counted) -> list[Drawing]:
    """Variance within modes and shares by number of steps; nothing where there are no modes."""
    if found["what"] is None or "fine" not in found:
        return []
    caption = (
        f"{found['what'].capitalize()}, {found.get('samples')} samples of {found.get('solver')}, "
        "by number of steps; dashed: the fine solution. Left: variance within modes over what it "
        "should be. Right: KL of the shares of the modes."
    )
    return [Drawing("modes", caption, _figure(found["rows"], found["fine"]))]


def _figure(rows: list[Row], fine: Shares) -> Figure:
    figure, ((left, right),) = panels(2, 3.0)
    steps = [row["steps"] for row in rows]
    for kind, found, colour in (
        ("base", [row["base"] for row in rows], GREY),
        ("relaxed", [row["relaxed"] for row in rows], BLUE),
    ):
        look = {"color": colour, "markersize": 4, "label": kind}
        left.plot(steps, [shares["within"] for shares in found], "o-", **look)
        right.plot(steps, [_drawn(shares["kl"]) for shares in found], "o-", **look)
    for axes, value, label, title in (
        (left, fine["within"], "variance within modes", "Variance within modes"),
        (right, _drawn(fine["kl"]), "KL of the shares", "Shares of the modes"),
    ):
        axes.axhline(value, color=BLACK, linewidth=0.8, linestyle="--")
        axes.set(xlabel="steps", ylabel=label)
        entitle(axes, title)
    finish((left, right), legend=[left, right])
    return figure


def _drawn(kl: float | None) -> float:
    """Infinite ones leave a gap."""
    return math.nan if kl is None else kl


CHAPTER = Chapter(
    "modes",
    "Modes",
    "Mode collapse has two parts: modes that are missed or rare, and variety that is lost within "
    "each. Modes are those of a known mixture, or the classes that a classifier sees.",
    Counted,
    measure,
    judge,
    draw,
)
