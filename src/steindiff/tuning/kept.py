"""What a tuning keeps in its folder, and reads there with suspicion.

Damage is one sentence with its file.
"""

from __future__ import annotations

import io
import json
import math
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from .._errors import shown
from .._files import digest, write_text, write_whole
from ..trajectory import FineSolution
from .ranks import by_first
from .trials import Halves

_DAMAGE = (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, TypeError)
_DAMAGE += (AttributeError, OSError)


class Store:
    """What a tuning keeps in a folder, so that it goes on where it was interrupted.

    Args:
        folder: where; None keeps nothing.
        settings: all that the contents depend on.

    Raises:
        ValueError: the folder holds another tuning.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.figures: dict[str, list[float]] = {}
        if folder is not None:
            self._tried = folder / "tried.json"
            self.figures = by_first(lambda: self._opened(folder, settings))

    def _opened(self, folder: Path, settings: Mapping[str, Any]) -> dict[str, list[float]]:
        """The figures that are there already."""
        folder.mkdir(parents=True, exist_ok=True)
        wanted, path = digest(settings), folder / "settings.json"
        if path.is_file() and read_table(path).get("digest") != wanted:
            raise ValueError(
                f"{folder} holds another tuning (network, noises, settings or versions differ); "
                "choose an empty folder"
            )
        write_text(path, json.dumps({"digest": wanted, **settings}, indent=1) + "\n")
        return read_figures(self._tried) if self._tried.is_file() else {}

    def tensors(
        self, name: str, device: torch.device | str, make: Callable[[], list[FineSolution]]
    ) -> list[FineSolution]:
        """Fine solutions from the folder, on this device, or made and written there."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.pt"
        if by_first(path.is_file):
            return read_fine(path, device)
        found, buffer = make(), io.BytesIO()

        def keep() -> None:
            torch.save(found, buffer)
            write_whole(path, lambda file: file.write(buffer.getbuffer()))

        by_first(keep)
        return found

    def remember(self, key: str, make: Callable[[], Iterable[float]]) -> list[float]:
        """Numbers from the folder, or made and written there."""
        if key not in self.figures:
            self.figures[key] = list(make())
            if self.folder is not None:
                by_first(lambda: write_text(self._tried, json.dumps(self.figures)))
        return self.figures[key]


def read_table(path: Path) -> dict[str, Any]:
    """A table in a JSON file.

    Raises:
        ValueError: it is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(path, f"it holds {shown(found)}; a table is needed")
    return found


def read_figures(path: Path) -> dict[str, list[float]]:
    """Lists of numbers by key, infinities among them: what diverges is infinitely far.

    Raises:
        ValueError: something else, or a NaN.
    """
    found = read_table(path)
    for key, values in found.items():
        if not isinstance(values, list) or not all(map(_is_number, values)):
            raise _damaged(path, f"{key[:12]} is {shown(values)}; a list of numbers is needed")
    return found


def read_fine(path: Path, device: torch.device | str) -> list[FineSolution]:
    """Fine solutions of a file of `torch.save`, on this device; nothing of the file is run.

    Raises:
        ValueError: something else.
    """
    torch.serialization.add_safe_globals([FineSolution, Halves])
    try:
        found = torch.load(path, map_location=device, weights_only=True)
    except _DAMAGE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise _damaged(path, first) from error
    if not isinstance(found, list) or not all(isinstance(one, FineSolution) for one in found):
        raise _damaged(path, f"it holds a {type(found).__name__}; fine solutions are needed")
    for one in found:
        if not all(bool(torch.isfinite(state).all()) for state in one.states):
            raise _damaged(path, "it holds NaN or infinite states")
    return found


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return not math.isnan(value)


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is damaged: {why}; without it, what it held is measured again")
