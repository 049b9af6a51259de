"""A part of a matrix of cases that still shows every value of every option."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import pytest

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


def quick(cases: Iterable[T], kept: Collection[T]) -> list[Any]:
    """The cases as parameters, all but those that are kept marked slow; `kept` must be of them."""
    cases = list(cases)
    assert all(case in cases for case in kept), kept
    return [
        case if case in kept else slow(*(case if isinstance(case, tuple) else (case,)))
        for case in cases
    ]


def slow(*case: object) -> Any:
    """A case that `make test` leaves out."""
    return pytest.param(*case, marks=pytest.mark.slow)


def as_text(value: object) -> Hashable:
    """Something to compare a value by that may be a list, an array or a tensor."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(str, value))
    return str(value)
