"""A whole bench: its figures against computations by hand, its controls, and what breaks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from matrices import quick, slow
from small import MIXTURE, Breaking, block, measured, small
from torch import Tensor

import steindiff as sd
from steindiff.lab.bench import cell_sampling, sampled_model
from steindiff.lab.bench.cell_metrics import distances, spread
from steindiff.lab.bench.compare_runs import Trend, compare_results
from steindiff.lab.bench.controls import CHANGES, GivenGammas, shuffled
from steindiff.lab.bench.grid import Grid
from steindiff.lab.bench.judging import Effect, effect_of
from steindiff.lab.bench.progress import Advance
from steindiff.lab.bench.report import write_report
from steindiff.lab.bench.results import Diverged, Measured, read_results
from steindiff.lab.bench.tables import cells_table
from steindiff.lab.metrics import frechet_distance, nearest_mode, paired_bootstrap
from steindiff.lab.specs import parse_solver
from steindiff.lab.subjects import Mixture, known, make_subject
from steindiff.solvers import SOLVERS
from steindiff.stein import Constant, Oracle
from steindiff.trajectory import FineSolution

COEFFICIENTS = ["base", "energy", "constant", "one", "random", "oracle", *CHANGES]
SEEDS = range(32)


@pytest.fixture(scope="module", params=[("euler", "heun", "ipndm"), slow(tuple(SOLVERS))], ids=len)
def grid(request: pytest.FixtureRequest) -> Grid:
    """Every solver at an even NFE, and these at an odd one: of one call a step, and of two."""
    return small(block(solver=list(SOLVERS)), block(solver=list(request.param), nfe=5))


@pytest.fixture(scope="module")
def all_solvers(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells of that grid."""
    return measured(grid, tmp_path_factory.mktemp("all") / "out")


def subject_of(spec: str = MIXTURE) -> Mixture:
    found = make_subject(spec, 1.0)
    assert isinstance(found, Mixture)
    return found


def fine_at(denoiser: Any, x: Tensor, sigma: float) -> Tensor:
    """The fine solution, by hand: at the end of the run, or at its lowest level above 0."""
    levels = sd.schedules.karras(20, final="zero")
    result = sd.sample(denoiser, x, levels, "heun", None, return_trajectory=True)
    assert result.trajectory is not None
    states = dict(zip(levels.tolist(), result.trajectory, strict=True))
    return states[min(states, key=lambda level: abs(level - sigma))]


def test_every_cell_has_every_rule(grid: Grid, all_solvers: list[Any]) -> None:
    asked = [(cell.nfe, cell.solver) for cell in grid.cells]
    assert [(cell.nfe, cell.solver) for cell in all_solvers] == asked
    assert asked[: len(SOLVERS)] == [(4, solver) for solver in SOLVERS]
    assert {(5, "euler"), (5, "heun")} <= {*asked[len(SOLVERS) :]}
    for cell in all_solvers:
        assert list(cell.coefficients) == COEFFICIENTS
        for name, outcome in cell.coefficients.items():
            assert isinstance(outcome, Measured)
            if name == "one":
                continue
            assert outcome.nfe == cell.nfe
            metrics = outcome.metrics
            assert metrics
            assert metrics.fd
            assert outcome.steps
            assert metrics.fd.low <= metrics.fd.value <= metrics.fd.high
            steps = len(cell.sigmas) - 1
            for name in ("gamma", "energy", "energy_over_fine"):
                band = getattr(outcome.steps, name)
                assert [len(values) for values in (band.mean, band.low, band.high)] == [steps] * 3
                assert all(a <= b for a, b in zip(band.low, band.high, strict=True))
                if name != "gamma":  # of which a few may be far from all others
                    assert all(
                        a <= m <= b for a, m, b in zip(band.low, band.mean, band.high, strict=True)
                    )
            assert outcome.steps.gamma.mean[-1] == 1  # the last step is not relaxed


def test_gamma_one_is_the_base_for_every_solver(all_solvers: list[Any]) -> None:
    for cell in all_solvers:
        assert cell.coefficients["one"] == Measured(equals_base=True)
        assert set(cell.coefficients["base"].steps.gamma.mean) == {1.0}


