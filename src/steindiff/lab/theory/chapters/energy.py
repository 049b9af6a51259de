"""Energy, variance and spectrum of few-step trajectories, and the law behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypedDict

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ...._reductions import inner
from ....sampling import Bound
from ....schedules import log_snr
from ....solvers import Heun, Solver
from ....solvers.euler import euler_candidate
from ....stein import Coefficient, law
from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE
from ..diagnosis import Diagnosis
from ..energies import LawError, energy, euler_deficit, law_error, spectrum, variance
from ..estimates import Mean, Positive, Some, interval, mean_of
from ..plots import entitle, finish, panels, points
from ..statement import Chapter, Drawing, Grade, Tell, Verdict, counted, decided, percent

FINE = 8
"""Heun steps within one step of a sampling, even in log sigma: the exact flow from its state."""
RESTORED = 0.8
"""Share of a distance that has to be taken away for what was lost to count as restored."""
_LAWS: tuple[tuple[Literal["mean_only", "one_level", "two_levels"], str, str], ...] = (
    ("mean_only", "κ = 1", GREY),
    ("one_level", "one level", ORANGE),
    ("two_levels", "two levels", GREEN),
)


class Way(TypedDict):
    """Over the fine solution's: energy and variance after each step, spectrum at the end."""

    energy: Some[Mean]
    variance: Some[float]
    spectrum: Some[float]


class Table(TypedDict):
    """A solver without relaxing and with it."""

    base: Way
    relaxed: Way


class Errors(TypedDict):
    """A figure of `LawError` over samples; two levels are missing in the first step."""

    one_level: float
    two_levels: float | None
    mean_only: float


class Law(TypedDict):
    """The law in one step; `identity` is what Euler's deficit leaves of it, over |x|^2."""

    sigma: Positive
    sigma_next: float
    rms: Errors
    mean: Errors
    deficit: float
    identity: float


class Energies(TypedDict):
    """A table for each solver, the law, and whether samples are images.

    `law` is measured between states of the fine trajectory; `coarse` from each state of the plain
    solver's own sampling to where the exact flow goes from there.
    """

    solver: str
    rule: str
    samples: int
    levels: list[float]
    tables: dict[str, Table]
    law: Some[Law]
    coarse: Some[Law]
    images: bool


# -- measured -------------------------------------------------------------------------------------


def measure(diagnosis: Diagnosis, tell: Tell) -> Energies:
    """The solver and Euler beside the fine solution, and the law along it."""
    sampling = diagnosis.sampling
    tell("energies along the trajectory")
    tables = {
        text: Table(
            base=_way(diagnosis, solver, None),
            relaxed=_way(diagnosis, solver, sampling.coefficient),
        )
        for text, solver in sampling.solvers.items()
    }
    return Energies(
        solver=sampling.solver_text,
        rule=sampling.coefficient_text,
        samples=diagnosis.sizes.samples,
        levels=diagnosis.levels(),
        tables=tables,
        law=_law(diagnosis, *_along_the_fine(diagnosis)),
        coarse=_law(diagnosis, *_along_the_coarse(diagnosis)),
        images=len(diagnosis.subject.shape) == 3,
    )


def _way(diagnosis: Diagnosis, solver: Solver, rule: Coefficient | None) -> Way:
    levels = diagnosis.levels()
    states = diagnosis.samples.follow(levels, solver, rule)
    fine = [diagnosis.fine.at(level) for level in levels[1:]]
    pairs = list(zip(states, fine, strict=True))
    return Way(
        energy=[mean_of(energy(state) / energy(exact)) for state, exact in pairs],
        variance=[variance(state) / variance(exact) for state, exact in pairs],
        spectrum=(spectrum(states[-1], fine[-1]) / spectrum(fine[-1], fine[-1])).tolist(),
    )


def _along_the_fine(diagnosis: Diagnosis) -> tuple[list[Tensor], list[Tensor]]:
    """States of the fine trajectory, and where each goes."""
    states = [diagnosis.fine.at(sigma) for sigma in diagnosis.levels()]
    return states[:-1], states[1:]


def _along_the_coarse(diagnosis: Diagnosis) -> tuple[list[Tensor], list[Tensor]]:
    """States of the plain sampling, and where the exact flow takes each in its step."""
    levels, samples, solver = diagnosis.levels(), diagnosis.samples, diagnosis.sampling.solver
    states = [samples.x, *samples.follow(levels, solver, None)[:-1]]
    ends = [
        samples._replace(x=x).follow(log_snr(FINE, to, sigma).tolist(), Heun(), None)[-1]
        for x, sigma, to in zip(states, levels, levels[1:], strict=False)
    ]
    return states, ends


