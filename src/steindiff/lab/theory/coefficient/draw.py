"""Figures of coefficients beside the oracle's, and of the error that a wrong score makes."""

from __future__ import annotations

from matplotlib.figure import Figure

from ...report.look import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY
from ..plots import band, entitle, finish, medians, panels
from ..statement import Drawing
from .fields import PUBLISHED, Coefficients

_COLOURS = {
    "oracle": BLACK, "energy": BLUE, PUBLISHED: ORANGE, "published, ratio": PURPLE,
    "coupled, ratio": GREEN, "constant 0.995": GREY,
}  # fmt: skip


def draw(found: Coefficients) -> list[Drawing]:
    """Coefficients at each step, and the discrepancies."""
    return [
        Drawing(
            "coefficients",
            "γ of every rule at the steps of the plain solver (medians; the oracle's middle 90% as "
            "a band), and the squared distance to the fine trajectory that it leaves, relative to "
            "γ = 1.",
            _coefficients(found),
        ),
        Drawing(
            "discrepancy",
            f"Error of the coefficient by a wrong score, on {found['mixture']}: the error, its "
            "bound C·S, and the same with the kernelised discrepancy in place of S.",
            _discrepancies(found),
        ),
    ]


def _coefficients(found: Coefficients) -> Figure:
    tables = found["tables"]
    figure, grid = panels(2, 2.9 * len(tables), len(tables))
    for (text, rows), (left, right) in zip(tables.items(), grid, strict=True):
        at = list(range(1, len(rows) + 1))
        band(left, at, [row["gamma"]["oracle"] for row in rows], BLACK, 0.1)
        for name in rows[0]["gamma"]:
            look = {"color": _COLOURS.get(name, SKY), "markersize": 3}
            gammas = medians(row["gamma"][name] for row in rows)
            left.plot(at, gammas, "o-", label=name, **look)
            right.plot(at, [row["error"][name] for row in rows], "o-", **look)
        left.set(ylabel="γ")
        right.set(yscale="log", ylabel="E'(γ)/E'(1)")
        for axes, what in ((left, "coefficients"), (right, "squared distance")):
            axes.axhline(1, color=BLACK, linewidth=0.6)
            axes.set_xlabel("step", fontsize=8)
            axes.set_xticks(at)
            entitle(axes, f"{text}: {what}")
    finish(grid.flat, legend=[grid[0, 0]])
    return figure


def _discrepancies(found: Coefficients) -> Figure:
    figure, ((axes,),) = panels(1, 3.2)
    rows = [row for row in found["discrepancies"] if row["perturbation"]]
    at = [row["perturbation"] for row in rows]
    kernel = [row["constant"] * abs(row["kernel"]) for row in rows]
    axes.plot(at, [row["bound"] for row in rows], "o-", color=GREY, markersize=4, label="C·S")
    axes.plot(at, kernel, "s--", color=ORANGE, markersize=4, label="C × kernelised discrepancy")
    axes.plot(at, [row["error"] for row in rows], "o-", color=BLUE, markersize=4, label="|γ̃ − γ*|")
    axes.set(xscale="log", yscale="log", xlabel="perturbation of the denoiser")
    entitle(axes, "Error of a coefficient by a wrong score, and its bounds", 70)
    finish([axes], legend=[axes])
    return figure
