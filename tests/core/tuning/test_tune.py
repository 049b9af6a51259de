"""Tuning: no worse than what it knows on noises that it has not seen, kept in a file, bounded."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import steindiff as sd
from steindiff.calibrated import Calibrated
from steindiff.calibrated.path import relative_rmse
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.trajectory import FineSolution
from steindiff.tuning import SEED, evaluations, run
from steindiff.tuning.batch import Batch
from steindiff.tuning.candidates import Candidate, shapes
from steindiff.tuning.checks import start_levels
from steindiff.tuning.fitting import TRIALS, fit, last_numbers, search_levels
from steindiff.tuning.judge import Judge
from steindiff.tuning.motion import (
    arc_levels,
    gits_levels,
    gits_trajectory,
    motion,
    shortest_levels,
)
from steindiff.tuning.ranks import SharedRows
from steindiff.tuning.trials import PURE_NOISE, Halves, Noises
from steindiff.tuning.verdict import Finals, objection, verdict

POINTS = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(3))
MIXTURE = GaussianMixture(POINTS, 0.05)
FEW: dict[str, Any] = {"noises": 8, "held_out": 24, "fresh": 16, "fine_steps": 12}


@pytest.fixture(scope="module")
def told() -> list[int]:
    return []


@pytest.fixture(scope="module")
def whole(told: list[int]) -> sd.Tuned:
    return sd.tune(MIXTURE, 3, told=told.append, **FEW)


@pytest.fixture(scope="module")
def found(whole: sd.Tuned) -> sd.Tuned:
    """Three steps fitted, four chosen."""
    chosen = sd.tune(MIXTURE, 4, fit=False, **FEW)
    return replace(whole, choices={**whole.choices, **chosen.choices})


def test_what_comes_back_is_what_holds_on_fresh_noises(found: sd.Tuned) -> None:
    assert sorted(found.choices) == [3, 4]
    for steps, one in found.choices.items():
        assert len(one.recipe.sigmas) == steps + 1
        assert len(one.tried) > 20
        assert one.tried[0].score <= min(each.score for each in one.tried)
        fitted = {"fitted"} if steps == 3 else set()
        assert {"plain", "recipe", "gits", "chosen"} | fitted == {each.kind for each in one.tried}
        if one.kind == "plain":
            assert one.recipe == one.plain
            assert one.passed
        else:
            assert one.against_plain.high < 1
            assert one.against_recipe.value <= 1
            ranks = [each.words for each in one.tried if each.kind == one.kind]
            assert ranks[0] in Candidate(one.kind, one.recipe).words


def test_figures_are_those_of_the_fresh_noises(found: sd.Tuned) -> None:
    x = sd.noise((3, 4), 80.0, range(SEED + 32, SEED + 48))
    fine = FineSolution(MIXTURE, x, {}, 12, 0.002, 80.0)
    for steps, one in found.choices.items():
        name = {"plain": "plain", "recipe": "recipe"}.get(one.kind, "tuned")
        sampled = sd.sample(MIXTURE, x, steps=found.recipe(steps)).x
        assert relative_rmse(sampled, fine.x) == pytest.approx(one.figures[name].error, rel=1e-5)
        fixed = sd.sample(MIXTURE, x, steps=steps).x
        assert relative_rmse(fixed, fine.x) == pytest.approx(one.figures["recipe"].error, rel=1e-5)


def test_where_nothing_is_better_the_plain_solver_comes_back() -> None:
    """D is constant: every solver is exact, so no advantage can hold."""

    def constant(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return 0.5 * torch.ones_like(x)

    found = sd.tune(constant, 4, shape=(3,), fit=False, sigma_min=1e-7, **FEW)
    one = found.choices[4]
    assert one.kind == "plain"
    assert one.recipe == one.plain
    assert "nothing beat" in one.verdict


def noises_of(seeds: range, steps: int = 20) -> Noises:
    x = sd.noise((3, 4), 80.0, seeds)
    fine = FineSolution(MIXTURE, x, {}, steps, 0.002, 80.0)
    return Noises(SharedRows(MIXTURE, {}, Batch(64), lambda done: None), x, fine.x, fine)


SCORE, SAME, WORSE = (sd.tuning.Ratio(*v) for v in ((0.5, 0.4, 0.6), (1, 0.8, 1.2), (2, 1.5, 3)))


@pytest.mark.parametrize(
    ("guidance", "to_plain", "to_recipe", "said"),
    [
        (1.0, (SCORE, SAME, SCORE, SAME), SCORE, ""),
        (1.0, (SAME, SCORE, SCORE, SCORE), SCORE, "1.00 [0.80, 1.20] of the best plain solver's"),
        (1.0, (SCORE, SCORE, SCORE, SCORE), WORSE, "2.00 [1.50, 3.00] of the recipe's score"),
        (1.0, (SCORE, SCORE, WORSE, SCORE), SCORE, "best plain solver in the features"),
        (1.0, (SCORE, SCORE, SCORE, WORSE), SCORE, "in the network's own features"),
        (1.0, (SCORE, WORSE, SCORE, SCORE), SCORE, "in relative error"),
        (4.0, (SCORE, WORSE, SCORE, SCORE), SCORE, ""),
    ],
)
def test_what_holds_on_fresh_noises(
    guidance: float, to_plain: Any, to_recipe: Any, said: str
) -> None:
    """The score decides, and no single measure may be worse; under guidance the error is none."""
    rows = SharedRows(lambda x, sigma: x, {}, Batch(64), lambda done: None)
    fine = torch.randn(16, 6)
    noises = Noises(rows, fine, fine)
    judge = Judge([noises], lambda x: x, guidance, lambda rows, x: x)  # type: ignore[arg-type]
    found = objection(judge, to_plain, to_recipe)
    assert said in found
    assert bool(found) == bool(said)


def candidate(kind: str, solver: sd.Solver) -> Candidate:
    levels = tuple(sd.schedules.karras(5, 0.05, 80.0).tolist())
    return Candidate(kind, sd.Recipe(levels, solver, None, "none", kind))


def test_a_fit_that_led_by_chance_gives_way_to_the_best_finalist() -> None:
    """Both beat the plain solver; what leads where they were picked is behind on other noises."""
    finals, fresh = (
        Finals(Judge([noises_of(range(first, first + 24))], lambda x: x.flatten(1), 1.0))
        for first in (0, 100)
    )
    plain = candidate("plain", sd.solvers.Euler())
    fitted = candidate("fitted", sd.solvers.DPMpp2M())
    better = candidate("chosen", sd.solvers.UniPC())
    own = candidate("recipe", sd.solvers.Euler())
    assert not objection(fresh.judge, fresh.ratios(fitted, plain), fresh.ratios(fitted, own)[0])
    assert fresh.score(better) < fresh.score(fitted)
    found = verdict([fitted, better, own], plain, own, finals, fresh, ())
    assert found.kind == "chosen"
    assert found.figures["tuned"] == fresh.figures(better)
    assert found.against_plain == fresh.ratios(better, plain)[0]
    (passed,) = found.passed
    assert passed.startswith(fitted.words)
    assert passed.endswith("of the choice's score on noises that neither was picked by")
    again = verdict([own, better, fitted], plain, own, finals, fresh, ())
    assert replace(again, passed=()) == replace(found, passed=())


@pytest.mark.parametrize(
    ("solver", "other", "kept"),
    [
        (sd.solvers.UniPC(), sd.solvers.IPNDM(order=3), "fitted"),
        (sd.solvers.UniPC(), sd.solvers.UniPC(order=2), "chosen"),
    ],
)
def test_a_fit_has_to_be_ahead_beyond_the_interval(
    solver: sd.Solver, other: sd.Solver, kept: str
) -> None:
    """Of two that are ahead of the plain solver, by noises that neither was picked by."""
    finals, fresh = (
        Finals(Judge([noises_of(range(first, first + 24))], lambda x: x.flatten(1), 1.0))
        for first in (0, 100)
    )
    plain, own = candidate("plain", sd.solvers.Euler()), candidate("recipe", sd.solvers.Euler())
    fitted, chosen = candidate("fitted", solver), candidate("chosen", other)
    assert finals.score(fitted) < finals.score(chosen)
    assert verdict([fitted, chosen, own], plain, own, finals, fresh, ()).kind == kept


def test_a_fitted_solver_beats_what_was_chosen_on_the_network(whole: sd.Tuned) -> None:
    """Of scores on the held-out noises: fitting goes on from what was chosen."""
    best = {each.kind: each.score for each in reversed(whole.choices[3].tried)}
    assert best["fitted"] < best["chosen"] < best["plain"]


def test_several_numbers_of_steps_share_their_fine_solutions() -> None:
    """And the budget, each its part."""
    both = sd.tune(MIXTURE, (4, 3), fit=False, calls=4000, **FEW)
    assert sorted(both.choices) == [3, 4]
    assert both.calls <= 4000
    assert all(len(one.tried) > 1 for one in both.choices.values())
    assert evaluations((3, 4)) < evaluations(3) + evaluations(4) - 100 * 59


def test_a_recipe_is_what_sample_takes(found: sd.Tuned) -> None:
    x = sd.noise((3, 4), 80.0, range(4))
    assert sd.sample(MIXTURE, x, steps=found.recipe(4)).sigmas == found.recipe(4).sigmas
    with pytest.raises(ValueError, match="steps is 8; this network was tuned for 3, 4"):
        found.recipe(8)
    with pytest.raises(ValueError, match="steps is None; this network was tuned for 3, 4"):
        found.recipe()
    single = replace(found, choices={4: found.choices[4]})
    assert single.recipe() == found.recipe(4)


def test_another_guidance_is_refused(found: sd.Tuned) -> None:
    def guided(x: torch.Tensor, sigma: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return MIXTURE(x, sigma)

    label = {"label": torch.zeros(4)}
    denoiser = sd.ClassifierFreeGuidance(guided, 3.0, {"label": 1.0})
    x = sd.noise((3, 4), 80.0, range(4))
    with pytest.raises(ValueError, match="guidance is 3; the recipe was tuned for 1"):
        sd.sample(denoiser, x, steps=found.recipe(4), conditioning=label)


def test_use_is_checked_by_name(found: sd.Tuned) -> None:
    named = replace(found, model="a", model_hash="f" * 64)
    named.check_use("renamed", "f" * 64, 1.0)
    named.check_use("b", "0" * 64, 1.0, any_model=True)
    with pytest.raises(ValueError, match=r"model is 'b'.*tuned for 'a'.*--any-model"):
        named.check_use("b", "0" * 64, 1.0)
    with pytest.raises(ValueError, match="guidance is 4; it was tuned for 1"):
        named.check_use("a", "f" * 64, 4.0, any_model=True)
    with pytest.raises(ValueError, match="model is 'b'"):
        found.check_use("b", "", 1.0)


def test_cost_is_told_beforehand_and_kept(whole: sd.Tuned, told: list[int]) -> None:
    assert sum(told) == whole.calls
    assert sum(told) <= evaluations(3, 8, 24, 16, 12)
    assert sum(told) > evaluations(3, 8, 24, 16, 12) / 5
    assert evaluations((5, 6, 8)) < 100 * 144 * 30


def test_a_budget_drops_candidates(whole: sd.Tuned) -> None:
    """The bound holds, plain solvers and the recipe are there, and what is left stands in both."""
    bound = 2436 + 800
    part = sd.tune(MIXTURE, 3, calls=bound, **FEW)
    assert part.calls <= bound < whole.calls
    kinds = {each.kind for each in part.choices[3].tried}
    assert {"plain", "recipe"} <= kinds
    assert len(part.choices[3].tried) < len(whole.choices[3].tried) / 2
    measured = {each for each in whole.choices[3].tried if each.kind == "plain"}
    assert {each for each in part.choices[3].tried if each.kind == "plain"} & measured
    with pytest.raises(ValueError, match="calls is 1000; 2436 are needed"):
        sd.tune(MIXTURE, 3, calls=1000, **FEW)


def test_the_recipe_is_a_finalist_where_there_was_no_room_to_try_it() -> None:
    few: dict[str, Any] = {"noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 4}
    found = sd.tune(MIXTURE, 3, calls=976, fit=False, **few)
    one = found.choices[3]
    assert found.calls <= 976
    assert {each.kind for each in one.tried} == {"plain"}
    assert one.kind in ("plain", "recipe")
    assert len(one.passed) == (one.kind == "plain")


def test_an_interrupted_tuning_goes_on_where_it_was(tmp_path: Path, whole: sd.Tuned) -> None:
    """The fine solutions and every candidate that was measured are not made again."""
    told: list[int] = []

    def interrupt(done: int) -> None:
        told.append(done)
        if sum(told) > 0.8 * whole.calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sd.tune(MIXTURE, 3, folder=tmp_path, told=interrupt, **FEW)
    again: list[int] = []
    found = sd.tune(MIXTURE, 3, folder=tmp_path, told=again.append, **FEW)
    assert sum(again) < 0.5 * whole.calls
    assert replace(found, calls=0) == replace(whole, calls=0)
    with pytest.raises(ValueError, match="holds another tuning"):
        sd.tune(GaussianMixture(2 * POINTS, 0.05), 3, folder=tmp_path, **FEW)


def test_a_folder_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures may be those of another judge."""
    few = {**FEW, "fit": False, "calls": 2600}
    sd.tune(MIXTURE, 3, folder=tmp_path, **few)
    monkeypatch.setattr(run, "versions", lambda *names: {"steindiff": "0.0.1"})
    with pytest.raises(ValueError, match=r"holds another tuning .* versions differ"):
        sd.tune(MIXTURE, 3, folder=tmp_path, **few)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        sd.tune(MIXTURE, 4, folder=tmp_path, **FEW)
    assert str(tmp_path) in str(caught.value.filename)
    assert not list(tmp_path.glob("*.pt"))


