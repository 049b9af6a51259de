"""One model with its noises and fine solution: samples any solver under any coefficient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._errors import NonFiniteError
from ...composition import compose
from ...denoisers import Denoiser
from ...sampling import noise, sample
from ...solvers import Solver
from ...stein import Coefficient, Oracle
from ...trajectory import FineSolution
from ..subjects import make_subject
from .cell_metrics import Reference
from .grid import Cell, Grid
from .memo import Memo
from .progress import Budget, fine_work
from .results import Diverged

BATCH = 100
OfBatch = Callable[[slice], Coefficient | None]
"""The coefficient for a batch of the noises."""


class Samples(NamedTuple):
    """What one coefficient gave: x (N, *shape); gamma and energy (steps, N); all on the CPU."""

    x: Tensor
    gamma: Tensor
    energy: Tensor
    nfe: int


class SampledModel:
    """What the cells of one model, guidance and set of seeds share.

    Args:
        cell: any of them.
        budget: is told of the evaluations.
    """

    def __init__(self, cell: Cell, grid: Grid, device: str, budget: Budget) -> None:
        self.key, self.grid, self.budget = cell.source, grid, budget
        given = grid.subjects.get(cell.model)
        self.subject = given or make_subject(cell.model, cell.guidance, device)
        self.seeds = cell.seed_list
        self.x = noise(self.subject.shape, grid.sigma_max, self.seeds, device=device)
        self.memo = Memo(self.subject.denoiser)
        count = len(self.x)
        self.parts = [slice(i, min(i + BATCH, count)) for i in range(0, count, BATCH)]
        budget.begin(fine_work(cell, grid))
        self.fine = [self._fine(self.subject.denoiser, part) for part in self.parts]
        self.fine_nfe = self.fine[0].nfe
        self.exact = self._exact()
        self.references: dict[float, Reference] = {}
        budget.finish()

    def sample(
        self,
        solver: Solver,
        levels: Sequence[float],
        of: OfBatch,
        count: int | None = None,
        end: str = "none",
    ) -> Samples | Diverged:
        """All samples, or the first `count`, of a solver under a coefficient and an end."""
        found: list[Samples] = []
        failed: list[NonFiniteError] = []
        for part in self._first(len(self.x) if count is None else count):
            coefficient = of(part)
            relaxed = compose(solver, coefficient, end)
            try:
                found.append(self._batch(relaxed, levels, part))
            except NonFiniteError as error:
                failed.append(error)
        if failed:
            step = min(error.step for error in failed)
            count = sum(len(error.samples) for error in failed)
            return Diverged(step=step, sigma=levels[step], samples=count)
        x, gamma, energy, nfe = zip(*found, strict=True)
        return Samples(torch.cat(x), torch.cat(gamma, dim=1), torch.cat(energy, dim=1), nfe[0])

    def plain(self, solver: Solver, levels: Sequence[float]) -> Tensor | None:
        """The solver without any wrapper, (N, *shape) on the CPU; None if it diverges."""
        try:
            found = [
                sample(
                    self.memo, self.x[part], levels, solver, None,
                    conditioning=self._conditioning(part),
                ).x.cpu()
                for part in self.parts
            ]  # fmt: skip
        except NonFiniteError:
            return None
        return torch.cat(found)

    def features(self, x: Tensor) -> Tensor:
        """(N, D) of samples (N, *shape)."""
        return self.subject.features.features(x)

    def reference(self, sigma: float) -> Reference:
        """The fine solution at the level where a few-step sampling ends."""
        if sigma not in self.references:
            x = self._at(sigma)
            self.references[sigma] = Reference(x, self.features(x), self.exact)
        return self.references[sigma]

    def oracle(self, part: slice, levels: Sequence[float]) -> Oracle:
        """The coefficient of the control "oracle", for a batch."""
        fine = self.fine[self.parts.index(part)]
        return Oracle(tuple(fine.at(level) for level in levels[1:-1]))

    def energies(self, levels: Sequence[float]) -> Tensor:
        """|x|^2/d of the fine solution at each level, (len(levels), N) float64."""
        return torch.stack(
            [self._at(level).double().flatten(1).square().mean(dim=1) for level in levels]
        )

    def _at(self, sigma: float) -> Tensor:
        return torch.cat([fine.at(sigma).cpu() for fine in self.fine])

    def _batch(self, solver: Solver, levels: Sequence[float], part: slice) -> Samples:
        result = sample(
            self.memo, self.x[part], levels, solver, None,
            conditioning=self._conditioning(part), record=True,
        )  # fmt: skip
        assert result.record is not None
        self.budget.advance(result.nfe * len(result.x))
        record = result.record
        return Samples(
            result.x.cpu(), record.gamma.cpu(), record.energy_next.cpu(), result.nfe
        )  # fmt: skip

    def _first(self, count: int) -> list[slice]:
        """The batches of the first `count` samples."""
        return [slice(p.start, min(p.stop, count)) for p in self.parts if p.start < count]

    def _fine(self, denoiser: Denoiser, part: slice) -> FineSolution:
        fine = FineSolution(
            denoiser, self.x[part], self._conditioning(part),
            self.grid.fine_steps, self.grid.sigma_min, self.grid.sigma_max,
        )  # fmt: skip
        self.budget.advance(fine.nfe * (part.stop - part.start))
        return fine

    def _exact(self) -> Tensor | None:
        """Features of the exact denoiser's fine solution, where the model is a perturbed one."""
        exact = self.subject.exact
        if exact is None:
            return None
        return self.features(torch.cat([self._fine(exact, part).x.cpu() for part in self.parts]))

    def _conditioning(self, part: slice) -> dict[str, Any]:
        return self.subject.conditioning(self.seeds[part])
