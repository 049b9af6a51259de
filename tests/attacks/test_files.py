"""Files of ours, tampered with: always one sentence with the file and the field, and code 2."""

from __future__ import annotations

import copy
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import tunings
from command import Command

import steindiff as sd
from steindiff.calibrated import load_prior, save_prior
from steindiff.calibrated.file import load_calibration
from steindiff.calibrated.reading import LARGEST
from steindiff.tuning import Figures, Ratio, Tried, Tuned, Weights, load_tuned

pytestmark = pytest.mark.slow

WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "text": "x",
    "negative": -1,
    "nan": float("nan"),
    "infinite": float("inf"),
    "huge": 10**400,
    "list": [],
    "list of list": [[]],
    "table": {},
    "deep": [[[[[[[[{}]]]]]]]],
}


def calibration(folder: Path) -> Path:
    data = sd.denoisers.Gaussian(variance=0.25, shape=(4,))
    about = sd.calibrated.About("a model", "0" * 64, "karras", 1.0)
    levels = sd.schedules.karras(3, 0.05, 10.0)
    solver = sd.calibrate(data, levels, noises=2, held_out=1, fine_steps=4, about=about)
    sd.save_calibration(folder / "calibration.json", solver)
    return folder / "calibration.json"


def prior(folder: Path) -> Path:
    save_prior(folder / "prior.json", load_prior())
    return folder / "prior.json"


def tuned() -> Tuned:
    """With something in every field."""
    made = tunings.tuned(1.0, "a model", "0" * 64, Weights(3, 1.0, 0.5))
    tried = (Tried("plain", "words", Figures(0.1, 0.2), 0.3),)
    choices = {steps: replace(one, tried=tried) for steps, one in made.choices.items()}
    return replace(made, choices=choices, versions={"torch": "2"})


def tuning(folder: Path) -> Path:
    tuned().save(folder / "tuning.json")
    return folder / "tuning.json"


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "calibration": (calibration, load_calibration),
    "prior": (prior, load_prior),
    "tuning": (tuning, load_tuned),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("made")
    return {kind: json.loads(make(folder).read_text()) for kind, (make, _) in KINDS.items()}


def places(content: Any, way: Sequence[Any] = ()) -> Iterator[list[Any]]:
    """Ways to every field and every first element."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield [*way, key]
            yield from places(value, [*way, key])
    elif isinstance(content, list) and content:
        yield [*way, 0]
        yield from places(content[0], [*way, 0])


def named(way: Sequence[Any]) -> str:
    """As messages write it: about.model, scalars[0][0]."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in way)[1:]


FIGURE = r"choices\[0\]\.(figures\..+|\w*against_\w+)\[0\]"
RIGHT = {
    "null": rf"weights|choices\[0\]\.(recipe|plain)\.coefficient(\.gift)?|{FIGURE}",
    "true": r"choices\[0\]\.(recipe|plain)\.(solver|coefficient)"
    r"\.(lower_order_final|memory|shrink|last|corrector|steady|sooner)",
    "text": r"(about\.)?(model|model_hash|schedule|conditioning_hash)|command|prior|versions\..+"
    r"|choices\[0\]\.((recipe|plain)\.why|tried\[0\]\[1\]|passed\[\d+\])",
    "negative": r"seed|(about\.)?guidance|((choices\[0\]\.recipe\.solver\.)?scalars|second|later)"
    r"(\[0\]){2}",
    "list": r"choices\[0\]\.(tried|passed)",
    "table": "versions|provenance",
}
"""Fields for which that wrong value is a right one; null stands for an infinity, or for nothing."""


def fits(way: Sequence[Any], wrong: str) -> bool:
    """Whether the wrong value is a right one there; in a provenance anything may stand."""
    inside = way[0] == "provenance" and len(way) > 1
    return inside or bool(re.fullmatch(RIGHT.get(wrong, "$."), named(way)))


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_value_anywhere(
    tmp_path: Path, made: dict[str, dict[str, Any]], kind: str, wrong: str
) -> None:
    load = KINDS[kind][1]
    tried = 0
    for k, way in enumerate(places(made[kind])):
        if fits(way, wrong):
            continue
        content = copy.deepcopy(made[kind])
        place = content
        for key in way[:-1]:
            place = place[key]
        place[way[-1]] = WRONG[wrong]
        path = tmp_path / f"{k}.json"
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError) as caught:
            load(path)
        said = str(caught.value)
        assert str(path) in said
        assert re.search(rf"\b{re.escape(str(way[0]))}\b", said), (way, said)
        assert "\n" not in said
        assert len(said) < 700 + len(str(path))
        tried += 1
    assert tried > 8, "a prior has 11 places, and two of them take a negative number"


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_is_missing(
    tmp_path: Path, made: dict[str, dict[str, Any]], kind: str
) -> None:
    load = KINDS[kind][1]
    for k, way in enumerate(places(made[kind])):
        loose = way[0] in ("versions", "provenance") and len(way) > 1
        *above, last = way
        if loose or isinstance(last, int):
            continue
        content = copy.deepcopy(made[kind])
        place = content
        for key in above:
            place = place[key]
        del place[last]
        path = tmp_path / f"{k}.json"
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert str(last) in str(caught.value)


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "garbage after": lambda whole: whole + b"}",
    "twice": lambda whole: whole + whole,
    "a mark before": lambda whole: b"\xef\xbb\xbf" + whole,
    "no text": lambda whole: b"\xff\xfe" + whole,
    "zeros": lambda whole: bytes(1000),
    "brackets": lambda whole: b"[" * 100_000,
    "braces": lambda whole: b'{"a":' * 100_000,
    "brackets inside": lambda whole: whole.replace(b"{", b'{"x": ' + b"[" * 100_000, 1),
    "digits": lambda whole: whole.replace(b"{", b'{"x": ' + b"9" * 10_000 + b",", 1),
    "another utf": lambda whole: whole.decode().encode("utf-16"),
    "a list": lambda whole: b"[" + whole + b"]",
    "a number": lambda whole: b"1e999",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", BYTES)
