"""Diagnosiss and runs: what is measured, saved, gone on with, and refused."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from matrices import slow
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.lab.subjects import Given
from steindiff.lab.theory import (
    CHAPTERS,
    Collapse,
    Diagnosis,
    Sizes,
    class_collapse,
    diagnose,
    make_diagnosis,
    mixture_collapse,
    read_diagnosis,
    rms_error,
    run_chapters,
    verdicts,
)
from steindiff.lab.theory.chapters import modes as modes_chapter
from steindiff.lab.theory.chapters.coefficient import rules
from steindiff.lab.theory.estimates import mean_of, spread_of, without_chance
from steindiff.lab.theory.report import write_report
from steindiff.lab.theory.run import described
from steindiff.lab.theory.sizes import LIMITS
from steindiff.trajectory import FineSolution

Make = Callable[..., Diagnosis]
FEW = ("decay", "preconditioning", "energy", "modes")
"""Chapters that take next to no time."""


def told(text: str) -> None:
    """Tells nobody."""


def measured(diagnosis: Diagnosis, name: str) -> dict[str, Any]:
    return CHAPTERS[name].measure(diagnosis, told)


def timeless(results: Any) -> dict[str, Any]:
    """Results without the seconds that they took."""
    found = {name: part["found"] for name, part in results["chapters"].items()}
    return {**results, "chapters": found}


@pytest.fixture(scope="module")
def everything(whole: Path) -> dict[str, Any]:
    """All chapters of one diagnosis."""
    return {name: part["found"] for name, part in read_diagnosis(whole.parent)["chapters"].items()}


def noises(count: int, first: int = 0, size: int = 5, sigma: float = 80.0) -> Tensor:
    return sd.noise((size,), sigma, range(first, first + count))


# -- what is measured -----------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["dpmpp_2m", slow("euler"), "heun"])
def test_json_holds_what_was_measured(make: Make, solver: str) -> None:
    """Every number finite, tuples and tensors nowhere: what is read back is what was written."""
    diagnosis = make(solver=solver)
    for name in CHAPTERS:
        found = measured(diagnosis, name)
        assert json.loads(json.dumps(found, allow_nan=False)) == found, name


def test_sizes_are_what_is_spent(everything: dict[str, Any]) -> None:
    found = everything
    runs = found["contractivity"]["runs"]
    assert [run["steps"] for run in runs] == [3, 4, 6]
    assert [len(run["rows"]) for run in runs] == [3, 3, 3]
    assert [run["complete"] for run in runs] == [True, False, False]
    assert [["flow" in row for row in run["rows"]] for run in runs] == [
        [False] * 3, [True] * 3, [False] * 3,
    ]  # fmt: skip
    assert len(found["contractivity"]["denoiser"]) == 3
    sigmas = [row["sigma"] for row in found["identity"]["levels"]]
    assert sigmas == pytest.approx([79.92, math.sqrt(79.92 * 0.01), 0.01])
    assert found["identity"]["study"][0]["counts"] == [1, 2, 4]  # of 8 probes, in two groups
    assert [row["samples"] for row in found["identity"]["exact"]] == [4]
    assert {name: len(rows) for name, rows in found["coefficient"]["tables"].items()} == {
        "dpmpp_2m": 3, "euler": 3,
    }  # fmt: skip
    assert found["coefficient"]["pairs"] == 24
    assert {len(rows) for rows in found["decay"]["propagation"].values()} == {4}
    assert len(found["preconditioning"]["levels"]) == 3
    assert found["energy"]["law"][0]["rms"]["two_levels"] is None
    assert [row["steps"] for row in found["modes"]["rows"]] == [3, 4]
    assert found["modes"]["samples"] == 12
    assert found["modes"]["what"] == "3 modes in 5 dimensions"


def test_errors_are_those_of_the_sampling(make: Make, mixture: GaussianMixture) -> None:
    """The decay chapter against `sample` and a fine solution of one's own."""
    found = measured(make(), "decay")
    levels = sd.schedules.karras(4, 0.002, 80.0)
    fine = FineSolution(mixture, noises(6), {}, 12, 0.002, 80.0)
    for name, rule in (("base", None), ("relaxed", "energy")):
        states = sd.sample(
            mixture, noises(6), levels, "dpmpp_2m", rule, return_trajectory=True
        ).trajectory  # fmt: skip
        assert states is not None
        expected = [
            rms_error(state, fine.at(level)).mean().item()
            for state, level in zip(states[1:], levels.tolist()[1:], strict=True)
        ]
        shown = [row["value"] for row in found["errors"][name]]
        assert shown == pytest.approx(expected, rel=1e-12)
    assert found["errors"]["base"] != found["errors"]["relaxed"]


