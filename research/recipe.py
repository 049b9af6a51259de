"""What docs/evidence/recipe.md rests on: `steps=N` beside every plain choice.

    python research/recipe.py plain     8 solvers x 7 schedules, alone
    python research/recipe.py recipe    `sd.recipe`, and its parts left out one by one
    python research/recipe.py named     `sd.recipe` beside NAMED alone: nothing is ranked
    python research/recipe.py look      pictures of eight noises: best plain choice, recipe, fine

Results go to research/results/recipe.json after every cell; `make docs` makes tables of them.
Started again it goes on. All cells of a network start from the same noises. The plain choices are
ranked on RANKED other noises (at guidance 4 those of search.py rank); the best of them by either
feature set are measured on all, and the best of these is the best plain one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import steindiff as sd
from bed import NETWORKS, Bed, ResultFile, parser
from steindiff.lab.images import to_uint8
from steindiff.lab.picture import image_grid
from steindiff.lab.specs import parse_solver
from steindiff.recipes import Recipe

RESULTS = Path(__file__).parent / "results" / "recipe.json"
PICTURES = Path(__file__).parent / "pictures"
FIRST_SEED, COUNT = 20_000, 512  # of the figures
RANK_SEED, RANKED, KEPT = 10_000, 128, 3  # of the ranking; the recipe was chosen on these as well
LOOKED_SEED, LOOKED = 40_000, 8  # of the pictures
LOWEST, HIGHEST = 0.002, 80.0
SOLVERS = (
    "euler", "dpmpp_2m", "dpmpp_3m", "unipc:2", "unipc:3", "ipndm:3", "ipndm:4", "deis:order=3",
)  # fmt: skip
SCHEDULES = ("karras", "log_snr", "flow 1", "flow 2", "flow 3", "flow 5", "vp_time")
SEARCHED = Path(__file__).parent / "results" / "search.json"  # ranks where it has the cell
FIXED = "ipndm:4 on karras"  # the plain choice that is named in advance
NAMED = ("unipc:2 on vp_time", FIXED)  # the former was the best fixed one of search.py in 20 calls


def levels_of(schedule: str, steps: int) -> list[float]:
    """Levels of a plain choice, from HIGHEST to LOWEST."""
    name, _, shift = schedule.partition(" ")
    if name == "flow":
        return sd.schedules.flow_shift(steps, LOWEST, HIGHEST, float(shift)).tolist()
    return sd.schedules.SCHEDULES[name](steps, LOWEST, HIGHEST).tolist()


class Results(ResultFile):
    """Figures by network, guidance, steps and name, written after each."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            command="python research/recipe.py plain | recipe",
            seeds=[FIRST_SEED, FIRST_SEED + COUNT - 1],
            ranked=[RANK_SEED, RANK_SEED + RANKED - 1],
        )

    def measured(self, place: str, name: str) -> dict[str, float] | None:
        return self.cells.get(place, {}).get(name)

    def add(self, place: str, name: str, figures: dict[str, Any]) -> None:
        self.cells.setdefault(place, {})[name] = figures
        self.write()


def bed_of(network: str, guidance: float, seed: int = FIRST_SEED, count: int = COUNT) -> Bed:
    return Bed(network, guidance, range(seed, seed + count))


def plain(results: Results, network: str, guidance: float, steps: Sequence[int]) -> None:
    """Ranks all plain choices on few noises, and measures the best of them on all."""
    few, bed = bed_of(network, guidance, RANK_SEED, RANKED), bed_of(network, guidance)
    for count in steps:
        place = f"{network} {guidance:g} {count}"
        ranked = _ranked_before(place) or {
            name: _plain(results, few, f"{place} ranked", name, count)
            for schedule, solver in itertools.product(SCHEDULES, SOLVERS)
            for name in [f"{solver} on {schedule}"]
        }
        chosen = {FIXED}
        for features in few.feature_sets:
            chosen |= set(sorted(ranked, key=lambda name: ranked[name][features])[:KEPT])
        for name in sorted(chosen):
            _plain(results, bed, place, name, count)
        print(place, "plain", flush=True)


