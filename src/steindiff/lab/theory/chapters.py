"""The chapters of the report, in its order."""

from __future__ import annotations

from . import decay
from .coefficient import chapter as coefficient
from .contractivity import chapter as contractivity
from .energy import chapter as energy
from .identity import chapter as identity
from .modes import chapter as modes
from .preconditioning import chapter as preconditioning
from .statement import Chapter

CHAPTERS: dict[str, Chapter] = {
    module.CHAPTER.name: module.CHAPTER
    for module in (contractivity, identity, coefficient, decay, preconditioning, energy, modes)
}