def test_modes_are_those_of_the_samples(make: Make, mixture: GaussianMixture) -> None:
    found = measured(make(), "modes")
    for row in found["rows"]:
        levels = sd.schedules.karras(row["steps"], 0.002, 80.0)
        for name, rule in (("base", None), ("relaxed", "energy")):
            x = sd.sample(mixture, noises(12), levels, "dpmpp_2m", rule).x
            expected = mixture_collapse(x, mixture.means, mixture.variances)
            assert row[name]["within"] == pytest.approx(expected.within, rel=1e-12)
            assert row[name]["kl"] == pytest.approx(expected.coverage.kl, rel=1e-12)


def test_batches_of_modes_change_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 samples at once, or as 5, 5 and 2: with labels by seed, the same numbers."""
    seen: list[tuple[int, ...]] = []

    def conditioning(seeds: Sequence[int]) -> dict[str, Any]:
        seen.append(tuple(seeds))
        return {"label": torch.tensor([seed % 3 for seed in seeds])}

    def denoiser(x: Tensor, sigma: Tensor, *, label: Tensor) -> Tensor:
        gain = 0.25 / (0.25 + sigma[:, None] ** 2)
        return label[:, None] + gain * (x - label[:, None])

    diagnosis = make(denoiser=denoiser, conditioning=conditioning, first_seed=7)
    whole = measured(diagnosis, "modes")
    assert set(seen) == {tuple(range(7, 19))}
    seen.clear()
    monkeypatch.setattr(modes_chapter, "BATCH", 5)
    assert measured(diagnosis, "modes") == whole
    assert set(seen) == {(7, 8, 9, 10, 11), (12, 13, 14, 15, 16), (17, 18)}


def test_without_modes_nothing_is_counted(make: Make) -> None:
    assert measured(make(modes=None), "modes") == {"what": None, "rows": []}


class Missed:
    """Of two classes the reference has one, samples have both."""

    what = "two classes"

    def collapse(self, samples: Tensor, reference: Tensor) -> Collapse:
        both = torch.arange(len(samples)) % 2
        labels = both * (samples is not reference)
        return class_collapse(samples, labels, reference, torch.zeros_like(both))


def test_class_that_the_reference_lacks_is_no_infinity(make: Make) -> None:
    """Not in the file, that is; what is said and drawn of it knows."""
    found = measured(make(modes=Missed()), "modes")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [row["base"]["kl"] for row in found["rows"]] == [None, None]
    assert (
        "KL of the shares: inf to inf (fine solution 0)" in CHAPTERS["modes"].judge(found)[0].found
    )
    (drawing,) = CHAPTERS["modes"].draw(found)
    assert isinstance(drawing.figure, Figure)
    drawing.figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("text", ["constant", "published", "coupled"])
def test_rule_that_is_asked_for_is_the_one_compared(make: Make, text: str) -> None:
    """Also where a control is of its kind: `constant` is 1, the control 0.995, both are shown."""
    sampling = make(coefficient=text).sampling
    controls = [rule for name, rule in rules(make().sampling).items() if name != "energy"]
    found = rules(sampling)
    assert found[sampling.coefficient_text] == sampling.coefficient
    assert list(found.values())[1:] == controls
    assert len(controls) == 4


def test_few_samples_have_a_spectrum(make: Make) -> None:
    """Fewer samples than dimensions leave axes on which the fine solution has no variance."""
    diagnosis = make(sizes={"samples": 4})
    table = measured(diagnosis, "energy")["tables"]["euler"]
    assert len(table["base"]["spectrum"]) <= 4
    assert max(table["base"]["spectrum"]) < 1e6


# -- runs -----------------------------------------------------------------------------------------


class KilledError(Exception):
    """What stops a run in the tests."""


def test_run_goes_on_where_it_was(make: Make, tmp_path: Path) -> None:
    """Stopped inside the third chapter and after the fourth: the same in the end."""
    diagnosis, whole, parts = make(), tmp_path / "whole", tmp_path / "parts"
    expected = timeless(run_chapters(diagnosis, whole, names=FEW, command="a"))
    assert timeless(read_diagnosis(whole)) == expected
    assert list(expected["chapters"]) == list(FEW)

    def stop(text: str) -> None:
        if text.startswith("energies"):
            raise KilledError

    with pytest.raises(KilledError):
        run_chapters(make(), parts, names=FEW, command="a", tell=stop)
    first = read_diagnosis(parts)
    assert list(first["chapters"]) == ["decay", "preconditioning"]

    calls, said = 0, []

    def done() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KilledError

    with pytest.raises(KilledError):
        run_chapters(make(), parts, names=FEW, command="b", tell=said.append, done=done)
    assert said == ["energies along the trajectory"]
    assert list(read_diagnosis(parts)["chapters"]) == list(FEW[:3])

    said.clear()
    results = run_chapters(make(), parts, names=FEW, command="c", tell=said.append)
    assert [text.split()[0] for text in said] == ["fine", "modes", "modes"]
    assert timeless(results) == timeless(read_diagnosis(parts)) == expected  # the command too
    seconds = {name: part["seconds"] for name, part in results["chapters"].items()}
    for name, part in first["chapters"].items():
        assert part["seconds"] == seconds[name]


def test_file_is_whole_after_every_chapter(make: Make, tmp_path: Path) -> None:
    found: list[list[str]] = []

    def look() -> None:
        found.append([*read_diagnosis(tmp_path)["chapters"]])

    run_chapters(make(), tmp_path, names=FEW, done=look)
    assert found == [list(FEW[: k + 1]) for k in range(4)]
    assert {path.name for path in tmp_path.iterdir()} == {".steindiff", "results.json"}


def test_all_chapters_by_default(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(diagnosis: Diagnosis, tell: Any) -> dict[str, Any]:
        return {"steps": diagnosis.sampling.steps}

    for name, chapter in CHAPTERS.items():
        monkeypatch.setitem(CHAPTERS, name, replace(chapter, measure=fake))
    results = run_chapters(make(), tmp_path)
    assert list(results["chapters"]) == [
        "contractivity", "identity", "coefficient", "decay", "preconditioning", "energy", "modes",
    ]  # fmt: skip
    assert all(part["found"] == {"steps": 4} for part in results["chapters"].values())


def test_same_setting_gives_the_same_numbers(make: Make, everything: dict[str, Any]) -> None:
    """Also where each chapter is measured without those before it."""
    for name in CHAPTERS:
        assert measured(make(), name) == everything[name], name
    assert measured(make(first_seed=1), "decay") != everything["decay"]


def test_record_says_what_was_run(make: Make, tmp_path: Path) -> None:
    diagnosis = make(coefficient="energy:trust=0.2", solver="ipndm:2", first_seed=3)
    results = run_chapters(diagnosis, tmp_path, names=["modes"], command="steindiff diagnose ...")
    setting: dict[str, Any] = {**results["setting"]}
    sizes = setting.pop("sizes")
    assert setting == {
        "model": "a mixture", "shape": [5], "solver": "ipndm:2", "coefficient": "energy:trust=0.2",
        "schedule": "karras", "steps": 4, "sigma_min": 0.002, "sigma_max": 80.0, "first_seed": 3,
    }  # fmt: skip
    assert (sizes["samples"], sizes["counts"], sizes["dense"]) == (6, [3], [6])
    assert results["command"] == "steindiff diagnose ..."
    assert results["format"] == 1
    assert results["versions"]["steindiff"] == sd.__version__
    assert results["machine"]["threads"] == 1
    assert results["chapters"]["modes"]["seconds"] > 0


OTHERS: dict[str, dict[str, Any]] = {
    "model": {"name": "another"},
    "solver": {"solver": "euler"},
    "coefficient": {"coefficient": "energy:trust=0.2"},
    "schedule": {"schedule": "log_snr"},
    "steps": {"steps": 5},
    "sigma_min": {"sigma_min": 0.01},
    "sigma_max": {"sigma_max": 50.0},
    "first_seed": {"first_seed": 1},
    "sizes": {"sizes": {"probes": 3}},
    "solver, steps": {"solver": "euler", "steps": 5},
}


@pytest.fixture(scope="module")
def diagnosed(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diagnosis")
    run_chapters(make(), folder, names=["modes"])
    return folder


@pytest.mark.parametrize("what", OTHERS)
def test_another_setting_is_refused(make: Make, diagnosed: Path, what: str) -> None:
    before = (diagnosed / "results.json").read_bytes()
    with pytest.raises(ValueError, match=rf"with another {what}; .*--overwrite"):
        run_chapters(make(**OTHERS[what]), diagnosed, names=["modes"])
    assert (diagnosed / "results.json").read_bytes() == before


def test_overwrite_drops_the_other_results(make: Make, tmp_path: Path) -> None:
    run_chapters(make(), tmp_path, names=["modes", "decay"])
    run_chapters(make(steps=5), tmp_path, names=["modes"], overwrite=True)
    found = read_diagnosis(tmp_path)
    assert found["setting"]["steps"] == 5
    assert list(found["chapters"]) == ["modes"]
    assert [row["steps"] for row in found["chapters"]["modes"]["found"]["rows"]] == [3, 5]


def test_another_shape_under_the_same_name_is_refused(make: Make, diagnosed: Path) -> None:
    other = Gaussian(variance=0.25, shape=(7,))
    with pytest.raises(ValueError, match="with another shape"):
        run_chapters(make(denoiser=other, shape=(7,), modes=None), diagnosed, names=["modes"])


def test_unknown_chapter(make: Make, tmp_path: Path) -> None:
    """Said before anything is measured or made."""
    with pytest.raises(ValueError, match=r"chapter 'dekay' is unknown\. Did you mean 'decay'\?"):
        run_chapters(make(), tmp_path / "out", names=["modes", "dekay"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "results.json is damaged: .*; remove it to start anew"),
        ("", "results.json is damaged"),
        ("[]", "results.json is not a diagnosis of format 1"),
        ('{"format": 2, "setting": {}, "chapters": {}}', "results.json is not a diagnosis of"),
        ('{"cells": []}', "results.json is not a diagnosis of format 1"),
    ],
)
def test_damaged_and_foreign_results(make: Make, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        run_chapters(make(), tmp_path, names=["modes"])
    assert path.read_text() == text
    with pytest.raises(ValueError, match=message):
        read_diagnosis(tmp_path)
    run_chapters(make(), tmp_path, names=["modes"], overwrite=True)
    assert list(read_diagnosis(tmp_path)["chapters"]) == ["modes"]


def test_results_that_are_no_text_are_named(make: Make, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(b'{"format": 1\xff')
    with pytest.raises(ValueError, match=r"results\.json is damaged"):
        run_chapters(make(), tmp_path, names=["modes"])


def test_results_of_a_bench_are_refused(make: Make, tmp_path: Path) -> None:
    bench = {"format": 1, "command": "", "grid": {}, "cells": []}
    (tmp_path / "results.json").write_text(json.dumps(bench))
    with pytest.raises(ValueError, match=r"results\.json is not a diagnosis"):
        run_chapters(make(), tmp_path, names=["modes"])


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"results\.json"):
        read_diagnosis(tmp_path)


# -- results that are read back -------------------------------------------------------------------


def changed(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The results in `folder` after an edit."""
    results = json.loads((folder / "results.json").read_text())
    edit(results)
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def copied(diagnosed: Path, tmp_path: Path) -> Path:
    (tmp_path / "results.json").write_bytes((diagnosed / "results.json").read_bytes())
    return tmp_path


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "chapter 'mods' is unknown. Did you mean 'modes'?": lambda r: r["chapters"].update(
        mods=r["chapters"]["modes"]
    ),
    "missing required field `machine`": lambda r: r.pop("machine"),
    "missing required field `versions`": lambda r: r.pop("versions"),
    "missing required field `command`": lambda r: r.pop("command"),
    "missing required field `solver` - at `$.setting`": lambda r: r["setting"].pop("solver"),
    "Expected `int`, got `str` - at `$.setting.steps`": lambda r: r["setting"].update(steps="4"),
    "Expected `object`, got `array` - at `$.setting`": lambda r: r.update(setting=[]),
    "Expected `object`, got `null` - at `$.chapters`": lambda r: r.update(chapters=None),
    "missing required field `seconds`": lambda r: r["chapters"]["modes"].pop("seconds"),
    "chapter 'modes': Object missing required field `rows`": lambda r: r["chapters"]["modes"][
        "found"
    ].pop("rows"),
    "chapter 'modes': Expected `float`, got `str` - at `$.rows[0].base.within`": lambda r: r[
        "chapters"
    ]["modes"]["found"]["rows"][0]["base"].update(within="1"),
}