def test_bytes_that_are_no_such_file(tmp_path: Path, kind: str, change: str) -> None:
    make, load = KINDS[kind]
    path = make(tmp_path)
    path.write_bytes(BYTES[change](path.read_bytes()))
    with pytest.raises(
        ValueError, match=r"no JSON|is not a (calibration|prior|tuning) file"
    ) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 700 + len(str(path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_end(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)  # without a byte on the disk
    with pytest.raises(ValueError, match=rf"large\.json has {LARGEST + 1} bytes"):
        KINDS[kind][1](path)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        KINDS[kind][1](tmp_path)


def test_a_tuning_with_infinite_figures_is_read_as_it_was_saved(tmp_path: Path) -> None:
    """What diverges is infinitely far, and is written as null."""
    made = tuned()
    inf = float("inf")
    lost = {**made.choices[5].figures, "plain": Figures(inf, inf)}
    diverged = replace(made.choices[5], figures=lost, recipe_against_plain=Ratio(inf, inf, inf))
    made = replace(made, choices={**made.choices, 5: diverged})
    made.save(tmp_path / "tuning.json")
    assert load_tuned(tmp_path / "tuning.json") == made


def test_a_tuning_with_two_choices_for_one_number(tmp_path: Path) -> None:
    path = tuning(tmp_path)
    content = json.loads(path.read_text())
    content["choices"].append(content["choices"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="the second with 4 steps"):
        load_tuned(path)


OPTIONS = {"calibration": ("--solver", "calibrated", "--calibration"), "tuning": ("--tuned",)}
"""What gives the command line such a file."""


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("change", BYTES)
def test_the_command_line_ends_with_code_2(
    steindiff: Command, tmp_path: Path, kind: str, change: str
) -> None:
    path = KINDS[kind][0](tmp_path)
    path.write_bytes(BYTES[change](path.read_bytes()))
    out = tmp_path / "out.png"
    steindiff("sample", "--out", out, *OPTIONS[kind], path).refused(str(path))
    assert not out.exists()


# -- the folder of a tuning ---------------------------------------------------------------------

MIXTURE = sd.denoisers.GaussianMixture(torch.randn(3, 6), 0.05)
FEW = {"noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 4, "fit": False}


def tuned_in(folder: Path) -> Tuned:
    return sd.tune(MIXTURE, 3, folder=folder, **FEW)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "tuning"
    tuned_in(folder)
    return folder


TABLES: dict[str, Callable[[bytes], bytes]] = {
    **{name: BYTES[name] for name in ("nothing", "half", "zeros", "brackets", "a list")},
    "a nan": lambda whole: whole[:-1] + b', "x": [NaN, 1]}',
    "a text": lambda whole: whole[:-1] + b', "x": "y"}',
    "null": lambda whole: b"null",
}
TENSORS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "a nan": lambda whole: with_nan(whole),
    "text": lambda whole: b"{}",
    "a number": lambda whole: saved(3),
    "numbers": lambda whole: saved([1, 2]),
    "tensors": lambda whole: saved([torch.zeros(2)]),
    "hostile": lambda whole: saved([Hostile()]),
}


class Hostile:
    """Runs something where it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it ran')",)


def with_nan(whole: bytes) -> bytes:
    found = torch.load(io.BytesIO(whole), weights_only=False)
    found[0].states[0][0] = float("nan")
    return saved(found)


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(("tried.json", change) for change in TABLES.values()),
        *(
            ("settings.json", change)
            for n, change in TABLES.items()
            if n not in ("a nan", "a text")
        ),
        *(
            (f"fine-{part}.pt", TENSORS["half"])
            for part in ("fit", "screen", "rest", "fresh", "finals")
        ),
        *(("fine-fit.pt", change) for change in TENSORS.values()),
    ],
)
def test_a_damaged_folder_of_a_tuning(
    tmp_path: Path, work: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    folder = shutil.copytree(work, tmp_path / "tuning")
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is damaged: ") as caught:
        tuned_in(folder)
    assert "\n" not in str(caught.value)


def test_what_is_gone_from_a_tunings_folder_is_made_again(tmp_path: Path, work: Path) -> None:
    folder = shutil.copytree(work, tmp_path / "tuning")
    for name in ("tried.json", "fine-fit.pt"):
        (folder / name).unlink()
    assert tuned_in(folder).choices == tuned_in(work).choices


def test_a_tuning_leaves_what_is_not_its_own(steindiff: Command, tmp_path: Path) -> None:
    few = ("--steps", 3, "--noises", 4, "--held-out", 16, "--fresh", 16, "--calls", 1300)
    command = ("tune", "--model", "mixture:dim=6,modes=3", *few, "--out", tmp_path / "t.json")
    foreign, linked, other = (tmp_path / name for name in ("foreign", "linked", "other"))
    for folder in (foreign, linked, other):
        folder.mkdir()
    (foreign / "settings.json").write_text("{}")
    steindiff(*command, "--folder", foreign).refused(str(foreign), "settings.json")
    (linked / "tried.json").symlink_to(tmp_path / "elsewhere")
    steindiff(*command, "--folder", linked).refused("tried.json is a symbolic link")
    (other / ".steindiff").write_text("bench\n")
    steindiff(*command, "--folder", other).refused("holds a run of `steindiff bench`")
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "t.json").exists()
