"""Base, relaxed and fine on any model, from Python and from the command line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from blobs import SHAPE, Blobs
from command import Command
from edm_networks import Discrete
from matrices import slow
from pages import Page

import steindiff as sd
from steindiff.denoisers import GaussianMixture
from steindiff.lab.bench.grid import Grid
from steindiff.lab.cli.commands.compare import END, Compared
from steindiff.lab.cli.method import choose
from steindiff.lab.cli.networks import within_levels
from steindiff.lab.cli.options import Sampling
from steindiff.lab.comparison import Comparison, ComparisonSetting, compare, grid_of
from steindiff.lab.metrics import frechet_distance, unlearned_features
from steindiff.lab.subjects import of_edm, of_folder, of_name


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare(Blobs(), steps=[6], samples=20, out=tmp_path_factory.mktemp("compare") / "out")


def test_figures_against_a_direct_computation(found: Comparison) -> None:
    """The recipe's row is `sample(steps=6)`, the base's the plain solver; both against the fine."""
    net, x = Blobs(), sd.noise(SHAPE, 80.0, range(20))
    fine = sd.sample(net, x, sd.schedules.karras(20, final="zero"), "heun", None).x
    wanted = {
        "base": sd.sample(net, x, steps=6, coefficient=None),
        "energy": sd.sample(net, x, steps=6),
    }
    cell = found.cells[1]
    assert (cell.solver, cell.schedule, cell.samples) == ("recipe", "recipe", 20)
    features = unlearned_features(SHAPE).features
    for name, result in wanted.items():
        metrics: Any = cell.coefficients[name].metrics  # type: ignore[union-attr]
        error = float(((result.x - fine).square().sum() / fine.square().sum()).sqrt())
        assert metrics.relative_error.value == pytest.approx(error, rel=1e-4)
        assert metrics.relative_error.low < error < metrics.relative_error.high
        distance = frechet_distance(features(result.x), features(fine))
        assert metrics.fd.value == pytest.approx(distance, rel=1e-3)


def of_words(grid: Grid) -> list[tuple[Any, ...]]:
    """Solver, levels, coefficient and end of each relaxed row."""
    (rule,) = grid.parsed.values()
    return [
        (cell.method, cell.levels, cell.plan.coefficient, cell.plan.end)
        if cell.plan
        else (cell.method, cell.levels, rule, grid.end)
        for cell in grid.cells
    ]


SETTING = ComparisonSetting(nfe=[6], solvers=["euler", "unipc", "recipe"])
NAMED = [Sampling(steps=6, solver=solver, schedule="karras") for solver in ("euler", "unipc")]
WORDS = [*NAMED, Sampling(steps=6)]


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_row_is_what_sample_does_with_the_same_words(guidance: float) -> None:
    """Levels that end at 0, the recipe's coefficient, and the end that goes with it."""
    found = of_words(grid_of(of_name("fashion-mnist", guidance), SETTING))
    asked = [choose(words, guidance) for words in WORDS]
    assert found == [
        (one.solver, tuple(one.levels().tolist()), one.coefficient, one.method.end) for one in asked
    ]
    assert [levels[-1] for _, levels, _, _ in found] == [0, 0, 0]
    assert "none" not in [end for *_, end in found]


def test_a_row_of_an_edm_file(tmp_path: Path) -> None:
    """The same on the levels that the network knows."""
    path = tmp_path / "net.pkl"
    path.write_bytes(pickle.dumps({"ema": Discrete(label_dim=0)}))
    subject: Any = of_edm(path, True)
    asked = [choose(words, 1.0) for words in WORDS]
    wanted = [tuple(within_levels(subject.denoiser, one).tolist()) for one in asked]
    assert [levels for _, levels, _, _ in of_words(grid_of(subject, SETTING))] == wanted
    assert wanted[0] != tuple(asked[0].levels().tolist())  # it knows a few only
    assert [levels[-1] for levels in wanted] == [0, 0, 0]


