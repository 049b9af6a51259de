"""What a tuning kept in its folder, read with suspicion: damage is one sentence with its file."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .._errors import shown
from ..trajectory import FineSolution

_DAMAGE = (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, TypeError)
_DAMAGE += (AttributeError, OSError)


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


def read_fine(
    path: Path, known: Sequence[type], device: torch.device | str | None = None
) -> list[FineSolution]:
    """Fine solutions; nothing of the file is run.

    Args:
        path: a file of `torch.save`.
        known: the classes that it may hold.
        device: where the tensors go; left out, where they were.

    Raises:
        ValueError: something else.
    """
    torch.serialization.add_safe_globals(list(known))
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
