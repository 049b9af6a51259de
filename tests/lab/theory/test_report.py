"""The report: whole, self-contained, escaped, and right in a browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from pages import CHROMIUM, Page, browse, lay_out
from PIL import Image

from steindiff.lab.theory import CHAPTERS, Diagnosis, read_diagnosis, run_chapters, verdicts
from steindiff.lab.theory.report import SYMBOLS, write_report

Make = Callable[..., Diagnosis]


@pytest.fixture(scope="module")
def folder(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diagnosis")
    shutil.copy(whole, path)
    write_report(path)
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def test_nothing_is_fetched_from_elsewhere(folder: Path, page: Page) -> None:
    assert len(page.images) > len(CHAPTERS)
    for target in page.targets:
        assert target.startswith("data:") or target[1:] in page.ids
    assert not re.search(r"url\(|@import|@font-face", (folder / "report.html").read_text())


def test_every_image_has_words_and_a_size(page: Page) -> None:
    page.every_image_has_words_and_a_size()


def test_every_verdict_stands_there(folder: Path, page: Page) -> None:
    """Statement, what was found, and the counts of outcomes."""
    found = [v for chapter in verdicts(read_diagnosis(folder)).values() for v in chapter]
    assert len(found) > 20
    for verdict in found:
        assert page.text.count(" ".join(verdict.statement.split())) >= 2  # in the list and below
        assert " ".join(verdict.found.split()) in page.text
    for outcome, (symbol, _) in SYMBOLS.items():
        count = sum(verdict.grade is outcome for verdict in found)
        assert (f"{count} {symbol} {outcome.value}" in page.text) == (count > 0)
    html = (folder / "report.html").read_text()
    rows = re.findall(
        r'<td class="text (\w+)"><span aria-hidden="true">(.)</span> ([^<]+)</td>', html
    )
    assert rows == [(SYMBOLS[v.grade][1], SYMBOLS[v.grade][0], v.grade.value) for v in found]
    assert "steindiff diagnose --model m" in page.text
    assert "Not all chapters" not in page.text


def test_figures_are_files_too(folder: Path) -> None:
    results = read_diagnosis(folder)
    drawings = [
        drawing
        for name, part in results["chapters"].items()
        for drawing in CHAPTERS[name].draw(part["found"])
    ]
    wanted = {f"{drawing.name}.png" for drawing in drawings}
    assert {path.name for path in (folder / "figures").iterdir()} == wanted
    for path in (folder / "figures").iterdir():
        Image.open(path).verify()


def ink_on_the_border(picture: Image.Image) -> bool:
    ink = np.asarray(picture.convert("L")) < 250
    assert ink.any()
    return bool(np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]]).any())


def test_labels_are_inside_their_figures(folder: Path) -> None:
    """No ink on the border of any figure."""
    for path in (folder / "figures").iterdir():
        assert not ink_on_the_border(Image.open(path)), path.name


def titles(figure: Figure) -> list[Bbox]:
    """Where the titles of a figure are, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [
        text.get_window_extent(canvas.get_renderer())
        for axes in figure.axes
        for text in axes.findobj(Text)
        if isinstance(text, Text) and text.get_text()
        if text.get_text() in (axes.get_title(), axes.get_title("left"))
    ]


LONG = "unipc:order=2,variant=bh1"


@pytest.mark.parametrize(
    ("chapter", "solver", "count"),
    [
        pytest.param("coefficient", "dpmpp_2m", 4, marks=pytest.mark.slow),
        pytest.param("coefficient", LONG, 4, marks=pytest.mark.slow),
        pytest.param("energy", "dpmpp_2m", 6, marks=pytest.mark.slow),
        ("energy", LONG, 6),
        pytest.param("contractivity", LONG, 2, marks=pytest.mark.slow),
        pytest.param("identity", LONG, 3, marks=pytest.mark.slow),
        pytest.param("decay", LONG, 2, marks=pytest.mark.slow),
        pytest.param("preconditioning", LONG, 3, marks=pytest.mark.slow),
        pytest.param("modes", LONG, 2, marks=pytest.mark.slow),
    ],
)
def test_titles_have_room(make: Make, chapter: str, solver: str, count: int) -> None:
    """None beyond the figure, none over another: also for a solver with options."""
    found = CHAPTERS[chapter].measure(make(solver=solver), lambda text: None)
    drawn = [(d.figure, titles(d.figure)) for d in CHAPTERS[chapter].draw(found)]
    assert len(drawn[0][1]) == count
    for figure, boxes in drawn:
        assert len(boxes) == len(figure.axes)  # every panel has one
        for k, box in enumerate(boxes):
            assert figure.bbox.x0 < box.x0
            assert box.x1 < figure.bbox.x1
            assert not any(box.overlaps(other) for other in boxes[:k])


def test_part_of_the_chapters_in_the_reports_order(make: Make, tmp_path: Path) -> None:
    run_chapters(make(), tmp_path, names=["modes"])
    run_chapters(make(), tmp_path, names=["decay"])
    page = Page(write_report(tmp_path).read_text())
    assert "Not all chapters" in page.text
    chapters = [name for name in page.ids if name in CHAPTERS]
    assert chapters == ["decay", "modes"]


def test_markup_in_a_name_is_text(make: Make, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=y>\"'&amp;"
    diagnosis = make(name=evil)
    sampling = replace(diagnosis.sampling, solver_text=evil, coefficient_text=evil)
    diagnosis = replace(diagnosis, sampling=sampling)
    run_chapters(diagnosis, tmp_path, names=["decay", "energy"], command=evil)
    page = Page(write_report(tmp_path).read_text())
    assert "<script>alert(1)</script><img src=x" in page.text
    assert f"Relaxing with {evil} restores the energy." in page.text
    assert (tmp_path / "report.html").read_text().count("<script") == 1
    assert all(target.startswith(("data:", "#")) for target in page.targets)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "decay.png",
        "energy.png",
        "law.png",
    }


def test_report_is_made_of_the_results_alone(folder: Path, tmp_path: Path) -> None:
    """Another number in the file is another number on the page."""
    results = json.loads((folder / "results.json").read_text())
    results["chapters"] = {"decay": results["chapters"]["decay"]}
    results["chapters"]["decay"]["found"]["ratios"][-1] = {"value": 7.0, "low": 6.0, "high": 8.0}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "7 [6, 8] times the base's" in Page(write_report(tmp_path).read_text()).text


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(folder: Path, page: Page, tmp_path: Path, width: int) -> None:
    """No console message, and nothing wider than the page."""
    found = lay_out(folder / "report.html", width, tmp_path)
    assert found.logged == []
    assert found.scroll <= found.client <= width
    assert found.images == len(page.images)


@needs_chromium
def test_script_has_run(folder: Path, tmp_path: Path) -> None:
    dom, logged = browse((folder / "report.html").as_uri(), tmp_path)
    assert logged == []
    assert 'id="copy"' in dom
    assert not re.search(r'id="copy"[^>]*hidden', dom)


@needs_chromium
def test_browser_sees_what_is_wrong(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    page = tmp_path / "wide.html"
    page.write_text(
        "<!DOCTYPE html><div style='width: 500px'>.</div><script>console.log('a')</script>"
    )
    found = lay_out(page, 390, tmp_path / "profile")
    assert found.scroll > found.client
    assert len(found.logged) == 1