def test_the_end_is_that_of_relaxed_samplings_and_a_control(tmp_path: Path) -> None:
    grid = small(block(solver="dpmpp_2m"), end="steady", controls=["one", "end"])
    (cell,) = measured(grid, tmp_path / "out")
    assert cell.sigmas[-2:] == [pytest.approx(0.002), 0.0]
    assert len(cell.sigmas) == cell.nfe + 1
    assert list(cell.coefficients) == ["base", "energy", "one", "end"]
    assert cell.coefficients["one"] == Measured(equals_base=True)
    subject = make_subject(cell.model, 1.0)
    x = sd.noise(subject.shape, 80.0, SEEDS)
    for name, rule in (("energy", "energy"), ("end", None)):
        ended = sd.sample(subject.denoiser, x, cell.sigmas, "dpmpp_2m", rule, end="steady").x
        fine = FineSolution(subject.denoiser, x, {}, 20, 0.002, 80.0).at(0.0)
        assert cell.coefficients[name].metrics.rmse == pytest.approx(
            (ended - fine).square().mean().sqrt().item(), rel=1e-3
        )


def test_a_broken_gamma_one_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_sampling, "Constant", lambda value: Constant(0.99))
    (cell,) = measured(small(controls=["one"]), tmp_path / "out")
    assert cell.coefficients["one"] == Measured(equals_base=False)


def test_ratios_are_paired_quotients(all_solvers: list[Any]) -> None:
    for cell in all_solvers:
        base = cell.coefficients["base"]
        assert base.ratio is None
        for name in ("energy", "constant", "random", "oracle"):
            outcome = cell.coefficients[name]
            quotient = outcome.metrics.fd.value / base.metrics.fd.value
            assert outcome.ratio.value == pytest.approx(quotient)
            assert 0 < outcome.ratio.low <= outcome.ratio.high


def test_oracle_lowers_the_error_of_the_next_state(all_solvers: list[Any]) -> None:
    """Greedy as it is, it must help solvers as poor as these in all but odd cases."""
    better = [
        cell.coefficients["oracle"].metrics.rmse < cell.coefficients["base"].metrics.rmse
        for cell in all_solvers
    ]
    assert sum(better) > len(better) / 2


def test_figures_by_hand(grid: Grid, all_solvers: list[Any]) -> None:
    subject = subject_of()
    x = sd.noise((4,), 80.0, SEEDS)
    for cell, asked in zip(all_solvers, grid.cells, strict=True):
        levels = asked.levels
        assert cell.sigmas == list(levels)
        fine = fine_at(subject.denoiser, x, cell.sigmas[-1])
        features = {}
        for name, rule in {
            "base": None,
            "energy": "energy",
            "constant": Constant(cell.coefficients["constant"].value),
        }.items():
            result = sd.sample(
                subject.denoiser,
                x,
                levels,
                parse_solver(cell.solver),
                rule,
                end="none",
                record=True,
            )
            features[name] = result.x
            found = cell.coefficients[name]
            wanted = frechet_distance(result.x, fine)
            assert found.metrics.fd.value == pytest.approx(wanted, rel=1e-4)
            rmse = float((result.x - fine).square().mean().sqrt())
            assert found.metrics.rmse == pytest.approx(rmse, rel=1e-4)
            covered = len(set(nearest_mode(result.x, subject.means).tolist()))
            assert found.metrics.modes.covered == covered
            assert found.metrics.modes.modes == 3
            ratio = float(result.x.var(0).mean() / fine.var(0).mean())
            assert found.metrics.variance_ratio == pytest.approx(ratio, rel=1e-4)
            assert result.record is not None
            means = result.record.gamma.mean(1).tolist()
            assert found.steps.gamma.mean == pytest.approx(means)
            energy = float(result.x.square().mean() / fine.square().mean())
            assert found.steps.energy.mean[-1] / float(fine.square().mean()) == pytest.approx(
                energy, rel=1e-4
            )
        by_hand = paired_bootstrap(features, fine, baseline="base", resamples=20)
        found = cell.coefficients["energy"].ratio
        wanted = by_hand["energy"].ratio._asdict()
        assert msgspec.structs.asdict(found) == {
            key: pytest.approx(value, rel=1e-3) for key, value in wanted.items()
        }


