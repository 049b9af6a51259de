"""The report of a benchmark: one HTML page that holds everything, and its figures as files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..._files import write_text
from ..report import Picture, inline, make_template, saved, written
from . import plots
from .glossary import METRICS, TERMS
from .tables import (
    COUNTED,
    TEXT_COLUMNS,
    Entry,
    best_sheet,
    cells_sheet,
    change_entry,
    groups_sheet,
    mean_text,
    metrics_sheet,
    rules_sheet,
)
from .verdicts import (
    BASE,
    PRODUCT,
    Cell,
    Results,
    Verdict,
    cell_file_name,
    cell_title,
    distinct,
    matching,
    read_results,
    rule_title,
    rules_of,
    schedule_title,
    summarise,
    title,
)

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
    results = read_results(folder)
    (folder / "figures").mkdir(exist_ok=True)
    page = make_template("steindiff.lab.bench", "report.html").render(_context(folder, results))
    path = folder / "report.html"
    write_text(path, page)
    return path


def _context(folder: Path, results: Results) -> dict[str, Any]:
    cells: list[Cell] = results["cells"]
    names = [entry for entry in SECTIONS if cells or entry[0] in ("summary", "glossary")]
    context: dict[str, Any] = {
        "preset": results.get("preset"),
        "complete": results.get("complete", False),
        "command": results.get("command", ""),
        "lead": _lead(results),
        "facts": _facts(results),
        "contents": names,
        "cells": cells,
        "text_columns": TEXT_COLUMNS,
        "terms": TERMS,
        "metrics": METRICS,
    }
    if not cells:
        return context
    controls = [rule for rule in rules_of(cells) if rule != BASE]
    usual = [cell for cell in cells if cell["usual"]]
    return context | _summary(folder, results) | {
        "groups": groups_sheet(cells),
        "rules": rules_sheet(cells, controls),
        "best": best_sheet(cells),
        "best_usual": best_sheet(cells, usual=True),
        "usual": cells_sheet(usual, [PRODUCT], ("model", "guidance", "schedule", "nfe")),
        "parts": list(_parts(cells, controls)),
        "curves": list(_curves(folder, results)),
        "samples": _grouped(cells, partial(_samples, folder)),
        "steps": _grouped(cells, partial(_steps, folder)),
    }  # fmt: skip


def _lead(results: Results) -> str:
    cells = results["cells"]
    models = ", ".join(dict.fromkeys(cell["model"] for cell in cells)) or "no model yet"
    samples = sorted({cell["samples"] for cell in cells})
    shown = " or ".join(f"{count:,}" for count in samples) or "no"
    return f"{len(cells)} cells on {models}; {shown} samples each; {_duration(results)}."


def _duration(results: Results) -> str:
    seconds = results.get("seconds") or 0
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _facts(results: Results) -> list[tuple[str, str]]:
    cells = results["cells"]
    seeds = sorted({(cell["first_seed"], cell["samples"]) for cell in cells})
    ends = [f"{first} to {first + count - 1} ({count:,} samples)" for first, count in seeds]
    facts = [("Seeds", "; ".join(ends)), ("Interval", str(results.get("interval", "")))]
    for name in ("features", "reference"):
        facts.append((name.capitalize(), "; ".join(dict.fromkeys(c[name] for c in cells))))
    for name in ("versions", "machine", "grid", "hashes"):
        facts.append((name.capitalize(), _flat(results.get(name) or {})))
    return [(name, value) for name, value in facts if value]


def _flat(values: dict[str, Any]) -> str:
    return "; ".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
    )


def _summary(folder: Path, results: Results) -> dict[str, Any]:
    cells = results["cells"]
    summary = summarise(cells)
    by = summary.by_verdict
    harmed = [*by[Verdict.DIVERGED], *reversed(by[Verdict.WORSE])]
    counts = [
        {"verdict": kind, "number": summary.count(kind), "text": kind.value}
        for kind in COUNTED
        if summary.count(kind) or kind in (Verdict.BETTER, Verdict.NEUTRAL, Verdict.WORSE)
    ]
    return {
        "counts": counts,
        "mean": mean_text(summary.mean),
        "with_ratio": len(summary.with_ratio),
        "harmed": _named(harmed[:LISTED]),
        "more_harmed": _named(harmed[LISTED:]),
        "harmed_count": len(harmed),
        "neutral": _named(by[Verdict.NEUTRAL]),
        "helped": _named(by[Verdict.BETTER][:MOST_HELPED]),
        "overview": _saved(
            folder, "overview", plots.overview(results), "Change of every cell with its interval"
        ),
    }


def _named(cells: Sequence[Cell]) -> list[tuple[str, Entry]]:
    return [(cell_title(cell), change_entry(cell, PRODUCT)) for cell in cells]


def _settings(cells: Sequence[Cell], *keys: str) -> Iterator[tuple[str, list[Cell]]]:
    """The cells of each combination of those keys, with its name."""
    for combination in distinct(cells, *keys):
        values = dict(zip(keys, combination, strict=True))
        name = f"{values['model']}, guidance {values['guidance']:g}"
        if "schedule" in values:
            name += f", {schedule_title(values['schedule'])}"
        if "nfe" in values:
            name += f", {values['nfe']} NFE"
        yield name, matching(cells, **values)


def _parts(cells: Sequence[Cell], rules: Sequence[str]) -> Iterator[dict[str, Any]]:
    for name, group in _settings(cells, "model", "guidance", "schedule"):
        group = sorted(group, key=lambda cell: cell["nfe"])  # stable: solvers keep their order
        yield {
            "name": name,
            "sheet": cells_sheet(group, rules, ("nfe",)),
            "metrics": metrics_sheet(group, [BASE, *rules], ("nfe",)),
        }


def _curves(folder: Path, results: Results) -> Iterator[dict[str, Any]]:
    for name, group in _settings(results["cells"], "model", "guidance", "schedule"):
        cell = group[0]
        where = (cell["model"], cell["guidance"], cell["schedule"])
        figure = plots.quality_against_nfe(results, *where)
        file = f"quality__{cell['model']}-g{cell['guidance']:g}__{cell['schedule']}"
        yield {"name": name, "image": _saved(folder, file, figure, f"Quality against NFE: {name}")}


def _grouped(cells: Sequence[Cell], show: Any) -> list[dict[str, Any]]:
    """What `show` makes of each cell, by setting; cells of which it makes nothing are left out."""
    groups = [
        {"name": name, "cells": [shown for cell in group if (shown := show(cell))]}
        for name, group in _settings(cells, "model", "guidance", "schedule", "nfe")
    ]
    return [group for group in groups if group["cells"]]


def _steps(folder: Path, cell: Cell) -> dict[str, Any] | None:
    if not plots.recorded_steps(cell):
        return None
    name = f"γ and energy at each step: {cell_title(cell)}"
    image = _saved(folder, f"steps__{cell['id']}", plots.gamma_and_energy(cell), name)
    return {"solver": title(cell["solver"]), "image": image}


def _samples(folder: Path, cell: Cell) -> dict[str, Any] | None:
    arrays = _arrays(folder / "samples" / f"{cell_file_name(cell['id'])}.npz")
    shown: dict[str, Any] = {
        "solver": title(cell["solver"]), "name": title(cell["solver"]), "strips": [], "points": None
    }  # fmt: skip
    rules = [rule for rule in (BASE, PRODUCT, "fine") if rule in arrays]
    if rules:
        written(_figure_path(folder, f"samples__{cell['id']}"), plots.sample_grid(arrays, rules))
        shown["strips"] = [_strip(cell, rule, arrays[rule]) for rule in rules]
    if any(f"points:{rule}" in arrays for rule in (BASE, PRODUCT, "fine")):
        figure = plots.sample_points(arrays)
        alt = f"Samples: {cell_title(cell)}"
        shown["points"] = _saved(folder, f"samples__{cell['id']}", figure, alt)
    return shown if shown["strips"] or shown["points"] else None


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, none if there is no such file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        return {}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged: {error}; remove it to leave its samples out"
        ) from error


def _strip(cell: Cell, rule: str, images: np.ndarray) -> dict[str, Any]:
    name = "fine solution" if rule == "fine" else rule_title(rule)
    strip = plots.image_strip(images)
    return {"name": name, "image": inline(strip, f"{name}, {cell_title(cell)}", scale=3)}


def _saved(folder: Path, name: str, figure: Figure, alt: str) -> Picture:
    return saved(_figure_path(folder, name), figure, alt)


def _figure_path(folder: Path, name: str) -> Path:
    return folder / "figures" / f"{cell_file_name(name)}.png"
