"""Judges the shared prior on networks that it was not fitted to.

    python research/fit_prior.py collect
    python research/judge_prior.py [--guidance 1] [--network NAME] [--cell NAME]

Each network in turn is left out of the fit, which is without guidance, and the prior of the others
is used on it: on the levels of the recipe, with the recipe's end, without and with its coefficient,
and on usual schedules. The noises are those of recipe.json, so that its plain choices stand beside
it: for the recipe's levels those of its figures, for the schedules those of its ranks, which are of
every plain solver on them. Figures go to research/results/prior.json after every cell; started
again it goes on.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch

import search
import steindiff as sd
from bed import Bed, ResultFile
from bed.rotation import rotation
from fit_prior import FITTED, Store, fit, levels_of
from recipe import COUNT, FIRST_SEED, RANK_SEED, RANKED, RESULTS, bed_of
from steindiff._files import digest
from steindiff.calibrated import Calibrated, Prior

OUT = RESULTS.with_name("prior.json")
STEPS = (5, 8)
SCHEDULES = ("karras", "log_snr", "flow 3")
CELLS = ("recipe", "recipe, relaxed", *(f"{name} ranked" for name in SCHEDULES))


def judge(bed: Bed, prior: Prior, cell: str, steps: int) -> dict[str, float]:
    """Distances of the samples of a cell to the fine solution."""
    if (schedule := cell.removesuffix(" ranked")) in SCHEDULES:
        levels = levels_of(schedule, steps)
        return bed.measure(Calibrated(tuple(levels), prior.scalars(levels)), levels)
    plan = sd.recipe(steps, bed.guidance)
    own = Calibrated(plan.sigmas, prior.scalars(plan.sigmas))
    return bed.measure(own, plan.sigmas, plan.coefficient if "relaxed" in cell else None, plan.end)


def opened(path: Path, equations: str) -> ResultFile:
    """The results' file: what it holds is not measured again.

    Raises:
        ValueError: it is of priors of other equations.
    """
    results = ResultFile(
        path,
        command="python research/judge_prior.py",
        seeds=[FIRST_SEED, FIRST_SEED + COUNT - 1],
        equations=equations,
    )
    if results.content.get("equations", equations) != equations:
        raise ValueError(f"{path} was measured with other equations; give another --out")
    return results


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file for the results")
    parser.add_argument("--network", action="append", choices=FITTED, help="repeatable")
    parser.add_argument("--guidance", type=float, action="append", help="repeatable; default 1")
    parser.add_argument("--cell", action="append", choices=CELLS, help="repeatable")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = Store()
    tables = store.tables()
    priors = {one.network: one.choice for one in rotation(tables, fit, lambda prior, paths: None)}
    results = opened(options.out, digest(store.hashes()))
    for network, guidance in itertools.product(
        options.network or FITTED, options.guidance or [1.0]
    ):
        ranked = RANKED if guidance == 1 else search.COUNTS["shapes"]
        beds = bed_of(network, guidance), bed_of(network, guidance, RANK_SEED, ranked)
        for cell, steps in itertools.product(options.cell or CELLS, STEPS):
            place = f"{network} {guidance:g} {steps}"
            cells = results.cells.setdefault(place, {})
            if cell not in cells:
                cells[cell] = judge(beds[cell.endswith("ranked")], priors[network], cell, steps)
                results.write()
                print(place, cell, cells[cell], flush=True)


if __name__ == "__main__":
    main()