def test_random_and_oracle_by_hand(all_solvers: list[Any]) -> None:
    cell = next(c for c in all_solvers if c.solver == "ipndm" and c.nfe == 5)
    subject, x, levels = subject_of(), sd.noise((4,), 80.0, SEEDS), cell.sigmas
    fine = FineSolution(subject.denoiser, x, {}, 20, 0.002, 80.0)
    energy = sd.sample(subject.denoiser, x, levels, "ipndm", "energy", record=True)
    assert energy.record is not None
    for name, rule in {
        "random": GivenGammas(shuffled(energy.record.gamma)),
        "oracle": Oracle(tuple(fine.at(level) for level in levels[1:-1])),
    }.items():
        result = sd.sample(subject.denoiser, x, levels, "ipndm", rule)
        wanted = frechet_distance(result.x, fine.at(levels[-1]))
        assert cell.coefficients[name].metrics.fd.value == pytest.approx(wanted, rel=1e-3)


def test_the_constant_is_the_best_of_the_sweep(all_solvers: list[Any]) -> None:
    for cell in all_solvers:
        outcome = cell.coefficients["constant"]
        assert list(outcome.swept) == ["0.99", "0.995"]
        best = min(outcome.swept, key=lambda value: outcome.swept[value])
        assert outcome.value == float(best)
        # All samples were swept here: the choice's distance is the rule's.
        assert outcome.swept[best] == pytest.approx(outcome.metrics.fd.value, rel=1e-4)


def test_the_sweep_takes_as_many_samples_as_asked(tmp_path: Path) -> None:
    (cell,) = measured(small(sweep_samples=16, controls=["constant"]), tmp_path / "out")
    subject = subject_of()
    x, levels = sd.noise((4,), 80.0, range(16)), cell.sigmas
    result = sd.sample(subject.denoiser, x, levels, "euler", Constant(0.99))
    wanted = frechet_distance(result.x, fine_at(subject.denoiser, x, levels[-1]))
    assert cell.coefficients["constant"].swept["0.99"] == pytest.approx(wanted, rel=1e-4)


def test_batches_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = small(block(solver=["ipndm", "heun"], nfe=5))
    whole = measured(grid, tmp_path / "whole")
    monkeypatch.setattr(sampled_model, "BATCH", 7)
    for a, b in zip(whole, measured(grid, tmp_path / "parts"), strict=True):
        for name in ("base", "energy", "random", "oracle"):
            found, wanted = (c.coefficients[name].metrics.fd.value for c in (b, a))
            assert found == pytest.approx(wanted, rel=1e-4)
        assert b.coefficients["one"].equals_base


def test_progress_adds_up(tmp_path: Path) -> None:
    """What is announced as work is done by the end."""
    grid = small(
        block(solver=["euler", "heun"], nfe=[4, 5]),
        block(model="mixture:dim=4,modes=3,error=0.1"),
        block(nfe=1),
    )
    counts, told = {"total": 0, "done": 0}, []

    def start(total: int) -> Advance:
        counts["total"] = total

        def advance(done: int) -> None:
            counts["done"] += done

        return advance

    measured(grid, tmp_path / "out", start=start, tell=told.append)
    assert counts["done"] == counts["total"] > 0
    assert [text for text in told if "/" in text] == [
        cell.id for cell in sorted(
            read_results(tmp_path / "out").cells, key=lambda c: told.index(c.id)
        )
    ]  # fmt: skip
    assert sum(text.startswith("fine solution of mixture") for text in told) == 2


@pytest.mark.parametrize("solver", quick(SOLVERS, ["euler", "heun", "unipc"]))
@pytest.mark.parametrize("nfe", [1, 2])
def test_the_fewest_steps(tmp_path: Path, nfe: int, solver: str) -> None:
    (cell,) = measured(small(block(solver=solver, nfe=nfe)), tmp_path / "out")
    assert cell.coefficients["one"].equals_base
    assert cell.coefficients["energy"].nfe == nfe
    if len(cell.sigmas) == 2:  # there is no step that could be relaxed
        assert cell.coefficients["energy"].ratio.value == 1
        assert "random" not in cell.coefficients


def test_rules_that_call_the_model_record_what_they_spent(tmp_path: Path) -> None:
    grid = small(block(nfe=3), coefficients=["energy", "published", "coupled"], controls=[])
    (cell,) = measured(grid, tmp_path / "out")
    subject, x = subject_of(), sd.noise((4,), 80.0, SEEDS)
    for name in grid.coefficients:
        result = sd.sample(subject.denoiser, x, cell.sigmas, "euler", name)
        assert cell.coefficients[name].nfe == result.nfe
    assert cell.coefficients["energy"].nfe == 3 < cell.coefficients["coupled"].nfe


