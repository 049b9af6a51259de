"""Measures one cell: every coefficient from the same noises, its figures and its pictures."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from ...solvers import Solver
from ...stein import Constant
from ..images import to_uint8
from ..metrics import frechet_distance
from .cell_metrics import Reference, count_absurd, distances, figures, spread
from .controls import CHANGES, Changed, GivenGammas, shuffled
from .grid import Cell
from .progress import cell_work
from .results import BASE, CellResult, CoefficientResult, Diverged, Measured, Steps
from .sampled_model import OfBatch, SampledModel, Samples


def measure_cell(
    cell: Cell, source: SampledModel
) -> tuple[CellResult, dict[str, np.ndarray] | None]:
    """The cell's result, and pictures of its first samples where samples can be shown."""
    began = time.monotonic()
    source.budget.begin(cell_work(cell, source.grid))
    sampling = _CellSampling(cell, source)
    sampling.run()
    reference = sampling.reference
    exact = reference.exact
    result = CellResult(
        **msgspec.structs.asdict(cell.axes),
        id=cell.id,
        usual=cell.usual,
        samples=len(source.seeds),
        first_seed=source.seeds[0],
        sigmas=list(cell.levels),
        features=source.subject.features.name,
        reference=f"fine solution from the same noise: Heun, {source.fine_nfe} NFE",
        coefficients=sampling.judged(),
        fine_to_exact=None if exact is None else frechet_distance(reference.features, exact),
        seconds=round(time.monotonic() - began, 2),
    )
    source.budget.finish()
    return result, _pictures(source, sampling.samples, reference)


class _CellSampling:
    """A cell being measured: what each coefficient gave so far."""

    def __init__(self, cell: Cell, source: SampledModel) -> None:
        self.source, self.grid = source, source.grid
        self.solver, self.levels, self.plan = cell.method, cell.levels, cell.plan
        self.reference: Reference = source.reference(self.levels[-1])
        self.results: dict[str, CoefficientResult] = {}
        self.samples: dict[str, Samples] = {}

    def run(self) -> None:
        """Samples with the base, the coefficients and the controls."""
        self._sample(BASE, lambda part: Constant(1.0))
        for name, coefficient in self.grid.parsed.items():
            rule, end = coefficient, self.grid.end
            if self.plan is not None:
                rule, end = self.plan.coefficient, self.plan.end
            self._sample(name, lambda part, rule=rule: rule, end)
        for name in self.grid.controls:
            if name in CHANGES:
                self._sample(
                    name, lambda part: Constant(1.0), solver=Changed(self.solver, *CHANGES[name])
                )
            else:
                getattr(self, f"_{name}")()

    def judged(self) -> dict[str, CoefficientResult]:
        """What every coefficient gave, with its metrics."""
        features = {}
        for name, found in self.samples.items():
            values = self.source.features(found.x)
            absurd = count_absurd(values, self.reference.features)
            if absurd:  # finite, but so far off that no figure means anything
                last = len(self.levels) - 2
                sigma = self.levels[last]
                self.results[name] = Diverged(step=last, sigma=sigma, samples=absurd)
            else:
                features[name] = values
        paired = distances(features, self.reference.features, self.grid.resamples)
        subject, seeds = self.source.subject, self.source.seeds
        energies = self.source.energies(self.levels[1:])
        for name, values in features.items():
            found, (fd, ratio) = self.samples[name], paired[name]
            metrics = figures(subject, found.x, values, self.reference, seeds, self.grid.resamples)
            self.results[name] = msgspec.structs.replace(
                self.results[name],
                metrics=msgspec.structs.replace(metrics, fd=fd),
                ratio=ratio,
                steps=_steps(found, energies),
            )
        return self.results

    def _sample(
        self, name: str, of: OfBatch, end: str = "none", solver: Solver | None = None, **more: Any
    ) -> None:
        found = self.source.sample(solver or self.solver, self.levels, of, end=end)
        if isinstance(found, Diverged):
            self.results[name] = found
            return
        self.samples[name] = found
        self.results[name] = Measured(nfe=found.nfe, **more)

    def _constant(self) -> None:
        """The constant gamma with the least distance on the first samples."""
        swept = {value: self._swept(value) for value in self.grid.sweep}
        best = min(swept, key=lambda value: _or_infinite(swept[value]))
        shown = {f"{value:g}": distance for value, distance in swept.items()}
        self._sample("constant", lambda part: Constant(best), value=best, swept=shown)

    def _swept(self, value: float) -> float | None:
        count = min(self.grid.sweep_samples, len(self.source.seeds))
        found = self.source.sample(self.solver, self.levels, lambda part: Constant(value), count)
        if isinstance(found, Diverged):
            return None
        features = self.source.features(found.x)
        if count_absurd(features, self.reference.features):
            return None
        return frechet_distance(features, self.reference.features[:count])

    def _one(self) -> None:
        """gamma = 1 must be the solver without any wrapper, to the last bit."""
        base, plain = self.samples.get(BASE), self.source.plain(self.solver, self.levels)
        same = plain is None if base is None else plain is not None and torch.equal(plain, base.x)
        self.results["one"] = Measured(equals_base=same)

    def _random(self) -> None:
        first = self.samples.get(self.grid.coefficients[0])
        if first is None or len(self.levels) == 2:  # nothing was relaxed
            return
        gammas = shuffled(first.gamma)
        self._sample("random", lambda part: GivenGammas(gammas[:, part]))

    def _end(self) -> None:
        if self.grid.end != "none":
            self._sample("end", lambda part: Constant(1.0), self.grid.end)

    def _oracle(self) -> None:
        self._sample("oracle", lambda part: self.source.oracle(part, self.levels))


def _steps(found: Samples, energies: Tensor) -> Steps:
    """gamma and energy of every step, the latter over the fine solution's too."""
    return Steps(
        gamma=spread(found.gamma),
        energy=spread(found.energy),
        energy_over_fine=spread(found.energy / energies),
    )


def _or_infinite(distance: float | None) -> float:
    return math.inf if distance is None else distance


def _pictures(
    source: SampledModel, samples: dict[str, Samples], reference: Reference
) -> dict[str, np.ndarray] | None:
    shown = source.grid.shown
    if source.subject.images:
        sets = {name: found.x[:shown] for name, found in samples.items()}
        sets["fine"] = reference.x[:shown]
        pictures = {name: source.subject.pictures(x) for name, x in sets.items()}
        return {name: to_uint8(x) for name, x in pictures.items() if x is not None}
    if source.subject.shape == (2,):
        sets = {f"points:{name}": found.x.numpy() for name, found in samples.items()}
        return {**sets, "points:fine": reference.x.numpy()}
    return None
