"""What a chapter of the report is: it measures, judges what it measured, and draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from ..setting import Setting

Found = dict[str, Any]
"""What a chapter measured, as JSON can hold it."""

Tell = Callable[[str], object]
"""Is told what is being done."""


class Outcome(Enum):
    """What a measurement says about a statement."""

    HOLDS = "holds"
    CONDITIONS = "holds under conditions"
    FAILS = "fails"
    UNDECIDED = "not decided here"


@dataclass(frozen=True)
class Verdict:
    """A statement of the theory, and what was found.

    Attributes:
        statement: in plain words.
        found: what was measured, with its figures.
        outcome: what that says.
    """

    statement: str
    found: str
    outcome: Outcome


class Drawing(NamedTuple):
    """A figure, or an animated GIF, with the words under it."""

    name: str
    caption: str
    content: Figure | bytes


@dataclass(frozen=True)
class Chapter:
    """One part of the theory.

    Attributes:
        name: in results and on the command line.
        title: in the report.
        about: what the theory says, a paragraph.
        measure: the measurements on a setting.
        judge: verdicts, from the measurements alone.
        draw: figures, likewise.
    """

    name: str
    title: str
    about: str
    measure: Callable[[Setting, Tell], Found]
    judge: Callable[[Found], list[Verdict]]
    draw: Callable[[Found], list[Drawing]]


def counted(hits: int, total: int) -> Outcome:
    """What holds in `hits` of `total` cases: in all, in some, or in none."""
    if hits == total:
        return Outcome.HOLDS
    return Outcome.CONDITIONS if hits else Outcome.FAILS


def graded(error: float, small: float, bearable: float) -> Outcome:
    """What is `error` off: less than `small`, less than `bearable`, or more."""
    if error < small:
        return Outcome.HOLDS
    return Outcome.CONDITIONS if error < bearable else Outcome.FAILS


def percent(share: float) -> str:
    """A share as percent, with as many digits as say something."""
    text = f"{100 * share:.{0 if abs(share) >= 0.1 else 1}f}%"
    return "0.0%" if text == "-0.0%" else text


def interval(found: dict[str, float], digits: int = 3) -> str:
    """A value with its interval."""
    return f"{found['value']:.{digits}g} [{found['low']:.{digits}g}, {found['high']:.{digits}g}]"
