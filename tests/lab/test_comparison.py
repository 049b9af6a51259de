"""Base, relaxed and fine on any model, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from blobs import SHAPE, Blobs
from command import Command
from pages import Page

import steindiff as sd
from steindiff.denoisers import GaussianMixture
from steindiff.lab.comparison import Comparison, compare
from steindiff.lab.metrics import frechet_distance, unlearned_features


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


@pytest.mark.parametrize("name", ["stable_diffusion_xl", "stable_diffusion_3"])
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
