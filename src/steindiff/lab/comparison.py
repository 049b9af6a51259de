"""Base beside relaxed beside the fine solution, from the same noise, on any model."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._files import write_whole
from ..composition import AUTO
from ..recipes import COEFFICIENT, END
from .bench.grid import RECIPE, Grid, make_grid
from .bench.judging import distance
from .bench.report import write_report
from .bench.results import (
    BASE,
    CellResult,
    CoefficientResult,
    Diverged,
    Interval,
    cell_file_name,
    read_results,
)
from .bench.run import run_bench
from .bench.titles import solver_title
from .picture import Row, comparison
from .specs import spec_of
from .subjects import Network, Subject, subject_of

COLUMNS = 10
SHIPPED, OTHERS = 512, 32
"""Samples that figures are of, where none are asked for: others' networks take longer."""


@dataclass(frozen=True)
class ComparisonSetting:
    """What is held against each other, in the texts of commands.

    What is left out is what `steindiff sample` and pipelines do on levels that are named: they
    end at 0, and what is relaxed has the end that goes with it.

    Attributes:
        nfe: model calls a sample.
        solvers: as `parse_solver` reads them, or "recipe" for that of `steindiff.sample`.
        coefficient: that the solvers are relaxed with, "auto" for the default; the
            recipe has its own.
        end: how the relaxed solvers step into sigma = 0; the recipe has its own.
        schedules: names of noise schedules.
        final: where their levels end, "zero" or "sigma_min". A solver of two calls a step ends at
            0 where the NFE is odd: a step into 0 takes one call.
        sigma_min: lowest level above 0; no lower than the model's own is used.
        sigma_max: level of the start; no higher than the model's own is used.
        samples: from the same noises; None for `SHIPPED` or `OTHERS`.
        first_seed: of the noises.
        resamples: of the bootstrap.
    """

    nfe: Sequence[int] = (5,)
    solvers: Sequence[str] = ("dpmpp_2m", RECIPE)
    coefficient: str = AUTO
    end: str = END
    schedules: Sequence[str] = ("karras",)
    final: str = "zero"
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    samples: int | None = None
    first_seed: int = 0
    resamples: int = 200


def grid_of(subject: Subject, setting: ComparisonSetting) -> Grid:
    """The bench of one model, without controls.

    Raises:
        ValueError: as `make_grid` does.
    """
    shipped = isinstance(subject, Network)
    name = subject.model if shipped else subject.name
    count = setting.samples or (SHIPPED if shipped else OTHERS)
    coefficient = spec_of(COEFFICIENT) if setting.coefficient == AUTO else setting.coefficient
    cells = {
        "model": name,
        "guidance": subject.guidance,
        "schedule": list(setting.schedules),
        "nfe": list(setting.nfe),
        "solver": list(setting.solvers),
        "seeds": f"{setting.first_seed}-{setting.first_seed + count - 1}",
    }
    content = {
        "coefficients": [coefficient],
        "controls": [],
        "end": setting.end,
        "final": setting.final,
        "sigma_min": max(setting.sigma_min, subject.sigma_min),
        "sigma_max": min(setting.sigma_max, subject.sigma_max),
        "resamples": setting.resamples,
        "shown": COLUMNS,
        "cells": [cells],
    }
    return make_grid(content, {} if shipped else {name: subject})


def draw(out: Path, grid: Grid, subject: Subject) -> Path | None:
    """Writes compare.png: the rows of the first schedule and NFE. None where nothing can be shown.

    Args:
        out: the folder of the finished bench.
        grid: that it ran.
        subject: the model.
    """
    if not subject.images:
        return None
    figure = _figure(out, grid, subject)
    path = out / "compare.png"
    write_whole(path, lambda file: figure.savefig(file, format="png"))
    return path


def _figure(out: Path, grid: Grid, subject: Subject) -> Any:
    first = grid.cells[0]
    cells = [
        cell
        for cell in read_results(out).cells
        if cell.nfe == first.nfe and cell.schedule in (first.schedule, RECIPE)
    ]
    rows: list[Row] = []
    fine = np.empty(0)
    for cell in cells:
        with np.load(out / "samples" / f"{cell_file_name(cell.id)}.npz") as arrays:
            images = dict(arrays)
        fine = images["fine"]
        for name, colour in ((BASE, "#444"), (grid.coefficients[0], "#0a7d33")):
            shown = images.get(name, np.zeros_like(fine))
            rows.append(Row(_label(cell, name), _subtitle(cell.coefficients[name]), shown, colour))
    rows.append(Row("Fine solution", cells[0].reference.rpartition(": ")[2], fine, "#1f4e9c"))
    heading = f"{first.nfe} model evaluations: the solver alone, and with SteinDiff"
    caption = (
        f"Each column starts from the same noise{_asks(subject)} ({first.model}; "
        f"{_levels(cells)}).\nFréchet distance in {_features(subject)} to the fine solution, "
        f"{cells[0].samples} samples, seeds {first.seeds}; smaller is better.\n"
        "Grain that the fine solution has as well is detail that few steps lose, not noise."
    )
    names = [_short(subject.column(seed)) for seed in first.seed_list[:COLUMNS]]
    return comparison(rows, names, heading, caption)


