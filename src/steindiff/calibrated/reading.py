"""JSON files of scalars, read with suspicion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .solver import Scalars


def read_json(path: Path, form: str, version: int, what: str) -> dict[str, Any]:
    """The content of a file that says of itself that it is `form`, in that version.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated or no JSON, something else, or another version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; a {what} file is needed")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is truncated or no JSON: {error}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != form:
        raise ValueError(f"{path} is not a {what} file: its format is {found!r}, not {form!r}")
    if content.get("version") != version:
        raise ValueError(
            f"{path} is of version {content.get('version')!r}; version {version} is needed"
        )
    return content


def number(value: Any, name: str) -> float:
    """A number of a JSON file; a flag is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is {value!r}; a number is needed")
    return float(value)


def numbers(value: Any, name: str) -> tuple[float, ...]:
    """A list of numbers."""
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r}; a list of numbers is needed")
    return tuple(number(item, f"{name}[{i}]") for i, item in enumerate(value))


def rows(value: Any, name: str) -> Scalars:
    """A list of lists of numbers."""
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r}; a list of lists of numbers is needed")
    return tuple(numbers(row, f"{name}[{i}]") for i, row in enumerate(value))