def _ranked_before(place: str) -> dict[str, dict[str, float]]:
    """The plain choices of search.json for this cell, if it has it."""
    cell = json.loads(SEARCHED.read_text())["cells"].get(place, {})
    return {name: figures for name, figures in cell.items() if " on " in name}


def _plain(results: Results, bed: Bed, place: str, name: str, count: int) -> dict[str, float]:
    """Figures of a plain choice by name, measured where the file does not have them."""
    found = results.measured(place, name)
    if found is None:
        solver, _, schedule = name.partition(" on ")
        found = bed.measure(parse_solver(solver), levels_of(schedule, count))
        results.add(place, name, found)
    return found


def variants(plan: Recipe) -> Iterator[tuple[str, Recipe]]:
    """The recipe, and the recipe without one part at a time; itself where it is plain."""
    parts = {"sigmas": plan.sigmas, "solver": plan.solver, "why": plan.why}
    yield "recipe", plan
    if plan.coefficient is None and plan.end == "none":
        return
    yield "without end", Recipe(coefficient=plan.coefficient, end="none", **parts)
    yield "without coefficient", Recipe(coefficient=None, end=plan.end, **parts)
    yield "levels alone", Recipe(coefficient=None, end="none", **parts)


def recipes(results: Results, network: str, guidance: float, steps: Sequence[int]) -> None:
    bed = bed_of(network, guidance)
    for count in steps:
        for name, plan in variants(sd.recipe(count, guidance)):
            _measure(results, bed, f"{network} {guidance:g} {count}", name, plan)
        print(network, guidance, count, "recipe", flush=True)


def named(results: Results, network: str, guidance: float, steps: Sequence[int]) -> None:
    bed = bed_of(network, guidance)
    for count in steps:
        place = f"{network} {guidance:g} {count} named"
        _measure(results, bed, place, "recipe", sd.recipe(count, guidance))
        for name in NAMED:
            _plain(results, bed, place, name, count)
        print(place, flush=True)


def _measure(results: Results, bed: Bed, place: str, name: str, plan: Recipe) -> None:
    if results.measured(place, name) is None:
        found = bed.measure(plan.solver, plan.sigmas, plan.coefficient, plan.end)
        results.add(place, name, found)


def look(results: Results, network: str, guidance: float, steps: Sequence[int]) -> None:
    """Writes pictures/recipe-NETWORK-GUIDANCE-STEPS.png: best plain choice, recipe, fine solution.

    A row each, a column a noise. The best plain choice is that of the first features, with
    hindsight.
    """
    bed = bed_of(network, guidance, LOOKED_SEED, LOOKED)
    for count in steps:
        plan, cell = sd.recipe(count, guidance), results.cells[f"{network} {guidance:g} {count}"]
        features = bed.feature_sets[0]
        best = min((name for name in cell if " on " in name), key=lambda key: cell[key][features])
        solver, _, schedule = best.partition(" on ")
        plain = bed.sample(parse_solver(solver), levels_of(schedule, count))
        sampled = bed.sample(plan.solver, plan.sigmas, plan.coefficient, plan.end)
        rows = torch.cat([plain, sampled, bed.fine(bed.sigma_min)])
        images = np.concatenate([to_uint8(bed.images(one)) for one in rows.split(LOOKED)])
        path = PICTURES / f"recipe-{network}-{guidance:g}-{count}.png"
        image_grid(images, LOOKED).save(path)
        print(path.name, best, flush=True)


def main() -> None:
    asked = parser(__doc__, RESULTS)
    asked.add_argument("stage", choices=("plain", "recipe", "named", "look"))
    asked.add_argument("--steps", type=int, action="append")
    chosen = asked.parse_args()
    results = Results(chosen.out)
    torch.set_num_threads(1)
    stage = {"plain": plain, "recipe": recipes, "named": named, "look": look}[chosen.stage]
    for guidance, network in itertools.product(
        chosen.guidance or [1.0, 4.0], chosen.network or NETWORKS
    ):
        stage(results, network, guidance, chosen.steps or [5, 8])


if __name__ == "__main__":
    main()