def test_a_file_holds_all_of_it(found: sd.Tuned, tmp_path: Path) -> None:
    found.save(tmp_path / "tuned.json")
    assert sd.load_tuned(tmp_path / "tuned.json") == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("choices"), "'choices' is missing"),
        (lambda c: c.update(choices=[]), "choices is empty"),
        (lambda c: c.update(format="other"), "is not a tuning file"),
        (lambda c: c.update(version=9), "version 1 is needed"),
        (lambda c: c["choices"][0]["recipe"].update(sigmas=[1, 2, 0]), "must strictly decrease"),
        (lambda c: c["choices"][0]["plain"]["solver"].update(name="rk45"), "'rk45' is unknown"),
        (lambda c: c["choices"][0]["recipe"].update(end="soft"), "end 'soft' is unknown"),
        (lambda c: c["choices"][0].update(kind="best"), "kind is 'best'"),
        (lambda c: c["choices"][0].update(against_plain=[1.0]), "3 numbers are needed"),
        (lambda c: c["choices"][0]["recipe"].update(
            solver={"name": "calibrated", "scalars": [[1.0]]}), "scalars has 1 rows"),
        (lambda c: c.update(choices=[3]), "damaged"),
    ],
)  # fmt: skip
def test_damaged_files(found: sd.Tuned, tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "tuned.json"
    sd.save_tuned(path, found)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        sd.load_tuned(path)
    assert str(path) in str(caught.value)


def test_motion_of_a_gaussian_is_known() -> None:
    """D = v/(v + s^2) x along the flow: dD/d ln s = -x0 v^(1/2) s^2 (v + s^2)^(-3/2)."""
    exact = Gaussian(variance=0.5, shape=(64,))
    x = sd.noise((64,), 80.0, range(4), dtype=torch.float64)
    fine = FineSolution(exact, x, {}, 200, 0.01, 80.0)
    levels, speeds = motion(fine)
    x0 = float(exact.transport(x, 80.0, 0.0).square().mean().sqrt())
    for level, speed in zip(levels[::20], speeds[::20], strict=True):
        wanted = x0 * 0.5**0.5 * level**2 / (0.5 + level**2) ** 1.5
        assert speed == pytest.approx(wanted, rel=0.01)


def test_arc_levels_share_out_the_motion() -> None:
    """A constant speed gives levels even in log sigma, down to where it ends."""
    levels = [80 * 0.9**k for k in range(120)]
    even = arc_levels((tuple(levels), (1.0,) * 120), 6, 80.0, 0.5)
    assert even[0] == 80
    assert even[-1] == 0
    ratios = [a / b for a, b in pairwise(even[:-1])]
    assert ratios == pytest.approx([ratios[0]] * 5, rel=0.02)


def fine_mixture(count: int = 8, steps: int = 16) -> FineSolution:
    return FineSolution(MIXTURE, sd.noise((3, 4), 80.0, range(count)), {}, steps, 0.002, 80.0)


def test_shortest_levels_are_the_best_of_all() -> None:
    """Against every choice of levels, by the cost that it says: Euler's steps from the solution."""
    fine = fine_mixture()
    levels = [level for level in fine.levels if level >= 0.2]

    def cost(path: tuple[float, ...]) -> float:
        total = 0.0
        for high, low in pairwise(path):
            euler = fine.at(high) + (low - high) * fine.slopes[fine.levels.index(high)]
            total += float((fine.at(low) - euler).flatten(1).norm(dim=1).mean())
        return total

    found = shortest_levels(fine, 3, 0.2)
    inner = [(a, b) for i, a in enumerate(levels[1:]) for b in levels[i + 2 :]]
    least = min(cost((80.0, a, b, 0.0)) for a, b in inner)
    assert cost(found) == pytest.approx(least, rel=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_shapes_are_tried_relaxed(guidance: float) -> None:
    """With guidance the recipe is plain from 8 calls on; what is plain is tried elsewhere."""
    fine, plan = fine_mixture(), sd.recipe(8, guidance)
    assert (plan.coefficient is None) == (guidance != 1)
    found = shapes(plan, fine, motion(fine), 0.002)
    assert len(found) > 15
    assert all(one.recipe.coefficient is not None for one in found)
    assert {one.recipe.solver for one in found} == {plan.solver}


def published(levels: list[float], states: torch.Tensor, slopes: Any, steps: int) -> list[float]:
    """`dp` and `cal_deviation` of gits-main/gits_utils.py (zju-pi/diff-sampler), with loops."""

    def off(x: torch.Tensor) -> torch.Tensor:
        away, axis = (one.flatten(1) - states[-1].flatten(1) for one in (x, states[0]))
        unit = axis / axis.norm(dim=1, keepdim=True)
        return (away - (away * unit).sum(dim=1, keepdim=True) * unit).norm(dim=1).mean()

    count = len(levels)
    own = [float(off(state)) for state in states[:-1]] + [0.0]
    cost = [[float("inf")] * count for _ in range(count)]
    for i in range(count - 1):
        for j in range(i + 1, count):
            arrived = states[i] + (levels[j] - levels[i]) * slopes[i]
            cost[i][j] = float(off(arrived)) - own[j]
    best = {(i, 1): cost[i][-1] for i in range(count)}
    for k in range(2, steps + 1):
        for j in range(count - 1):
            ways = [cost[j][i] + 1.15 * best[i, k - 1] for i in range(j + 1, count - 1)
                    if (i, k - 1) in best]  # fmt: skip
            if ways:
                best[j, k] = min(ways)
    found = [0]
    for k in range(steps, 1, -1):
        w = found[-1]
        found.append(min(
            (j for j in range(w + 1, count - 1) if (j, k - 1) in best),
            key=lambda j: cost[w][j] + 1.15 * best[j, k - 1],
        ))  # fmt: skip
    return [levels[place] for place in (*found, count - 1)]


@pytest.mark.parametrize("steps", [3, 5])
def test_gits_is_the_published_search(steps: int) -> None:
    """On a trajectory of iPNDM-4, and near to it on one that is read from our fine solution."""
    levels = sd.schedules.karras(24, 0.002, 80.0)
    told: list[torch.Tensor] = []
    run = sd.sample(
        MIXTURE, sd.noise((3, 4), 80.0, range(8)), levels, sd.solvers.IPNDM(order=4), None,
        return_trajectory=True, callback=lambda progress: told.append(progress.denoised),
    )  # fmt: skip
    states, sigmas = torch.stack(list(run.trajectory or [])), levels.tolist()
    slopes = [(x - d) / s for x, d, s in zip(states, told, sigmas, strict=False)]
    found = gits_levels(sigmas, states, slopes, steps)
    assert found == pytest.approx(published(sigmas, states, slopes, steps))
    ours = gits_levels(*gits_trajectory(fine_mixture(steps=30)), steps)
    assert len(ours) == steps + 1
    assert (ours[0], ours[-1]) == (80.0, pytest.approx(0.002))
    assert [math.log(a / b) for a, b in zip(found, ours, strict=True)] == pytest.approx(
        [0.0] * (steps + 1), abs=0.6
    )


def test_halves_answer_in_the_dtype_that_they_came_in() -> None:
    fine = fine_mixture()
    before = fine.at(1.0)
    fine.states, fine.slopes = Halves(fine.states), Halves(fine.slopes)  # type: ignore[assignment]
    assert fine.at(1.0).dtype == torch.float32
    assert torch.allclose(fine.at(1.0), before, atol=0.02)
    assert all(state.dtype == torch.float16 for state in fine.states.kept)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_half_precision_changes_little(whole: sd.Tuned) -> None:
    halved = sd.tune(MIXTURE, 3, half=True, **FEW)
    a, b = whole.choices[3].tried[0].score, halved.choices[3].tried[0].score
    assert a == pytest.approx(b, rel=0.3)


def test_the_search_finds_the_least_of_a_bowl_and_stops() -> None:
    wanted, asked = (80.0, 12.0, 3.0, 0.7, 0.0), []

    def score(levels: tuple[float, ...]) -> float:
        asked.append(levels)
        ratios = torch.tensor(levels[1:-1]) / torch.tensor(wanted[1:-1])
        return float(ratios.log().square().sum())

    found = search_levels((80.0, 20.0, 4.0, 0.5, 0.0), 0.002, score)
    assert score(found) < 0.02 < score((80.0, 20.0, 4.0, 0.5, 0.0))
    assert len(asked) <= TRIALS + 2
    assert all(levels[0] == 80 and levels[-1] == 0 for levels in asked)


def test_the_last_numbers_move_the_last_call_alone() -> None:
    levels = (80.0, 10.0, 1.0, 0.0)
    solver = Calibrated(levels, ((0.0,), (0.5, 0.0), (0.2, 0.1)))
    first, *others = last_numbers(solver)
    assert first == solver
    for one in others:
        assert one.scalars[:1] == solver.scalars[:1]
        assert one.scalars[1][0] == 0.5
    assert len({one.scalars for one in others}) == len(others)


def test_a_fit_follows_the_fine_solution_into_zero() -> None:
    """With the scalars of the end the samples are nearer than with x0 = D."""
    noises = noises_of(range(32))
    solver = fit(noises, (80.0, 8.0, 2.0, 0.5, 0.0))
    bare = replace(solver, scalars=(*solver.scalars[:-1], ()))
    errors = [
        relative_rmse(sd.sample(MIXTURE, noises.x, one.levels, one, None).x, noises.fine)
        for one in (solver, bare)
    ]
    assert len(solver.scalars[-1]) == 2
    assert errors[0] < 0.95 * errors[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 2}, "steps is 2; an int >= 3 is needed"),
        ({"steps": []}, "steps is empty"),
        ({"noises": 1}, "noises is 1; an int >= 4 is needed"),
        ({"held_out": 8}, "held_out is 8; an int >= 16 is needed"),
        ({"fresh": 8}, "fresh is 8; an int >= 16 is needed"),
        ({"batch": 0}, "batch is 0; an int >= 1 is needed"),
        ({"fine_steps": 3}, "fine_steps is 3; an int >= 4 is needed"),
        ({"sigma_min": 90.0}, "sigma_min is 90.0 and sigma_max 80.0"),
        ({"minutes": 0.0}, "minutes is 0.0; a finite number > 0 is needed"),
        ({"shape": (4096, 4096), "noises": 32}, "their fine trajectories would take more than 2"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sd.tune(MIXTURE, **arguments)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("known", "top"), [(14.6, 14.6), (math.inf, 80.0)])
def test_it_starts_no_higher_than_the_network_knows(guided: bool, known: float, top: float) -> None:
    class Known(Gaussian):
        sigma_max, pure_noise = known, False

    network = Known(torch.zeros(4), 1.0)
    asked = sd.ClassifierFreeGuidance(network, 2.0, {"y": 0.0}) if guided else network
    assert start_levels(asked, 0.002, None) == ((0.002, top), top)
    assert start_levels(asked, 0.002, 9.0) == ((0.002, 9.0), 9.0)
    network.pure_noise = True
    assert start_levels(asked, 0.002, None) == ((0.002, 80.0), PURE_NOISE)


def test_a_network_that_breaks_is_named_with_its_step() -> None:
    def broken(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x * float("nan") if float(sigma[0]) > 50 else 0 * x

    with pytest.raises(sd.NonFiniteError, match="at step 0"):
        sd.tune(broken, 4, shape=(2,), **FEW)
