"""The shared prior: scalars that fit unlike networks together, by levels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .._files import write_text
from ..schedules import check_sigmas
from .reading import field, naming, numbers, read_json, rows, table, tables, text
from .solver import Scalars, check_scalars, describe_levels, same_levels

FORMAT = "steindiff prior"
VERSION = 1
SHIPPED = Path(__file__).with_name("prior.json")
SAME = 1e-3


@dataclass(frozen=True)
class Entry:
    """The scalars for one set of levels.

    Attributes:
        schedule: name of the schedule.
        sigmas: its levels.
        scalars: as `Calibrated` has them.
        spread: standard deviation of each scalar over the networks, each fitted by itself.
    """

    schedule: str
    sigmas: tuple[float, ...]
    scalars: Scalars
    spread: Scalars

    def __post_init__(self) -> None:
        levels = check_sigmas(self.sigmas)
        check_scalars(self.scalars, levels)
        check_scalars(self.spread, levels)


@dataclass(frozen=True)
class Prior:
    """Scalars for the usual levels.

    Attributes:
        entries: one for each schedule and number of steps.
        provenance: the networks behind it, their hashes, the command.
    """

    entries: tuple[Entry, ...]
    provenance: Mapping[str, Any]

    def scalars(self, levels: Sequence[float]) -> Scalars:
        """The scalars for these levels (relative difference up to 1e-3).

        Raises:
            ValueError: other levels; names the schedules, steps and range that there are.
        """
        for entry in self.entries:
            if same_levels(levels, entry.sigmas, SAME):
                return entry.scalars
        raise ValueError(
            f"sigmas is {describe_levels(levels)}; the shared prior has {self.describe()}"
        )

    def describe(self) -> str:
        """ "karras with 3-12 steps from 80 to 0.002; ...", for messages."""
        steps: dict[tuple[str, float, float], list[int]] = {}
        for entry in self.entries:
            key = entry.schedule, entry.sigmas[0], entry.sigmas[-1]
            steps.setdefault(key, []).append(len(entry.sigmas) - 1)
        return "; ".join(
            f"{schedule} with {_ranges(sorted(counts))} steps from {high:g} to {low:g}"
            for (schedule, high, low), counts in steps.items()
        )


def load_prior(path: Path | None = None) -> Prior:
    """The shipped prior, or that of another file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not a prior, of another version, or with impossible contents.
    """
    return _load(path or SHIPPED)


def save_prior(path: Path, prior: Prior) -> None:
    """Writes a prior, whole or not at all."""
    content = {"format": FORMAT, "version": VERSION, **asdict(prior)}
    write_text(path, json.dumps(content, indent=1) + "\n")


@cache
def _load(path: Path) -> Prior:
    content = read_json(path, FORMAT, VERSION, "prior")
    with naming(path):
        found = tables(field(content, "", "entries"), "entries")
        if not found:
            raise ValueError("entries is empty; a prior has one at least")
        entries = tuple(_entry(one, f"entries[{i}]") for i, one in enumerate(found))
        return Prior(entries, table(field(content, "", "provenance"), "provenance"))


def _entry(content: dict[str, Any], name: str) -> Entry:
    schedule, sigmas, scalars, spread = (
        field(content, name, key) for key in ("schedule", "sigmas", "scalars", "spread")
    )
    found = (
        text(schedule, f"{name}.schedule"),
        numbers(sigmas, f"{name}.sigmas"),
        rows(scalars, f"{name}.scalars"),
        rows(spread, f"{name}.spread"),
    )
    try:
        return Entry(*found)
    except ValueError as error:
        raise ValueError(f"{name}.{error}") from error


def _ranges(counts: Sequence[int]) -> str:
    """[3, 4, 5, 8] -> "3-5, 8"."""
    parts: list[list[int]] = []
    for count in counts:
        if parts and count == parts[-1][-1] + 1:
            parts[-1].append(count)
        else:
            parts.append([count])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
