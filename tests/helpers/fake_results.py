"""A folder such as a benchmark writes, made up: plausible figures, and every odd case."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from steindiff.lab.bench.grid import CellAxes, GridRecord
from steindiff.lab.bench.results import CellResult, Results, cell_file_name, read_results

SOLVERS = ("euler", "dpmpp_2m", "ipndm:3", "deis:3", "unipc:2,variant=bh1", "heun")
EFFECT = {"euler": 0.6, "dpmpp_2m": 0.74, "ipndm:3": 0.97, "deis:3": 0.62, "heun": 0.03}
LEVEL = {"euler": 3.1, "dpmpp_2m": 0.9, "ipndm:3": 0.55, "deis:3": 2.2, "heun": 1959.0}


def interval(value: float, width: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": value * (1 - width), "high": value * (1 + width)}


def band(mean: np.ndarray, width: float) -> dict[str, list[float]]:
    return {k: (mean + d * width).tolist() for k, d in (("mean", 0), ("low", -1), ("high", 1))}


def ok(
    nfe: int, fd: float, ratio: float | None, gamma: float, image: bool, **more: Any
) -> dict[str, Any]:
    steps = np.arange(nfe)
    gammas = np.where(steps < nfe - 1, gamma + (1 - gamma) * steps / nfe, 1.0)
    outcome: dict[str, Any] = {
        "status": "ok",
        "nfe": nfe,
        "metrics": {
            "fd": interval(fd),
            "fd_infinity": fd * 0.9 - 0.01,
            "kid": {"value": fd / 500, "std": fd / 5000},
            "precision": 0.8 / (1 + fd / 50),
            "recall": 0.7 / (1 + fd / 50),
            "density": 0.95,
            "coverage": 0.9 / (1 + fd / 50),
            "sliced_wasserstein": math.sqrt(fd) / 10,
            "rmse": 0.1 + fd / 100,
            "relative_error": {"value": 0.2, "low": 0.1, "high": 0.3},
            "modes": {"modes": 10, "covered": 10 if fd < 100 else 7, "kl": fd / 300},
            "variance_ratio": 1.02,
        },
        "steps": {
            "gamma": band(gammas, 0.02),
            "energy": band(80.0 ** (2 - 2 * steps / nfe), 0.1),
            "energy_over_fine": band(
                1 - (0.09 if ratio is None else 0.1 * ratio**2) * steps / nfe, 0.01
            ),
        },
        **more,
    }
    if image:
        outcome["metrics"]["as_label"] = 0.9
    if ratio is not None:
        outcome["ratio"] = interval(ratio, 0.06)
    return outcome


def broken(step: int) -> dict[str, Any]:
    return {"status": "diverged", "step": step, "sigma": 1.2, "samples": 17}


def fake_cell(
    model: str, guidance: float, schedule: str, nfe: int, solver: str, noise: float
) -> dict[str, Any]:
    image = "mixture" not in model
    fd = LEVEL.get(solver, 1.5) * (5 / nfe) ** 2 * guidance * (0.4 if schedule != "karras" else 1)
    fd *= noise * (1 if image else 0.01)
    effect = EFFECT.get(solver, 1.2) ** (5 / nfe) * noise
    rules: dict[str, dict[str, Any]] = {"base": ok(nfe, fd, None, 1.0, image)}
    for rule, scale, more in (
        ("energy", 1.0, {}),
        ("constant", 1.04, {"value": 0.95, "swept": {"0.9": 1.0, "0.95": None}}),
        ("random", 1.08, {}),
        ("oracle", 0.8, {}),
    ):
        rules[rule] = ok(nfe, fd * effect * scale, effect * scale, 0.93, image, **more)
    rules["one"] = {"status": "ok", "equals_base": True}
    return {
        "id": f"{model}-g{guidance:g}/{schedule}/{nfe}/{solver.replace(':', '-')}",
        "model": model,
        "guidance": guidance,
        "schedule": schedule,
        "nfe": nfe,
        "solver": solver,
        "seeds": "0-1999",
        "usual": (schedule == "log_snr") == solver.startswith(("unipc", "dpmpp")),
        "samples": 2000,
        "first_seed": 0,
        "sigmas": np.geomspace(80, 0.01, nfe + 1).round(4).tolist(),
        "features": f"{model}-classifier@e00d" if image else "coordinates",
        "reference": "Heun, 39 NFE, karras, same noise",
        "seconds": 31.2,
        "rules": rules,
    }


def typed(cell: dict[str, Any]) -> CellResult:
    """The cell as results hold it."""
    return msgspec.convert(cell, CellResult)


def _odd(cells: list[dict[str, Any]]) -> None:
    """A control that diverges, a relaxation that does, a base that does, and all of them."""
    if len(cells) < 12:
        return
    cells[1]["rules"]["oracle"] = broken(1)
    cells[-3]["rules"]["energy"] = broken(3)
    cells[-4]["rules"]["base"] = broken(2)
    cells[-4]["rules"]["energy"].pop("ratio")
    for rule in cells[-1]["rules"]:
        cells[-1]["rules"][rule] = broken(1)


def _pictures(rng: np.random.Generator, cell: dict[str, Any]) -> dict[str, np.ndarray]:
    rules = [r for r, outcome in cell["rules"].items() if "metrics" in outcome]
    if "mixture" in cell["model"]:
        angle = rng.integers(0, 8, 400) * math.pi / 4
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        names = [f"points:{rule}" for rule in [*rules, "fine"]]
        return {name: ring + 0.05 * rng.standard_normal((400, 2)) for name in names}
    y, x = np.mgrid[:28, :28]
    centre = rng.uniform(8, 20, (8, 2))
    blob = np.stack([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 40) for a, b in centre])[..., None]
    return {
        rule: (255 * np.clip(blob + 0.06 * rng.standard_normal(blob.shape), 0, 1)).astype(np.uint8)
        for rule in [*rules, "fine"]
    }


def fake_results(
    folder: Path,
    models: Sequence[tuple[str, float]] = (("fashion-mnist", 1.0), ("mixture-rings", 1.0)),
    schedules: Sequence[str] = ("karras", "log_snr"),
    nfe: Sequence[int] = (5, 8, 12),
    solvers: Sequence[str] = SOLVERS,
    seed: int = 0,
    samples: bool = True,
) -> Results:
    """Writes the folder and returns what results.json holds."""
    rng = np.random.default_rng(seed)
    cells = [
        fake_cell(model, guidance, schedule, count, solver, float(rng.uniform(0.9, 1.1)))
        for model, guidance in models
        for schedule in schedules
        for count in nfe
        for solver in solvers
    ]
    _odd(cells)
    results = {
        "format": 1,
        "complete": True,
        "command": "steindiff bench --preset paper --out 'out/a <b>'",
        "preset": "paper",
        "grid": msgspec.to_builtins(GridRecord(cells=[_axes(cell) for cell in cells])),
        "versions": {"steindiff": "0.1.0", "torch": "2.13", "numpy": "2.4", "python": "3.11"},
        "machine": {"cpu": "A processor & co", "threads": 2, "gpu": None},
        "hashes": {model: {"denoiser": "e00d" * 16} for model, _ in models},
        "interval": "95% percentile bootstrap over noises, 200 resamples",
        "seconds": 4321.0,
        "cells": cells,
    }
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results))
    for cell in cells if samples else []:
        pictures: dict[str, Any] = _pictures(rng, cell)
        np.savez(folder / "samples" / f"{cell_file_name(cell['id'])}.npz", **pictures)
    return read_results(folder)


def _axes(cell: dict[str, Any]) -> CellAxes:
    return CellAxes(**{name: cell[name] for name in CellAxes.__struct_fields__})
