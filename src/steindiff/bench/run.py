"""Runs a grid: every cell with every rule, from the same noise, saved as it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import NonFiniteError
from ..images import to_uint8
from ..locks import lock_rank
from ..metrics import frechet_distance
from ..sampling import noise, sample
from ..solvers import Solver
from ..specs import parse_coefficient, parse_solver
from ..stein import Coefficient, Constant, Relaxed
from .grid import Cell, Grid, seeds_of, sigmas_of
from .measure import Reference, distances, figures, spread
from .memo import Memo
from .rules import Oracle, Replay, shuffled
from .store import Store
from .subjects import Subject, make_subject
from .trajectory import FineSolution

BATCH = 200
Rule = Callable[[slice], Coefficient | None]
Advance = Callable[[int], None]


def run_bench(
    grid: Grid,
    folder: Path,
    *,
    command: str = "",
    preset: str | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    tell: Callable[[str], object] = lambda text: None,
    warn: Callable[[str], object] = print,
    start: Callable[[int], Advance] = lambda total: lambda done: None,
) -> list[dict[str, Any]]:
    """Measures every cell of `grid` that `folder` does not hold yet.

    Args:
        folder: where results go; see `Store`.
        command, preset: recorded with the results.
        device: of the models.
        tell: is told of each cell that begins. warn: of results that were found damaged.
        start: called with the model evaluations to do; what it returns is told of those done.

    Returns:
        The cells' results, in the order of the grid.

    Raises:
        BlockingIOError: another run is at work in the folder.
        FileExistsError: it holds the results of another grid.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with lock_rank(folder, 0):
        store = Store(folder, grid, {"hashes": _hashes(grid)}, overwrite)
        done = {}
        for cell in grid.cells:
            content, problem = store.load(cell)
            if problem:
                warn(f"{problem}; it is computed again")
            if content is not None:
                done[cell] = content
        advance = start(_work(grid, [cell for cell in grid.cells if cell not in done]))
        bench: _Source | None = None
        for cell in _by_source(grid):
            if cell in done:
                continue
            if bench is None or bench.key != _key(cell):
                tell(f"fine solution of {cell.model}, guidance {cell.guidance:g}")
                bench = _Source(cell, grid, device, advance)
            tell(cell.id)
            done[cell], pictures = bench.measure(cell)
            store.save(cell, done[cell], pictures)
            advance(_metric_work(cell, grid))
            _publish(store, grid, done, command, preset, began)
        return _publish(store, grid, done, command, preset, began)


def _publish(
    store: Store,
    grid: Grid,
    done: dict[Cell, dict[str, Any]],
    command: str,
    preset: str | None,
    began: float,
) -> list[dict[str, Any]]:
    cells = [done[cell] for cell in grid.cells if cell in done]
    # The time of the cells, wherever they were computed, not that of the last start.
    seconds = sum(cell["seconds"] for cell in cells)
    store.publish(cells, command, preset, max(seconds, time.monotonic() - began))
    return cells


class Samples(NamedTuple):
    """What one rule gave: (N, *shape), and (steps, N) records. None and where, if it diverged."""

    x: Tensor
    gamma: Tensor
    energy: Tensor


@dataclass(frozen=True)
class Divergence:
    """Where samples stopped being finite first, and how many did."""

    step: int
    sigma: float
    samples: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "status": "diverged",
            "step": self.step,
            "sigma": self.sigma,
            "samples": self.samples,
        }


