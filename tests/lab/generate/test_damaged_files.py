"""Files of a run that hold something else, and other things in their place: a sentence, code 2."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import Command
from damage import contents

from steindiff._files import digest

SMALL = ("--count", 6, "--shard-size", 3, "--steps", 1, "--device", "cpu", "--format", "npz")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two shards; not to be written to."""
    from steindiff.lab.cli.commands import app

    out = tmp_path_factory.mktemp("made") / "out"
    command = ["generate", "--out", out, "--model", weights, *SMALL]
    app([str(part) for part in command], standalone_mode=False)
    return out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def rewrite(path: Path, change: Change, sealed: str) -> None:
    """Changes a file as someone does who also mends its hash, of the part named, or of the rest."""
    content = json.loads(path.read_text())
    change(content)
    if sealed:
        content["sha256"] = digest(content.get(sealed))
    else:
        content["sha256"] = digest({k: v for k, v in content.items() if k != "sha256"})
    path.write_text(json.dumps(content))


SETTINGS: dict[str, tuple[Change, str]] = {
    "no size": (lambda c: c["setting"].update(shard_size=0), "$.setting.shard_size"),
    "negative count": (lambda c: c["setting"].update(count=-1), "$.setting.count"),
    "huge count": (lambda c: c["setting"].update(count=10**12), "$.setting.count"),
    "a text for a number": (lambda c: c["setting"].update(count="6"), "$.setting.count"),
    "a list for a table": (lambda c: c.update(setting=[1]), "$.setting"),
    "empty": (lambda c: c.update(setting={}), "model_sha256"),
    "nothing": (lambda c: c.update(setting=None), "$.setting"),
    "no setting": (lambda c: c.pop("setting"), "setting"),
    "a key too few": (lambda c: c["setting"].pop("format"), "format"),
    "a key too many": (lambda c: c["setting"].update(extra=1), "extra"),
    "no classes": (lambda c: c["setting"].update(classes=[]), "$.setting.classes"),
    "unknown format": (lambda c: c["setting"].update(format="gif"), "$.setting.format"),
    "no versions": (lambda c: c.pop("versions"), "versions"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_is_none(steindiff: Command, run: Path, weights: Path, case: str) -> None:
    change, field = SETTINGS[case]
    path = run / "generate.json"
    rewrite(path, change, "setting")
    before = contents(run)
    command = ("generate", "--out", run, "--model", weights, *SMALL)
    steindiff(*command).refused(f"{path} is damaged", field)
    steindiff("evaluate", run, run, "--features", "pixels").refused(f"{path} is damaged", field)
    assert contents(run) == before


RECORDS: dict[str, tuple[Change, str]] = {
    "no files": (lambda c: c.pop("files"), "files"),
    "files as a table": (lambda c: c.update(files={}), "$.files"),
    "a text for a number": (lambda c: c.update(count="3"), "$.count"),
    "one seed": (lambda c: c.update(seeds=[0]), "$.seeds"),
    "out of the folder": (lambda c: c["files"][0].update(name="../x"), "$.files[0].name"),
    "an absolute path": (lambda c: c["files"][0].update(name="/etc/passwd"), "$.files[0].name"),
    "of another run": (lambda c: c.update(setting="0"), "another shard or setting"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_that_is_none(steindiff: Command, run: Path, weights: Path, case: str) -> None:
    change, field = RECORDS[case]
    path = run / "shards" / "000001.json"
    whole = contents(run)
    rewrite(path, change, "")
    steindiff("evaluate", run, run, "--features", "pixels").refused(
        "shard 000001 is damaged", str(path), field
    )
    outcome = steindiff("generate", "--out", run, "--model", weights, *SMALL)
    assert outcome.code == 0, outcome
    assert field in outcome.err
    assert contents(run) == whole


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", "null", "", "{", "NaN", '{"a": NaN}'])
@pytest.mark.parametrize("name", ["generate.json", "shards/000001.json"])
def test_no_json_or_other_json(steindiff: Command, run: Path, name: str, text: str) -> None:
    (run / name).write_text(text)
    steindiff("evaluate", run, run, "--features", "pixels").refused(str(run / name), "damaged")


# -- something else in their place ----------------------------------------------------------------


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "mine").write_text("precious")


def file(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.write_text("precious")


def link(path: Path) -> None:
    """To something outside, which must not be touched."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    elsewhere = path.parents[1] / f"elsewhere-{path.name}"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("precious")
    path.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("name", "put"),
    [
        ("generate.json", folder),
        ("shards/000001.json", folder),
        ("shards/000001.json", link),
        ("shard-000001.npz", folder),
        ("shard-000001.npz", link),
        ("shards", file),
        ("shards", link),
        (".partial", file),
        (".partial", link),
        (".locks", file),
        (".locks", link),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_stands_in_our_place(
    steindiff: Command, run: Path, weights: Path, name: str, put: Callable[[Path], None]
) -> None:
    put(run / name)
    before = sorted(map(str, run.parent.rglob("*")))
    outcome = steindiff("generate", "--out", run, "--model", weights, *SMALL)
    outcome.refused(str(run / name))
    assert "Errno" not in outcome.err
    after = sorted(map(str, run.parent.rglob("*")))
    assert [path for path in after if ".locks" not in path] == [
        path for path in before if ".locks" not in path
    ]
    for mine in run.parent.rglob("mine"):
        assert mine.read_text() == "precious"


def test_a_file_in_place_of_a_folder_of_pictures(
    steindiff: Command, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("generate", "--out", out, "--model", weights, *SMALL, "--format", "png")
    assert steindiff(*command).code == 0
    file(out / "000001")
    steindiff(*command).refused(str(out / "000001"), "not the folder")
    assert (out / "000001").read_text() == "precious"


def test_foreign_entries_are_named_once(steindiff: Command, run: Path, weights: Path) -> None:
    (run / "shards" / ".ipynb_checkpoints").mkdir()
    (run / "notes.txt").write_text("precious")
    outcome = steindiff("generate", "--out", run, "--model", weights, *SMALL)
    assert outcome.code == 0
    assert "there was nothing to do" in outcome.out
    for name in ("notes.txt", "shards/.ipynb_checkpoints"):
        assert outcome.err.count(f"holds {name}, which is not of this run") == 1
    assert (run / "notes.txt").read_text() == "precious"


def test_names_that_begin_like_ours_are_foreign(
    steindiff: Command, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "shards of glass").write_text("precious")
    outcome = steindiff("generate", "--out", tmp_path, "--model", weights, *SMALL)
    outcome.refused(f"{tmp_path} holds shards of glass")
    assert os.listdir(tmp_path) == ["shards of glass"]
