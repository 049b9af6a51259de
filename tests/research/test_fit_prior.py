"""research/fit_prior.py: polynomials fitted to several networks, on mixtures in their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bed import Network
from fit_prior import FittedStep, Paths, Store, collect, compare, fit
from steindiff.calibrated import Prior
from steindiff.calibrated.fit import Equations
from steindiff.calibrated.solver import scalar_counts
from steindiff.denoisers import GaussianMixture

SIX = {"schedules": ("karras", "flow 1"), "counts": (4, 6), "seeds": range(8), "fine_steps": 12}


def mixture(seed: int, dim: int) -> Network:
    points = torch.randn(7, dim, generator=torch.Generator().manual_seed(seed))
    return Network(f"mixture {seed}", f"hash {seed}", GaussianMixture(points, 0.1), (dim,), {})


@pytest.fixture(scope="module")
def tables() -> dict[str, Paths]:
    return {str(seed): collect(mixture(seed, dim), **SIX) for seed, dim in ((1, 12), (2, 30))}


def flat(prior: Prior) -> list[float]:
    return [value for row in (*prior.second, *prior.later) for value in row]


def test_polynomials_that_are_there_are_found() -> None:
    made = Prior(
        ((0.5, 0.1), (0.2, 0.0), (-0.1, 0.05)),
        ((0.5, -0.1, 0.01), (0.3, 0.2, 0.0), (0.1, 0.0, 0.02),
         (-0.2, 0.1, 0.0), (0.4, 0.0, -0.01), (0.05, -0.3, 0.0)),
        0.1, 4.0, {},
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    paths: dict[tuple[str, int], list[FittedStep]] = {}
    for k in range(12):
        spans = (torch.rand(5, generator=generator, dtype=torch.float64) * 3 + 0.2).tolist()
        levels = [80.0]
        for h in spans:
            levels.append(levels[-1] * float(torch.exp(torch.tensor(-h))))
        steps = []
        for i, (count, scalars) in enumerate(
            zip(scalar_counts(levels), made.scalars(levels), strict=True)
        ):
            root = torch.randn(count, count, generator=generator, dtype=torch.float64)
            matrix = root @ root.T + torch.eye(count, dtype=torch.float64)
            right = matrix @ torch.tensor(scalars, dtype=torch.float64)
            before = spans[i - 1] if i else None
            steps.append(FittedStep(spans[i], before, 1.0, Equations(matrix, right)))
        paths["made", k] = steps
    found = fit({"one": paths}, ridge=1e-12)
    assert flat(found) == pytest.approx(flat(made), abs=1e-3)
    assert 0.2 < found.shortest < found.longest < 3.3


def nine_times(step: FittedStep) -> FittedStep:
    matrix, right = step.equations
    return replace(step, euler=9 * step.euler, equations=Equations(9 * matrix, 9 * right))


def test_every_network_has_the_same_say(tables: dict[str, Paths]) -> None:
    a, b = tables.values()
    both = fit(tables)
    doubled = {
        key: [
            replace(
                step, euler=9 * step.euler, equations=Equations(*(9 * e for e in step.equations))
            )
            for step in path
        ]
        for key, path in b.items()
    }
    assert flat(fit({"b": doubled, "a": a})) == pytest.approx(flat(both), rel=1e-3, abs=1e-4)
    assert flat(fit({"a": a})) != pytest.approx(flat(both), rel=1e-2)


def test_the_left_out_network_has_none(tables: dict[str, Paths]) -> None:
    found = compare(tables)
    assert found.keys() == tables.keys()
    for figures in found.values():
        assert figures["own"] < figures["prior"] < 1


def test_a_step_is_worth_what_its_own_scalars_take_off(tables: dict[str, Paths]) -> None:
    for path in tables["1"].values():
        for step in path:
            zeros = [0.0] * len(step.equations.right)
            assert step.loss(zeros) == pytest.approx(step.euler)
            own = torch.linalg.lstsq(step.equations.matrix, step.equations.right).solution
            assert 0 <= step.loss(own.tolist()) <= step.euler


def test_equations_are_kept(tables: dict[str, Paths], tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.paths("mixture 1") is None
    store.save(mixture(1, 12), tables["1"])
    kept = store.paths("mixture 1")
    assert kept is not None
    assert fit({"one": kept}) == fit({"one": tables["1"]})


def test_without_a_third_step_it_says_so() -> None:
    step = FittedStep(1.0, None, 1.0, Equations(torch.eye(1), torch.ones(1)))
    with pytest.raises(ValueError, match="no path of three steps or more"):
        fit({"one": {("made", 1): [step]}})
