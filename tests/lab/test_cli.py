"""The command line: what it writes, what it refuses, and what an interruption leaves behind."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Command, Outcome, check_help
from damage import contents
from msgspec.structs import replace
from PIL import Image
from typer.testing import CliRunner

import steindiff as sd
from steindiff import sampling
from steindiff._files import write_whole
from steindiff.lab import comparison, picture
from steindiff.lab.bench import run as bench_run
from steindiff.lab.bench.cell_sampling import measure_cell
from steindiff.lab.bench.results import Results, read_results
from steindiff.lab.cli.commands import app
from steindiff.models import MODELS, save_model
from steindiff.models.classifier import Classifier
from steindiff.models.network import NetworkConfig, UNetDenoiser
from steindiff.solvers import SOLVERS, Euler, Step


def random_denoiser(config: NetworkConfig) -> UNetDenoiser:
    """Random weights everywhere: some convolutions start at zero, and would hide the labels."""
    torch.manual_seed(0)
    net = UNetDenoiser(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return net


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of three classes."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    config = NetworkConfig(
        image_size=8, channels=1, num_classes=3, patch=2, widths=(32, 32), embedding=32
    )
    save_model(path, random_denoiser(config))
    return path


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the manifest would say about a tiny model of ten classes."""
    folder = tmp_path_factory.mktemp("shipped")
    config = NetworkConfig(
        image_size=28, channels=1, num_classes=10, patch=2, widths=(32, 32), embedding=32
    )
    entry: dict[str, Any] = {"classes": [f"class {k}" for k in range(10)]}
    classifier = Classifier(width=8).eval()
    for part, model in (("denoiser", random_denoiser(config)), ("classifier", classifier)):
        path = folder / f"{part}.safetensors"
        entry[part] = {"file": str(path), "sha256": save_model(path, model)}
    return entry


