"""The results of a diagnosis as `results.json` holds them: their fields, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from ..._errors import unknown_name
from ..typed import read_json
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
    try:
        content: Any = read_json(path, Any)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{error}; remove it to start anew") from None
    ours = isinstance(content, dict) and {"setting", "chapters"} <= content.keys()
    if not ours or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a diagnosis of format {FORMAT}")
    results = _converted(path, content, Results)
    for name, part in results["chapters"].items():
        if name in chapters:
            fields = chapters[name].fields
            part["found"] = _converted(path, part["found"], fields, f"chapter {name!r}: ")
        elif name not in ELSEWHERE:
            raise ValueError(f"{path}: {unknown_name('chapter', name, chapters)}")
    return results


def _converted(path: Path, content: Any, kind: Any, where: str = "") -> Any:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path} is damaged: {where}{error}") from None
