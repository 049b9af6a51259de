"""A part of a matrix of cases that still shows every value of every option."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def covering(cases: Iterable[tuple[T, Iterable[Hashable]]]) -> list[T]:
    """The cases, in their order, that hold a value which none before them holds.

    Args:
        cases: each with its values, such as ("steps", 7).
    """
    seen: set[Hashable] = set()
    kept = []
    for case, values in cases:
        found = {*values}
        if not found <= seen:
            kept.append(case)
            seen |= found
    return kept


def as_text(value: object) -> Hashable:
    """Something to compare a value by that may be a list, an array or a tensor."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(str, value))
    return str(value)
