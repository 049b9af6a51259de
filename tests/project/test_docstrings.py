"""Every argument and attribute has a line of its own, which the API pages can show."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/steindiff"
ENTRY = re.compile(r"    (\S[^:]*):(?:\s|$)(.*)")


def entries(docstring: str) -> list[tuple[str, str]]:
    """What stands before and after the colon of each entry under Args and Attributes."""
    found: list[tuple[str, str]] = []
    inside = False
    for line in docstring.splitlines():
        if line and not line.startswith(" "):
            inside = line in ("Args:", "Attributes:")
        elif inside and (entry := ENTRY.fullmatch(line)):
            found.append((entry[1], entry[2]))
        elif inside and line and found:
            head, text = found.pop()
            found.append((head, f"{text} {line.strip()}"))
    return found


def documented(tree: ast.AST) -> Iterator[tuple[ast.AST, str, set[str]]]:
    """Classes and functions with a docstring, and the names of their arguments and fields."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node)
        if text:
            arguments = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
            fields = {
                part.target.id
                for part in ast.walk(node)
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
            }
            yield node, text, arguments | fields


def shared(source: str) -> list[str]:
    """Entries of several names, and entries with a second one in their text."""
    found = []
    for node, text, names in documented(ast.parse(source)):
        for head, rest in entries(text):
            second = [name for name in re.findall(r"[.;] (\w+): ", rest) if name in names]
            if not re.fullmatch(r"\*{0,2}\w+(?: \([^)]*\))?", head) or second:
                found.append(f"{getattr(node, 'name', '')}: {head}: {rest}")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_name_a_line(path: Path) -> None:
    assert shared(path.read_text()) == []


def test_two_names_on_a_line_are_found() -> None:
    source = '''
def f(a, b, c):
    """Sum.

    Args:
        a, b: two.
        c: one. a: another: twice.
    """
'''
    assert shared(source) == ["f: a, b: two.", "f: c: one. a: another: twice."]
