"""The code in the documentation runs."""

import re
import tomllib
from pathlib import Path

import pytest

from steindiff.lab.bench.grid import make_grid

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("page", "count"),
    [
        ("docs/extending.md", 4),
        ("docs/bench.md", 1),
        ("docs/calibration.md", 1),
        ("docs/diffusers.md", 4),
        ("docs/k_diffusion.md", 4),
        ("docs/edm.md", 5),
        ("docs/theory.md", 1),
        ("README.md", 1),
    ],
)
def test_code_on_the_page_runs(page: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks(page)
    assert len(found) == count
    names: dict[str, object] = {"__name__": page}
    for block in found:
        exec(compile(block, page, "exec"), names)
    assert capsys.readouterr().out


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_grid_on_the_page_is_one() -> None:
    found = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/bench.md").read_text(), flags=re.DOTALL)
    assert len(found) == 1
    grid = make_grid(tomllib.loads(found[0]))
    # Two guidances, two schedules, two NFE, two solvers, two sets of seeds; UniPC's usual schedule
    # is log-SNR, so half of its cells coincide. Two mixtures.
    assert len(grid.cells) == 32 - 8 + 2
