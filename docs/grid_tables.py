"""The tables of rules and controls on all networks, from research/results/grid.json."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial

from recipe_tables import TITLES

from bed import least_mean, rotation, summary
from grid import RESULTS, RULES, SCHEDULES, Cells, best_on, tables_of
from steindiff.lab.tables import plain_table, render


def _cells() -> Cells:
    return json.loads(RESULTS.read_text())["cells"]


def rules(guidance: float, steps: int) -> str:
    """Each rule over the same plain solver: geometric mean and worst cell of every network."""
    tables = tables_of(_cells(), guidance, [steps])
    rows = []
    for rule in RULES:
        each = [summary(rule, table) for table in tables.values()]
        mean = math.exp(sum(math.log(one["geometric_mean"]) for one in each) / len(each))
        row = [f"{one['geometric_mean']:.2f} ({one['worst']:.2f})" for one in each]
        rows.append([rule, *row, f"{mean:.2f}"])
    headings = [
        f"{TITLES[name].split(',')[0]} ({len(table['plain'])})" for name, table in tables.items()
    ]
    return render(plain_table(["rule", *headings, "all"], rows[1:]), "markdown")


def left_out(guidance: float, steps: int) -> str:
    """What the other networks choose among the rules, and what it gives on the one left out."""
    tables = tables_of(_cells(), guidance, [steps])
    rows = []
    for one in rotation(tables, least_mean, summary):
        ours = summary("energy, steady end", tables[one.network])
        rows.append([
            TITLES[one.network], one.choice, *(
                f"{found['geometric_mean']:.2f} ({found['worst']:.2f})"
                for found in (one.figure, ours)
            ),
        ])  # fmt: skip
    return render(plain_table(["left out", "chosen", "there", "the default"], rows), "markdown")


def schedules(guidance: float, steps: int) -> str:
    """Best relaxed over best plain on each schedule, first and second feature set."""
    found = {name: best_on(_cells(), name, guidance, [steps]) for name in SCHEDULES}
    places = list(dict.fromkeys(place for each in found.values() for place in each))
    rows = [
        [
            TITLES[place.split()[0]],
            *(
                " / ".join(f"{value:.2f}" for value in each.get(place, []))
                for each in found.values()
            ),
        ]
        for place in places
    ]
    return render(plain_table(["network", *found], rows), "markdown")


TABLES: dict[str, Callable[[], str]] = {
    f"grid-{table.__name__.replace('_', '-')}-{guidance}-{steps}": partial(table, guidance, steps)
    for table in (rules, left_out, schedules)
    for guidance in (1, 4)
    for steps in (5, 8)
}