class _Source:
    """One model at one guidance with its noises and fine solution: what cells share."""

    def __init__(self, cell: Cell, grid: Grid, device: str, advance: Advance) -> None:
        self.key, self.grid, self.advance = _key(cell), grid, advance
        self.subject: Subject = make_subject(cell.model, cell.guidance, device)
        self.seeds = seeds_of(cell)
        self.x = noise(self.subject.shape, grid.sigma_max, self.seeds, device=device)
        self.memo = Memo(self.subject.denoiser)
        parts = [slice(i, i + BATCH) for i in range(0, len(self.x), BATCH)]
        self.parts = [slice(p.start, min(p.stop, len(self.x))) for p in parts]
        self.fine = [self._fine(self.subject.denoiser, part) for part in self.parts]
        self.nfe = self.fine[0].nfe
        self.exact = None
        if self.subject.exact is not None:
            exact = [self._fine(self.subject.exact, part).x for part in self.parts]
            self.exact = self.subject.features.features(torch.cat(exact))
        self.references: dict[float, Reference] = {}

    def measure(self, cell: Cell) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
        """The cell's result, and its pictures if samples are images."""
        began = time.monotonic()
        sigmas, solver = sigmas_of(cell, self.grid), parse_solver(cell.solver)
        levels = sigmas.tolist()
        outcomes, samples = self._rules(solver, levels)
        reference = self._reference(levels[-1])
        features = {}
        for rule, found in samples.items():
            values = self.subject.features.features(found.x)
            if bool(torch.isfinite(values).all()):
                features[rule] = values
            else:  # finite samples so far off that their features are not
                count = int((~torch.isfinite(values)).any(dim=1).sum())
                outcomes[rule] = Divergence(len(levels) - 2, levels[-2], count).to_dict()
        paired = distances(features, reference.features, self.grid.resamples)
        for rule, values in features.items():
            ratio = {"ratio": paired[rule]["ratio"]} if "ratio" in paired[rule] else {}
            metrics = figures(self.subject, samples[rule].x, values, reference, self.seeds)
            outcomes[rule] |= {
                "metrics": {"fd": paired[rule]["fd"], **metrics},
                **ratio,
                "steps": self._steps(samples[rule], levels),
            }
        content = {
            "id": cell.id,
            **{name: getattr(cell, name) for name in cell.__dataclass_fields__},
            "usual": cell.usual,
            "samples": len(self.seeds),
            "first_seed": self.seeds[0],
            "sigmas": levels,
            "features": self.subject.features.name,
            "reference": f"fine solution from the same noise: Heun, {self.nfe} NFE",
            "rules": outcomes,
        }
        if reference.exact is not None:
            content["fine_to_exact"] = frechet_distance(reference.features, reference.exact)
        content["seconds"] = round(time.monotonic() - began, 2)
        return content, self._pictures(samples, reference)

    def _rules(
        self, solver: Solver, levels: list[float]
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Samples]]:
        """Samples of every rule: outcomes without figures yet, and what did not diverge."""
        outcomes: dict[str, dict[str, Any]] = {}
        samples: dict[str, Samples] = {}
        nfe = (len(levels) - 1) * solver.calls_per_step
        nfe -= solver.calls_per_step - 1 if levels[-1] == 0 else 0

        def run(name: str, rule: Rule, **more: Any) -> None:
            found = self._sample(solver, levels, rule)
            if isinstance(found, Divergence):
                outcomes[name] = found.to_dict()
                return
            samples[name] = found
            outcomes[name] = {"status": "ok", "nfe": nfe, **more}

        run("base", lambda part: Constant(1.0))
        for name in self.grid.coefficients:
            run(name, lambda part, name=name: parse_coefficient(name))
        controls = self.grid.controls
        if "constant" in controls:
            best, swept = self._sweep(solver, levels)
            run("constant", lambda part: Constant(best), value=best, swept=swept)
        if "one" in controls:
            outcomes["one"] = self._one(solver, levels, samples.get("base"))
        first = samples.get(self.grid.coefficients[0])
        if "random" in controls and first is not None and len(levels) > 2:
            gammas = shuffled(first.gamma)
            run("random", lambda part: Replay(gammas[:, part]))
        if "oracle" in controls:
            run("oracle", lambda part: self._oracle(part, levels))
        return outcomes, samples

    def _sample(
        self, solver: Solver, levels: list[float], rule: Rule, count: int | None = None
    ) -> Samples | Divergence:
        """All samples, or the first `count`, with one rule."""
        found: list[Samples] = []
        failed: list[NonFiniteError] = []
        sigma = 0.0
        for part in self.parts:
            if count is not None and part.start >= count:
                break
            coefficient = rule(part)
            relaxed = Relaxed(solver, coefficient) if coefficient else solver
            try:
                result = sample(
                    self.memo, self.x[part], levels, relaxed, None,
                    conditioning=self._conditioning(part), record=True,
                )  # fmt: skip
            except NonFiniteError as error:
                failed.append(error)
                continue
            assert result.record is not None
            found.append(Samples(result.x, result.record.gamma, result.record.energy_next))
            self.advance(result.nfe * len(result.x))
        if failed:
            step = min(error.step for error in failed)
            sigma = levels[step]
            return Divergence(step, sigma, sum(len(error.samples) for error in failed))
        x, gamma, energy = zip(*found, strict=True)
        return Samples(torch.cat(x), torch.cat(gamma, dim=1), torch.cat(energy, dim=1))

    def _sweep(self, solver: Solver, levels: list[float]) -> tuple[float, dict[str, float | None]]:
        """The constant gamma with the least distance on the first samples, and all of them."""
        count = min(self.grid.sweep_samples, len(self.seeds))
        reference = self._reference(levels[-1])
        swept: dict[str, float | None] = {}
        for value in self.grid.sweep:
            found = self._sample(solver, levels, lambda part, v=value: Constant(v), count)
            swept[f"{value:g}"] = None
            if isinstance(found, Samples):
                features = self.subject.features.features(found.x)
                if bool(torch.isfinite(features).all()):
                    target = reference.features[: len(features)]
                    swept[f"{value:g}"] = frechet_distance(features, target)
        best = min(self.grid.sweep, key=lambda v: swept[f"{v:g}"] or math.inf)
        return best, swept

    def _one(self, solver: Solver, levels: list[float], base: Samples | None) -> dict[str, Any]:
        """gamma = 1 must be the plain solver, without any wrapper, to the last bit."""
        same = []
        for part in self.parts:
            try:
                plain = sample(
                    self.memo, self.x[part], levels, solver, None,
                    conditioning=self._conditioning(part),
                )  # fmt: skip
                same.append(base is not None and torch.equal(plain.x, base.x[part]))
            except NonFiniteError:
                same.append(base is None)
        return {"status": "ok", "equals_base": all(same)}

    def _oracle(self, part: slice, levels: list[float]) -> Oracle:
        index = self.parts.index(part)
        return Oracle(tuple(self.fine[index].at(level) for level in levels[1:-1]))

    def _fine(self, denoiser: Any, part: slice) -> FineSolution:
        fine = FineSolution(
            denoiser, self.x[part], self._conditioning(part),
            self.grid.fine_steps, self.grid.sigma_min, self.grid.sigma_max,
        )  # fmt: skip
        self.advance(fine.nfe * (part.stop - part.start))
        return fine

    def _reference(self, sigma: float) -> Reference:
        """The fine solution at the level where the few-step sampling ends."""
        if sigma not in self.references:
            x = torch.cat([fine.at(sigma) for fine in self.fine])
            self.references[sigma] = Reference(x, self.subject.features.features(x), self.exact)
        return self.references[sigma]

    def _steps(self, found: Samples, levels: list[float]) -> dict[str, Any]:
        size = math.prod(self.subject.shape)
        fine = torch.stack(
            [
                torch.cat([part.at(level) for part in self.fine]).flatten(1).square().sum(1) / size
                for level in levels[1:]
            ]
        ).to(found.energy)
        return {
            "gamma": spread(found.gamma),
            "energy": spread(found.energy),
            "energy_over_fine": spread(found.energy / fine),
        }

    def _pictures(
        self, samples: dict[str, Samples], reference: Reference
    ) -> dict[str, np.ndarray] | None:
        shown = self.grid.shown
        if self.subject.images:
            sets = {rule: to_uint8(found.x[:shown]) for rule, found in samples.items()}
            return {**sets, "fine": to_uint8(reference.x[:shown])}
        if self.subject.shape == (2,):
            sets = {f"points:{rule}": found.x.numpy() for rule, found in samples.items()}
            return {**sets, "points:fine": reference.x.numpy()}
        return None

    def _conditioning(self, part: slice) -> dict[str, Any]:
        return self.subject.conditioning(self.seeds[part])


