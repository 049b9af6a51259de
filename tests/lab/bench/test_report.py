"""The report: whole, self-contained, escaped, and right in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_results import broken, fake_results
from msgspec.structs import replace
from pages import CHROMIUM, Page, browse, lay_out
from PIL import Image

from steindiff.lab.bench import pictures, plots
from steindiff.lab.bench.report import write_report
from steindiff.lab.bench.results import read_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every odd case, on two models and two schedules."""
    path = tmp_path_factory.mktemp("bench")
    fake_results(path, nfe=(5, 8), solvers=("euler", "unipc:2,variant=bh1"))
    write_report(path)
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> Page:
    path = folder / "results.json"
    results = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results))
    return Page(write_report(folder).read_text())


def small(folder: Path, **options: Any) -> Path:
    fake_results(folder, models=(("fashion-mnist", 1.0),), schedules=("karras",), nfe=(5,),
                 solvers=("euler",), **options)  # fmt: skip
    return folder


def test_nothing_is_fetched_from_elsewhere(folder: Path, page: Page) -> None:
    assert page.images
    for target in page.targets:
        assert target.startswith(("data:", "#"))
    for target in page.targets:
        assert not target.startswith("#") or target[1:] in page.ids
    assert not re.search(r"url\(|@import|@font-face", (folder / "report.html").read_text())


def test_every_image_has_words_and_a_size(page: Page) -> None:
    page.every_image_has_words_and_a_size(largest=3)


def test_harm_is_told_before_help(page: Page) -> None:
    harm, help_ = page.text.index("Where it does not help"), page.text.index("Where it helps most")
    worse = page.text.index("UniPC-2-bh1, 5 NFE, EDM (ρ=7), fashion-mnist, guidance 1")
    assert harm < worse < help_
    assert harm < page.text.index("diverged at step 3") < help_


def test_what_was_run_is_there(folder: Path, page: Page) -> None:
    results = json.loads((folder / "results.json").read_text())
    for wanted in (
        results["command"], results["interval"], results["machine"]["cpu"], "torch: 2.13",
        "0 to 1999 (2,000 samples)", results["hashes"]["fashion-mnist"]["denoiser"],
    ):  # fmt: skip
        assert wanted in page.text


def test_figures_are_written(folder: Path) -> None:
    names = {path.name for path in (folder / "figures").iterdir()}
    cells = read_results(folder).cells
    assert "overview.png" in names
    assert "quality__fashion-mnist-g1__karras.png" in names
    recorded = [cell for cell in cells if plots.recorded_steps(cell)]
    assert sum(name.startswith("steps__") for name in names) == len(recorded)
    for name in names:
        Image.open(folder / "figures" / name).verify()


def test_markup_in_the_results_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=y>\"'&amp;"

    def change(results: dict[str, Any]) -> None:
        results["command"] = results["preset"] = results["versions"]["torch"] = evil
        results["cells"][0].update(model=evil, solver=f"mine:{evil}", features=evil, reference=evil)
        results["cells"][0]["schedule"] = evil
        results["cells"][0]["rules"][evil] = results["cells"][0]["rules"]["random"]

    page = rewrite(small(tmp_path), change)
    assert "<script>alert(1)</script><img src=x" in page.text  # as words
    assert all(target.startswith(("data:", "#")) for target in page.targets)
    assert (tmp_path / "report.html").read_text().count("<script") == 1


def test_names_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = small(tmp_path / "run", samples=False)
    rewrite(folder, lambda results: results["cells"][0].update(id="../../out", model="../up"))
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {p.name for p in folder.iterdir()} == {
        ".steindiff",
        "figures",
        "report.html",
        "results.json",
        "samples",
    }


def test_one_cell_without_samples(tmp_path: Path) -> None:
    page = Page(write_report(small(tmp_path, samples=False)).read_text())
    assert "No samples were kept." in page.text
    assert "1 cells" in page.text


def test_no_cell_yet(tmp_path: Path) -> None:
    def change(results: dict[str, Any]) -> None:
        results.update(cells=[], complete=False)

    page = rewrite(small(tmp_path, samples=False), change)
    assert "There is no cell yet." in page.text
    assert "Incomplete:" in page.text


def test_everything_diverged(tmp_path: Path) -> None:
    def change(results: dict[str, Any]) -> None:
        cell = results["cells"][0]
        cell["rules"] = {rule: broken(2) for rule in ("base", "energy")}

    page = rewrite(small(tmp_path, samples=False), change)
    assert "diverged at step 2" in page.text
    assert "No steps were recorded." in page.text


def test_base_alone_and_missing_metrics(tmp_path: Path) -> None:
    def change(results: dict[str, Any]) -> None:
        cell = results["cells"][0]
        cell["rules"] = {"base": {"status": "ok", "nfe": 5, "metrics": {"rmse": 0.1}}}

    assert "RMSE" in rewrite(small(tmp_path, samples=False), change).text


def test_damaged_samples_are_named(tmp_path: Path) -> None:
    path = next((small(tmp_path) / "samples").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=re.escape(path.name)):
        write_report(tmp_path)


def test_image_strip_keeps_every_pixel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    strip = np.asarray(pictures.image_strip(images, gap=2))
    for k in range(3):
        np.testing.assert_array_equal(strip[:, 7 * k : 7 * k + 5, :3], images[k])
    with pytest.raises(ValueError, match="uint8"):
        pictures.image_strip(images.astype(np.float32))


def test_labels_are_inside_their_figures(tmp_path: Path) -> None:
    """A long name must not be cut: no ink on the border of any figure."""
    results = fake_results(
        tmp_path, samples=False, nfe=(5, 8), solvers=("unipc:2,variant=bh1",) * 1
    )
    first = results.cells[0]
    where = (first.model, first.guidance, first.schedule)
    for figure in (
        plots.overview(results),
        plots.quality_against_nfe(results, *where),
        plots.quality_against_nfe(replace(results, cells=results.cells[:1]), *where),
        plots.gamma_and_energy(first),
    ):
        path = tmp_path / "figure.png"
        figure.savefig(path)
        ink = np.asarray(Image.open(path).convert("L")) < 250
        assert ink.any()
        border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
        assert not border.any()


def test_quality_needs_cells(tmp_path: Path) -> None:
    results = fake_results(tmp_path, samples=False)
    with pytest.raises(ValueError, match="a setting that was run"):
        plots.quality_against_nfe(replace(results, cells=[]), "m", 1.0, "karras")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser(folder: Path, page: Page, tmp_path: Path) -> None:
    dom, logged = browse((folder / "report.html").as_uri(), tmp_path / "wide")
    assert logged == []
    assert 'id="copy"' in dom
    assert not re.search(r'id="copy"[^>]*hidden', dom)  # the script has run
    scroll, client, images, logged = lay_out(folder / "report.html", 390, tmp_path / "narrow")
    assert logged == []
    assert images == len(page.images)
    assert scroll <= client <= 390
