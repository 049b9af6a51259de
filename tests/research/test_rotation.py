"""The rotation: a choice is never made with a look at the network that it is judged on."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from bed import LeftOut, least_mean, rotation, summary

RATIOS = {
    "a": {"steady": [0.8, 0.9], "made for a": [0.1, 0.1], "wild": [0.5, 2.0]},
    "b": {"steady": [0.7], "made for a": [1.5], "wild": [0.9]},
    "c": {"steady": [0.9, 0.9, 0.9], "made for a": [1.3, 1.2, 1.4], "wild": [3.0, 3.0, 3.0]},
}


def test_the_left_out_network_has_no_say() -> None:
    """On all three together "made for a" is best; without a it is not, and a does not get it."""
    assert least_mean(RATIOS) == "made for a"
    found = {one.network: one for one in rotation(RATIOS, least_mean, summary)}
    assert found["a"].choice == "steady"
    assert found["a"].figure["geometric_mean"] == pytest.approx(math.sqrt(0.72))
    assert found["b"].choice == found["c"].choice == "made for a"
    assert found["b"].figure == {"geometric_mean": pytest.approx(1.5), "worst": 1.5, "cells": 1}
    assert found["c"].figure["worst"] == 1.4


def test_choose_sees_all_others_and_nothing_else() -> None:
    tables = {name: object() for name in "abcd"}
    seen: list[set[str]] = []
    judged: list[object] = []

    def choose(others: Mapping[str, object]) -> str:
        seen.append(set(others))
        assert all(others[name] is tables[name] for name in others)
        return "-".join(others)

    def report(choice: str, table: object) -> str:
        judged.append(table)
        return choice.upper()

    found = rotation(tables, choose, report)
    assert seen == [set("bcd"), set("acd"), set("abd"), set("abc")]
    assert judged == list(tables.values())
    assert found[1] == LeftOut("b", "a-c-d", "A-C-D")


def test_a_change_of_the_left_out_table_changes_its_figure_but_not_the_choice() -> None:
    before = rotation(RATIOS, least_mean, summary)[1]
    other = {**RATIOS, "b": {"steady": [1e-6], "made for a": [1e6], "wild": [1e-9]}}
    after = rotation(other, least_mean, summary)[1]
    assert after.choice == before.choice == "made for a"
    assert after.figure["worst"] == 1e6


def test_each_network_counts_the_same_however_many_cells_it_has() -> None:
    tables = {
        "many": {"x": [0.9] * 50, "y": [1.0] * 50},
        "few": {"x": [1.0], "y": [0.5]},
    }
    assert least_mean(tables) == "y"


def test_refuses() -> None:
    with pytest.raises(ValueError, match="tables has 1 networks"):
        rotation({"a": RATIOS["a"]}, least_mean, summary)
    with pytest.raises(ValueError, match=r"the table of b has the candidates \['x'\]"):
        least_mean({"a": RATIOS["a"], "b": {"x": [1.0]}})
