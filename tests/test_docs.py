"""The code in the documentation runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(("page", "count"), [("docs/extending.md", 4), ("README.md", 1)])
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
