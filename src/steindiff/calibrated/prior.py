"""The shared prior: scalars that fit unlike networks together, for any levels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from operator import mul
from pathlib import Path
from typing import Any

from .._files import write_text
from .reading import field, naming, number, read_json, rows, table
from .solver import KEEP, Scalars, scalar_counts

FORMAT = "steindiff prior"
VERSION = 1
SHIPPED = Path(__file__).with_name("prior.json")
SIZES = {"second": (3, KEEP - 1), "later": (6, KEEP)}
"""Of the tables of a prior: how many of `powers` they have rows for, and scalars in a row."""


@dataclass(frozen=True)
class Prior:
    """Each scalar of `Calibrated` as a polynomial of two numbers of its step.

    They are q = 1 - exp(-h) and q_0 = 1 - exp(-h_0): h is the step in -ln sigma, h_0 the one
    before. So the scalars depend on the ratios of the levels alone, and serve any schedule, number
    of steps and scale of the data. The first step is Euler's. A step shorter or longer than all
    that were fitted has the scalars of the shortest or the longest one.

    Attributes:
        second: the scalars (a, c) of the second step, a row for each of the first three `powers`.
        later: the scalars (a, b, c) of all steps after it, a row for each of `powers`.
        shortest: the shortest step h that was fitted.
        longest: the longest one.
        provenance: the networks behind it, their hashes, the command.

    Raises:
        ValueError: another number of rows or columns than that, or 0 < shortest < longest is not
            the case.
    """

    second: Scalars
    later: Scalars
    shortest: float
    longest: float
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, found in (("second", self.second), ("later", self.later)):
            terms, columns = SIZES[name]
            if [len(row) for row in found] != [columns] * terms:
                raise ValueError(
                    f"{name} has rows of {[len(row) for row in found]} numbers; {terms} rows of "
                    f"{columns} are needed"
                )
        if not 0 < self.shortest < self.longest < math.inf:
            raise ValueError(
                f"shortest is {self.shortest:g} and longest {self.longest:g}; "
                "0 < shortest < longest is needed"
            )

    def scalars(self, levels: Sequence[float]) -> Scalars:
        """The scalars for these levels, as `Calibrated` has them; none into sigma = 0."""
        found = []
        for i, count in enumerate(scalar_counts(levels)):
            if count < 2:
                found.append((0.0,) * count)
                continue
            terms = powers(*(self._share(*levels[k : k + 2]) for k in (i, i - 1)))
            columns = zip(*(self.later if count == KEEP else self.second), strict=True)
            found.append(tuple(sum(map(mul, terms, column)) for column in columns))
        return tuple(found)

    def _share(self, high: float, low: float) -> float:
        """1 - exp(-h) of a step."""
        h = math.log(high / low)
        return 1 - math.exp(-min(max(h, self.shortest), self.longest))


def powers(q: float, before: float) -> tuple[float, ...]:
    """The products up to the second degree: 1, q, q_0, q^2, q q_0, q_0^2."""
    return 1.0, q, before, q * q, q * before, before * before


def load_prior(path: Path | None = None) -> Prior:
    """The shipped prior, or that of another file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not a prior, of another version, or with impossible contents.
    """
    return _read(path) if path is not None else _shipped(SHIPPED)


def save_prior(path: Path, prior: Prior) -> None:
    """Writes a prior, whole or not at all."""
    content = {"format": FORMAT, "version": VERSION, **asdict(prior)}
    write_text(path, json.dumps(content, indent=1) + "\n")


@cache
def _shipped(path: Path) -> Prior:
    """Read once: it does not change while we run, as any other file may."""
    return _read(path)


def _read(path: Path) -> Prior:
    content = read_json(path, FORMAT, VERSION, "prior")
    with naming(path):
        return Prior(
            rows(field(content, "", "second"), "second"),
            rows(field(content, "", "later"), "later"),
            number(field(content, "", "shortest"), "shortest"),
            number(field(content, "", "longest"), "longest"),
            table(field(content, "", "provenance"), "provenance"),
        )
