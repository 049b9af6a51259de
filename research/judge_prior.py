"""Judges the shared prior on networks that it was not fitted to.

    python research/fit_prior.py collect
    python research/judge_prior.py

Each network in turn is left out of the fit, and the prior of the others is used on it: on the
levels of the recipe, with the end "stein", without and with the recipe's coefficient, and on two
usual schedules. The noises are those of recipe.json, so that its plain choices stand beside it.
Figures go to research/results/prior.json after every cell; started again it goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from bed import Bed
from bed.rotation import rotation
from fit_prior import FITTED, Store, fit, levels_of
from recipe import COUNT, FIRST_SEED, RESULTS, bed_of
from steindiff._files import digest, write_text
from steindiff._provenance import versions
from steindiff.calibrated import Calibrated, Prior
from steindiff.recipes import COEFFICIENT

OUT = RESULTS.with_name("prior.json")
STEPS = (5, 8)
CELLS = {
    "recipe": ("recipe", None),
    "recipe, relaxed": ("recipe", COEFFICIENT),
    "karras": ("karras", None),
    "flow 3": ("flow 3", None),
}
"""Schedule and coefficient by name."""


def judge(bed: Bed, prior: Prior, cell: str, steps: int) -> dict[str, float]:
    """Distances of the prior's samples to the fine solution."""
    schedule, coefficient = CELLS[cell]
    levels = levels_of(schedule, steps)
    solver = Calibrated(tuple(levels), prior.scalars(levels))
    return bed.measure(solver, levels, coefficient, "none" if levels[-1] else "stein")


class Figures:
    """The results' file: what it holds is not measured again."""

    def __init__(self, path: Path, equations: str) -> None:
        self.path = path
        self.content = {"cells": {}, "equations": equations}
        if path.is_file():
            self.content = json.loads(path.read_text())
            if self.content["equations"] != equations:
                raise ValueError(f"{path} was measured with other equations; give another --out")

    def add(self, place: str, cell: str, figures: dict[str, float]) -> None:
        """Puts a cell in, and writes the file."""
        self.content["cells"].setdefault(place, {})[cell] = figures
        self.content |= {
            "command": "python research/judge_prior.py",
            "seeds": [FIRST_SEED, FIRST_SEED + COUNT - 1],
            "versions": versions("steindiff", "torch"),
        }
        write_text(self.path, json.dumps(self.content, indent=1) + "\n")

    def has(self, place: str, cell: str) -> bool:
        """Whether a cell is there."""
        return cell in self.content["cells"].get(place, {})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file for the results")
    parser.add_argument("--network", action="append", choices=FITTED, help="repeatable")
    parser.add_argument("--cell", action="append", choices=CELLS, help="repeatable")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = Store()
    tables = store.tables()
    priors = {one.network: one.choice for one in rotation(tables, fit, lambda prior, paths: None)}
    results = Figures(options.out, digest(store.hashes()))
    for network in options.network or FITTED:
        bed = bed_of(network, 1.0)
        for cell in options.cell or CELLS:
            for steps in STEPS:
                if results.has(place := f"{network} {steps}", cell):
                    continue
                results.add(place, cell, judge(bed, priors[network], cell, steps))
                print(place, cell, results.content["cells"][place][cell], flush=True)


if __name__ == "__main__":
    main()
