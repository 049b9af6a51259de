"""The chapters of the report, in its order: each file is one, from what it measures to figures."""

from __future__ import annotations

from ..statement import Chapter
from . import coefficient, contractivity, decay, energy, identity, modes, preconditioning

CHAPTERS: dict[str, Chapter] = {
    module.CHAPTER.name: module.CHAPTER
    for module in (contractivity, identity, coefficient, decay, preconditioning, energy, modes)
}
