"""Prompts from a file."""

from __future__ import annotations

from pathlib import Path

MOST = 1000
"""Prompts of a file: each is encoded and held in memory."""


def read_prompts(path: Path) -> tuple[str, ...]:
    """The prompts of a text file, one a line.

    Raises:
        ValueError: no such file, no text in UTF-8, no prompts, an empty line, or more than `MOST`.
    """
    if not path.is_file():
        raise ValueError(
            f"prompts file {path} is missing; a text file of one prompt a line is needed"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"prompts file {path} is no text in UTF-8: {error.reason}") from error
    while lines and not lines[-1].strip():
        lines.pop()  # how editors end files
    if not lines:
        raise ValueError(f"prompts file {path} is empty; one prompt a line is needed")
    empty = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if empty:
        raise ValueError(
            f"prompts file {path} has nothing on line {', '.join(map(str, empty[:5]))}; remove it, "
            "or write the prompt there (the empty prompt is that of no --prompts at all)"
        )
    if len(lines) > MOST:
        raise ValueError(
            f"prompts file {path} has {len(lines)} prompts; at most {MOST} are possible"
        )
    return tuple(line.strip() for line in lines)