def test_a_base_that_is_the_fine_solution(tmp_path: Path) -> None:
    """Heun at the fine solution's NFE has distance 0: no ratio, but no crash either."""
    cells = measured(
        small(block(solver="heun", nfe=[5, 7]), fine_steps=3, controls=["one"]), tmp_path / "out"
    )
    same, other = cells
    assert same.coefficients["base"].metrics.fd.value == pytest.approx(0, abs=1e-9)
    assert same.coefficients["energy"].ratio is None
    assert other.coefficients["energy"].ratio.value > 0


# -- errors of the model --------------------------------------------------------------------------


def test_an_imperfect_denoiser_is_held_against_both_solutions(tmp_path: Path) -> None:
    spec = "mixture:dim=4,modes=3,error=0.3"
    (cell,) = measured(small(block(model=spec, nfe=8, solver="dpmpp_2m")), tmp_path / "out")
    subject = subject_of(spec)
    assert subject.exact is not None
    x, levels = sd.noise((4,), 80.0, SEEDS), cell.sigmas
    exact = sd.sample(subject.exact, x, sd.schedules.karras(20, final="zero"), "heun", None).x
    fine = fine_at(subject.denoiser, x, levels[-1])
    assert cell.fine_to_exact > 0
    assert cell.fine_to_exact == pytest.approx(frechet_distance(fine, exact), rel=0.02)
    for name, coefficient in (("base", None), ("energy", "energy")):
        result = sd.sample(subject.denoiser, x, levels, "dpmpp_2m", coefficient)
        metrics = cell.coefficients[name].metrics
        assert metrics.fd.value == pytest.approx(frechet_distance(result.x, fine), rel=1e-3)
        wanted = frechet_distance(result.x, exact)
        assert metrics.fd_to_exact == pytest.approx(wanted, rel=0.02)
        assert metrics.fd_to_exact != metrics.fd.value


def test_no_error_is_exact(tmp_path: Path) -> None:
    plain, none = measured(
        small(block(model=["mixture:dim=4,modes=3", "mixture:dim=4,modes=3,error=0"])),
        tmp_path / "out",
    )
    assert none.fine_to_exact is None
    assert none.coefficients["base"].metrics.fd_to_exact is None
    assert none.coefficients == plain.coefficients


# -- what breaks ----------------------------------------------------------------------------------


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> int:
    """A solver "breaking", and how many of the samples it breaks."""
    monkeypatch.setitem(SOLVERS, "breaking", Breaking)
    return int((sd.noise((4,), 80.0, SEEDS)[:, 0] > 0).sum())


