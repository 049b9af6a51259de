"""Output folders: ours, new or empty, or left alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from steindiff.lab.folders import KINDS, MARKER, claim

RESULTS = {
    "diagnosis": ("results.json", {"format": 1, "setting": {}, "chapters": {}}),
    "bench": ("bench.json", {"grid": {}}),
    "images": ("generate.json", {"setting": {}, "sha256": ""}),
    "tuning": ("settings.json", {"digest": "", "probe": 1.0}),
}


def contents(folder: Path) -> dict[str, str | None]:
    """Of all files, by path; None for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_text()
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("kind", KINDS)
def test_new_and_empty_folders_become_ours(tmp_path: Path, kind: str) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "a" / "b", tmp_path / "empty"):
        claim(folder, kind, overwrite=False)
        assert contents(folder) == {MARKER: f"{kind}\n"}
        (folder / "notes.txt").write_text("mine")  # ours stays ours
        claim(folder, kind, overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_is_refused(tmp_path: Path, kind: str, marked: bool, overwrite: bool) -> None:
    """Known by its marker, or, from before there was one, by its results."""
    if marked:
        claim(tmp_path, kind, overwrite=False)
    name, found = RESULTS[kind]
    (tmp_path / name).write_text(json.dumps(found))
    before = contents(tmp_path)
    for other in KINDS.keys() - {kind}:
        with pytest.raises(ValueError, match=f"holds a run of `{KINDS[kind].command}`"):
            claim(tmp_path, other, overwrite)
        assert contents(tmp_path) == before
    claim(tmp_path, kind, overwrite=False)
    assert contents(tmp_path) == {**before, MARKER: f"{kind}\n"}


@pytest.mark.parametrize("kind", KINDS)
def test_something_else_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"holds thesis\.tex, but no run of"):
            claim(tmp_path, kind, overwrite)
    assert contents(tmp_path) == {"thesis.tex": "mine"}


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"format": 1}', ""])
def test_damaged_results_need_overwrite(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"holds results\.json, but no run of"):
        claim(tmp_path, "diagnosis", overwrite=False)
    claim(tmp_path, "diagnosis", overwrite=True)
    assert contents(tmp_path)["results.json"] == text


def test_what_a_killed_run_left_is_no_stranger(tmp_path: Path) -> None:
    (tmp_path / ".results.json.abc").write_text("half")
    (tmp_path / f".{MARKER}.abc").write_text("half")
    claim(tmp_path, "diagnosis", overwrite=False)
    assert (tmp_path / MARKER).read_text() == "diagnosis\n"


@pytest.mark.parametrize(
    ("kind", "name"),
    [(k, name) for k, v in KINDS.items() for name in (*v.signs, *v.files, *v.folders, MARKER)],
)
@pytest.mark.parametrize("marked", [False, True])
def test_links_are_not_followed(tmp_path: Path, kind: str, name: str, marked: bool) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    if marked and name != MARKER:
        claim(out, kind, overwrite=False)
    target = elsewhere if name in KINDS[kind].folders else elsewhere / "file"
    (out / name).symlink_to(target)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=f"{name} is "):
            claim(out, kind, overwrite)
    assert contents(elsewhere) == {}


@pytest.mark.parametrize(("name", "folder"), [("figures", False), ("results.json", True)])
def test_entries_of_the_wrong_sort(tmp_path: Path, name: str, folder: bool) -> None:
    claim(tmp_path, "diagnosis", overwrite=False)
    (tmp_path / name).mkdir() if folder else (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=f"{name} is no {'file' if folder else 'folder'}"):
        claim(tmp_path, "diagnosis", overwrite=True)


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file; the path of a folder"):
        claim(tmp_path / "file", "bench", overwrite=True)
    with pytest.raises(NotADirectoryError, match="file is a file; the path of a folder"):
        claim(tmp_path / "file" / "out", "bench", overwrite=True)
    with pytest.raises(ValueError, match="Did you mean 'bench'"):
        claim(tmp_path / "new", "bnch", overwrite=False)
    assert os.listdir(tmp_path) == ["file"]