@pytest.mark.parametrize("said", EDITS)
def test_fields_that_are_wrong_are_named(copied: Path, said: str) -> None:
    """With the file, in one sentence, before anything is written."""
    changed(copied, EDITS[said])
    for use in (read_diagnosis, write_report):
        with pytest.raises(ValueError, match=re.escape(said)) as caught:
            use(copied)
        assert str(copied / "results.json") in str(caught.value)
    assert [path.name for path in copied.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "1e999", "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000]
)
def test_what_is_no_number_and_what_has_no_end(copied: Path, text: str) -> None:
    path = copied / "results.json"
    results = json.loads(path.read_text())
    results["chapters"]["modes"]["found"]["rows"][0]["base"]["within"] = "HERE"
    path.write_text(json.dumps(results).replace('"HERE"', text))
    with pytest.raises(ValueError, match=r"results\.json is damaged"):
        read_diagnosis(copied)


@pytest.mark.parametrize(("chapter", "path"), [("decay", "ratios"), ("contractivity", "runs")])
def test_lists_of_nothing(whole: Path, tmp_path: Path, chapter: str, path: str) -> None:
    shutil.copy(whole, tmp_path)
    changed(tmp_path, lambda r: r["chapters"][chapter]["found"].update({path: []}))
    with pytest.raises(ValueError, match=rf"chapter '{chapter}': .* length >= 1 - at `\$\.{path}`"):
        read_diagnosis(tmp_path)


