"""The results of a diagnosis as `results.json` holds them: their fields, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from ..._errors import unknown_name
from .chapters import CHAPTERS
from .statement import Chapter

FORMAT = 1
NAME = "results.json"
ELSEWHERE = ("plane",)
"""Chapters that docs/figures adds to the same file; the report passes them over."""


class DiagnosisSetting(TypedDict):
    """What tells a diagnosis from another."""

    model: str
    shape: list[int]
    solver: str
    coefficient: str
    schedule: str
    steps: int
    sigma_min: float
    sigma_max: float
    first_seed: int
    sizes: dict[str, int | list[int]]


class Part(TypedDict):
    """A chapter that was measured: what was found, and how long it took."""

    seconds: float
    found: Any


class Results(TypedDict):
    """All of the file; chapters are in the order in which they were measured."""

    format: int
    command: str
    setting: DiagnosisSetting
    versions: dict[str, str]
    machine: dict[str, str | int | None]
    chapters: dict[str, Part]


def read_diagnosis(folder: Path, chapters: Mapping[str, Chapter] = CHAPTERS) -> Results:
    """What `run_chapters` wrote into `folder`.

    Args:
        folder: with a `results.json`.
        chapters: those whose fields are checked; others are unknown.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: damaged, of another format, or with a chapter that is unknown or whose fields
            are not those of `chapters`; the file and the field are named.
    """
    path = folder / NAME
    raw = path.read_bytes()
    _check_format(path, raw)
    results = _decoded(path, raw, Results, "")
    for name, part in results["chapters"].items():
        if name in chapters:
            found = msgspec.json.encode(part["found"])
            part["found"] = _decoded(path, found, chapters[name].fields, f"chapter {name!r}: ")
        elif name not in ELSEWHERE:
            raise ValueError(f"{path}: {unknown_name('chapter', name, chapters)}")
    return results


def _check_format(path: Path, raw: bytes) -> None:
    try:
        found = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:  # no JSON, no text, or nested without end
        raise ValueError(f"{path} is damaged: {_said(error)}; remove it to start anew") from None
    ours = isinstance(found, dict) and {"setting", "chapters"} <= found.keys()
    if not ours or found.get("format") != FORMAT:
        raise ValueError(f"{path} is not a diagnosis of format {FORMAT}")


def _decoded(path: Path, raw: bytes, fields: Any, where: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=fields)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {where}{_said(error)}") from None


def _said(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
