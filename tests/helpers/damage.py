"""Files as they are found, and what a failing disk makes of them."""

from __future__ import annotations

import os
from pathlib import Path

ANEW = ("generate.json", "results.json", "report.html")


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run but its locks and what each start writes anew; hidden ones are seen."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != ".locks" and path.name not in ANEW
    }


def shorten(path: Path) -> None:
    """Cuts the file in half."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Turns one bit in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
