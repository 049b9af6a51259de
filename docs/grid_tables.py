"""The tables of rules and controls on all networks, and of how D moves, from research/results."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from recipe_tables import TITLES

import turning
from bed import least_mean, rotation, summary
from grid import DEFAULT, RESULTS, SCHEDULES, Cells, best_on, rows_of, shown, tables_of
from steindiff.lab.tables import plain_table, render


def _cells() -> Cells:
    return json.loads(RESULTS.read_text())["cells"]


def rules(guidance: float, steps: int) -> str:
    """Each rule over the same plain solver: geometric mean and worst cell of every network."""
    tables = tables_of(_cells(), guidance, [steps])
    rows = [[rule, *row] for rule, row in rows_of(tables).items()]
    headings = [
        f"{TITLES[name].split(',')[0]} ({len(table['plain'])})" for name, table in tables.items()
    ]
    return render(plain_table(["rule", *headings, "all"], rows[1:]), "markdown")


def left_out(guidance: float, steps: int) -> str:
    """What the other networks choose among the rules, and what it gives on the one left out."""
    tables = tables_of(_cells(), guidance, [steps])
    rows = []
    for one in rotation(tables, least_mean, summary):
        ours = summary(DEFAULT, tables[one.network])
        rows.append([TITLES[one.network], one.choice, shown(one.figure), shown(ours)])
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


def moves() -> str:
    """How D moves with and without guidance, at the step with the gift."""
    cells = json.loads(turning.RESULTS.read_text())["cells"]
    rows = [[TITLES[row[0]].split(",")[0], *row[1:]] for row in turning.rows(cells)]
    headings = ["network", "guidance", "cosine of the last two moves", "rise of q/(dσ²)"]
    return render(plain_table(headings, rows), "markdown")


TABLES: dict[str, Callable[[], str]] = {
    "grid-rules-1-5": partial(rules, 1, 5),
    "grid-rules-4-5": partial(rules, 4, 5),
    "grid-left-out-1-5": partial(left_out, 1, 5),
    "grid-schedules-1-5": partial(schedules, 1, 5),
    "turning": moves,
}