@pytest.mark.parametrize("batch", [200, 7])
def test_a_diverging_solver_is_a_result(
    tmp_path: Path, breaking: int, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(sampled_model, "BATCH", batch)
    out = tmp_path / "out"
    cells = measured(small(block(solver=["breaking", "euler"], schedule="karras")), out)
    assert 0 < breaking < 32
    broken, whole = cells
    wanted = Diverged(step=2, sigma=broken.sigmas[2], samples=breaking)
    for name in ("base", "energy", "constant", "oracle"):
        assert broken.coefficients[name] == wanted
    assert isinstance(whole.coefficients["base"], Measured)
    results = read_results(out)
    assert results.complete is True
    assert results.cells == cells
    assert effect_of(broken, "energy") is Effect.BOTH
    shown = [entry.text for row in cells_table(cells, ["energy"]).rows for entry in row]
    assert "diverged at step 2" in shown
    assert "diverged at step 2" in write_report(out).read_text()
    assert all(
        change.trend in (Trend.EQUAL, Trend.BOTH) for change in compare_results(out, out).changes
    )


@pytest.mark.parametrize("batch", [200, 8])
def test_gamma_one_of_a_diverging_solver(
    tmp_path: Path, breaking: int, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """It diverges like the base, whichever batches the broken samples are in."""
    monkeypatch.setattr(sampled_model, "BATCH", batch)
    good = int((sd.noise((4,), 80.0, SEEDS)[:, 0] < 0).nonzero()[0])
    seeds = ",".join(["0-15", *[str(good)] * 8])  # nothing breaks in the last batch of 8
    grid = small(block(solver="breaking", schedule="karras", seeds=seeds), controls=["one"])
    (cell,) = measured(grid, tmp_path / "out")
    assert isinstance(cell.coefficients["base"], Diverged)
    assert cell.coefficients["one"].equals_base is True


def test_only_a_rule_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gamma that is not finite: the rule's fault, the base stays measured."""
    monkeypatch.setattr(cell_sampling, "shuffled", lambda gammas: gammas * math.nan)
    (cell,) = measured(small(block(nfe=4)), tmp_path / "out")
    assert isinstance(cell.coefficients["random"], Diverged)
    assert cell.coefficients["random"].samples == 32
    assert cell.coefficients["base"].metrics.fd.value > 0
    assert effect_of(cell, "random") is Effect.DIVERGED


@pytest.mark.parametrize(
    "value", ["1e8", *(pytest.param(v, marks=pytest.mark.slow) for v in ("1e20", "1e30")), "3e38"]
)
def test_finite_but_absurd_samples(tmp_path: Path, breaking: int, value: str) -> None:
    """Figures that are large, or a divergence, but neither a crash nor a NaN in the results."""
    out = tmp_path / "out"
    solver = f"breaking:at=3,value={value}"
    grid = small(block(solver=[solver, "euler"], schedule="karras"))
    cell, other = measured(grid, out)
    json.dumps(msgspec.to_builtins([cell, other]), allow_nan=False)
    for name in ("base", "energy"):
        found = cell.coefficients[name]
        if isinstance(found, Measured):
            assert found.metrics.fd.value > 1e10  # type: ignore[union-attr]
        else:
            assert found.step == 3
    assert isinstance(other.coefficients["base"], Measured)
    assert write_report(out).is_file()


def test_samples_whose_features_overflow(
    tmp_path: Path, breaking: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Squares:
        name, dim = "squares", None

        def features(self, images: Tensor) -> Tensor:
            return images.flatten(1).square()

    monkeypatch.setattr(known, "Pixels", Squares)
    out = tmp_path / "out"
    solver = "breaking:at=3,value=1e25"  # whose square is more than float32 holds
    cell, other = measured(small(block(solver=[solver, "euler"], schedule="karras")), out)
    levels = cell.sigmas
    for name in ("base", "energy", "constant", "random", "oracle"):
        wanted = Diverged(step=3, sigma=levels[3], samples=breaking)
        assert cell.coefficients[name] == wanted
    assert isinstance(other.coefficients["base"], Measured)
    assert read_results(out).cells == [cell, other]
    assert "diverged at step 3" in write_report(out).read_text()


def test_a_diverged_base_leaves_the_rules_without_a_ratio() -> None:
    generator = torch.Generator().manual_seed(0)
    reference, a, b = (torch.randn(30, 3, generator=generator) for _ in range(3))
    found = distances({"energy": a, "oracle": b}, reference, 20)
    assert found.keys() == {"energy", "oracle"}
    assert all(ratio is None for _, ratio in found.values())
    assert found["energy"][0].value == pytest.approx(frechet_distance(a, reference))
    assert distances({}, reference, 20) == {}
    assert distances({"base": a, "oracle": b}, reference, 20)["base"][1] is None


def test_spread() -> None:
    values = torch.stack([torch.arange(101.0), torch.full((101,), 2.0)])
    assert msgspec.structs.asdict(spread(values)) == {
        "mean": pytest.approx([50, 2]),
        "low": pytest.approx([5, 2]),
        "high": pytest.approx([95, 2]),
    }


def test_points_of_the_plane_are_kept(tmp_path: Path) -> None:
    """Two dimensions can be shown: all samples are saved."""
    out = tmp_path / "out"
    measured(small(block(model="mixture:dim=2,modes=3")), out)
    (path,) = (out / "samples").iterdir()
    with np.load(path) as arrays:
        assert {"points:base", "points:energy", "points:fine"} <= set(arrays)
        assert all(arrays[name].shape == (32, 2) for name in arrays)
        subject = subject_of("mixture:dim=2,modes=3")
        x = sd.noise((2,), 80.0, SEEDS)
        base = sd.sample(subject.denoiser, x, sd.schedules.karras(4), "euler", None).x
        np.testing.assert_allclose(arrays["points:base"], base.numpy(), rtol=1e-5)
