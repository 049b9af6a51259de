"""No page says anything twice."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()
SHORT = 60
"""Characters: shorter blocks may recur, such as a command that several sections begin with."""


def parts(text: str) -> list[str]:
    """Rows of tables, items of lists, images, and paragraphs, as one line each."""
    lines = re.sub(r"\n(?=\s*([|*-]|\d+\.|!\[|<|#|```))", "\n\n", text)
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", lines) if part.strip()]


def doublets(text: str) -> list[str]:
    """Equal parts in a row, whatever they are, and longer ones that recur anywhere.

    A row of a table may stand in another table of the page as well.
    """
    found = parts(text)
    in_a_row = [a for a, b in pairwise(found) if a == b != "```"]
    longer = [part for part in found if len(part) >= SHORT and not part.startswith("|")]
    return sorted({*in_a_row, *(part for part in longer if longer.count(part) > 1)})


@pytest.mark.parametrize("page", PAGES)
def test_no_block_stands_twice(page: str) -> None:
    assert doublets((ROOT / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "One.\n\nOne.\n",
        "![a](b.png)\n![a](b.png)\n",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 1 | 2 |\n",
        f"{'word ' * 20}\n\nOther.\n\n{'word ' * 20}\n",
        "- one\n- one\n",
    ],
    ids=["paragraph", "image", "row", "apart", "item"],
)
def test_doublets_are_seen(text: str) -> None:
    assert doublets(text)
