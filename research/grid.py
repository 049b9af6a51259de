"""Rules and controls beside the plain solver, on the levels that people run.

    python research/grid.py [--guidance 4] [--network NAME] [--steps 5] [--show]

Results go to research/results/grid.json after every solver; started again it goes on. All cells of
a network start from the same noises. Printed is, for each rule, the geometric mean and the worst
of its ratio to the same plain solver, over the cells of a network and both feature sets; what
leaving each network out of the choice of the rule gives on it; and, for each schedule, the best
relaxed solver beside the best plain one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import steindiff as sd
from bed import NETWORKS, Bed, ResultFile, least_mean, parser, rotation, summary
from steindiff.lab.bench.controls import CHANGES, Changed
from steindiff.lab.specs import parse_solver
from steindiff.recipes import COEFFICIENT, UNGUIDED_COEFFICIENT, flow_levels
from steindiff.stein import Coefficient, Constant

RESULTS = Path(__file__).parent / "results" / "grid.json"
FIRST_SEED, COUNT = 30_000, 256
LOWEST, HIGHEST = 0.002, 80.0
SOLVERS = ("euler", "dpmpp_2m", "unipc:2", "ipndm:3", "res_multistep", "gradient_estimation")
SCHEDULES = ("flow 1", "flow 3", "flow 6", "karras", "karras, one left out")

Cells = dict[str, dict[str, dict[str, float]]]
"""By "network guidance steps schedule solver", then by rule: distances by feature set, and rmse."""


@dataclass(frozen=True)
class Rule:
    """What is done to a plain solver.

    Attributes:
        coefficient: what relaxes it.
        end: its step into sigma = 0.
        control: by name, of those that are no coefficient.
    """

    coefficient: Coefficient | None = None
    end: str = "none"
    control: str = ""


ONE_LEVEL = UNGUIDED_COEFFICIENT
FULL_GIFT = replace(ONE_LEVEL, gift=None)
NONE_GIVEN = replace(ONE_LEVEL, last=False)
TWO_LEVELS = replace(FULL_GIFT, law="two")

RULES = {
    "plain": Rule(),
    "steady end": Rule(end="steady"),
    "stein end": Rule(end="stein"),
    "energy, steady end": Rule(COEFFICIENT, "steady"),
    "energy": Rule(COEFFICIENT),
    "one level, steady end": Rule(ONE_LEVEL, "steady"),
    "one level, stein end": Rule(ONE_LEVEL, "stein"),
    "one level": Rule(ONE_LEVEL),
    "full gift": Rule(FULL_GIFT),
    "full gift, steady end": Rule(FULL_GIFT, "steady"),
    "no gift, steady end": Rule(NONE_GIVEN, "steady"),
    "two levels": Rule(TWO_LEVELS),
    "constant .995": Rule(Constant(0.995)),
    "constant .995, steady end": Rule(Constant(0.995), "steady"),
    "TSR": Rule(control="tsr"),
    "epsilon scaling": Rule(control="epsilon_scaling"),
    "more noise": Rule(control="more_noise"),
    "more noise, one level, steady end": Rule(ONE_LEVEL, "steady", "more_noise"),
}

DEFAULT = "energy, steady end"
"""What `relax` and levels of one's own get where nothing is named."""


def levels_of(schedule: str, steps: int) -> tuple[float, ...]:
    """As pipelines make them, the last level 0: a flow's from t = 1, Karras' to .002 before it."""
    name, _, shift = schedule.partition(" ")
    if name == "flow":
        return flow_levels(steps, float(shift), HIGHEST)
    more = steps + 1 if "left out" in schedule else steps
    levels = sd.schedules.karras(more, LOWEST, HIGHEST, final="zero")
    levels = levels if more == steps else sd.schedules.without_penultimate(levels)
    return tuple(levels.tolist())


def measure(bed: Bed, rule: Rule, solver: str, levels: Sequence[float]) -> dict[str, float]:
    """Distances of the bed's samples by this rule."""
    base = parse_solver(solver)
    if rule.control:
        base = Changed(base, *CHANGES[rule.control])
    return bed.measure(base, levels, rule.coefficient, rule.end)


def fill(
    cells: Cells, bed: Bed, steps: int, schedules: Sequence[str], solvers: Sequence[str]
) -> Iterator[None]:
    """Measures what is missing; yields where it is worth writing."""
    for schedule, solver in itertools.product(schedules, solvers):
        place = f"{bed.network.name} {bed.guidance:g} {steps} {schedule} {solver}"
        cell = cells.setdefault(place, {})
        for name, rule in RULES.items():
            if name not in cell:
                cell[name] = measure(bed, rule, solver, levels_of(schedule, steps))
        yield


