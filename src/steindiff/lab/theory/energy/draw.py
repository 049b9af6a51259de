"""Figures of energy, variance and spectrum by step, and of the law's error."""

from __future__ import annotations

from typing import Literal

from matplotlib.figure import Figure

from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE
from ..plots import entitle, finish, panels, points
from ..statement import Drawing
from .fields import Energies

_LAWS: tuple[tuple[Literal["mean_only", "one_level", "two_levels"], str, str], ...] = (
    ("mean_only", "κ = 1", GREY),
    ("one_level", "one level", ORANGE),
    ("two_levels", "two levels", GREEN),
)


def draw(found: Energies) -> list[Drawing]:
    """The three measures beside the fine solution's, and the law."""
    bands = "spatial frequency" if found["images"] else "principal axis, wide to narrow"
    return [
        Drawing(
            "energy",
            "Over the fine solution's, base (grey) and relaxed (blue). Left: energy |x|² after "
            "each step, with 95% intervals. Middle: variance. Right: variance at the end by "
            f"{bands}.",
            _energies(found, bands),
        ),
        Drawing(
            "law",
            "Error of the predicted loss of energy, rms over samples in units of dσ². Left: "
            f"between states of the fine trajectory. Right: from the states of {found['solver']} "
            "to where the exact flow takes each.",
            _law(found),
        ),
    ]


def _energies(found: Energies, bands: str) -> Figure:
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


def _law(found: Energies) -> Figure:
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