def _label(cell: CellResult, name: str) -> str:
    if cell.solver == RECIPE:
        return "Recipe's levels, plain" if name == BASE else f"Recipe: steps={cell.nfe}"
    return solver_title(cell.solver) + ("" if name == BASE else " + SteinDiff")


def _subtitle(result: CoefficientResult) -> str:
    if isinstance(result, Diverged):
        return f"diverged at step {result.step}"
    fd = distance(result)
    return "no distance" if fd is None else f"Fréchet distance {fd.value:.2f}"


def _levels(cells: Sequence[CellResult]) -> str:
    """Where the rows' levels are from."""
    named = {cell.schedule: None for cell in cells if cell.schedule != RECIPE}
    own = any(cell.schedule == RECIPE for cell in cells)
    parts = [f"schedule {name}" for name in named] + ["the recipe has its own levels"] * own
    return ", ".join(parts)


def _asks(subject: Subject) -> str:
    return " and asks for the same class" if isinstance(subject, Network) else ""


def _features(subject: Subject) -> str:
    if isinstance(subject, Network):
        return "classifier features"
    return f"features of a random network ({subject.features.name})"


def _short(text: str, most: int = 14) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; shows itself in a notebook.

    Attributes:
        folder: with report.html, results.json and, of images, compare.png.
        cells: the figures, one cell a solver, schedule and NFE.
        coefficient: the name of the relaxed one in each cell.
    """

    folder: Path
    cells: tuple[CellResult, ...]
    coefficient: str

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return self.folder / "report.html"

    @property
    def picture(self) -> Path | None:
        """The picture of base, relaxed and fine; None where samples are no images."""
        path = self.folder / "compare.png"
        return path if path.is_file() else None

    @property
    def rows(self) -> list[list[str]]:
        """Solver, NFE, base or relaxed, relative error and feature distance with intervals."""
        return [
            [_label(cell, name), str(cell.nfe), *_measured(cell.coefficients[name])]
            for cell in self.cells
            for name in (BASE, self.coefficient)
        ]

    def __str__(self) -> str:
        table = [list(HEADINGS), *self.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        )

    def _repr_html_(self) -> str:
        from .report import inline_file

        def line(row: Sequence[str], tag: str) -> str:
            cells = "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in row)
            return f"<tr>{cells}</tr>"

        table = line(HEADINGS, "th") + "".join(line(row, "td") for row in self.rows)
        shown = inline_file(self.picture) if self.picture else ""
        return f"{shown}<table>{table}</table>"


HEADINGS = ("solver", "NFE", "relative error", "feature distance")


def _measured(result: CoefficientResult) -> list[str]:
    if isinstance(result, Diverged):
        return [f"diverged at step {result.step}", ""]
    metrics = result.metrics
    return [_interval(metrics and metrics.relative_error), _interval(metrics and metrics.fd)]


def _interval(found: Interval | None) -> str:
    return "" if found is None else f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"


def compare(
    model: Any,
    prompts: Sequence[str] = (),
    *,
    steps: Sequence[int] = (6, 8),
    guidance: float = 1.0,
    solvers: Sequence[str] = ("dpmpp_2m", RECIPE),
    coefficient: str = AUTO,
    end: str = END,
    samples: int | None = None,
    out: str | Path | None = None,
    tell: Callable[[str], object] = lambda text: None,
) -> Comparison:
    """Holds solvers alone and relaxed against a model's own fine solution, from the same noise.

    Args:
        model: a pipeline of diffusers or its folder, a denoiser with its `sample_shape`, a pair
            (denoiser, shape of a sample), a `steindiff.lab.subjects.Given`, or a model's name.
        prompts: of a text-to-image pipeline, in turn.
        steps: model calls a sample.
        guidance: classifier-free guidance scale, of a pipeline or a shipped model.
        solvers: as commands name them; "recipe" is what `steindiff.sample(steps=...)` does.
        coefficient: that the others are relaxed with; "auto" is the default.
        end: how the others step into sigma = 0 where they are relaxed.
        samples: from the same noises, at least 16; 512 of a shipped model and else 32 if left out.
        out: the folder for the report; a new temporary one if left out. Results of the same setting
            that it holds are kept.
        tell: is told what is being measured.

    Raises:
        ValueError: bad options, each named with its value; a model that is none.
        FileExistsError: `out` holds the results of another setting.
    """
    subject = subject_of(model, prompts, guidance)
    setting = ComparisonSetting(
        nfe=steps, solvers=solvers, coefficient=coefficient, end=end, samples=samples
    )
    grid = grid_of(subject, setting)
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="steindiff-compare-"))
    cells = run_bench(grid, folder, device=subject.device, tell=tell)
    draw(folder, grid, subject)
    write_report(folder)
    return Comparison(folder, tuple(cells), grid.coefficients[0])