def test_numbers_that_cannot_be_judged(whole: Path, tmp_path: Path) -> None:
    """Lists of unlike lengths, each of them right by itself."""
    shutil.copy(whole, tmp_path)
    changed(tmp_path, lambda r: r.update(chapters={"decay": r["chapters"]["decay"]}))
    changed(tmp_path, lambda r: r["chapters"]["decay"]["found"]["propagation"]["base"].pop())
    with pytest.raises(ValueError, match=r"results\.json: chapter 'decay' holds numbers that"):
        write_report(tmp_path)


def test_every_committed_diagnosis_is_read_and_reported(tmp_path: Path) -> None:
    """The plane among them, which docs/figures measures: the report passes it over."""
    committed = Path(__file__).parents[3] / "docs" / "results" / "theory"
    folders = sorted(path for path in committed.iterdir() if path.is_dir())
    assert len(folders) == 17
    for folder in folders:
        results = read_diagnosis(folder)
        assert results["chapters"].keys() <= {*CHAPTERS, "plane"}
        assert verdicts(results).keys() == results["chapters"].keys() - {"plane"}
    (tmp_path / "results.json").write_bytes((folders[-2] / "results.json").read_bytes())
    assert write_report(tmp_path).stat().st_size > 10_000


def test_measurements_that_are_not_finite(make: Make, tmp_path: Path) -> None:
    """Are not written; what was measured before them stays."""

    def fake(diagnosis: Diagnosis, tell: Any) -> dict[str, Any]:
        return {"value": math.nan}

    run_chapters(make(), tmp_path, names=["decay"])
    broken = {**CHAPTERS, "energy": replace(CHAPTERS["energy"], measure=fake)}
    with pytest.raises(ValueError, match="chapter 'energy' measured numbers that are not finite"):
        run_chapters(make(), tmp_path, names=["energy"], chapters=broken)
    assert list(read_diagnosis(tmp_path)["chapters"]) == ["decay"]


