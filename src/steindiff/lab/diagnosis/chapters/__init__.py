"""The chapters of the report, in its order: one file each."""

from __future__ import annotations

from . import coefficient, contractivity, decay, energy, identity, modes, plane, preconditioning
from .base import Chapter, Drawing, Found, Outcome, Tell, Verdict

CHAPTERS: dict[str, Chapter] = {
    module.CHAPTER.name: module.CHAPTER
    for module in (
        contractivity,
        identity,
        coefficient,
        decay,
        preconditioning,
        energy,
        modes,
        plane,
    )
}

__all__ = ["CHAPTERS", "Chapter", "Drawing", "Found", "Outcome", "Tell", "Verdict"]
