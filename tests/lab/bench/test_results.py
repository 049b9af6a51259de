"""Result files: what is read, what is refused and in which words, and the names of cells' files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_results import fake_cell, fake_results
from small import block

from steindiff.lab.bench.grid import make_grid
from steindiff.lab.bench.results import Results, cell_file_name, read_results
from steindiff.lab.typed import read_json

DOCS = Path(__file__).parents[3] / "docs" / "results"


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """Results as plain data."""
    return msgspec.to_builtins(fake_results(tmp_path / "whole", nfe=(5,), samples=False))


def written(folder: Path, content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("", "is damaged"),
        ('{"format": 2}', "has format 2"),
        ("[]", "has format None"),
        ("{}", "has format None"),
        ("[" * 100_000, "is damaged: its brackets are nested too deep"),
        ('{"format": 1, "x": ' + "[" * 100_000, "is damaged"),
        ('{"format": 1}', "is damaged: .*`complete`"),
    ],
    ids=range(8),
)
def test_results_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_results(tmp_path)
    assert str(tmp_path / "results.json") in str(caught.value)


def test_results_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="is damaged"):
        read_results(tmp_path)


def test_results_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="steindiff bench"):
        read_results(tmp_path)
    (tmp_path / "results.json").mkdir()
    with pytest.raises(ValueError, match=r"results.json is a folder; a file is needed"):
        read_results(tmp_path)


def test_results_without_a_cell(tmp_path: Path, content: dict[str, Any]) -> None:
    assert read_results(written(tmp_path, {**content, "cells": []})).cells == []


@pytest.mark.parametrize("name", Results.__struct_fields__[1:])
def test_every_field_of_the_results_is_needed(
    tmp_path: Path, content: dict[str, Any], name: str
) -> None:
    del content[name]
    with pytest.raises(ValueError, match=f"results.json is damaged: .*`{name}`"):
        read_results(written(tmp_path, content))


def as_json(record: msgspec.Struct) -> Any:
    return json.loads(msgspec.json.encode(record))


def first(content: dict[str, Any]) -> dict[str, Any]:
    return content["cells"][0]


def base(content: dict[str, Any]) -> dict[str, Any]:
    return first(content)["rules"]["base"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.update(extra=1), "unknown field `extra`"),
        (lambda x: x.update(machine=["a"]), r"Expected `object`, got `array` - at `\$.machine`"),
        (lambda x: x.update(machine={"cpu": "a"}), r"`threads` - at `\$.machine`"),
        (lambda x: x.update(versions={"torch": 2}), r"\$.versions\[...\]"),
        (lambda x: x.update(command=None), r"\$.command"),
        (lambda x: x.update(cells={"a": 1}), r"\$.cells"),
        (lambda x: x.update(seconds="long"), r"\$.seconds"),
        (lambda x: x.update(grid=[]), r"\$.grid"),
        (lambda x: x["grid"].update(shown=10**12), r"\$.grid.shown"),
        (lambda x: first(x).update(rules=[]), r"\$.cells\[0\].rules"),
        (lambda x: first(x).update(nfe=0), r"\$.cells\[0\].nfe"),
        (lambda x: first(x).update(nfe=True), r"\$.cells\[0\].nfe"),
        (lambda x: first(x).pop("id"), r"`id` - at `\$.cells\[0\]`"),
        (lambda x: first(x).update(sigmas=[[1.0]]), r"\$.cells\[0\].sigmas\[0\]"),
        (lambda x: base(x).update(status="lost"), r"Invalid value 'lost'"),
        (lambda x: base(x).pop("status"), "status"),
        (lambda x: base(x).update(metrics=None, ratio=3), r"ratio"),
        (lambda x: base(x)["metrics"].update(fid=3.0), "unknown field `fid`"),
        (lambda x: base(x)["metrics"].update(fd=3.0), r"Expected `object"),
        (lambda x: base(x)["metrics"]["fd"].pop("low"), "`low`"),
        (lambda x: base(x)["metrics"]["fd"].update(value=float("nan")), "JSON is malformed"),
        (lambda x: base(x)["metrics"]["fd"].update(value=float("inf")), "JSON is malformed"),
        (lambda x: base(x)["steps"].pop("energy"), "`energy`"),
    ],
    ids=range(23),
)
def test_a_tampered_file_is_one_sentence_with_its_field(
    tmp_path: Path, content: dict[str, Any], change: Callable[[Any], object], said: str
) -> None:
    change(content)
    with pytest.raises(ValueError, match=f"results.json is damaged: .*{said}") as caught:
        read_results(written(tmp_path, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["paper", "ablation"])
def test_committed_results_are_read_whole(name: str) -> None:
    """Nothing of a file is lost, nothing added."""
    found = json.loads((DOCS / name / "results.json").read_text())
    assert as_json(read_results(DOCS / name)) == found


def test_committed_results_of_schedulers_are_read_whole() -> None:
    schedulers = pytest.importorskip("diffusers_schedulers")
    for path in DOCS.glob("diffusers*.json"):
        found = read_json(path, schedulers.SchedulerResults)
        assert as_json(found) == json.loads(path.read_text())
        assert len(found.cells) > 10


def test_names_of_files_are_those_of_the_cells() -> None:
    """Kept from version to version, so that a bench goes on."""
    for cell_id, name in {
        "fashion-mnist-g1/karras/5/euler/s0-1999": "fashion-mnist-g1__karras__5__euler__s0-1999",
        "mixture:dim=4,modes=3-g1/log_snr/4/unipc:order=2,variant=bh1/s0-15,20": (
            "mixture_dim=4_modes=3-g1__log_snr__4__unipc_order=2_variant=bh1__s0-15_20"
        ),
        "tiny-g1/karras/3/calibrated:file=out/a.json/s0-15": (
            "tiny-g1__karras__3__calibrated_file=out__a.json__s0-15"
        ),
    }.items():
        assert cell_file_name(cell_id) == name


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("a b.json", "a_b.json"),
        ("a/b.json", "a__b.json"),
        ("a/_b.json", "a_/b.json"),
        ("a,b.json", "a_b.json"),
        ("a:b.json", "a,b.json"),
        ("A.json", "a.json"),
        ("ä.json", "ö.json"),
        ("a.json/s0-15", "a.json__s0-15"),
    ],
)
def test_calibrations_of_like_names_have_cells_of_their_own(a: str, b: str) -> None:
    names = [cell_file_name(f"tiny-g1/karras/3/calibrated:file={x}/s0-15") for x in (a, b)]
    assert names[0].casefold() != names[1].casefold()
    assert all(name.isascii() and len(name) < 120 for name in names)


def test_names_fit_into_any_file_system() -> None:
    seeds = ",".join(str(1000 + 2 * k) for k in range(70))
    grid = make_grid({"cells": [block(seeds=[seeds, f"{seeds},5000"])]})
    names = {cell_file_name(cell.id) for cell in grid.cells}
    assert len(names) == 2
    assert all(len(name.encode()) <= 200 for name in names)
    assert len(cell_file_name("\U00020000" * 300).encode()) <= 200


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    made = fake_cell("m", 1.0, "karras", 5, "euler", 1.0)
    results = fake_results(tmp_path, nfe=(5,), samples=False)
    assert msgspec.to_builtins(results.cells[0]).keys() == made.keys()
    assert as_json(results) == json.loads((tmp_path / "results.json").read_text())