# -- folders of something else --------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folder_is_left_alone(make: Make, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt, but no run of `steindiff diagnose`"):
        run_chapters(make(), tmp_path, names=["modes"], overwrite=overwrite)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "report.html": "mine", "notes.txt": "mine",
    }  # fmt: skip


def test_figures_that_lead_elsewhere(make: Make, tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    run_chapters(make(), out, names=["modes"])
    (out / "figures").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="figures is a symbolic link"):
        write_report(out)
    assert list(elsewhere.iterdir()) == []


# -- from Python ----------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "samples": 6, "jacobians": 2, "levels": 3, "probes": 2, "study": 4, "modes": 6, "counts": (3,),
    "dense": (), "fine_steps": 8, "rounds": 3, "pairs": 8,
}  # fmt: skip


@pytest.mark.parametrize("names", [("decay", "preconditioning"), slow(())], ids=str)
def test_plain_function_is_a_denoiser(tmp_path: Path, names: tuple[str, ...]) -> None:
    """The posterior mean of N(0, 1/4) as a function has the numbers of the Gaussian."""

    def function(x: Tensor, sigma: Tensor) -> Tensor:
        return (x.double() * (0.25 / (0.25 + sigma.double()[:, None] ** 2))).to(x.dtype)

    options: dict[str, Any] = {"solver": "euler", "steps": 3, "sizes": Sizes(**SMALL)}
    said: list[str] = []
    found = diagnose(function, (4,), tmp_path / "a", chapters=names, tell=said.append, **options)
    assert list(found) == [name for name in CHAPTERS if name in (names or CHAPTERS)]
    assert said
    assert (tmp_path / "a" / "report.html").stat().st_size > 10_000
    results = read_diagnosis(tmp_path / "a")
    assert verdicts(results) == found
    assert results["setting"]["model"] == "denoiser"
    exact = make_diagnosis(Gaussian(variance=0.25, shape=(4,)), (4,), **options)
    for name in names or ("contractivity", "decay", "preconditioning"):
        mine = results["chapters"][name]["found"]
        theirs = measured(exact, name)
        assert list(numbers(mine)) == pytest.approx(list(numbers(theirs)), rel=1e-3, abs=1e-5)


def numbers(found: Any) -> list[float]:
    """All numbers of a result, in its order."""
    if isinstance(found, dict):
        return [x for value in found.values() for x in numbers(value)]
    if isinstance(found, list):
        return [x for value in found for x in numbers(value)]
    return [float(found)] if isinstance(found, (int, float)) else []


