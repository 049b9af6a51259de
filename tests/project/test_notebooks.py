"""The notebooks run from the first cell to the last, and hold no outputs.

Their code cells are executed in one namespace, as a kernel would; no notebook package is needed.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(path: Path) -> list[str]:
    found = json.loads(path.read_text())
    assert found["nbformat"] == 4
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    return ["".join(cell["source"]) for cell in code]


def run(path: Path) -> dict[str, Any]:
    """The names that it leaves; an expression that ends a cell is shown as a notebook shows it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for source in cells(path):
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            assert value is None or "<" in value._repr_html_()
    return names


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["own_network", "tour"]


def test_the_tour(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(FOLDER / "tour.ipynb")
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert float(second.split()[1]) < float(first.split()[1])
    assert names["relaxed"].record is not None


@pytest.mark.slow
def test_an_own_network(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(FOLDER / "own_network.ipynb")
    said = capsys.readouterr().out
    assert "epsilon" in said  # what the probe suggests in place of "v"
    assert names["comparison"].picture.is_file()
    assert names["tuned"].calls <= 4000
    recipe, tuned = (float(line.split()[1]) for line in said.splitlines()[-2:])
    assert tuned < recipe
