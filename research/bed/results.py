"""A file of measured cells that grows: read where it is there, written whole at each step."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from steindiff._files import write_text
from steindiff._provenance import versions

from .networks import NETWORKS


def parser(description: str | None, out: Path) -> ArgumentParser:
    """Asks for what all scripts have that fill a file of cells: networks, guidance and file."""
    found = ArgumentParser(description=description)
    found.add_argument("--network", action="append", choices=NETWORKS)
    found.add_argument("--guidance", type=float, action="append")
    found.add_argument("--out", type=Path, default=out)
    return found


class ResultFile:
    """Cells by name, with the command that measures them and the first and last seed.

    Args:
        path: of the JSON file.
        **about: what else the file tells, such as command and seeds.

    Attributes:
        cells: what the file holds, and what is added; `write` keeps it.
    """

    def __init__(self, path: Path, **about: Any) -> None:
        self.path, self.about = path, about
        self.content: dict[str, Any] = {"cells": {}}
        if path.exists():
            self.content = json.loads(path.read_text())

    @property
    def cells(self) -> dict[str, Any]:
        return self.content["cells"]

    def write(self) -> None:
        """All of it, in one piece."""
        self.content.update(self.about, versions=versions("steindiff", "torch"))
        write_text(self.path, json.dumps(self.content, indent=1) + "\n")
