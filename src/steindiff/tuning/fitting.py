"""Scalars fitted to levels, levels fitted to a score, and the last step's two numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..calibrated import Calibrated, load_prior
from ..calibrated.path import FewStepPath
from ..calibrated.run import fit_paths
from ..calibrated.solver import Scalars
from .motion import strictly_decreasing
from .trials import Noises

RIDGE = 0.01
GIFTS = (0.0, 0.1, 0.2, 0.4, -0.1)
SHARES = (1.0, 0.5, 0.7, 0.85, 1.15, 1.3)
TRIALS = 24
FIRST, LAST = 0.3, 0.05  # steps of the search, in log sigma


def fit(noises: Noises, levels: Sequence[float]) -> Calibrated:
    """The solver of `calibrate` for these levels, its step into sigma = 0 fitted as well.

    The ridge draws to the shared prior, and into sigma = 0 to the linear end.

    Raises:
        NonFiniteError: the denoiser's output is not finite.
    """
    path = FewStepPath(noises, noises.x, levels, noises.path)
    return Calibrated(tuple(levels), fit_paths([path], _prior(levels), RIDGE))


def _prior(levels: Sequence[float]) -> Scalars:
    *rows, _ = load_prior().scalars(levels)
    linear = levels[-2] / (levels[-3] - levels[-2])
    return (*rows, (linear, 0.0)[: min(len(rows), 2)])


def last_numbers(solver: Calibrated) -> Iterator[Calibrated]:
    """The solver with more or less noise left before its last call, and other weights after it.

    The gift g takes g r (1 - r) off the scalar c of the last step above 0, as that of `Energy`
    does; the weights into sigma = 0 are multiplied. A gift costs the last call, weights nothing.
    """
    *rows, before, end = solver.scalars
    ratio = solver.levels[-2] / solver.levels[-3]
    for gift in GIFTS:
        for share in SHARES:
            given = (*before[:-1], before[-1] - gift * ratio * (1 - ratio))
            ended = tuple(share * weight for weight in end)
            yield replace(solver, scalars=(*rows, given, ended))


def search_levels(
    levels: Sequence[float], lowest: float, score: Callable[[tuple[float, ...]], float]
) -> tuple[float, ...]:
    """Levels of a lower score: a coordinate search in log sigma, from these.

    One level after the other, the lowest first, is moved up and down by a step that is halved when
    no move was good. The first level stays, and so does the last, 0.

    Args:
        levels: to start from; the last is 0.
        lowest: bound of all levels above 0.
        score: of levels; infinite where it is not to go on. It is asked `TRIALS` times at the most.
    """
    best, least, step, left = tuple(levels), score(tuple(levels)), FIRST, TRIALS - 1
    while step >= LAST and left > 0:
        moved = False
        for place in range(len(levels) - 2, 0, -1):
            for way in (-step, step):
                tried = (*best[:place], best[place] * math.exp(way), *best[place + 1 :])
                fits = tried[-2] >= lowest and strictly_decreasing(tried)
                if not fits or left == 0:
                    continue
                left -= 1
                found = score(tried)
                if found < least:
                    best, least, moved = tried, found, True
                    break
        step = step if moved else step / 2
    return best
