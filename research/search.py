"""What few steps ask for: shapes of levels, bases, gifts and ends beside plain choices.

    python research/search.py shapes [--guidance 4] [--network NAME] [--steps 5]
    python research/search.py last [--guidance 4] [--network NAME] [--steps 8] [--count 128]
                                   [--only "u1.35|*"] [--plain "unipc:2 on vp_time"]

`shapes` is broad and on few noises; `last` is on more of them, for how the last steps should be
made: the length of the last one, coefficient and end each by itself, down to the plain choice.
A search, so its noises are those that choices are made on, never those of recipe.py's figures.
Results go to a file of research/results after every shape; started again it goes on. Printed is
the geometric mean of the ratio to the best plain choice with hindsight, over networks and both
feature sets, and the worst network; and what leaving each network out of the choice gives on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from bed import NETWORKS, Bed, ResultFile, least_mean, parser, rotation
from recipe import levels_of
from steindiff.lab.specs import parse_solver
from steindiff.recipes import (
    GUIDED_COEFFICIENT,
    LEAD,
    UNGUIDED_COEFFICIENT,
    between_levels,
    flow_levels,
    leading_levels,
    lowest_level,
    vp_levels,
)

RESULTS = Path(__file__).parent / "results"
FIRST_SEED, HIGHEST = 10_000, 80.0
COUNTS = {"shapes": 96, "last": 256}  # of noises
FILES = {"shapes": "search.json", "last": "last.json"}
PLAIN = ("euler", "dpmpp_2m", "unipc:2", "unipc:3", "ipndm:3", "ipndm:4")
SCHEDULES = ("flow 1", "flow 2", "flow 3", "karras", "log_snr", "vp_time")
BASES = ("unipc:2", "dpmpp_2m", "ipndm:3")
SHIFTS = {1.0: (2.0, 3.0), 4.0: (1.0, 1.5, 2.0, 3.0)}  # by guidance
LEADS = {1.0: (1.25, 2.0), 4.0: (1.0, 1.5)}
LOWS = (0.1, 0.2, 0.3)  # at 5 calls
GIFTS = {"g0": GUIDED_COEFFICIENT, "g.2": UNGUIDED_COEFFICIENT}
LESSER = replace(UNGUIDED_COEFFICIENT, law="lesser")
ENDS = ("none", "steady", "linear", "stein")

LASTS = (1.0, 1.35, 1.7, 2.1)  # last step of VP time, in units of the others
SHARES, POWERS = (0.0, 0.25, 0.5, 0.75, 1.0), (2.0, 1.5, 1.0)  # of VP time; of the last level
LAST_PLAIN = {
    True: (
        "unipc:2 on vp_time", "unipc:3 on vp_time", "dpmpp_2m on vp_time", "ipndm:3 on vp_time",
        "unipc:2 on flow 2", "unipc:2 on flow 1", "unipc:3 on flow 1",
    ),
    False: (
        "unipc:2 on vp_time", "unipc:3 on vp_time", "ipndm:3 on vp_time", "ipndm:3 on log_snr",
        "ipndm:4 on karras",
    ),
}  # fmt: skip
LAST_RULES = {
    True: {"none": None, "g0": GUIDED_COEFFICIENT},
    False: {"none": None, **GIFTS, "lesser": LESSER},
}
LAST_ENDS = {True: ("none", "steady"), False: ("none", "stein")}  # guided or not

Cell = dict[str, dict[str, float]]


def shapes(steps: int, guidance: float) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Levels by name.

    f2 is a flow of shift 2, l1.5 even in log sigma after a step 1.5 times, v0.2 of VP time to .2,
    then 0.
    """
    for shift in SHIFTS[guidance]:
        yield f"f{shift:g}", flow_levels(steps, shift, HIGHEST)
    for lead in LEADS[guidance]:
        yield f"l{lead:g}", leading_levels(steps, lowest_level(steps), HIGHEST, lead)
    for low in LOWS:
        low *= 5 / steps
        yield f"v{low:g}", vp_levels(steps, low, HIGHEST)


def measure(bed: Bed, cell: Cell, name: str, solver: str, *rest: Any) -> None:
    if name not in cell:
        cell[name] = bed.measure(parse_solver(solver), *rest)


def search(bed: Bed, cell: Cell, steps: int) -> Iterator[None]:
    """Fills a cell; yields where it is worth writing."""
    for schedule, solver in itertools.product(SCHEDULES, PLAIN):
        measure(bed, cell, f"{solver} on {schedule}", solver, levels_of(schedule, steps))
    yield
    for (shape, levels), base in itertools.product(shapes(steps, bed.guidance), BASES):
        for (gift, rule), end in itertools.product(GIFTS.items(), ENDS):
            measure(bed, cell, f"{shape}|{base}|{gift}|{end}", base, levels, rule, end)
        yield


