"""What a chapter of the report is: a part of the theory that is measured, judged and drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from .diagnosis import Diagnosis

Tell = Callable[[str], object]
"""Is told what is being done."""


class Grade(Enum):
    """What a measurement says about a statement."""

    HOLDS = "holds"
    CONDITIONS = "holds under conditions"
    FAILS = "fails"
    UNDECIDED = "not decided here"


@dataclass(frozen=True)
class Verdict:
    """A statement of the theory in plain words, what was found with its figures, and its grade."""

    statement: str
    found: str
    grade: Grade


class Drawing(NamedTuple):
    """A figure, with the words under it."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Chapter:
    """One part of the theory.

    Attributes:
        name: in results and on the command line.
        title: in the report.
        about: what the theory says, a paragraph.
        fields: the type of what is measured, which results that are read back must have.
        measure: the measurements of a diagnosis.
        judge: verdicts, from the measurements alone.
        draw: figures, likewise.
    """

    name: str
    title: str
    about: str
    fields: Any
    measure: Callable[[Diagnosis, Tell], Any]
    judge: Callable[[Any], list[Verdict]]
    draw: Callable[[Any], list[Drawing]]


def decided(holds: bool, partly: bool) -> Grade:
    """What holds, or else holds partly, or else fails."""
    if holds:
        return Grade.HOLDS
    return Grade.CONDITIONS if partly else Grade.FAILS


def counted(hits: int, total: int) -> Grade:
    """What holds in `hits` of `total` cases: in all, in some, or in none."""
    return decided(hits == total, hits > 0)


def graded(error: float, small: float, bearable: float) -> Grade:
    """What is `error` off: less than `small`, less than `bearable`, or more."""
    return decided(error < small, error < bearable)


def percent(share: float) -> str:
    """A share as percent, with as many digits as say something."""
    text = f"{100 * share:.{0 if abs(share) >= 0.1 else 1}f}%"
    return "0.0%" if text == "-0.0%" else text


def listed(values: list[float]) -> str:
    """Numbers, one after the other."""
    return ", ".join(f"{value:.3g}" for value in values)