def test_function_that_takes_labels(tmp_path: Path) -> None:
    """Labels by seed: every call gets those of its samples, and they decide where samples end."""
    means, seen = torch.tensor([-3.0, 3.0]), []

    def function(x: Tensor, sigma: Tensor, *, y: Tensor) -> Tensor:
        assert y.shape == x.shape[:1]
        seen.append(len(y))
        mean = means[y][:, None]
        return mean + 0.04 / (0.04 + sigma[:, None] ** 2) * (x - mean)

    found = diagnose(
        function, (4,), tmp_path, chapters=["energy", "decay"], steps=3, sizes=Sizes(**SMALL),
        conditioning=lambda seeds: {"y": torch.tensor([seed % 2 for seed in seeds])},
    )  # fmt: skip
    assert list(found) == ["decay", "energy"]
    assert set(seen) == {6}
    diagnosis = make_diagnosis(
        function, (4,), sizes=Sizes(**SMALL), first_seed=1,
        conditioning=lambda seeds: {"y": torch.tensor([seed % 2 for seed in seeds])},
    )  # fmt: skip
    ends = diagnosis.fine.x.mean(dim=1)
    assert ends.sign().tolist() == [1, -1, 1, -1, 1, -1]
    assert diagnosis.data_scale == pytest.approx(3, rel=0.2)
    with pytest.raises(TypeError, match="'y'"):
        diagnose(function, (4,), tmp_path / "b", chapters=["decay"], sizes=Sizes(**SMALL))


def test_overwrite_from_python(tmp_path: Path) -> None:
    gaussian = Gaussian(variance=0.25, shape=(4,))
    options: dict[str, Any] = {"chapters": ["modes"], "sizes": Sizes(**SMALL)}
    (found,) = diagnose(gaussian, (4,), str(tmp_path), **options)["modes"]
    assert found.grade.value == "not decided here"
    with pytest.raises(ValueError, match="another solver"):
        diagnose(gaussian, (4,), tmp_path, solver="euler", **options)
    diagnose(gaussian, (4,), tmp_path, solver="euler", overwrite=True, **options)
    assert read_diagnosis(tmp_path)["setting"]["solver"] == "euler"