def _law(diagnosis: Diagnosis, starts: list[Tensor], ends: list[Tensor]) -> list[Law]:
    """The energy law in each step of the sampling, from these starts to these ends."""
    levels = diagnosis.levels()
    bound = Bound(*diagnosis.samples)
    with torch.no_grad():
        states = [(x, bound(x, s), s) for x, s in zip(starts, levels, strict=False)]
    found = []
    for index, (start, end, to) in enumerate(zip(states, ends, levels[1:], strict=True)):
        before = states[index - 1] if index else None
        found.append(_step(start, to, law_error(before, start, end, to)))
    return found


def _step(start: tuple[Tensor, Tensor, float], to: float, error: LawError) -> Law:
    x, denoised, sigma = start
    candidate = euler_candidate(x, denoised, sigma, to)
    target = inner(x, x) - law.one_level(inner(x, x - denoised), sigma, to)
    lack = target - inner(candidate, candidate)
    deficit = euler_deficit(x, denoised, sigma, to)
    return Law(
        sigma=sigma,
        sigma_next=to,
        rms=_errors(error, lambda values: values.square().mean().sqrt()),
        mean=_errors(error, torch.mean),
        deficit=(deficit / inner(x, x)).mean().item(),
        identity=((lack - deficit).abs() / inner(x, x)).max().item(),
    )


def _errors(error: LawError, figure: Callable[[Tensor], Tensor]) -> Errors:
    two = error.two_levels
    return Errors(
        one_level=figure(error.one_level).item(),
        two_levels=None if two is None else figure(two).item(),
        mean_only=figure(error.mean_only).item(),
    )


# -- judged ---------------------------------------------------------------------------------------


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
        f"{_from_to(row)}: {row['rms']['mean_only']:.2g}, {one:.2g}, {two:.2g}"
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
        f"{_from_to(row)}: {row['mean']['one_level']:+.2g} and {one:.2g}, "
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


def _from_to(row: Law) -> str:
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
    return decided(min(shares) > RESTORED, max(shares) > 0.25)


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


# -- drawn ----------------------------------------------------------------------------------------


def draw(found: Energies) -> list[Drawing]:
    """The three measures beside the fine solution's, and the law."""
    bands = "spatial frequency" if found["images"] else "principal axis, wide to narrow"
    return [
        Drawing(
            "energy",
            "Over the fine solution's, base (grey) and relaxed (blue). Left: energy |x|² after "
            "each step, with 95% intervals. Middle: variance. Right: variance at the end by "
            f"{bands}.",
            _energy_figure(found, bands),
        ),
        Drawing(
            "law",
            "Error of the predicted loss of energy, rms over samples in units of dσ². Left: "
            f"between states of the fine trajectory. Right: from the states of {found['solver']} "
            "to where the exact flow takes each.",
            _law_figure(found),
        ),
    ]


def _energy_figure(found: Energies, bands: str) -> Figure:
    tables = found["tables"]
    figure, grid = panels(3, 2.7 * len(tables), len(tables))
    for (text, table), row in zip(tables.items(), grid, strict=True):
        for kind, way, colour in (
            ("base", table["base"], GREY),
            ("relaxed", table["relaxed"], BLUE),
        ):
            steps = list(range(1, len(way["energy"]) + 1))
            look = {"color": colour, "markersize": 3.5}
            points(row[0], steps, way["energy"], label=kind, **look)
            row[1].plot(steps, way["variance"], "o-", **look)
            row[2].plot(way["spectrum"], "o-", **look)
        for axes, what in zip(row, ("energy", "variance", "variance of band"), strict=True):
            axes.axhline(1, color=BLACK, linewidth=0.7)
            entitle(axes, f"{text}: {what}", 34)
            axes.set_xlabel("step" if what != "variance of band" else bands, fontsize=8)
        row[2].set_xticks([])
    finish(grid.flat, legend=[grid[0, 0]])
    return figure


def _law_figure(found: Energies) -> Figure:
    figure, (both,) = panels(2, 3.0)
    kinds = (("fine trajectory", found["law"]), (found["solver"], found["coarse"]))
    for axes, (title, rows) in zip(both, kinds, strict=True):
        for key, label, colour in _LAWS:
            errors = [(row["sigma"], row["rms"][key]) for row in rows]
            at = [sigma for sigma, error in errors if error is not None]
            values = [error for _, error in errors if error is not None]
            axes.plot(at, values, "o-", color=colour, markersize=4, label=label)
        axes.set(xscale="log", yscale="log", xlabel="σ at the start of the step")
        axes.set_ylabel("rms error")
        entitle(axes, title, 40)
    finish(both, legend=[both[0]])
    return figure


CHAPTER = Chapter(
    "energy",
    "Energy",
    "Along the flow d|x|²/d ln σ = 2<x, x − D>, for any D. What a step should lose follows from "
    "the state where <x, x − D> = aσ² + bσ, which is exact for x₀ + σε and an exact denoiser "
    "up to its own error as a guess of x₀. Few-step solvers lose more, and "
    "samples come out too alike.",
    Energies,
    measure,
    judge,
    draw,
)
