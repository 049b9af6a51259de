"""Collapse of modes: what is reached and what variety is left, by number of steps."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ....sampling import sample
from ....stein import Coefficient
from ...diagnostics import Collapse
from ...report.look import BLACK, BLUE, GREY, tidy
from ..setting import Setting
from .base import Chapter, Drawing, Found, Outcome, Tell, Verdict, counted

BATCH = 100
_CLEAR = 0.02  # of within-mode variance: differences below are not told apart by so few samples


def _measure(setting: Setting, tell: Tell) -> Found:
    modes, sizes = setting.modes, setting.sizes
    if modes is None:
        return {"what": None, "rows": []}
    count, seeds = sizes.modes, setting.seeds(sizes.modes)
    tell("fine solution of the modes")
    reference = _fine(setting, count)
    fine = _described(modes.collapse(reference, reference, seeds))
    rows = []
    for steps in sorted({*sizes.counts, setting.steps}):
        tell(f"modes at {steps} steps")
        row: Found = {"steps": steps}
        for name, rule in (("base", None), ("relaxed", setting.coefficient)):
            found = modes.collapse(_samples(setting, steps, rule, count), reference, seeds)
            row[name] = _described(found)
        rows.append(row)
    return {
        "what": modes.what,
        "solver": setting.solver_text,
        "samples": count,
        "fine": fine,
        "rows": rows,
    }


def _fine(setting: Setting, count: int) -> Tensor:
    """The fine solution at the level where the few-step samplings end."""
    end = setting.levels()[-1]
    parts = [setting.part(begin, begin + BATCH, count) for begin in range(0, count, BATCH)]
    return torch.cat([part.solve(part.sizes.modes).at(end).cpu() for part in parts])


def _samples(setting: Setting, steps: int, rule: Coefficient | None, count: int) -> Tensor:
    found = []
    for begin in range(0, count, BATCH):
        part = setting.part(begin, begin + BATCH, count)
        size = part.sizes.modes
        result = sample(
            part.denoiser, part.start(size), part.levels(steps), part.solver, rule,
            conditioning=part.given(size),
        )  # fmt: skip
        found.append(result.x.cpu())
    return torch.cat(found)


def _described(found: Collapse) -> Found:
    coverage = found.coverage
    return {
        "modes": coverage.modes,
        "covered": coverage.covered,
        "kl": coverage.kl if math.isfinite(coverage.kl) else None,  # JSON has no infinity
        "within": found.within,
    }


def _judge(found: Found) -> list[Verdict]:
    if not found["rows"]:
        text = "This denoiser has neither classes that a classifier tells nor known modes."
        return [Verdict("Few steps collapse modes.", text, Outcome.UNDECIDED)]
    return [_collapses(found), _relieved(found)]


def _collapses(found: Found) -> Verdict:
    rows = found["rows"]
    shown = ", ".join(f"{row['steps']}: {row['base']['within']:.3f}" for row in rows)
    lost = [row for row in rows if row["base"]["covered"] < row["base"]["modes"]]
    fine = found["fine"]
    text = (
        f"{found['samples']} samples, {found['what']}. Variance within modes over what it should "
        f"be, base, by number of steps: {shown} (fine solution {fine['within']:.3f}). "
        f"{_missing(lost)} KL of the shares: {_range([_kl(row['base']) for row in rows])} (fine "
        f"solution {_kl(fine):.3g})."
    )
    shrunk = sum(row["base"]["within"] < fine["within"] - _CLEAR for row in rows)
    outcome = (
        Outcome.HOLDS if shrunk == len(rows) and lost
        else Outcome.CONDITIONS if shrunk or lost
        else Outcome.FAILS
    )  # fmt: skip
    if outcome is Outcome.CONDITIONS and not lost:
        text += " Collapse is within the modes here, not between them."
    return Verdict("Few steps collapse modes: some are missed, others lose variety.", text, outcome)


def _missing(lost: list[Found]) -> str:
    if not lost:
        return "No mode is missed at any number of steps."
    return "Missed: " + ", ".join(
        f"{row['base']['modes'] - row['base']['covered']} of {row['base']['modes']} at "
        f"{row['steps']} steps" for row in lost
    ) + "."  # fmt: skip


def _kl(found: Found) -> float:
    """Infinite where samples fall into a class that the reference has none of."""
    return math.inf if found["kl"] is None else found["kl"]


def _range(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def _relieved(found: Found) -> Verdict:
    rows, fine = found["rows"], found["fine"]["within"]
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


def _draw(found: Found) -> list[Drawing]:
    if not found["rows"]:
        return []
    caption = (
        f"{found['what'].capitalize()}, {found['samples']} samples of {found['solver']}, by number "
        "of steps; dashed: the fine solution. Left: variance within modes over what it should be. "
        "Right: KL of the shares of the modes."
    )
    return [Drawing("modes", caption, _figure(found))]


def _figure(found: Found) -> Figure:
    figure = Figure(figsize=(9.2, 3.0), dpi=110, layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2), ("within", "kl"), ("variance within modes", "KL of the shares"),
        strict=True,
    ):  # fmt: skip
        for kind, colour in (("base", GREY), ("relaxed", BLUE)):
            rows = found["rows"]
            axes.plot([row["steps"] for row in rows], [row[kind][key] for row in rows], "o-",
                      color=colour, markersize=4, label=kind)  # fmt: skip
        axes.axhline(found["fine"][key], color=BLACK, linewidth=0.8, linestyle="--")
        axes.set(xlabel="steps", ylabel=label)
        axes.legend(fontsize=8, frameon=False)
        tidy(axes)
    return figure


CHAPTER = Chapter(
    "modes",
    "Modes",
    "Mode collapse has two parts: modes that are missed or rare, and variety that is lost within "
    "each. Modes are those of a known mixture, or the classes that a classifier sees.",
    _measure,
    _judge,
    _draw,
)
