"""Judges the shared prior on networks that it was not fitted to.

    python research/judge_prior.py --out research/results/prior.json
    python research/judge_prior.py --out research/results/prior.json --columns all

Each network in turn is left out of the fit, and the scalars of the others are used on it. A cell's
figure is the Fréchet distance, in features of the network's classifier, of the few-step samples to
the fine solution from the same noises. What has been measured is kept: the second command adds the
columns with the coefficient "energy" to what the first has found.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import steindiff as sd
from bed import Bed, load_network
from fit_prior import FITTED, SIGMA_MAX, SIGMA_MIN, USUAL, Fit, make_fit, script_command
from steindiff._files import sha256, write_text
from steindiff._provenance import machine, versions
from steindiff.calibrated import Calibrated
from steindiff.calibrated.path import relative_rmse
from steindiff.calibrated.run import SEED, fit_paths, prior_scalars
from steindiff.lab.metrics import frechet_distance, paired_bootstrap
from steindiff.lab.specs import parse_range, parse_solver
from steindiff.solvers import Solver
from steindiff.stein import energy

BASES = ("ipndm:3", "dpmpp_2m", "unipc:2", "deis:3", "ipndm:2")
FEW = (5, 8)
FEATURES = "classifier"
RESAMPLES = 200


@dataclass(frozen=True)
class Judged:
    """Features (B, D) of samples, and their relative root mean square error."""

    features: Tensor
    rmse: float


def judged(bed: Bed, solver: Solver, levels: Tensor, coefficient: str | None) -> Judged:
    """How far few-step samples are from the bed's fine solution."""
    x = bed.sample(solver, levels, coefficient)
    return Judged(bed.features(FEATURES, x), relative_rmse(x, bed.fine(SIGMA_MIN)))


def fitted(fits: Sequence[Fit], levels: Tensor, ridge: float) -> Calibrated:
    """A solver with the scalars that these networks share."""
    steps = levels.tolist()
    paths = [fit.path(steps) for fit in fits]
    scalars = fit_paths(paths, prior_scalars("euler", steps)[1], ridge)
    return Calibrated(tuple(steps), scalars)


def plain_columns(bed: Bed, levels: Tensor, shared: Solver) -> dict[str, Any]:
    """The bases and the prior without a coefficient, and the prior's ratio to the best base."""
    target = bed.target(FEATURES, SIGMA_MIN)
    found = {name: judged(bed, parse_solver(name), levels, None) for name in BASES}
    found["prior"] = judged(bed, shared, levels, None)
    columns = {name: figures(one, target) for name, one in found.items()}
    best = min(BASES, key=lambda name: columns[name]["fd"])
    return {
        "columns": columns,
        "best": best,
        "ratio": columns["prior"]["fd"] / columns[best]["fd"],
        "interval": ratio_interval(found["prior"], found[best], target),
    }


def relaxed_columns(bed: Bed, levels: Tensor, shared: Solver, best: str) -> dict[str, Any]:
    """The prior and the best base with the coefficient "energy"."""
    return {
        f"{name} + energy": figures(
            judged(bed, solver, levels, "energy"), bed.target(FEATURES, SIGMA_MIN)
        )
        for name, solver in (("prior", shared), (best, parse_solver(best)))
    }


def figures(judged: Judged, target: Tensor) -> dict[str, float]:
    """Fréchet distance and relative root mean square error, to five digits."""
    return {"fd": _short(frechet_distance(judged.features, target)), "rmse": _short(judged.rmse)}


def ratio_interval(a: Judged, b: Judged, target: Tensor) -> list[float]:
    """The 95% interval of the ratio of distances, over the judged noises."""
    sets = {"a": a.features, "b": b.features}
    found = paired_bootstrap(sets, target, baseline="b", resamples=RESAMPLES)["a"].ratio
    return [_short(found.low), _short(found.high)]