@pytest.fixture
def tiny(entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of that model, shipped for the length of a test."""
    monkeypatch.setitem(MODELS, "tiny", entry)
    return "tiny"


def refused(outcome: Outcome, *said: str) -> None:
    """Exit code 2, and one line on standard error that says what is wrong."""
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.out + outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("Error: ")
    for part in said:
        assert part in lines[0]


# -- help and info --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["sample", "compare", "info"]),
        (["sample"], ["--out", "--npz", "--seeds", "--solver", "--coefficient", "--overwrite"]),
        (["compare"], ["--out", "--nfe", "--samples", "--resamples", "--overwrite"]),
        (["info"], ["solvers, coefficients, schedules", "--format"]),
    ],
    ids=["steindiff", "sample", "compare", "info"],
)
def test_help(arguments: list[str], said: list[str]) -> None:
    check_help(arguments, said)


@pytest.mark.parametrize("columns", ["200", "80"])
def test_info_lists_every_registry(
    steindiff: Command, tiny: str, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    outcome = steindiff("info", "all")
    assert outcome.code == 0
    for registry in (sd.solvers.SOLVERS, sd.stein.COEFFICIENTS, sd.schedules.SCHEDULES, MODELS):
        assert registry
        for name in registry:
            assert re.search(rf"^ {name} ", outcome.out, re.MULTILINE), name
    for title in ("Solvers", "Coefficients", "Schedules", "Models"):
        assert title in outcome.out
    assert "MISSING" not in outcome.out


def test_info_shows_options_and_hashes(steindiff: Command, tiny: str) -> None:
    out = steindiff("info", "all").out
    assert "order=3, lower_order_final=False" in out
    assert MODELS[tiny]["denoiser"]["sha256"][:16] in out


def test_unknown_command_and_option(steindiff: Command) -> None:
    for arguments in (["sampel"], ["sample", "--sedes", "1"]):
        outcome = steindiff(*arguments)
        assert outcome.code == 2
        assert arguments[-1 if len(arguments) == 1 else 1] in outcome.err
        assert "Traceback" not in outcome.err


# -- sample ---------------------------------------------------------------------------------------


def test_sample_writes_a_png_and_an_npz(steindiff: Command, weights: Path, tmp_path: Path) -> None:
    png, npz = tmp_path / "new" / "grid.png", tmp_path / "images.npz"
    outcome = steindiff(
        "sample", "--model", weights, "--out", png, "--npz", npz, "--seeds", "0-10,20"
    )
    assert outcome.code == 0
    assert "12 images, 5 NFE each" in outcome.out
    assert str(png) in outcome.out
    assert str(npz) in outcome.out
    with np.load(npz) as arrays:
        assert sorted(arrays) == ["images", "labels", "seeds"]
        images, labels, seeds = (arrays[key] for key in ("images", "labels", "seeds"))
    assert images.shape == (12, 8, 8, 1)
    assert images.dtype == np.uint8
    assert images.std() > 0
    assert seeds.tolist() == [*range(11), 20]
    assert labels.tolist() == [0, 1, 2] * 4
    with Image.open(png) as picture:
        assert picture.format == "PNG"
        # two rows of ten, gaps of 2, twice enlarged
        assert picture.size == (2 * (10 * (8 + 2) + 2), 2 * (2 * (8 + 2) + 2))
        pixels = np.asarray(picture)[::2, ::2]
    assert np.array_equal(pixels[2:10, 2:10], images[0, :, :, 0])
    assert np.array_equal(pixels[12:20, 12:20], images[11, :, :, 0])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["grid.png", "images.npz", "new"]


def test_sample_gives_what_the_library_gives(
    steindiff: Command, weights: Path, tmp_path: Path
) -> None:
    npz = tmp_path / "a.npz"
    outcome = steindiff(
        "sample", "--model", weights, "--npz", npz, "--seeds", "3,9", "--classes", "2,0",
        "--solver", "unipc:order=2,variant=bh1", "--coefficient", "none", "--steps", 3,
        "--schedule", "log_snr", "--sigma-min", 0.05, "--sigma-max", 40, "--final", "zero",
        "--guidance", 2.5,
    )  # fmt: skip
    assert outcome.code == 0
    net = sd.load_model(weights)
    guided = sd.denoisers.ClassifierFreeGuidance(net, 2.5, {"class_labels": net.null_label})
    result = sd.sample(
        guided,
        sd.noise((1, 8, 8), 40.0, [3, 9]),
        sd.schedules.log_snr(3, 0.05, 40.0, final="zero"),
        sd.solvers.UniPC(order=2, variant="bh1"),
        None,
        conditioning={"class_labels": torch.tensor([2, 0])},
    )
    grey = ((result.x.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    with np.load(npz) as arrays:
        assert arrays["labels"].tolist() == [2, 0]
        assert np.abs(arrays["images"] - grey).max() <= 1


def test_same_seeds_same_images(steindiff: Command, weights: Path, tmp_path: Path) -> None:
    """The same bytes again; with other batches one grey level may differ by rounding."""

    def images(name: str, *options: object) -> np.ndarray:
        path = tmp_path / name
        common = ("sample", "--model", weights, "--npz", path, "--out", f"{path}.png")
        assert steindiff(*common, *options).code == 0
        with np.load(path) as arrays:
            return arrays["images"].astype(int)

    first = images("a.npz", "--seeds", "0-6", "--classes", "1")
    images("b.npz", "--seeds", "0-6", "--classes", "1")
    for suffix in ("", ".png"):
        a, b = (tmp_path / f"{name}.npz{suffix}" for name in "ab")
        assert a.read_bytes() == b.read_bytes()
    for batch in (1, 3, 7, 100):
        other = images(f"{batch}.npz", "--seeds", "0-6", "--classes", "1", "--batch", batch)
        assert np.abs(other - first).max() <= 1
    part = images("part.npz", "--seeds", "5,2", "--classes", "1")
    assert np.abs(part - first[[5, 2]]).max() <= 1
    assert np.abs(first[0] - first[1]).max() > 1  # the seeds matter
    labelled = images("labels.npz", "--seeds", "0-6", "--classes", "2")
    assert np.abs(labelled - first).max() > 1  # and so do the classes


@pytest.mark.parametrize("option", ["--out", "--npz"])
def test_sample_does_not_overwrite(
    steindiff: Command, weights: Path, tmp_path: Path, option: str
) -> None:
    path = tmp_path / "mine"
    path.write_text("precious")
    arguments = ("sample", "--model", weights, "--seeds", "0", option, path)
    refused(steindiff(*arguments), f"{path} exists", "--overwrite")
    assert path.read_text() == "precious"
    assert steindiff(*arguments, "--overwrite").code == 0
    assert path.read_bytes()[:4] == (b"\x89PNG" if option == "--out" else b"PK\x03\x04")


@pytest.mark.parametrize(
    "arguments",
    [
        ("diagnose", "--out"),
        ("generate", "--count", 1, "--out"),
        ("bench", "--preset", "smoke", "--out"),
        ("compare", "--out"),
        ("tune", "--out", "tuned.json", "--folder"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_folders_that_cannot_be_made(
    steindiff: Command,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[Any, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    model = () if arguments[0] == "bench" else ("--model", weights)
    steindiff(*arguments, link, *model).refused(f"Error: {link} is not writable: ")
    long = "a" * 300
    outcome = steindiff(*arguments, long, *model)
    outcome.refused(f"Error: {long}", f": {os.strerror(errno.ENAMETOOLONG)}")


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]], ids=["plain", "overwrite"])
def test_unwritable_output(
    steindiff: Command, weights: Path, tmp_path: Path, overwrite: list[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    arguments = ("sample", "--model", weights, *overwrite)
    refused(steindiff(*arguments, "--out", file / "a.png"), f"{file} is not writable")
    refused(steindiff(*arguments, "--npz", file / "b" / "a.npz"), "is not writable")
    refused(steindiff(*arguments, "--out", tmp_path), f"{tmp_path} is a folder")
    assert file.read_text() == "in the way"
    assert list(tmp_path.iterdir()) == [file]


def test_nowhere_to_write(steindiff: Command, weights: Path, tmp_path: Path) -> None:
    refused(steindiff("sample", "--model", weights), "--out", "--npz")
    both = tmp_path / "a"
    refused(
        steindiff("sample", "--model", weights, "--out", both, "--npz", both),
        f"--out and --npz are both {both}",
    )
    for option, name, kind in (
        ("--out", "a.jpg", "png"),
        ("--out", "a.JPEG", "png"),
        ("--out", "a.npz", "png"),
        ("--npz", "a.png", "npz"),
        ("--npz", "a.npy", "npz"),
    ):
        path = tmp_path / name
        refused(
            steindiff("sample", "--model", weights, option, path),
            f"{option} is {path}; a {kind.upper()} file is written: FILE.{kind} is needed",
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--solver", "eulr"], ["solver 'eulr' is unknown", "Did you mean 'euler'?", "ipndm"]),
        (["--solver", ""], ["solver '' is unknown", "ipndm"]),
        (["--solver", "ipndm:5"], ["order is 5", "1 to 4"]),
        (["--solver", "deis:0"], ["order is 0", "1 to 4"]),
        (["--solver", "unipc:order=4"], ["order is 4", "1 to 3"]),
        (["--solver", "ipndm:order=two"], ["order is 'two'", "1 to 4"]),
        (["--solver", "euler:2"], ["option 'order' does not exist for solver 'euler'"]),
        (["--solver", "unipc:ordr=2"], ["option 'ordr' does not exist", "order, variant"]),
        (["--solver", "unipc:variant=bh3"], ["variant 'bh3' is unknown"]),
        (["--solver", "unipc:order="], ["'unipc:order='", "NAME:option=value"]),
        (["--solver", "unipc:corrector=no"], ["option 'corrector' is 'no'", "true or false"]),
        (["--coefficient", "enrgy"], ["coefficient 'enrgy' is unknown", "'energy'?", "published"]),
        (["--schedule", "karas"], ["schedule 'karas' is unknown", "'karras'?", "log_snr"]),
        (["--final", "zreo"], ["final 'zreo' is unknown", "'zero'?"]),
        (["--steps", "0"], ["steps is 0; an int >= 1 is needed"]),
        (["--sigma-min", "90"], ["sigma_min is 90.0 and sigma_max 80.0"]),
        (["--sigma-max", "nan"], ["sigma_max is nan"]),
        (["--guidance", "nan"], ["guidance is nan"]),
        (["--classes", "4"], ["class_labels holds values from 4 to 4", "classes 0 to 2"]),
        (["--classes", "0,7"], ["class_labels holds values from 0 to 7", "classes 0 to 2"]),
        (["--classes", "shoe"], ["classes is 'shoe'", "0-15,20"]),
        (["--seeds", ""], ["seeds is ''", "0-15,20"]),
        (["--seeds", "a"], ["seeds is 'a'", "0-15,20"]),
        (["--seeds", "1,,2"], ["seeds is '1,,2'", "0-15,20"]),
        (["--seeds", "1.5"], ["seeds is '1.5'", "0-15,20"]),
        (["--seeds=-3"], ["seeds is '-3'", "0-15,20"]),
        (["--seeds", "4-"], ["seeds is '4-'", "0-15,20"]),
        (["--seeds", "1-2-3"], ["seeds is '1-2-3'", "0-15,20"]),
        (["--seeds", "5,9-3"], ["seeds is '5,9-3'", "9-3 is an empty range"]),
        (["--seeds", str(2**64)], [f"seeds holds {2**64}"]),
        (["--model", "fashion-mnits"], ["model 'fashion-mnits' is unknown"]),
        (["--model", "none.safetensors"], ["none.safetensors is not a file"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_what_sample_refuses(
    steindiff: Command, weights: Path, tmp_path: Path, options: list[str], said: list[str]
) -> None:
    out = tmp_path / "a.png"
    arguments = ["sample", "--model", weights, "--seeds", "0-3", "--out", out, *options]
    refused(steindiff(*arguments), *said)
    assert list(tmp_path.iterdir()) == []


def test_sample_from_a_damaged_file(steindiff: Command, weights: Path, tmp_path: Path) -> None:
    damaged, out = tmp_path / "d.safetensors", tmp_path / "a.png"
    damaged.write_bytes(weights.read_bytes()[:-1])
    refused(steindiff("sample", "--model", damaged, "--out", out), f"{damaged} is truncated")
    assert not out.exists()


@pytest.mark.parametrize("existing", [False, True], ids=["new", "overwrite"])
def test_interrupted_sample(
    steindiff: Command,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    existing: bool,
) -> None:
    """Ctrl-C in the second batch: nothing is left, and what was there is still there."""
    png, npz = tmp_path / "a.png", tmp_path / "a.npz"
    if existing:
        png.write_text("old png")
        npz.write_text("old npz")
    calls = []
    original = sampling.sample

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(sampling, "sample", interrupted)
    outcome = steindiff(
        "sample", "--model", weights, "--seeds", "0-3", "--batch", 2, "--out", png, "--npz", npz,
        *(["--overwrite"] if existing else []),
    )  # fmt: skip
    assert len(calls) == 2
    assert outcome.code == 130
    assert "Interrupted" in outcome.err
    assert "Traceback" not in outcome.err
    assert sorted(tmp_path.iterdir()) == ([npz, png] if existing else [])
    if existing:
        assert (png.read_text(), npz.read_text()) == ("old png", "old npz")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_failed_write_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail(file: Any) -> None:
        file.write(b"half")
        file.flush()
        assert len(os.listdir(tmp_path)) == 2  # it is beside the old file by now
        raise error

    with pytest.raises(error):
        write_whole(path, fail)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"
    write_whole(path, lambda file: file.write(b"new"))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "new"


@dataclass(frozen=True)
class Breaking(Euler):
    """Euler, but its second step is not finite."""

    def init(self, x: torch.Tensor, sigmas: Any) -> Any:
        return 0

    def step(self, denoiser: Any, x: torch.Tensor, sigma: float, sigma_next: float, state: Any):
        step: Step = super().step(denoiser, x, sigma, sigma_next, None)
        broken = step.x * float("nan") if state == 1 else step.x
        return step._replace(x=broken, state=state + 1)


# -- compare --------------------------------------------------------------------------------------

SMALL = (
    "--samples", 20, "--nfe", 3, "--resamples", 20, "--solver", "heun", "--solver", "euler"
)  # fmt: skip
CELLS = [f"tiny-g1/karras/3/{solver}/s0-19" for solver in ("heun", "euler")]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cells that are computed in this process."""
    taken: list[str] = []
    original = measure_cell

    def watched(cell: Any, source: Any) -> Any:
        taken.append(cell.id)
        return original(cell, source)

    monkeypatch.setattr(bench_run, "measure_cell", watched)
    return taken


def figures(folder: Path) -> Results:
    """What results.json holds, without what differs from run to run."""
    results = read_results(folder)
    cells = [replace(cell, seconds=0.0) for cell in results.cells]
    return replace(results, command="", seconds=0.0, cells=cells)


@pytest.fixture(scope="module")
def undisturbed(entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that ran through; not to be written to."""
    folder = tmp_path_factory.mktemp("compare") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", entry)
        arguments = ["compare", "--model", "tiny", "--out", str(folder), *map(str, SMALL)]
        patch.setattr(sys, "argv", ["steindiff", *arguments])
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Heun" in result.output
    assert "Euler / DDIM" in result.output
    assert f"picture: {folder / 'compare.png'}" in result.output.replace("\n", "")
    return folder


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(undisturbed, tmp_path / "out"))


def test_compare_writes_figures_a_report_and_a_picture(
    undisturbed: Path, entry: dict[str, Any]
) -> None:
    names = {path.name for path in undisturbed.iterdir()}
    assert {"compare.png", "results.json", "report.html", "cells", "samples"} <= names
    with Image.open(undisturbed / "compare.png") as picture:
        assert picture.format == "PNG"
        picture.load()
        assert picture.width > picture.height > 300
    results = json.loads((undisturbed / "results.json").read_text())
    assert results["complete"] is True
    assert results["command"].startswith("steindiff compare --model tiny --out ")
    assert results["hashes"] == {
        "tiny": {part: entry[part]["sha256"] for part in ("denoiser", "classifier")}
    }
    assert [cell["id"] for cell in results["cells"]] == CELLS
    for cell in results["cells"]:
        assert list(cell["rules"]) == ["base", "energy"]  # no controls
        base, relaxed = cell["rules"]["base"], cell["rules"]["energy"]
        assert base["nfe"] == relaxed["nfe"] == 3
        distances = [outcome["metrics"]["fd"]["value"] for outcome in (base, relaxed)]
        assert distances[0] != distances[1]  # relaxing did something
        assert relaxed["ratio"]["value"] == pytest.approx(distances[1] / distances[0])
    assert len(list((undisturbed / "samples").iterdir())) == 2


def test_figures_against_a_direct_computation(undisturbed: Path, entry: dict[str, Any]) -> None:
    net = sd.load_model(entry["denoiser"]["file"])
    classifier = sd.load_classifier(entry["classifier"]["file"])
    x = sd.noise((1, 28, 28), 80.0, range(20))
    labels = {"class_labels": torch.arange(20) % 10}
    levels = sd.schedules.karras(20, final="zero")
    fine = sd.sample(net, x, levels, "heun", None, conditioning=labels).x
    sigmas = {
        "heun": sd.schedules.karras(2, final="zero"),
        "euler": sd.schedules.karras(3, final="zero"),
    }
    for cell in json.loads((undisturbed / "results.json").read_text())["cells"]:
        solver = cell["solver"]
        for rule, coefficient in (("base", None), ("energy", "energy")):
            metrics = cell["rules"][rule]["metrics"]
            result = sd.sample(net, x, sigmas[solver], solver, coefficient, conditioning=labels)
            assert result.nfe == 3
            features = classifier.features(result.x)
            distance = sd.lab.metrics.frechet_distance(features, classifier.features(fine))
            assert metrics["fd"]["value"] == pytest.approx(distance, rel=1e-3)
            rmse = float((result.x - fine).square().mean().sqrt())
            assert metrics["rmse"] == pytest.approx(rmse, rel=1e-4)


def test_started_again_it_computes_nothing(
    steindiff: Command, tiny: str, finished: Path, undisturbed: Path, measured: list[str]
) -> None:
    before = contents(finished)
    outcome = steindiff("compare", "--model", tiny, "--out", finished, *SMALL)
    assert outcome.code == 0
    assert measured == []
    assert contents(finished) == before
    assert figures(finished) == figures(undisturbed)
    assert "Euler / DDIM" in outcome.out  # the table is shown again


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--first-seed", 5), "cells"),
        (("--samples", 21), "cells"),
        (("--solver", "deis"), "cells"),
        (("--coefficient", "constant:value=0.99"), "coefficients"),
        (("--sigma-max", 70), "sigma_max"),
    ],
    ids=str,
)
def test_results_of_another_setting_are_kept(
    steindiff: Command,
    tiny: str,
    finished: Path,
    measured: list[str],
    change: tuple[Any, ...],
    named: str,
) -> None:
    before = contents(finished)
    outcome = steindiff("compare", "--model", tiny, "--out", finished, *SMALL, *change)
    assert outcome.code == 2
    said = f"{finished} holds the results of another grid (other {named})"
    refused(Outcome(2, "", outcome.err), said, "--overwrite")
    assert measured == []
    assert contents(finished) == before


@pytest.mark.slow
def test_results_of_another_setting_are_replaced_when_asked(
    steindiff: Command, tiny: str, finished: Path, measured: list[str]
) -> None:
    arguments = ("compare", "--model", tiny, "--out", finished, *SMALL, "--first-seed", 5)
    before = (finished / "compare.png").read_bytes()
    assert steindiff(*arguments, "--overwrite").code == 0
    results = read_results(finished)
    assert results.complete is True
    assert [cell.first_seed for cell in results.cells] == [5, 5]
    assert len(list((finished / "cells").iterdir())) == len(measured) == 2
    assert (finished / "compare.png").read_bytes() != before


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[picture.Row], list[str]]]:
    """What pictures are made of: their rows and the names of their columns."""
    taken: list[tuple[list[picture.Row], list[str]]] = []
    original = picture.comparison

    def watched(rows: Any, columns: Any, *args: Any, **kwargs: Any) -> Any:
        taken.append((list(rows), list(columns)))
        return original(rows, columns, *args, **kwargs)

    monkeypatch.setattr(comparison, "comparison", watched)
    return taken


def test_a_lost_picture_is_drawn_again_and_shows_what_was_sampled(
    steindiff: Command,
    tiny: str,
    finished: Path,
    undisturbed: Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = drawn(monkeypatch)
    (finished / "compare.png").unlink()
    assert steindiff("compare", "--model", tiny, "--out", finished, *SMALL).code == 0
    assert measured == []
    assert contents(finished) == contents(undisturbed)
    ((rows, columns),) = taken
    assert columns == [f"class {k}" for k in range(10)]
    titles = [row.title for row in rows]
    wanted = [f"{name}{more}" for name in ("Heun", "Euler / DDIM") for more in ("", " + SteinDiff")]
    assert titles == [*wanted, "Fine solution"]
    assert rows[-1].subtitle == "Heun, 39 NFE"
    net = sd.load_model(MODELS[tiny]["denoiser"]["file"])
    x, labels = sd.noise((1, 28, 28), 80.0, range(20)), {"class_labels": torch.arange(20) % 10}
    distances = [
        cell["rules"][rule]["metrics"]["fd"]["value"]
        for cell in json.loads((finished / "results.json").read_text())["cells"]
        for rule in ("base", "energy")
    ]
    for row, distance in zip(rows, distances, strict=False):
        assert row.subtitle == f"Fréchet distance {distance:.2f}"
    for row, coefficient in ((rows[2], None), (rows[3], "energy")):
        result = sd.sample(
            net,
            x,
            sd.schedules.karras(3, final="zero"),
            "euler",
            coefficient,
            conditioning=labels,
        )
        grey = ((result.x[:10].clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
        assert row.images.shape == (10, 28, 28, 1)
        assert np.abs(row.images - grey).max() <= 1


@pytest.mark.slow
def test_columns_are_named_by_the_classes_of_their_seeds(
    steindiff: Command, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = drawn(monkeypatch)
    arguments = ("compare", "--model", tiny, "--out", tmp_path / "out", *SMALL)
    assert steindiff(*arguments, "--first-seed", 13).code == 0
    ((_, columns),) = taken
    assert columns == [f"class {k}" for k in (3, 4, 5, 6, 7, 8, 9, 0, 1, 2)]


@pytest.mark.slow
def test_the_picture_of_a_diverged_rule(
    steindiff: Command, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blank row that says so, beside the rows of what did not diverge."""
    monkeypatch.setitem(SOLVERS, "breaking", Breaking)
    taken = drawn(monkeypatch)
    out = tmp_path / "out"
    arguments = ("compare", "--model", tiny, "--out", out, *SMALL, "--solver", "breaking")
    outcome = steindiff(*arguments)
    assert outcome.code == 0, outcome.err
    assert "diverged at step 1" in outcome.out
    ((rows, _),) = taken
    for row in rows[4:6]:
        assert row.title.startswith("breaking")
        assert row.subtitle == "diverged at step 1"
        assert not row.images.any()
    assert rows[-1].images.any()
    with Image.open(out / "compare.png") as shown:
        shown.load()


@pytest.mark.slow
def test_the_picture_where_everything_diverged(
    steindiff: Command, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOLVERS, "breaking", Breaking)
    out = tmp_path / "out"
    arguments = ("--samples", 20, "--nfe", 3, "--resamples", 20, "--solver", "breaking")
    assert steindiff("compare", "--model", tiny, "--out", out, *arguments).code == 0
    assert (out / "compare.png").is_file()
    assert (out / "report.html").is_file()


@pytest.mark.slow
def test_interrupted_after_the_first_cell(
    steindiff: Command,
    tiny: str,
    tmp_path: Path,
    undisturbed: Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    arguments = ("compare", "--model", tiny, "--out", out, *SMALL)
    original = measure_cell

    def measure(cell: Any, source: Any) -> Any:
        if cell.solver == "euler":
            raise KeyboardInterrupt
        return original(cell, source)

    with monkeypatch.context() as patch:
        patch.setattr(bench_run, "measure_cell", measure)
        outcome = steindiff(*arguments)
    assert outcome.code == 130
    assert "Interrupted" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (out / "compare.png").exists()
    part = read_results(out)
    assert [cell.id for cell in part.cells] == CELLS[:1]
    assert part.complete is False
    measured.clear()
    assert steindiff(*arguments).code == 0
    assert measured == CELLS[1:]
    assert figures(out) == figures(undisturbed)
    assert (out / "compare.png").read_bytes() == (undisturbed / "compare.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "tinny"], ["model 'tinny' is unknown", "Did you mean 'tiny'?"]),
        (["--solver", "eulr"], ["solver 'eulr' is unknown", "Did you mean 'euler'?"]),
        (["--solver", "ipndm:5"], ["order is 5", "1 to 4"]),
        (["--schedule", "karas"], ["schedule 'karas' is unknown", "'karras'?"]),
        (["--coefficient", "enrgy"], ["coefficient 'enrgy' is unknown", "'energy'?"]),
        (["--coefficient", "none"], ["coefficient 'none'"]),
        (["--final", "zreo"], ["final 'zreo' is unknown", "'zero'?"]),
        (["--end", "stien"], ["end 'stien' is unknown", "'stein'?"]),
        (["--nfe", "0"], ["nfe is 0"]),
        (["--sigma-min", "90"], ["sigma_min is 90.0 and sigma_max 80.0"]),
        (["--guidance", "inf"], ["guidance is inf"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_what_compare_refuses(
    steindiff: Command,
    tiny: str,
    tmp_path: Path,
    measured: list[str],
    options: list[str],
    said: list[str],
) -> None:
    """All of it before anything is computed."""
    out = tmp_path / "out"
    outcome = steindiff("compare", "--model", tiny, "--out", out, *SMALL, *options)
    refused(outcome, *said)
    assert measured == []
    assert not out.exists()


@pytest.mark.parametrize("option", ["--samples", "--resamples"])
def test_too_few(steindiff: Command, tiny: str, tmp_path: Path, option: str) -> None:
    outcome = steindiff("compare", "--model", tiny, "--out", tmp_path / "out", option, 3)
    assert outcome.code == 2
    assert option in outcome.err
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_as_few_samples_as_are_allowed(steindiff: Command, tiny: str, tmp_path: Path) -> None:
    """What --samples takes the bench takes too."""
    out = tmp_path / "out"
    outcome = steindiff(
        "compare", "--model", tiny, "--out", out, "--samples", 10, "--solver", "euler",
        "--resamples", 20,
    )  # fmt: skip
    if outcome.code:
        assert outcome.code == 2
        assert "--samples" in outcome.err  # in the words of the command, not of the grid
    else:
        assert (out / "compare.png").is_file()


def test_compare_into_a_path_below_a_file(
    steindiff: Command, tiny: str, tmp_path: Path, measured: list[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    outcome = steindiff("compare", "--model", tiny, "--out", file / "out", *SMALL)
    refused(outcome, "is not writable")
    assert measured == []
    assert file.read_text() == "in the way"


@pytest.mark.parametrize("option", ["--count", "--shard-size", "--batch"])
def test_a_run_that_could_not_be_gone_on_with(
    steindiff: Command, tmp_path: Path, option: str
) -> None:
    """Numbers that the folder's own file may not hold."""
    outcome = steindiff("generate", "--out", tmp_path / "run", option, 10**9 + 1)
    assert outcome.code == 2
    assert f"Invalid value for '{option}'" in outcome.err
    assert list(tmp_path.iterdir()) == []
