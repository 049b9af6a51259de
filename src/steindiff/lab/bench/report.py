"""The report of a benchmark: one HTML page that holds everything, and its figures as files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from matplotlib.figure import Figure

from ..._files import write_text
from ..folders import claim
from ..report import Picture, inline, make_template, saved, written
from ..tables import Entry
from . import pictures, plots
from .glossary import METRICS, TERMS
from .judging import Effect, coefficients_of, distinct, matching, summarise
from .results import (
    BASE,
    PRODUCT,
    CellRecord,
    CellResult,
    Results,
    cell_file_name,
    read_results,
)
from .store import check_file
from .tables import (
    ALWAYS,
    COUNTED,
    best_table,
    cells_table,
    change_entry,
    coefficients_table,
    groups_table,
    mean_text,
    metrics_table,
)
from .titles import cell_title, schedule_title, solver_title

LISTED = 12  # harmed cells that are named before a fold
MOST_HELPED = 5
SECTIONS = (
    ("summary", "Summary"),
    ("best", "Best against best"),
    ("cells", "All cells"),
    ("curves", "Quality against NFE"),
    ("samples", "Samples"),
    ("steps", "γ and energy"),
    ("glossary", "Glossary"),
)


def write_report(folder: Path) -> Path:
    """Writes `report.html` and `figures/` from the `results.json` and `samples/` in `folder`.

    The page needs no other file and no network. Samples that are missing are left out, as are
    figures of cells that have nothing to draw.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: there is no `results.json`.
        ValueError: it is damaged or of another format, or a file of samples is.
    """
    results, path = read_results(folder), folder / "report.html"
    claim(folder, "bench", overwrite=False)
    (folder / "figures").mkdir(exist_ok=True)
    page = make_template("steindiff.lab.bench", "report.html").render(_context(folder, results))
    write_text(path, page)
    return path


def _context(folder: Path, results: Results) -> dict[str, Any]:
    cells = results.cells
    names = [entry for entry in SECTIONS if cells or entry[0] in ("summary", "glossary")]
    context: dict[str, Any] = {
        "preset": results.preset,
        "complete": results.complete,
        "command": results.command,
        "lead": _lead(results),
        "facts": _facts(results),
        "contents": names,
        "cells": cells,
        "terms": TERMS,
        "metrics": METRICS,
    }
    if not cells:
        return context
    controls = [name for name in coefficients_of(cells) if name != BASE]
    usual = [cell for cell in cells if cell.usual]
    return context | _summary(folder, results) | {
        "groups": groups_table(cells),
        "coefficients": coefficients_table(cells, controls),
        "best": best_table(cells),
        "best_usual": best_table(cells, usual=True),
        "usual": cells_table(usual, [PRODUCT], ("model", "guidance", "schedule", "nfe")),
        "parts": list(_parts(cells, controls)),
        "curves": list(_curves(folder, results)),
        "samples": _grouped(cells, partial(_samples, folder)),
        "steps": _grouped(cells, partial(_steps, folder)),
    }  # fmt: skip


def _lead(results: Results) -> str:
    models = ", ".join(dict.fromkeys(cell.model for cell in results.cells)) or "no model yet"
    samples = sorted({cell.samples for cell in results.cells})
    shown = " or ".join(f"{count:,}" for count in samples) or "no"
    cells = f"{len(results.cells)} cells on {models}"
    return f"{cells}; {shown} samples each; {_duration(results.seconds)}."


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _facts(results: Results) -> list[tuple[str, str]]:
    cells = results.cells
    seeds = sorted({(cell.first_seed, cell.samples) for cell in cells})
    ends = [f"{first} to {first + count - 1} ({count:,} samples)" for first, count in seeds]
    facts = [("Seeds", "; ".join(ends)), ("Interval", results.interval)]
    for name in ("features", "reference"):
        texts = dict.fromkeys(getattr(cell, name) for cell in cells)
        facts.append((name.capitalize(), "; ".join(texts)))
    for name in ("versions", "machine", "grid", "hashes"):
        facts.append((name.capitalize(), _flat(msgspec.to_builtins(getattr(results, name)))))
    return [(name, value) for name, value in facts if value]


def _flat(values: dict[str, Any]) -> str:
    return "; ".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
    )


def _summary(folder: Path, results: Results) -> dict[str, Any]:
    summary = summarise(results.cells)
    by = summary.by_effect
    harmed = [*by[Effect.DIVERGED], *reversed(by[Effect.WORSE])]
    counts = [
        {"effect": kind, "number": summary.count(kind), "text": kind.value}
        for kind in COUNTED
        if summary.count(kind) or kind in ALWAYS
    ]
    overview = plots.overview(results)
    return {
        "counts": counts,
        "mean": mean_text(summary.mean),
        "with_ratio": len(summary.with_ratio),
        "harmed": _named(harmed[:LISTED]),
        "more_harmed": _named(harmed[LISTED:]),
        "harmed_count": len(harmed),
        "neutral": _named(by[Effect.NEUTRAL]),
        "helped": _named(by[Effect.BETTER][:MOST_HELPED]),
        "overview": _saved(folder, "overview", overview, "Change of every cell with its interval"),
    }


def _named(cells: Sequence[CellRecord]) -> list[tuple[str, Entry]]:
    return [(cell_title(cell), change_entry(cell, PRODUCT)) for cell in cells]


def _settings(cells: Sequence[CellResult], *keys: str) -> Iterator[tuple[str, list[CellResult]]]:
    """The cells of each combination of those keys, with its name."""
    for combination in distinct(cells, *keys):
        values = dict(zip(keys, combination, strict=True))
        name = f"{values['model']}, guidance {values['guidance']:g}"
        if "schedule" in values:
            name += f", {schedule_title(values['schedule'])}"
        if "nfe" in values:
            name += f", {values['nfe']} NFE"
        yield name, matching(cells, **values)


def _parts(cells: Sequence[CellResult], coefficients: Sequence[str]) -> Iterator[dict[str, Any]]:
    for name, group in _settings(cells, "model", "guidance", "schedule"):
        group = sorted(group, key=lambda cell: cell.nfe)  # stable: solvers keep their order
        yield {
            "name": name,
            "table": cells_table(group, coefficients, ("nfe",)),
            "metrics": metrics_table(group, [BASE, *coefficients], ("nfe",)),
        }


def _curves(folder: Path, results: Results) -> Iterator[dict[str, Any]]:
    for name, (cell, *_) in _settings(results.cells, "model", "guidance", "schedule"):
        figure = plots.quality_against_nfe(results, cell.model, cell.guidance, cell.schedule)
        file = f"quality/{cell.model}-g{cell.guidance:g}/{cell.schedule}"
        yield {"name": name, "image": _saved(folder, file, figure, f"Quality against NFE: {name}")}


def _grouped(
    cells: Sequence[CellResult], show: Callable[[CellResult], dict[str, Any] | None]
) -> list[dict[str, Any]]:
    """What `show` makes of each cell, by setting; cells of which it makes nothing are left out."""
    groups = [
        {"name": name, "cells": [shown for cell in group if (shown := show(cell))]}
        for name, group in _settings(cells, "model", "guidance", "schedule", "nfe")
    ]
    return [group for group in groups if group["cells"]]


def _steps(folder: Path, cell: CellResult) -> dict[str, Any] | None:
    if not plots.recorded_steps(cell):
        return None
    name = f"γ and energy at each step: {cell_title(cell)}"
    image = _saved(folder, f"steps/{cell.id}", plots.gamma_and_energy(cell), name)
    return {"solver": solver_title(cell.solver), "image": image}


def _samples(folder: Path, cell: CellResult) -> dict[str, Any] | None:
    arrays, file = _arrays(folder / "samples" / f"{cell_file_name(cell.id)}.npz"), cell.id
    shown: dict[str, Any] = {"solver": solver_title(cell.solver), "strips": [], "points": None}
    names = [name for name in pictures.SHOWN if name in arrays]
    if names:
        written(_path(folder, f"samples/{file}"), pictures.sample_grid(arrays, names))
        shown["strips"] = [_strip(cell, name, arrays[name]) for name in names]
    if any(f"points:{name}" in arrays for name in pictures.SHOWN):
        figure = pictures.sample_points(arrays)
        shown["points"] = _saved(folder, f"samples/{file}", figure, f"Samples: {cell_title(cell)}")
    return shown if shown["strips"] or shown["points"] else None


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, none if there is no such file."""
    check_file(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        return {}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged: {error}; remove it to leave its samples out"
        ) from error


def _strip(cell: CellResult, name: str, images: np.ndarray) -> dict[str, Any]:
    title = pictures.picture_title(name)
    strip = pictures.image_strip(images)
    return {"name": title, "image": inline(strip, f"{title}, {cell_title(cell)}", scale=3)}


def _saved(folder: Path, name: str, figure: Figure, alt: str) -> Picture:
    return saved(_path(folder, name), figure, alt)


def _path(folder: Path, name: str) -> Path:
    return folder / "figures" / f"{cell_file_name(name)}.png"