def summary(cells: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Geometric mean and worst of the ratios to the best base, by network and over all."""
    ratios: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        under = cell["columns"][cell["best"]]["fd"]
        for name, column in cell["columns"].items():
            label = "best base + energy" if name == f"{cell['best']} + energy" else name
            for group in (cell["network"], "all"):
                ratios.setdefault(label, {}).setdefault(group, []).append(column["fd"] / under)
    return {
        label: {
            group: {
                "geometric_mean": _short(math.exp(sum(map(math.log, found)) / len(found))),
                "worst": _short(max(found)),
                "cells": len(found),
            }
            for group, found in groups.items()
        }
        for label, groups in ratios.items()
    }


@dataclass
class Store:
    """The results' file: cells that are there already are not measured again."""

    path: Path
    content: dict[str, Any]

    @classmethod
    def open(cls, path: Path, settings: dict[str, Any]) -> Store:
        """What the file holds, or an empty one.

        Raises:
            ValueError: the file holds cells that were measured under other settings.
        """
        content = {**settings, "commands": [], "cells": []}
        if path.is_file():
            found = json.loads(path.read_text())
            for key, value in settings.items():
                if found.get(key) != value:
                    raise ValueError(
                        f"{path} was measured with {key} = {found.get(key)!r}, this is {value!r}; "
                        "give another --out"
                    )
            content |= {key: found[key] for key in ("commands", "cells")}
        if (command := script_command("judge_prior.py")) not in content["commands"]:
            content["commands"].append(command)
        return cls(path, content)

    def cell(self, network: str, schedule: str, nfe: int) -> dict[str, Any] | None:
        """The cell, if it is there."""
        key = network, schedule, nfe
        cells = self.content["cells"]
        return next((c for c in cells if (c["network"], c["schedule"], c["nfe"]) == key), None)

    def save(self) -> None:
        """Writes the file, with a summary of the cells it holds."""
        content = {
            "versions": versions("steindiff", "torch"),
            "machine": machine(torch.device("cpu")),
            **self.content,
            "summary": summary(self.content["cells"]),
        }
        write_text(self.path, json.dumps(content, indent=1) + "\n")


def judge(store: Store, fits: Sequence[Fit], options: argparse.Namespace) -> None:
    """Measures what the store lacks, a network after the other."""
    seeds = range(options.seed, options.seed + options.samples)
    rule = sha256(Path(energy.__file__))
    for fit in fits:
        name = fit.network.name
        if options.only and name not in options.only:
            continue
        bed = Bed(fit.network, seeds=seeds, fine_steps=options.fine_steps)
        others = [other for other in fits if other is not fit]
        for schedule in USUAL:
            for nfe in parse_range(options.nfe, "nfe"):
                levels = sd.schedules.SCHEDULES[schedule](nfe, SIGMA_MIN, SIGMA_MAX)
                cell = store.cell(name, schedule, nfe)
                wanted = options.columns == "all" and (cell or {}).get("energy_sha256") != rule
                if cell is not None and not wanted:
                    continue
                shared = fitted(others, levels, options.ridge)
                if cell is None:
                    cell = {"network": name, "schedule": schedule, "nfe": nfe}
                    cell |= plain_columns(bed, levels, shared)
                    store.content["cells"].append(cell)
                if wanted:
                    cell["columns"] |= relaxed_columns(bed, levels, shared, cell["best"])
                    cell["energy_sha256"] = rule
                store.save()
                print(describe(cell), flush=True)


def describe(cell: Mapping[str, Any]) -> str:
    """A line for a cell."""
    columns = ", ".join(f"{name} {column['fd']:.4g}" for name, column in cell["columns"].items())
    place = f"{cell['network']} {cell['schedule']} {cell['nfe']}"
    low, high = cell["interval"]
    return f"{place}: {columns}; prior/{cell['best']} {cell['ratio']:.3f} ({low:.3f}-{high:.3f})"


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the results")
    parser.add_argument("--columns", choices=("plain", "all"), default="plain")
    parser.add_argument("--only", default=[], action="append", help="a network; repeatable")
    parser.add_argument("--nfe", default=",".join(map(str, FEW)), help="numbers of steps")
    parser.add_argument("--seed", type=int, default=10_000, help="of the first judged noise")
    parser.add_argument("--samples", type=int, default=400, help="judged noises")
    parser.add_argument("--noises", type=int, default=32, help="fitted, of each network")
    parser.add_argument("--fine-steps", type=int, default=30, help="Heun steps, fine solution")
    parser.add_argument("--ridge", type=float, default=0.01)
    options = parser.parse_args()
    seeds = range(2 * SEED, 2 * SEED + options.noises)
    fits = [make_fit(load_network(name), seeds, options.fine_steps) for name in FITTED]
    settings = {
        "networks": {fit.network.name: fit.network.hash for fit in fits},
        "seeds": [options.seed, options.seed + options.samples - 1],
        "n": options.samples,
        "fit": {"seed": seeds[0], "noises": options.noises, "ridge": options.ridge},
        "fine_steps": options.fine_steps,
        "levels": [SIGMA_MAX, SIGMA_MIN],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    judge(Store.open(options.out, settings), fits, options)


if __name__ == "__main__":
    main()
