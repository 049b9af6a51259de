"""JSON files of numbers, read with suspicion: whatever is wrong is one sentence with its field."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._errors import shown
from .solver import Scalars

LARGEST = 2**26
"""Bytes of a file; those that we write have some ten thousand."""
MOST = 2**63
"""What integers are below, and above the negative of."""


def read_json(path: Path, form: str, version: int, what: str) -> dict[str, Any]:
    """The content of a file that says of itself that it is `form`, in that version.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated or no JSON, something else, or another version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; a {what} file is needed")
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{path} has {size} bytes; a {what} file has at most {LARGEST}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is no JSON: its brackets are nested too deep") from None
    except ValueError as error:  # of text that is no UTF-8, and of integers without end, too
        raise ValueError(f"{path} is truncated or no JSON: {error}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != form:
        raise ValueError(f"{path} is not a {what} file: its format is {shown(found)}, not {form!r}")
    found = content.get("version")
    if isinstance(found, bool) or found != version:
        raise ValueError(f"{path} is of version {shown(found)}; version {version} is needed")
    return content


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file in front of what is wrong with a field."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


@contextlib.contextmanager
def inside(place: str) -> Iterator[None]:
    """Puts the place in front of what is wrong there."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error


def table(content: Any, name: str) -> dict[str, Any]:
    """A table of a JSON file, whose fields `name.field` are; all raise ValueError, as this does."""
    return _of(content, name, isinstance(content, dict), "a table")


def field(content: Any, name: str, key: str) -> Any:
    """The field of a table; `name` is the table's, "" for the whole file."""
    found = table(content, name or "its content")
    if key not in found:
        raise ValueError(f"{key!r} is missing{f' in {name}' if name else ''}")
    return found[key]


def tables(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of tables."""
    _of(value, name, isinstance(value, list), "a list of tables")
    return [table(one, f"{name}[{i}]") for i, one in enumerate(value)]


def text(value: Any, name: str) -> str:
    """A text."""
    return _of(value, name, isinstance(value, str), "a text")


def texts(value: Any, name: str) -> dict[str, str]:
    """A table of texts."""
    return {key: text(one, f"{name}.{key}") for key, one in table(value, name).items()}


def flag(value: Any, name: str) -> bool:
    """True or false."""
    return _of(value, name, isinstance(value, bool), "true or false")


def integer(value: Any, name: str, low: int = -MOST) -> int:
    """An integer of `low` or more; a flag is none."""
    fits = isinstance(value, int) and not isinstance(value, bool) and low <= value < MOST
    wanted = "an integer" if low == -MOST else f"an integer >= {low}"
    return _of(value, name, fits, wanted)


def number(value: Any, name: str, low: float = -math.inf) -> float:
    """A finite number of `low` or more; a flag is none."""
    _of(value, name, not isinstance(value, bool) and isinstance(value, (int, float)), "a number")
    wanted = "a finite number" if low == -math.inf else f"a finite number >= {low:g}"
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    _of(value, name, math.isfinite(found) and found >= low, wanted)
    return found


def numbers(value: Any, name: str, low: float = -math.inf) -> tuple[float, ...]:
    """A list of finite numbers of `low` or more."""
    _of(value, name, isinstance(value, list), "a list of numbers")
    return tuple(number(item, f"{name}[{i}]", low) for i, item in enumerate(value))


def rows(value: Any, name: str) -> Scalars:
    """A list of lists of finite numbers."""
    _of(value, name, isinstance(value, list), "a list of lists of numbers")
    return tuple(numbers(row, f"{name}[{i}]") for i, row in enumerate(value))


def items(value: Any, name: str) -> list[Any]:
    """A list of anything."""
    return _of(value, name, isinstance(value, list), "a list")


def _of(value: Any, name: str, fits: bool, wanted: str) -> Any:
    if not fits:
        raise ValueError(f"{name} is {shown(value)}; {wanted} is needed")
    return value
