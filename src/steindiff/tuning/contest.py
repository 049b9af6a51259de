"""The contest for one number of steps: who is tried, who goes on, and whether the winner holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice

from .._errors import NonFiniteError
from .._files import digest
from ..calibrated import Calibrated
from ..calibrated.solver import scalar_counts
from ..recipes import Recipe, recipe
from . import candidates
from .candidates import Candidate
from .checks import screening
from .fitting import GIFTS, SHARES, TRIALS, fit, last_numbers, search_levels
from .judge import Figures, Judge
from .kept import Store
from .motion import Motion
from .record import Choice, Tried
from .trials import Budget, Parts
from .verdict import Finals, verdict

PLAIN_KEPT, SHAPES_KEPT, SHAPES_VARIED, VARIANTS_KEPT, SHAPES_FITTED = 8, 8, 3, 8, 3
"""How many go on from the noises that screen to all, and from stage to stage."""


class Contest:
    """Measures candidates on held-out noises: on a third of them first, the best then on all.

    Args:
        parts: the noises.
        judging: the judge of some of them.
        guidance: of the denoiser.
        budget: what may be spent.
        store: what is known already.
        steps: number of steps.
        levels: the lowest level above 0, and the highest.
        high: where samplings start: the highest level, or pure noise.
        found: how D moves.
    """

    def __init__(
        self, parts: Parts, judging: Callable[..., Judge], guidance: float, budget: Budget,
        store: Store, steps: int, levels: tuple[float, float], high: float, found: Motion,
    ) -> None:  # fmt: skip
        self.parts, self.judging, self.guidance = parts, judging, guidance
        self.budget, self.store, self.steps, self.motion = budget, store, steps, found
        (self.sigma_min, self.sigma_max), self.high = levels, high
        self.screening = judging([parts.screen], inner=None)
        self.judge = judging([parts.screen, parts.rest])
        self.tried: dict[Candidate, Figures] = {}

    def choice(self, fit: bool) -> Choice:
        """The contest, stage by stage, and its verdict on the fresh noises."""
        plan = recipe(self.steps, self.guidance, self.sigma_max)
        own = self._opened(Candidate("recipe", plan))
        path = self.parts.fit.path
        self._race(candidates.plain(self.steps, self.sigma_min, self.sigma_max), PLAIN_KEPT)
        self._race([own], 1)
        self._race(candidates.gits(path, self.steps), len(candidates.GITS_ORDERS))
        shapes = candidates.shapes(plan, path, self.motion, self.sigma_min)
        self._race(shapes, SHAPES_KEPT)
        self._race(candidates.variants(self._best_levels(SHAPES_VARIED)), VARIANTS_KEPT)
        if fit:
            self._fit(plan.end)
        return self._verdict(own)

    def _race(self, field: Sequence[Candidate], keep: int) -> None:
        """Screens all that the budget allows, and measures the best of them on all noises.

        Room for these is kept while screening.
        """
        screened: list[tuple[float, Candidate]] = []
        for one in map(self._opened, field):
            room = min(keep, len(screened) + 1) * (self.steps + 1) * len(self.judge.fine)
            known = self.tried or screened  # one candidate there must be
            if known and not self.budget.allows(self.steps * len(self.screening.fine) + room):
                break
            screened.append((self.screening.score(self._measured(one, self.screening)), one))
        screened.sort(key=lambda pair: pair[0])
        for _, one in screened[:keep]:
            self._enter(one)

    def _opened(self, one: Candidate) -> Candidate:
        """The same from pure noise, where that is the start: its highest level is moved there."""
        sigmas = (self.high, *one.recipe.sigmas[1:])
        return replace(one, recipe=replace(one.recipe, sigmas=sigmas))

    def _enter(self, one: Candidate) -> float:
        """The score on all held-out noises; infinite where the budget ends."""
        if one not in self.tried:
            if self.tried and not self.budget.allows((self.steps + 1) * len(self.judge.fine)):
                return math.inf
            self.tried[one] = self._measured(one, self.judge)
        return self.judge.score(self.tried[one])

    def _measured(self, one: Candidate, judge: Judge) -> Figures:
        key = digest([len(judge.parts), repr(one)])
        found = self.store.remember(key, lambda: judge.figures(judge.sampled(one.recipe)))
        return Figures(*found)

    def _ranked(self, *kinds: str) -> list[Candidate]:
        found = [one for one in self.tried if not kinds or one.kind in kinds]
        return sorted(found, key=lambda one: self.judge.score(self.tried[one]))

    def _best_levels(self, count: int) -> list[Recipe]:
        """The recipes of the best, each with other levels."""
        found: dict[tuple[float, ...], Recipe] = {}
        for one in self._ranked("recipe", "chosen", "fitted"):
            found.setdefault(one.recipe.sigmas, one.recipe)
        return list(found.values())[:count]

    def _fit(self, end: str) -> None:
        """Scalars on the best levels; the levels of the best; the last step of the best."""
        for shape in self._best_levels(SHAPES_FITTED):
            solver = self._solver(shape.sigmas)
            if solver is not None:
                self._race(candidates.fitted_variants(solver, shape, end), VARIANTS_KEPT)
        best = self._ranked("recipe", "chosen", "fitted")
        if best:
            search_levels(best[0].recipe.sigmas, self.sigma_min, partial(self._at, best[0]))
        for one in self._ranked("fitted"):
            if isinstance(solver := one.recipe.solver, Calibrated):
                for other in last_numbers(solver) if solver.scalars[-1] else ():
                    plan = replace(one.recipe, solver=other, end="none")
                    self._enter(Candidate("fitted", plan))
                break

    def _at(self, one: Candidate, levels: tuple[float, ...]) -> float:
        """The score of a candidate on other levels, its scalars fitted to them."""
        plan = replace(one.recipe, sigmas=levels, why="levels fitted")
        if isinstance(plan.solver, Calibrated):
            solver = self._solver(levels)
            if solver is None:
                return math.inf
            plan = replace(plan, solver=solver)
        return self._enter(Candidate("fitted", plan))

    def _solver(self, levels: tuple[float, ...]) -> Calibrated | None:
        """The solver fitted to these levels; None where the budget ends or it diverges."""
        key = digest(["fit", levels])
        allowed = self.budget.allows(self.steps * len(self.parts.fit.x))
        if key not in self.store.figures and not allowed:
            return None
        try:
            found = self.store.remember(key, lambda: chain(*fit(self.parts.fit, levels).scalars))
        except NonFiniteError:
            return None
        flat = iter(found)
        rows = [tuple(islice(flat, count)) for count in scalar_counts(levels)[:-1]]
        return Calibrated(levels, (*rows, tuple(flat)))

    def _verdict(self, own: Candidate) -> Choice:
        """Of the best fitted, the best that nothing was fitted for, and the recipe."""
        unfitted = [kind for kind in candidates.KINDS if kind not in ("plain", "fitted")]
        best = [*self._ranked("fitted")[:1], *self._ranked(*unfitted)[:1], own]
        finalists = list(dict.fromkeys([*(one for one in self._ranked() if one in best), own]))
        finals, fresh = (
            Finals(self.judging([part])) for part in (self.parts.finals, self.parts.fresh)
        )
        tried = [
            Tried(one.kind, one.words, found, self.judge.score(found))
            for one in self._ranked()
            for found in [self.tried[one]]
            if math.isfinite(found.error) and math.isfinite(found.frechet)
        ]
        return verdict(finalists, self._ranked("plain")[0], own, finals, fresh, tried)


def verdict_evaluations(steps: int, held_out: int, fresh: int) -> int:
    """The most evaluations of a verdict: three finalists, with the plain solver on fresh noises."""
    return held_out * (3 * (steps + 1) + 1) + fresh * (4 * (steps + 1) + 1)


def most_evaluations(steps: int, noises: int, held_out: int, fresh: int, fit: bool) -> int:
    """The most evaluations of a contest; ends share all calls of a sampling."""
    rules, peers = len(candidates.COEFFICIENTS), len(candidates.GITS_ORDERS)
    screened = len(candidates.plain(steps, 0.5, 1.0)) + 1 + peers + candidates.most_shapes()
    screened += SHAPES_VARIED * len(candidates.BASES) * rules
    entered = PLAIN_KEPT + 1 + peers + SHAPES_KEPT + VARIANTS_KEPT
    fits = 0
    if fit:
        screened += SHAPES_FITTED * rules
        entered += SHAPES_FITTED * VARIANTS_KEPT + TRIALS + len(GIFTS) * len(SHARES)
        fits = SHAPES_FITTED + TRIALS
    return (
        held_out * ((steps + 1) * entered + 1)
        + verdict_evaluations(steps, held_out, fresh)
        + steps * (screening(held_out) * screened + noises * fits)
    )
