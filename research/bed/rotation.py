"""Leave one network out: what is chosen is judged on a network that had no say in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Table = TypeVar("Table")
Choice = TypeVar("Choice")
Figure = TypeVar("Figure")

Ratios = Mapping[str, Sequence[float]]
"""By candidate, its ratios to the plain solver: one a cell, the same cells for every candidate."""


@dataclass(frozen=True)
class LeftOut(Generic[Choice, Figure]):
    """What the other networks chose, and what came of it on this one."""

    network: str
    choice: Choice
    figure: Figure


def rotation(
    tables: Mapping[str, Table],
    choose: Callable[[Mapping[str, Table]], Choice],
    report: Callable[[Choice, Table], Figure],
) -> list[LeftOut[Choice, Figure]]:
    """Leaves each network out in turn: chooses on all others, reports on it.

        rotation(ratios, least_mean, summary)

    Args:
        tables: by network, what was measured on it. Everything of a network goes into its one
            table, all schedules and strengths of guidance: what stands in another table could
            have a say in the choice.
        choose: is given the tables of the other networks only.
        report: is given the choice and the table of the network that was left out.

    Raises:
        ValueError: fewer than two networks.
    """
    if len(tables) < 2:
        raise ValueError(f"tables has {len(tables)} networks; two or more are needed")
    found = []
    for name, table in tables.items():
        choice = choose({other: tables[other] for other in tables if other != name})
        found.append(LeftOut(name, choice, report(choice, table)))
    return found


def least_mean(tables: Mapping[str, Ratios]) -> str:
    """The candidate of the least geometric mean; each network counts the same.

    Raises:
        ValueError: the networks do not have the same candidates.
    """
    candidates = list(next(iter(tables.values())))
    for name, table in tables.items():
        if set(table) != set(candidates):
            raise ValueError(
                f"the table of {name} has the candidates {sorted(table)}, not {sorted(candidates)}"
            )
    return min(candidates, key=lambda one: sum(_log_mean(table[one]) for table in tables.values()))


def summary(choice: str, table: Ratios) -> dict[str, float]:
    """Geometric mean, worst and number of a candidate's ratios."""
    ratios = table[choice]
    return {
        "geometric_mean": math.exp(_log_mean(ratios)),
        "worst": max(ratios),
        "cells": len(ratios),
    }


def _log_mean(ratios: Sequence[float]) -> float:
    return sum(math.log(ratio) for ratio in ratios) / len(ratios)
