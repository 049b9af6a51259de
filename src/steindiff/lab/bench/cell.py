"""Measures one cell: every rule from the same noises, its figures and its pictures."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...stein import Constant
from ..images import to_uint8
from ..metrics import frechet_distance
from ..specs import parse_coefficient, parse_solver
from .grid import Cell, sigmas_of
from .measure import Reference, count_absurd, distances, figures, spread
from .rules import Replay, shuffled
from .source import Divergence, Rule, Samples, Source
from .work import cell_work

Outcomes = dict[str, dict[str, Any]]


def measure_cell(cell: Cell, source: Source) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
    """The cell's result, and pictures of its first samples where samples can be shown."""
    began = time.monotonic()
    source.budget.begin(cell_work(cell, source.grid))
    measured = _Measurement(cell, source)
    measured.run()
    content = {
        "id": cell.id,
        **asdict(cell),
        "usual": cell.usual,
        "samples": len(source.seeds),
        "first_seed": source.seeds[0],
        "sigmas": measured.levels,
        "features": source.subject.features.name,
        "reference": f"fine solution from the same noise: Heun, {source.fine_nfe} NFE",
        "rules": measured.figures(),
    }
    reference = measured.reference
    if reference.exact is not None:
        content["fine_to_exact"] = frechet_distance(reference.features, reference.exact)
    content["seconds"] = round(time.monotonic() - began, 2)
    source.budget.finish()
    return content, _pictures(source, measured.samples, reference)


class _Measurement:
    """A cell being measured: what each rule gave so far."""

    def __init__(self, cell: Cell, source: Source) -> None:
        self.source, self.grid = source, source.grid
        self.solver = parse_solver(cell.solver)
        self.levels: list[float] = sigmas_of(cell, source.grid).tolist()
        self.reference: Reference = source.reference(self.levels[-1])
        self.outcomes: Outcomes = {}
        self.samples: dict[str, Samples] = {}

    def run(self) -> None:
        """Samples with the base, the coefficients and the controls."""
        self._rule("base", lambda part: Constant(1.0))
        for name in self.grid.coefficients:
            self._rule(name, lambda part, name=name: parse_coefficient(name))
        for name in self.grid.controls:
            getattr(self, f"_{name}")()

    def figures(self) -> Outcomes:
        """The outcome of every rule, with its metrics."""
        features = {}
        for rule, found in self.samples.items():
            values = self.source.features(found.x)
            absurd = count_absurd(values, self.reference.features)
            if absurd:  # finite, but so far off that no figure means anything
                last = len(self.levels) - 2
                self.outcomes[rule] = Divergence(last, self.levels[last], absurd).to_dict()
            else:
                features[rule] = values
        paired = distances(features, self.reference.features, self.grid.resamples)
        subject, seeds = self.source.subject, self.source.seeds
        energies = self.source.energies(self.levels[1:])
        for rule, values in features.items():
            found = self.samples[rule]
            fd = paired[rule].pop("fd")
            metrics = figures(subject, found.x, values, self.reference, seeds)
            self.outcomes[rule] |= {
                "metrics": {"fd": fd, **metrics},
                **paired[rule],
                "steps": _steps(found, energies),
            }
        return self.outcomes

    def _rule(self, name: str, rule: Rule, **more: Any) -> None:
        found = self.source.sample(self.solver, self.levels, rule)
        if isinstance(found, Divergence):
            self.outcomes[name] = found.to_dict()
            return
        self.samples[name] = found
        self.outcomes[name] = {"status": "ok", "nfe": found.nfe, **more}

    def _constant(self) -> None:
        """The constant gamma with the least distance on the first samples."""
        swept = {value: self._swept(value) for value in self.grid.sweep}
        best = min(swept, key=lambda value: _or_infinite(swept[value]))
        shown = {f"{value:g}": distance for value, distance in swept.items()}
        self._rule("constant", lambda part: Constant(best), value=best, swept=shown)

    def _swept(self, value: float) -> float | None:
        count = min(self.grid.sweep_samples, len(self.source.seeds))
        found = self.source.sample(self.solver, self.levels, lambda part: Constant(value), count)
        if isinstance(found, Divergence):
            return None
        features = self.source.features(found.x)
        if count_absurd(features, self.reference.features):
            return None
        return frechet_distance(features, self.reference.features[:count])

    def _one(self) -> None:
        """gamma = 1 must be the solver without any wrapper, to the last bit."""
        base, plain = self.samples.get("base"), self.source.plain(self.solver, self.levels)
        same = plain is None if base is None else plain is not None and torch.equal(plain, base.x)
        self.outcomes["one"] = {"status": "ok", "equals_base": same}

    def _random(self) -> None:
        first = self.samples.get(self.grid.coefficients[0])
        if first is None or len(self.levels) == 2:  # nothing was relaxed
            return
        gammas = shuffled(first.gamma)
        self._rule("random", lambda part: Replay(gammas[:, part]))

    def _oracle(self) -> None:
        self._rule("oracle", lambda part: self.source.oracle(part, self.levels))


def _steps(found: Samples, energies: Tensor) -> dict[str, Any]:
    """gamma and energy of every step, the latter over the fine solution's too."""
    return {
        "gamma": spread(found.gamma),
        "energy": spread(found.energy),
        "energy_over_fine": spread(found.energy / energies),
    }


def _or_infinite(distance: float | None) -> float:
    return math.inf if distance is None else distance


def _pictures(
    source: Source, samples: dict[str, Samples], reference: Reference
) -> dict[str, np.ndarray] | None:
    shown = source.grid.shown
    if source.subject.images:
        sets = {rule: to_uint8(found.x[:shown]) for rule, found in samples.items()}
        return {**sets, "fine": to_uint8(reference.x[:shown])}
    if source.subject.shape == (2,):
        sets = {f"points:{rule}": found.x.numpy() for rule, found in samples.items()}
        return {**sets, "points:fine": reference.x.numpy()}
    return None
