"""What guidance asks for: shapes of levels, bases, gifts and ends beside plain choices.

    python research/guided.py [--network NAME] [--steps 5]

A search, so its noises are those that choices are made on (seeds 10000-10095), never judged on.
Results go to research/results/guided.json after every shape; started again it goes on. Printed is
the geometric mean of the ratio to the best plain choice with hindsight, over networks and both
feature sets, and the worst network.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bed import NETWORKS, Bed
from recipe import levels_of
from steindiff._files import write_text
from steindiff._provenance import versions
from steindiff.lab.specs import parse_solver
from steindiff.recipes import COEFFICIENT, flow_levels, leading_levels, lowest_level

RESULTS = Path(__file__).parent / "results" / "guided.json"
GUIDANCE, FIRST_SEED, COUNT, HIGHEST = 4.0, 10_000, 96, 80.0
PLAIN = ("euler", "dpmpp_2m", "unipc:2", "unipc:3", "ipndm:3", "ipndm:4")
SCHEDULES = ("flow 1", "flow 2", "flow 3", "karras", "log_snr", "vp_time")
BASES = ("unipc:2", "dpmpp_2m", "ipndm:3")
SHIFTS, LEADS = (1.0, 1.5, 2.0, 3.0), (1.0, 1.5)
GIFTS = {"g0": replace(COEFFICIENT, last=False), "g.2": COEFFICIENT}
ENDS = ("none", "steady", "linear", "stein")

Cell = dict[str, dict[str, float]]


def shapes(steps: int) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Levels by name: f2 is a flow of shift 2, l1.5 even in log sigma after a step 1.5 times."""
    for shift in SHIFTS:
        yield f"f{shift:g}", flow_levels(steps, shift, HIGHEST)
    for lead in LEADS:
        yield f"l{lead:g}", leading_levels(steps, lowest_level(steps), HIGHEST, lead)


def measure(bed: Bed, cell: Cell, name: str, solver: str, *rest: Any) -> None:
    if name not in cell:
        cell[name] = bed.measure(parse_solver(solver), *rest)


def search(bed: Bed, cell: Cell, steps: int) -> Iterator[None]:
    """Fills a cell; yields where it is worth writing."""
    for schedule, solver in itertools.product(SCHEDULES, PLAIN):
        measure(bed, cell, f"{solver} on {schedule}", solver, levels_of(schedule, steps))
    yield
    for (shape, levels), base in itertools.product(shapes(steps), BASES):
        for (gift, rule), end in itertools.product(GIFTS.items(), ENDS):
            measure(bed, cell, f"{shape}|{base}|{gift}|{end}", base, levels, rule, end)
        yield


def ratios(cell: Cell) -> dict[str, float]:
    """Of each candidate to the best plain one of each feature set: mean over the sets."""
    sets = [key for key in next(iter(cell.values())) if key != "rmse"]
    plain = [figures for name, figures in cell.items() if " on " in name]
    least = {key: min(one[key] for one in plain) for key in sets}
    return {
        name: math.exp(sum(math.log(figures[key] / least[key]) for key in sets) / len(sets))
        for name, figures in cell.items()
        if all(math.isfinite(figures[key]) for key in sets)
    }


def best(cells: Mapping[str, Cell], steps: int, shown: int = 8) -> None:
    """Prints the best plain and the best relaxed fixed choices over the networks."""
    found = [ratios(cell) for place, cell in cells.items() if place.split()[1] == str(steps)]
    for kind, wanted in (("plain", True), ("relaxed", False)):
        names = [n for n in found[0] if (" on " in n) == wanted and all(n in one for one in found)]
        means = {n: math.exp(sum(math.log(one[n]) for one in found) / len(found)) for n in names}
        for name in sorted(names, key=means.__getitem__)[:shown]:
            worst = max(one[name] for one in found)
            print(f"{steps} calls, {len(found)} networks, {kind}: {name} "
                  f"{means[name]:.2f} (worst {worst:.2f})")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--steps", type=int, action="append")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    content: dict[str, Any] = {"cells": {}}
    if chosen.out.exists():
        content = json.loads(chosen.out.read_text())
    counts = chosen.steps or [5, 8]
    for network in chosen.network or NETWORKS:
        bed = Bed(network, GUIDANCE, range(FIRST_SEED, FIRST_SEED + COUNT))
        for steps in counts:
            cell = content["cells"].setdefault(f"{network} {steps}", {})
            for _ in search(bed, cell, steps):
                content.update(
                    command="python research/guided.py", guidance=GUIDANCE,
                    seeds=[FIRST_SEED, FIRST_SEED + COUNT - 1],
                    versions=versions("steindiff", "torch"),
                )  # fmt: skip
                write_text(chosen.out, json.dumps(content, indent=1) + "\n")
    for steps in counts:
        best(content["cells"], steps)


if __name__ == "__main__":
    main()
