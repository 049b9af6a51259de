"""The report: whole, self-contained, escaped, and right in a browser."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from pages import CHROMIUM, Page, lay_out
from PIL import Image

from steindiff.diagnosis import CHAPTERS, Setting, read_diagnosis, run_chapters, verdicts
from steindiff.diagnosis.report import SYMBOLS, write_report

Make = Callable[..., Setting]


@pytest.fixture(scope="module")
def folder(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diagnosis")
    run_chapters(make(), path, command="steindiff diagnose --model m")
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
    for image in page.images:
        assert image["alt"]
        assert int(image["width"] or 0) > 0


def test_every_verdict_stands_there(folder: Path, page: Page) -> None:
    """Statement, what was found, and the counts of outcomes."""
    found = [v for chapter in verdicts(read_diagnosis(folder)).values() for v in chapter]
    assert len(found) > 20
    for verdict in found:
        assert page.text.count(" ".join(verdict.statement.split())) >= 2  # in the list and below
        assert " ".join(verdict.found.split()) in page.text
    for outcome, (symbol, _) in SYMBOLS.items():
        count = sum(verdict.outcome is outcome for verdict in found)
        assert (f"{count} {symbol} {outcome.value}" in page.text) == (count > 0)
    assert "steindiff diagnose --model m" in page.text
    assert "Not all chapters" not in page.text


def test_figures_are_files_too(folder: Path) -> None:
    results = read_diagnosis(folder)
    drawings = [
        drawing
        for name, part in results["chapters"].items()
        for drawing in CHAPTERS[name].draw(part["found"])
    ]
    wanted = {
        f"{drawing.name}.{'gif' if isinstance(drawing.content, bytes) else 'png'}"
        for drawing in drawings
    }
    assert {path.name for path in (folder / "figures").iterdir()} == wanted
    moving = Image.open(folder / "figures" / "trajectories.gif")
    assert getattr(moving, "n_frames", 1) == 3
    for path in (folder / "figures").glob("*.png"):
        Image.open(path).verify()


def test_labels_are_inside_their_figures(folder: Path) -> None:
    """No ink on the border of any figure."""
    for name, part in read_diagnosis(folder)["chapters"].items():
        for drawing in CHAPTERS[name].draw(part["found"]):
            if isinstance(drawing.content, Figure):
                stream = io.BytesIO()
                drawing.content.savefig(stream, format="png")
                ink = np.asarray(Image.open(stream).convert("L")) < 250
                border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
                assert ink.any()
                assert not border.any(), drawing.name


def test_part_of_the_chapters_in_the_reports_order(make: Make, tmp_path: Path) -> None:
    run_chapters(make(), tmp_path, names=["energy"])
    run_chapters(make(), tmp_path, names=["decay"])
    page = Page(write_report(tmp_path).read_text())
    assert "Not all chapters" in page.text
    chapters = [name for name in page.ids if name in CHAPTERS]
    assert chapters == ["decay", "energy"]


def test_markup_in_a_name_is_text(make: Make, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=y>\"'&amp;"
    run_chapters(make(name=evil), tmp_path, names=["decay"], command=evil)
    page = Page(write_report(tmp_path).read_text())
    assert "<script>alert(1)</script><img src=x" in page.text
    assert (tmp_path / "report.html").read_text().count("<script") == 1


def test_report_is_made_of_the_results_alone(folder: Path, tmp_path: Path) -> None:
    """Another number in the file is another number on the page."""
    results = json.loads((folder / "results.json").read_text())
    results["chapters"]["decay"]["found"]["ratios"][-1] = {"value": 7.0, "low": 6.0, "high": 8.0}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "7 [6, 8] times the base's" in Page(write_report(tmp_path).read_text()).text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(folder: Path, tmp_path: Path, width: int) -> None:
    """No console message, and nothing wider than the page."""
    found = lay_out(folder / "report.html", width, tmp_path)
    assert found.logged == []
    assert found.scroll <= found.client
    assert found.images > len(CHAPTERS)