def last_shapes(steps: int, guided: bool) -> Iterator[tuple[str, str, tuple[float, ...]]]:
    """Levels and base by name.

    Without guidance s0.5^1.5 is halfway between even in log sigma and VP time, down to a last
    level that falls with the steps to the power of 1.5. Guided, u2 is even in the root of VP time
    down to 0, but for a last step twice as long as the others; v and l are of VP time and even in
    log sigma, to the level of the power 2.
    """
    if not guided:
        for base, power, share in itertools.product(("ipndm:3", "unipc:2"), POWERS, SHARES):
            low = lowest_level(steps, power)
            even, vp = leading_levels(steps, low, HIGHEST, LEAD), vp_levels(steps, low, HIGHEST)
            yield f"s{share:g}^{power:g}", base, between_levels(even, vp, share)
        return
    low = lowest_level(steps)
    yield f"l{LEAD:g}", "ipndm:3", leading_levels(steps, low, HIGHEST, LEAD)
    for length in LASTS:
        yield f"u{length:g}", "unipc:2", vp_levels(steps, _lowest(steps, length), HIGHEST)
    yield "l1.5", "unipc:2", leading_levels(steps, low, HIGHEST, 1.5)
    yield "v", "unipc:2", vp_levels(steps, low, HIGHEST)


def _lowest(steps: int, length: float) -> float:
    """The level above 0 of a u."""
    first, slope = 0.1, 19.9  # beta(t) = first + slope t: ln(1 + sigma^2) is its integral
    whole = math.log1p(HIGHEST**2)
    time = 2 * whole / (math.sqrt(first**2 + 2 * slope * whole) + first)
    time *= (length / (steps - 1 + length)) ** 2
    return math.sqrt(math.expm1(first * time + slope * time**2 / 2))


def search_last(
    bed: Bed, cell: Cell, steps: int, only: Sequence[str], plain: Sequence[str]
) -> Iterator[None]:
    """Fills a cell of `last` with what matches one of the patterns; yields where to write."""
    guided = bed.guidance != 1
    for name in plain or LAST_PLAIN[guided]:
        solver, _, schedule = name.partition(" on ")
        measure(bed, cell, name, solver, levels_of(schedule, steps))
        yield
    for shape, base, levels in last_shapes(steps, guided):
        for (gift, rule), end in itertools.product(LAST_RULES[guided].items(), LAST_ENDS[guided]):
            name = f"{shape}|{base}|{gift}|{end}"
            if any(fnmatchcase(name, pattern) for pattern in only):
                measure(bed, cell, name, base, levels, rule, end)
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


def best(cells: Mapping[str, Cell], guidance: float, steps: int, shown: int = 8) -> None:
    """Prints the best fixed choices over the networks: plain, relaxed, and of both."""
    found = {
        place.split()[0]: ratios(cell)
        for place, cell in cells.items()
        if place.split()[1:] == [f"{guidance:g}", str(steps)]
    }
    for kind, wanted in (("plain", (True,)), ("relaxed", (False,)), ("all", (True, False))):
        names = [
            name for name in next(iter(found.values()))
            if (" on " in name) in wanted and all(name in one for one in found.values())
        ]  # fmt: skip
        tables = {net: {name: [one[name]] for name in names} for net, one in found.items()}
        means = {name: _mean([one[name] for one in found.values()]) for name in names}
        print(f"guidance {guidance:g}, {steps} calls, {len(found)} networks, {kind}:")
        for name in sorted(names, key=means.__getitem__)[:shown]:
            worst = max(one[name] for one in found.values())
            print(f"  {name} {means[name]:.2f} (worst {worst:.2f})")
        if len(found) > 1:
            out = rotation(tables, least_mean, lambda choice, table: table[choice][0])
            rows = ", ".join(f"{one.network} {one.figure:.2f} ({one.choice})" for one in out)
            print(f"  left out: {_mean([one.figure for one in out]):.2f}: {rows}")


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def main() -> None:
    asked = parser(__doc__, RESULTS)
    asked.add_argument("stage", choices=list(FILES))
    asked.add_argument("--steps", type=int, action="append")
    asked.add_argument("--first", type=int, default=FIRST_SEED)
    asked.add_argument("--count", type=int, help="of noises")
    asked.add_argument("--only", action="append", help="of last alone: patterns of names")
    asked.add_argument("--plain", action="append", help="of last alone: not all of them")
    chosen = asked.parse_args()
    torch.set_num_threads(1)
    count = chosen.count or COUNTS[chosen.stage]
    seeds = range(chosen.first, chosen.first + count)
    command = f"python research/search.py {chosen.stage}"
    results = ResultFile(chosen.out / FILES[chosen.stage], command=command)
    strengths, counts = chosen.guidance or [4.0], chosen.steps or [5, 8]
    for guidance, network in itertools.product(strengths, chosen.network or NETWORKS):
        bed = Bed(network, guidance, seeds)
        for steps in counts:
            place = f"{network} {guidance:g} {steps}"
            cell = results.cells.setdefault(place, {})
            results.content.setdefault("noises", {})[place] = [seeds[0], seeds[-1]]
            if chosen.stage == "last":
                parts = search_last(bed, cell, steps, chosen.only or ["*"], chosen.plain or ())
            else:
                parts = search(bed, cell, steps)
            for _ in parts:
                results.write()
    for guidance, steps in itertools.product(strengths, counts):
        best(results.cells, guidance, steps)


if __name__ == "__main__":
    main()
