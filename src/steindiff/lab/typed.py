"""Plain data (TOML, JSON) into msgspec structs; what does not fit is one sentence."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .._errors import unknown_name

T = TypeVar("T")

_WANTED = re.compile(r"Expected `(?P<kind>.+?)`(?P<bound>.*?)(, got `.+?`)?( - at `(?P<at>.+)`)?")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.+?)`( - at `(?P<at>.+)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<name>.+?)`( - at `(?P<at>.+)`)?")
_WORDS = {"object": "a table", "array": "a list", "str": "a text", "int": "an integer",
          "float": "a number", "bool": "true or false", "null": "nothing"}  # fmt: skip


def convert(content: Any, kind: type[T], whole: str, member: str = "field") -> T:
    """`content` as a struct of that kind; unknown fields and values of other types are refused.

    Args:
        content: plain data.
        kind: the struct.
        whole: what the data are, in words.
        member: what a field of it is called.

    Raises:
        ValueError: names the field, its value, and what is needed.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise _named(str(error), content, kind, whole, member) from None


def read_json(path: Path, kind: type[T]) -> T:
    """The struct in a JSON file. NaN and infinities are no JSON, and damage as any other.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or a folder; the message names it, and the field.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; a file is needed there")
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except RecursionError:
        raise ValueError(f"{path} is damaged: its brackets are nested too deep") from None
    except ValueError as error:  # of msgspec, whose errors are such
        raise ValueError(f"{path} is damaged: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ValueError: it is none.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    except RecursionError:
        raise ValueError(f"{path} is not TOML: its brackets are nested too deep") from None


def _named(message: str, content: Any, kind: type, whole: str, member: str) -> ValueError:
    """The error of msgspec in our words: with the value, which it leaves out."""
    if found := _UNKNOWN.fullmatch(message):
        if found["at"] is None:
            return unknown_name(member, found["name"], kind.__struct_fields__)  # type: ignore[attr-defined]
        return ValueError(f"{_path(found['at'])} has the unknown field {found['name']!r}")
    if found := _MISSING.fullmatch(message):
        return ValueError(f"{_path(found['at']) if found['at'] else whole} has no {found['name']}")
    if found := _WANTED.fullmatch(message):
        name = _path(found["at"]) if found["at"] else whole
        kinds = " or ".join(_WORDS.get(word, word) for word in found["kind"].split(" | "))
        value = _value(content, found["at"] or "$")
        return ValueError(f"{name} is {value!r}; {kinds}{found['bound']} is needed")
    return ValueError(f"{whole}: {message}")


def _path(at: str) -> str:
    return at.removeprefix("$.").removeprefix("$")


def _value(content: Any, at: str) -> Any:
    """What stands at a place such as "$.nfe[1]"."""
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", at):
        content = content[name] if name else list(content)[int(index)]
    return content