def ratios(
    cells: Cells, network: str, guidance: float, steps: Sequence[int]
) -> dict[str, list[float]]:
    """By rule, its ratio to the plain solver in every cell and feature set of a network."""
    starts = tuple(f"{network} {guidance:g} {count} " for count in steps)
    found: dict[str, list[float]] = {name: [] for name in RULES}
    for place, cell in cells.items():
        if place.startswith(starts) and set(cell) >= set(RULES):
            for name, figures in cell.items():
                found[name] += [
                    figures[key] / cell["plain"][key] for key in figures if key != "rmse"
                ]
    return found


def tables_of(
    cells: Cells, guidance: float, steps: Sequence[int]
) -> dict[str, dict[str, list[float]]]:
    """`ratios` of every network that has cells there."""
    tables = {name: ratios(cells, name, guidance, steps) for name in NETWORKS}
    return {name: table for name, table in tables.items() if table["plain"]}


def best_on(
    cells: Cells, schedule: str, guidance: float, steps: Sequence[int]
) -> dict[str, list[float]]:
    """The best relaxed solver over the best plain one, by "network steps" and feature set."""
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    for place, cell in cells.items():
        network, strength, count, *rest = place.split(" ")
        if (strength, " ".join(rest[:-1])) == (f"{guidance:g}", schedule) and int(count) in steps:
            found.setdefault(f"{network} {count}", []).append(cell)
    return {
        name: [
            min(one[DEFAULT][key] for one in each) / min(one["plain"][key] for one in each)
            for key in each[0]["plain"]
            if key != "rmse"
        ]
        for name, each in found.items()
    }


def rows_of(tables: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, list[str]]:
    """By rule: geometric mean and worst cell of every network, and the mean over networks."""
    rows = {}
    for rule in RULES:
        each = [summary(rule, table) for table in tables.values()]
        every = math.exp(sum(math.log(one["geometric_mean"]) for one in each) / len(each))
        rows[rule] = [*map(shown, each), f"{every:.2f}"]
    return rows


def shown(figure: Mapping[str, float]) -> str:
    """A `summary` in words: the mean, and the worst in brackets."""
    return f"{figure['geometric_mean']:.2f} ({figure['worst']:.2f})"


def show(cells: Cells, guidance: float, steps: Sequence[int]) -> None:
    """Prints the tables of one guidance."""
    tables = tables_of(cells, guidance, steps)
    print(f"guidance {guidance:g}, {', '.join(map(str, steps))} calls; mean (worst) by network")
    print("  " + " | ".join(["rule", *tables, "all"]))
    for rule, row in rows_of(tables).items():
        print("  " + " | ".join([rule, *row]))
    if len(tables) > 1:
        for one in rotation(tables, least_mean, summary):
            print(f"  {one.network} left out: {one.choice} {shown(one.figure)}")
    for schedule in SCHEDULES:
        found = best_on(cells, schedule, guidance, steps)
        pairs = ", ".join(f"{name} {_pair(values)}" for name, values in found.items())
        print(f"  best relaxed to best plain on {schedule}: {pairs}")


def _pair(values: Sequence[float]) -> str:
    return "/".join(f"{value:.2f}" for value in values)


def main() -> None:
    asked = parser(__doc__, RESULTS)
    asked.add_argument("--steps", type=int, action="append")
    asked.add_argument("--schedule", action="append", choices=SCHEDULES)
    asked.add_argument("--solver", action="append", choices=SOLVERS)
    asked.add_argument("--show", action="store_true", help="print what is there, measure nothing")
    chosen = asked.parse_args()
    torch.set_num_threads(1)
    seeds = range(FIRST_SEED, FIRST_SEED + COUNT)
    results = ResultFile(chosen.out, command="python research/grid.py", seeds=[seeds[0], seeds[-1]])
    strengths, counts = chosen.guidance or [1.0], chosen.steps or [5]
    for strength, network, steps in itertools.product(
        strengths, [] if chosen.show else chosen.network or NETWORKS, counts
    ):
        bed = Bed(network, strength, seeds)
        places = chosen.schedule or SCHEDULES, chosen.solver or SOLVERS
        for _ in fill(results.cells, bed, steps, *places):
            results.write()
    for strength in strengths:
        show(results.cells, strength, counts)


if __name__ == "__main__":
    main()