def _key(cell: Cell) -> tuple[str, float, str]:
    return cell.model, cell.guidance, cell.seeds


def _by_source(grid: Grid) -> list[Cell]:
    """The cells, those of one source together, and inside it those that share first steps."""
    order = {key: i for i, key in enumerate(dict.fromkeys(_key(cell) for cell in grid.cells))}
    return sorted(grid.cells, key=lambda cell: (order[_key(cell)], cell.schedule, cell.nfe))


def _hashes(grid: Grid) -> dict[str, dict[str, str]]:
    models = dict.fromkeys(cell.model for cell in grid.cells)
    return {model: make_subject(model, 1.0).hashes for model in models}


def _work(grid: Grid, cells: list[Cell]) -> int:
    """Model evaluations, times guidance's cost, plus the cost of measuring in the same unit."""
    fine = {_key(cell): len(seeds_of(cell)) * (2 * grid.fine_steps - 1) for cell in cells}
    return sum(fine.values()) + sum(_cell_work(cell, grid) for cell in cells)


def _cell_work(cell: Cell, grid: Grid) -> int:
    count = len(seeds_of(cell))
    rules = 1 + len(grid.coefficients) + sum(c in grid.controls for c in ("random", "oracle"))
    samples = rules * count
    if "constant" in grid.controls:
        samples += count + len(grid.sweep) * min(
            BATCH * math.ceil(grid.sweep_samples / BATCH), count
        )
    return samples * cell.nfe + _metric_work(cell, grid)


def _metric_work(cell: Cell, grid: Grid) -> int:
    return len(seeds_of(cell)) * 3