# -- settings that are refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 2}, "steps is 2; at least 3 are needed"),
        ({"shape": ()}, "shape is (); the sizes of one sample"),
        ({"shape": (0, 3)}, "shape is (0, 3); the sizes"),
        ({"steps": -1}, "steps is -1; at least 3"),
        ({"coefficient": "none"}, "coefficient is 'none'; one is needed to compare the base with"),
        ({"coefficient": "enrgy"}, "coefficient 'enrgy' is unknown. Did you mean 'energy'"),
        ({"solver": "eulre"}, "solver 'eulre' is unknown. Did you mean 'euler'"),
        ({"solver": "ipndm:9"}, "order is 9"),
    ],
)
def test_impossible_settings(make: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**options)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        *(
            ({name: 0}, f"{name} is 0; at least {least} is needed")
            for name, least in {
                "samples": 2, "jacobians": 1, "levels": 2, "probes": 1, "study": 2, "modes": 1,
                "steps_shown": 1,
            }.items()
        ),
        ({"samples": -3}, "samples is -3"),
        ({"jacobians": 7, "samples": 6}, "jacobians is 7 and samples 6; they are among them"),
    ],
)  # fmt: skip
def test_impossible_sizes(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sizes(**sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LIMITS)
def test_sizes_have_bounds(name: str) -> None:
    """Which the largest value keeps and one more does not."""
    most = LIMITS[name][1]
    others: dict[str, Any] = {"samples": 1_000_000} if name == "jacobians" else {"jacobians": 1}
    assert getattr(Sizes(**{**others, name: most}), name) == most
    with pytest.raises(ValueError, match=f"{name} is {most + 1}; at most {most} is possible"):
        Sizes(**{**others, name: most + 1})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 10**11}, "steps is 100000000000; at most 10000 are possible"),
        ({"sizes": {"samples": 10**11}}, "samples is 100000000000; at most 1000000"),
        ({"sizes": {"counts": (10**11,)}}, "counts is (100000000000,)"),
        ({"sizes": {"counts": (3,) * 65}}, "counts holds 65 numbers; at most 64 do"),
        ({"sizes": {"samples": 10**6, "fine_steps": 10**4}}, "take 373 GiB; at most 32 are"),
        ({"schedule": "karas"}, "schedule 'karas' is unknown"),
    ],
)
def test_bounds_before_anything_is_allocated(
    make: Make, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make(**options)


BAD_SIZES: list[dict[str, Any]] = [
    {"samples": 1, "jacobians": 1}, {"study": 1}, {"counts": ()}, {"counts": (0,)}, {"dense": (0,)},
    {"fine_steps": 0}, {"fine_steps": 1}, {"rounds": 0}, {"pairs": 1},
]  # fmt: skip


@pytest.mark.parametrize("sizes", BAD_SIZES, ids=str)
def test_sizes_that_no_chapter_can_do_with(sizes: dict[str, Any]) -> None:
    """One sample has no variance, one probe no spread, no step count no smallest, ..."""
    name = next(iter(sizes))
    with pytest.raises(ValueError, match=name):
        Sizes(**sizes)


def test_a_subject_brings_its_own() -> None:
    """Shape, name, conditioning and levels: those asked for, where it knows them."""
    subject = Given(
        "mine", Gaussian(variance=0.25, shape=(4,)), (4,), limits=(0.01, 50.0),
        conditioning=lambda seeds: {"y": list(seeds)},
        rounding=lambda sigmas: sigmas.round(decimals=1),
    )  # fmt: skip
    diagnosis = make_diagnosis(subject, steps=4)
    assert described(diagnosis)["model"] == "mine"
    assert described(diagnosis)["shape"] == [4]
    assert diagnosis.batch(2).conditioning == {"y": [0, 1]}
    expected = sd.schedules.karras(4, 0.01, 50.0).round(decimals=1)
    assert diagnosis.levels() == expected.tolist()
    inside = make_diagnosis(subject, sigma_min=0.1, sigma_max=20.0).sampling
    assert (inside.sigma_min, inside.sigma_max) == (0.1, 20.0)


def test_solver_as_an_object() -> None:
    gaussian = Gaussian(variance=0.25, shape=(4,))
    diagnosis = make_diagnosis(gaussian, [4], solver=sd.solvers.resolve_solver("heun"), name="g")
    assert diagnosis.sampling.solver_text == "Heun"
    assert diagnosis.subject.shape == (4,)
    assert diagnosis.size == 4
    assert diagnosis.sizes == Sizes()


# -- what a diagnosis knows -----------------------------------------------------------------------


def test_levels(make: Make) -> None:
    diagnosis = make(sigma_min=0.01, sigma_max=50.0)
    assert diagnosis.levels() == sd.schedules.karras(4, 0.01, 50.0).tolist()
    assert diagnosis.levels(7) == sd.schedules.karras(7, 0.01, 50.0).tolist()
    assert make(schedule="log_snr").levels() == sd.schedules.log_snr(4, 0.002, 80.0).tolist()
    rounded = make(rounding=lambda sigmas: sigmas.round().clamp(0.5), sigma_max=9.6)
    assert rounded.levels()[0] == 10.0
    assert rounded.levels()[-1] == 0.5
    assert rounded.fine.levels[0] == 10.0
    assert torch.equal(rounded.batch(3).x, noises(3, sigma=10.0))
    assert make(sigma_min=0.5).survey_levels()[-1] == pytest.approx(0.5)
    assert make(sigma_min=0.001).survey_levels()[-1] == pytest.approx(0.01)


def test_noises_and_conditioning_follow_the_seeds(make: Make) -> None:
    diagnosis = make(first_seed=3, conditioning=lambda seeds: {"y": list(seeds)})
    assert torch.equal(diagnosis.batch(4).x, noises(7)[3:])
    assert diagnosis.batch(4).conditioning == {"y": [3, 4, 5, 6]}
    assert diagnosis.batch(2).conditioning == {"y": [3, 4]}


def test_batches_are_rows_of_the_whole(make: Make) -> None:
    diagnosis = make(first_seed=10, conditioning=lambda seeds: {"y": list(seeds)})
    first, part, last = diagnosis.batches(12, 5)
    assert torch.equal(first.x, diagnosis.batch(12).x[:5])
    assert torch.equal(part.x, diagnosis.batch(12).x[5:10])
    assert torch.equal(part.x, diagnosis.batch(5, 5).x)
    assert part.conditioning == {"y": [15, 16, 17, 18, 19]}
    assert len(last.x) == 2
    assert last.conditioning == {"y": [20, 21]}
    unlabelled = make(first_seed=10)
    whole = unlabelled.solve(unlabelled.batch(12))
    assert torch.equal(unlabelled.solve(unlabelled.batch(5, 5)).x, whole.x[5:10])


def test_denoiser_at_a_level(make: Make, mixture: GaussianMixture) -> None:
    x = noises(3, sigma=2.0)
    assert torch.equal(make().batch(3).at(2.0)(x), mixture(x, 2.0))


def test_survey_is_on_the_fine_trajectory(make: Make) -> None:
    diagnosis = make()
    fine = FineSolution(diagnosis.subject.denoiser, noises(6), {}, 12, 0.002, 80.0)
    for part, sigma in zip(diagnosis.survey, diagnosis.survey_levels(), strict=True):
        assert part.sigma == sigma
        assert torch.equal(part.x, fine.at(sigma))
        kappa = (
            part.x * (part.x - diagnosis.subject.denoiser(part.x, torch.full((6,), sigma)))
        ).sum(dim=1)
        torch.testing.assert_close(
            part.identity.kappa, kappa.double() / (5 * sigma**2), rtol=1e-4, atol=1e-4
        )


def test_noise_energy(make: Make) -> None:
    """|eps|^2/d, whatever the level of the start."""
    for sigma in (80.0, 3.0):
        expected = noises(6, first=2, sigma=1.0).double().square().mean(dim=1)
        found = make(first_seed=2, sigma_max=sigma).noise_energy()
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


# -- numbers by hand ------------------------------------------------------------------------------


def test_chance_is_taken_out_by_regression() -> None:
    """c - 1 = (-1/2, 0, 1) and values (1, 3, 4): a slope of (13/6)/(7/6)."""
    values, control = torch.tensor([1.0, 3.0, 4.0]), torch.tensor([0.5, 1.0, 2.0])
    expected = torch.tensor([1 + 13 / 14, 3.0, 4 - 13 / 7])
    torch.testing.assert_close(without_chance(values, control), expected)


def test_control_that_explains_everything_leaves_nothing() -> None:
    control = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    found = without_chance(3 - 2 * (control - 1), control)
    torch.testing.assert_close(found, torch.full((50,), 3.0).double(), rtol=0, atol=1e-12)


def test_control_without_spread_changes_nothing() -> None:
    values = torch.tensor([1.0, 2.0, 5.0])
    assert torch.equal(without_chance(values, torch.ones(3)), values)


def test_without_chance_the_mean_is_the_same_and_the_spread_smaller() -> None:
    """400 means of 50: values of mean 2 of which the control explains 4/5 of the variance."""
    generator = torch.Generator().manual_seed(1)
    control = 1 + torch.randn(400, 50, generator=generator, dtype=torch.float64)
    rest = torch.randn(400, 50, generator=generator, dtype=torch.float64)
    plain = 2 + 2 * (control - 1) + rest
    means = torch.stack([without_chance(v, c).mean() for v, c in zip(plain, control, strict=True)])
    error = math.sqrt(1 / 50 / 400)
    assert abs(means.mean() - 2) < 3 * error
    assert means.std() == pytest.approx(math.sqrt(1 / 50), rel=0.15)
    assert plain.mean(dim=1).std() == pytest.approx(math.sqrt(5 / 50), rel=0.15)


def test_mean_of() -> None:
    """The bootstrap's 95% interval is that of a normal mean."""
    values = torch.randn(2000, generator=torch.Generator().manual_seed(2))
    found = mean_of(values)
    assert list(found) == ["value", "low", "high"]
    assert found["value"] == pytest.approx(values.double().mean().item(), abs=1e-12)
    half = 1.96 * values.std().item() / math.sqrt(2000)
    assert found["value"] - found["low"] == pytest.approx(half, rel=0.2)
    assert found["high"] - found["value"] == pytest.approx(half, rel=0.2)
    assert mean_of(torch.tensor([2.5])) == {"value": 2.5, "low": 2.5, "high": 2.5}


def test_spread_of() -> None:
    values = torch.arange(101.0)[torch.randperm(101, generator=torch.Generator().manual_seed(0))]
    assert spread_of(values) == {"low": 5.0, "median": 50.0, "high": 95.0, "max": 100.0}
    assert spread_of(torch.tensor([3.0])) == {"low": 3.0, "median": 3.0, "high": 3.0, "max": 3.0}
    with pytest.raises(ValueError, match="empty"):
        spread_of(torch.empty(0))


def test_data_scale(make: Make) -> None:
    """Over samples and elements at once."""
    diagnosis = make()
    flat = diagnosis.fine.x.double().flatten()
    expected = math.sqrt(float((flat - flat.mean()).square().sum()) / (len(flat) - 1))
    assert diagnosis.data_scale == pytest.approx(expected, rel=1e-12)


def test_chapters_say_what_they_are() -> None:
    assert re.fullmatch("[a-z]+", "".join(CHAPTERS))
    for name, chapter in CHAPTERS.items():
        assert chapter.name == name
        assert chapter.title
        assert chapter.about.endswith(".")
