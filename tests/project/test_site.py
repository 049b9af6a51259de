"""The pages of docs/ as a site: it builds without a warning and needs nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import CHROMIUM, lay_out

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_every_page_is_there(site: Path) -> None:
    sources = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    assert {path.relative_to(site).with_suffix(".md") for path in pages(site)} == sources


def test_results_and_scripts_stay_out(site: Path) -> None:
    assert not (site / "results").exists()
    assert [path for path in site.rglob("*") if path.suffix in (".py", ".sh")] == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """Links may lead away; pictures, styles, scripts and fonts may not."""
    for page in pages(site):
        text = page.read_text()
        fetched = re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="([^"]+)"', text)
        fetched += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*', text)
        assert [target for target in fetched if re.search(r"(?:https?:)?//", target)] == []


def test_formulas_are_drawn_by_the_browser_itself(site: Path) -> None:
    """LaTeX has become MathML on every page that has any, and none is left over."""
    for name in ("index.html", "theory/method.html", "theory/measured.html"):
        assert "<math" in (site / name).read_text()
    for page in pages(site):
        text = page.read_text()
        assert "arithmatex" not in text
        body = re.sub(r"<(pre|code|script|annotation)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert re.findall(r"\\(?:frac|langle|sigma|gamma|mathrm)\b", body) == []


def test_the_api_pages_show_every_argument_by_its_name(site: Path) -> None:
    text = (site / "api/sampling.html").read_text()
    for name in (
        "denoiser",
        "sigmas",
        "solver",
        "coefficient",
        "conditioning",
        "return_trajectory",
    ):
        assert re.search(rf"<code>{name}</code>", text), name


def test_inner_products_of_docstrings_are_not_lost(site: Path) -> None:
    text = (site / "api/stein.html").read_text()
    assert "⟨x, x - D⟩/(d sigma^2)" in text  # kappa, of a record


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    "name",
    [
        "index", "start", "choose", "extend", "use/diffusers", "use/comfyui", "tune",
        "theory/method", "theory/measured", "evidence/results", "evidence/research",
        "evidence/tune",
        "api/sampling", "api/stein",
    ],
)  # fmt: skip
def test_no_page_scrolls_sideways(site: Path, name: str, width: int, tmp_path: Path) -> None:
    layout = lay_out(site / f"{name}.html", width, tmp_path)
    assert width - 20 <= layout.client <= width  # a scroll bar takes the rest
    assert layout.scroll <= layout.client
