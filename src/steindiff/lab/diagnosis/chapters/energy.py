"""Energy, variance and spectrum of few-step trajectories, and the law behind them."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ...._reductions import inner
from ....sampling import Bound, sample
from ....solvers import Euler, Solver
from ....solvers.euler import euler_candidate
from ....stein import Coefficient, law
from ...diagnostics import energy, euler_deficit, law_error, spectrum, variance
from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE, tidy
from ..setting import Setting, mean_of
from .base import Chapter, Drawing, Found, Outcome, Tell, Verdict, counted, interval, percent

RESTORED = 0.8
"""Share of a distance that has to be taken away for what was lost to count as restored."""


def _measure(setting: Setting, tell: Tell) -> Found:
    tell("energies along the trajectory")
    solvers: dict[str, Solver] = {setting.solver_text: setting.solver}
    if not isinstance(setting.solver, Euler):
        solvers["euler"] = Euler()
    tables = {text: _table(setting, solver) for text, solver in solvers.items()}
    return {
        "solver": setting.solver_text,
        "rule": setting.coefficient_text,
        "samples": setting.sizes.samples,
        "levels": setting.levels(),
        "tables": tables,
        "law": _law(setting),
        "images": len(setting.shape) == 3,
    }


def _table(setting: Setting, solver: Solver) -> Found:
    levels = setting.levels()
    fine = [setting.fine.at(level) for level in levels[1:]]
    found: Found = {}
    for name, rule in (("base", None), ("relaxed", setting.coefficient)):
        states = _states(setting, solver, rule)
        pairs = list(zip(states, fine, strict=True))
        found[name] = {
            "energy": [mean_of(energy(state) / energy(exact)) for state, exact in pairs],
            "variance": [variance(state) / variance(exact) for state, exact in pairs],
            "spectrum": (spectrum(states[-1], fine[-1]) / spectrum(fine[-1], fine[-1])).tolist(),
        }
    return found


def _states(setting: Setting, solver: Solver, rule: Coefficient | None) -> tuple[Tensor, ...]:
    count = setting.sizes.samples
    trajectory = sample(
        setting.denoiser, setting.start(count), setting.levels(), solver, rule,
        conditioning=setting.given(count), return_trajectory=True,
    ).trajectory  # fmt: skip
    assert trajectory is not None
    return trajectory[1:]


def _law(setting: Setting) -> list[Found]:
    """The energy law between states of the fine trajectory at the levels of the sampling."""
    levels = setting.levels()
    count = setting.sizes.samples
    bound = Bound(setting.denoiser, setting.start(count), setting.given(count))
    with torch.no_grad():
        states = [(x := setting.fine.at(s), bound(x, s), s) for s in levels[:-1]]
    found = []
    for index, (start, to) in enumerate(zip(states, levels[1:], strict=True)):
        error = law_error(states[index - 1] if index else None, start, setting.fine.at(to), to)
        x, denoised, sigma = start
        candidate = euler_candidate(x, denoised, sigma, to)
        target = inner(x, x) - law.one_level(inner(x, x - denoised), sigma, to)
        lack = target - inner(candidate, candidate)
        deficit = euler_deficit(x, denoised, sigma, to)
        rms = {
            name: None if value is None else value.square().mean().sqrt().item()
            for name, value in error._asdict().items()
        }
        found.append(
            {
                "sigma": sigma,
                "sigma_next": to,
                "rms": rms,
                "deficit": (deficit / inner(x, x)).mean().item(),
                "identity": ((lack - deficit).abs() / inner(x, x)).max().item(),
            }
        )
    return found


def _judge(found: Found) -> list[Verdict]:
    return [_euler(found), _which_law(found), _restored(found), _spectral(found)]


def _euler(found: Found) -> Verdict:
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
        Outcome.HOLDS if lost else Outcome.CONDITIONS,
    )


def _which_law(found: Found) -> Verdict:
    rows = [row for row in found["law"] if row["rms"]["two_levels"] is not None]
    better = [row for row in rows if row["rms"]["two_levels"] < row["rms"]["one_level"]]
    shown = "; ".join(
        f"{row['sigma']:.2g} → {row['sigma_next']:.2g}: {row['rms']['mean_only']:.2g}, "
        f"{row['rms']['one_level']:.2g}, {row['rms']['two_levels']:.2g}"
        for row in rows
    )
    text = (
        "Error of the predicted loss of |x|² on the fine trajectory, rms over samples in units of "
        f"dσ², by κ = 1, one level and two levels: {shown}. Two levels are nearer in "
        f"{len(better)} of {len(rows)} steps."
    )
    statement = "The energy law of two levels predicts what a sample's energy will be."
    return Verdict(statement, text, counted(len(better), len(rows)))


def _restored(found: Found) -> Verdict:
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


def _restores(shares: list[float]) -> Outcome:
    """Of shares of a distance that are taken away: nearly all of it everywhere, or some of it."""
    if min(shares) > RESTORED:
        return Outcome.HOLDS
    return Outcome.CONDITIONS if max(shares) > 0.25 else Outcome.FAILS


def _spectral(found: Found) -> Verdict:
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


def _draw(found: Found) -> list[Drawing]:
    bands = "spatial frequency" if found["images"] else "principal axis, wide to narrow"
    return [
        Drawing(
            "energy",
            "Over the fine solution's, base (grey) and relaxed (blue). Left: energy |x|² after "
            "each step, with 95% intervals. Middle: variance. Right: variance at the end by "
            f"{bands}.",
            _figure(found, bands),
        ),
        Drawing(
            "law",
            "Error of the predicted loss of energy between states of the fine trajectory, rms over "
            "samples in units of dσ².",
            _law_figure(found),
        ),
    ]


def _figure(found: Found, bands: str) -> Figure:
    tables = found["tables"]
    figure = Figure(figsize=(9.2, 2.7 * len(tables)), dpi=110, layout="constrained")
    grid = figure.subplots(len(tables), 3, squeeze=False)
    for (text, table), panels in zip(tables.items(), grid, strict=True):
        for kind, colour in (("base", GREY), ("relaxed", BLUE)):
            rows = table[kind]["energy"]
            steps = list(range(1, len(rows) + 1))
            ends = [[abs(row["value"] - row[end]) for row in rows] for end in ("low", "high")]
            panels[0].errorbar(steps, [row["value"] for row in rows], yerr=ends, color=colour,
                               marker="o", markersize=3.5, label=kind)  # fmt: skip
            panels[1].plot(steps, table[kind]["variance"], "o-", color=colour, markersize=3.5)
            panels[2].plot(table[kind]["spectrum"], "o-", color=colour, markersize=3.5)
        for axes, label in zip(panels, ("energy", "variance", "variance of band"), strict=True):
            axes.axhline(1, color=BLACK, linewidth=0.7)
            axes.set_title(f"{text}: {label}", fontsize=9, loc="left")
            axes.set_xlabel("step" if label != "variance of band" else bands, fontsize=8)
            tidy(axes)
        panels[2].set_xticks([])
    grid[0, 0].legend(fontsize=8, frameon=False)
    return figure


def _law_figure(found: Found) -> Figure:
    figure = Figure(figsize=(6.0, 3.0), dpi=110, layout="constrained")
    axes = figure.subplots()
    rows = found["law"]
    names = {"mean_only": ("κ = 1", GREY), "one_level": ("one level", ORANGE),
             "two_levels": ("two levels", GREEN)}  # fmt: skip
    for key, (label, colour) in names.items():
        points = [(row["sigma"], row["rms"][key]) for row in rows if row["rms"][key] is not None]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=4, label=label)
    axes.set(xscale="log", yscale="log", xlabel="σ at the start of the step", ylabel="rms error")
    axes.legend(fontsize=8, frameon=False)
    tidy(axes)
    return figure


CHAPTER = Chapter(
    "energy",
    "Energy",
    "Along the flow d|x|²/d ln σ = 2<x, x − D>, for any D. What a step should lose follows from "
    "the state where <x, x − D> = aσ² + bσ, which is exact for x₀ + σε and an exact denoiser "
    "up to its own error as a guess of x₀. Few-step solvers lose more, and "
    "samples come out too alike.",
    _measure,
    _judge,
    _draw,
)
