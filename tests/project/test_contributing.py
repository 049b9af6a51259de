"""The tree in CONTRIBUTING.md is that of the repository."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tree() -> dict[str, str]:
    """Paths in the tree, and what is said of them."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"```\n(src/steindiff/\n.*?)```", text, flags=re.DOTALL)
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in block.splitlines():
        indented, name, said = re.fullmatch(r"( *)(\S+) *(.*)", line).groups()  # type: ignore[union-attr]
        while above and above[-1][0] >= len(indented):
            above.pop()
        path = "".join(part for _, part in above) + name
        above.append((len(indented), name))
        found[path.rstrip("/")] = said
    return found


def parts(folder: str, *, files: bool) -> set[str]:
    """What lies in a folder and is not a helper: its folders, and its modules if asked for."""
    return {
        f"{folder}/{path.name}".removeprefix("./")
        for path in (ROOT / folder).iterdir()
        if not path.name.startswith((".", "_"))
        and ((path.is_dir() and any(path.rglob("*.*"))) or (files and path.suffix == ".py"))
    }


def test_what_the_tree_names_exists() -> None:
    assert [path for path in tree() if not (ROOT / path).exists()] == []


def test_the_tree_names_the_package() -> None:
    assert parts("src/steindiff", files=True) - set(tree()) == set()


def test_the_tree_names_the_laboratory() -> None:
    assert parts("src/steindiff/lab", files=False) - set(tree()) == set()


def test_the_tree_names_the_repository() -> None:
    made = {"src", "out", "site", "dist", "runs"}  # src is in it by the package
    assert parts(".", files=False) - set(tree()) - made == set()


def test_everything_in_the_tree_is_explained() -> None:
    assert [path for path, said in tree().items() if not said] == ["src/steindiff"]