def test_a_row_of_a_saved_pipeline(tmp_path: Path) -> None:
    """The levels end at 0, as the pipeline's own, and are within those that it was made for."""
    diffusers = pytest.importorskip("diffusers")
    from tiny_pipelines import unconditional_unet

    pipeline = diffusers.DDIMPipeline(unconditional_unet(), diffusers.DDIMScheduler())
    pipeline.save_pretrained(tmp_path / "pipe")
    subject = of_folder(tmp_path / "pipe")
    for _, levels, rule, end in of_words(grid_of(subject, SETTING)):
        assert levels[0] == min(80, subject.sigma_max)
        assert levels[-2] >= subject.sigma_min > 0
        assert levels[-1] == 0
        plan = sd.recipe(6)
        assert (rule, end) in [(sd.Energy(), "steady"), (plan.coefficient, plan.end)]


def test_what_a_setting_says_of_the_end() -> None:
    subject = of_name("mixture:dim=4")
    setting = ComparisonSetting(solvers=["euler"], coefficient="constant:value=0.9", end="none")
    assert of_words(grid_of(subject, setting)) == [
        (
            sd.Euler(),
            tuple(sd.schedules.karras(5, final="zero").tolist()),
            sd.stein.Constant(0.9),
            "none",
        )
    ]
    lowest = ComparisonSetting(solvers=["euler"], final="sigma_min")
    assert grid_of(subject, lowest).cells[0].levels == tuple(sd.schedules.karras(5).tolist())


def test_the_command_has_the_same_defaults() -> None:
    """Its options are declared without importing what they are of."""
    asked, setting = Compared(), ComparisonSetting()
    assert (asked.end, END) == (setting.end, sd.recipes.END)
    assert asked.final == setting.final


def test_files_and_words(found: Comparison) -> None:
    assert found.picture is not None
    page = Page(found.report.read_text())
    page.every_image_has_words_and_a_size(largest=4)
    assert "relative error" in page.text
    assert [row[0] for row in found.rows] == [
        "DPM++ 2M", "DPM++ 2M + SteinDiff", "Recipe's levels, plain", "Recipe: steps=6"
    ]  # fmt: skip
    assert str(found).startswith("solver ")
    shown = found._repr_html_()
    assert shown.count("<tr>") == 5
    assert "data:image/png;base64," in shown


def test_a_pipeline_from_the_command_line(steindiff: Command, tmp_path: Path) -> None:
    """Latents stay latents in the figures, and are decoded for the picture."""
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from tiny_prompted import stable_diffusion

    stable_diffusion().save_pretrained(tmp_path / "pipe")
    (tmp_path / "prompts.txt").write_text("a b\nb\n")
    out = tmp_path / "out"
    done = steindiff(
        "compare", "--diffusers", tmp_path / "pipe", "--prompts", tmp_path / "prompts.txt",
        "--guidance", 2, "--steps", 3, "--samples", 16, "--resamples", 20, "--solver", "recipe",
        "--out", out,
    )  # fmt: skip
    assert done.code == 0, done
    assert (out / "compare.png").is_file()
    results = json.loads((out / "results.json").read_text())
    (cell,) = results["cells"]
    assert cell["guidance"] == 2
    assert cell["sigmas"][0] < 15  # the pipeline's own highest level
    assert cell["features"] == "random-projections"
    assert next(iter(results["hashes"].values())).keys() == {"folder"}


@pytest.mark.parametrize("name", [slow("stable_diffusion_xl"), "stable_diffusion_3"])
def test_a_pipeline_from_python(name: str, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    import tiny_prompted

    pipe = getattr(tiny_prompted, name)()
    found = compare(
        pipe, ["a b", "c"], steps=[3], guidance=3, solvers=["dpmpp_2m", "recipe"],
        coefficient="constant:value=0.9", samples=16, out=tmp_path,
    )  # fmt: skip
    assert found.picture is not None
    assert "relative error" in Page(found.report.read_text()).text
    base, relaxed, *rest = (row[2] for row in found.rows)
    assert base != relaxed
    assert len(rest) == 2  # the recipe's, which may leave so small a network as it is


def test_points_have_no_picture(tmp_path: Path) -> None:
    mixture = GaussianMixture(torch.randn(3, 5), torch.full((3, 5), 0.1))
    found = compare((mixture, (5,)), steps=[4], samples=16, out=tmp_path)
    assert found.picture is None
    assert found.report.is_file()
