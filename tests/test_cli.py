"""The command line: what it writes, what it refuses, and what an interruption leaves behind."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import steindiff as sd
from steindiff import sampling
from steindiff.cli import app, compare, main
from steindiff.denoisers.network import NetworkConfig, UNetDenoiser
from steindiff.files import write_whole
from steindiff.models import MODELS, save_model
from steindiff.models.classifier import Classifier
from steindiff.specs import parse_range, parse_solver


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def steindiff(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command as the installed script does."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["steindiff", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


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
        (["info"], ["solvers, coefficients, schedules"]),
    ],
    ids=["steindiff", "sample", "compare", "info"],
)
def test_help(arguments: list[str], said: list[str]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    assert all(part in plain for part in ["Usage:", *said])


@pytest.mark.parametrize("columns", ["200", "80"])
def test_info_lists_every_registry(
    steindiff: Command, tiny: str, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    outcome = steindiff("info")
    assert outcome.code == 0
    for registry in (sd.solvers.SOLVERS, sd.stein.COEFFICIENTS, sd.schedules.SCHEDULES, MODELS):
        assert registry
        for name in registry:
            assert re.search(rf"│ {name} +│", outcome.out), name
    for title in ("Solvers", "Coefficients", "Schedules", "Models"):
        assert title in outcome.out
    assert "MISSING" not in outcome.out


def test_info_shows_options_and_hashes(steindiff: Command, tiny: str) -> None:
    out = steindiff("info").out
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
        (["--steps", "0"], ["steps is 0; at least 1 is needed"]),
        (["--sigma-min", "90"], ["sigma_min is 90.0 and sigma_max 80.0"]),
        (["--sigma-max", "nan"], ["sigma_max is nan"]),
        (["--guidance", "nan"], ["scale is nan"]),
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


def test_parsing() -> None:
    assert parse_range("0-3,7", "seeds") == [0, 1, 2, 3, 7]
    assert parse_range(" 5 , 5-5", "seeds") == [5, 5]
    assert parse_solver("ipndm") == sd.solvers.IPNDM()
    assert parse_solver("ipndm:2") == sd.solvers.IPNDM(order=2)
    assert parse_solver("unipc:order=2,variant=bh1,corrector=False") == sd.solvers.UniPC(
        order=2, variant="bh1", corrector=False
    )


# -- compare --------------------------------------------------------------------------------------

SMALL = ("--samples", 20, "--nfe", 3, "--resamples", 20, "--solver", "heun", "--solver", "euler")
CELLS = ["heun karras 3", "euler karras 3"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Samples taken, one entry a call of the sampling loop."""
    taken: list[int] = []
    original = sampling.sample

    def counted(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        taken.append(len(result.x))
        return result

    monkeypatch.setattr(sampling, "sample", counted)
    return taken


def figures(folder: Path) -> dict[str, Any]:
    """What results.json holds, without what differs from run to run."""
    results = json.loads((folder / "results.json").read_text())
    for cell in results["cells"].values():
        del cell["seconds"]
    del results["command"]
    return results


@pytest.fixture(scope="module")
def undisturbed(entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that ran through; not to be written to."""
    folder = tmp_path_factory.mktemp("compare") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", entry)
        arguments = ["compare", "--model", "tiny", "--out", str(folder), *map(str, SMALL)]
        patch.setattr(sys, "argv", ["steindiff", *arguments])
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "Heun" in result.output
    assert "Euler / DDIM" in result.output
    return folder


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    folder = tmp_path / "out"
    folder.mkdir()
    for file in undisturbed.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_compare_writes_figures_and_a_picture(undisturbed: Path, entry: dict[str, Any]) -> None:
    assert sorted(file.name for file in undisturbed.iterdir()) == ["compare.png", "results.json"]
    with Image.open(undisturbed / "compare.png") as picture:
        assert picture.format == "PNG"
        picture.load()
        assert picture.width > picture.height > 300
    results = json.loads((undisturbed / "results.json").read_text())
    assert results["complete"] is True
    assert results["seeds"] == [0, 19]
    assert results["command"].startswith("steindiff compare --model tiny --out ")
    assert results["versions"].keys() == {"python", "steindiff", "torch", "numpy"}
    assert results["versions"]["steindiff"] == sd.__version__
    setting = results["setting"]
    assert setting["model"] == "tiny"
    assert setting["model_sha256"] == entry["denoiser"]["sha256"]
    assert setting["solvers"] == ["heun", "euler"]
    assert (setting["nfe"], setting["samples"], setting["resamples"]) == ([3], 20, 20)


def test_figures_of_a_cell(undisturbed: Path) -> None:
    cells = json.loads((undisturbed / "results.json").read_text())["cells"]
    assert list(cells) == CELLS
    for name, cell in cells.items():
        assert f"{cell['solver']} {cell['schedule']} {cell['nfe']}" == name
        distances = [cell[part]["frechet_distance"] for part in ("base", "relaxed")]
        for interval in (*distances, cell["ratio"]):
            assert interval.keys() == {"value", "low", "high"}
            assert 0 < interval["low"] <= interval["high"] < float("inf")
            # A bootstrap of a distance is biased upwards: its interval need not hold the value.
            assert 0.1 * interval["low"] < interval["value"] < 2 * interval["high"]
        assert distances[0]["value"] != distances[1]["value"]  # relaxing did something
        ratio = distances[1]["value"] / distances[0]["value"]
        assert cell["ratio"]["value"] == pytest.approx(ratio)
        for part in ("base", "relaxed"):
            measured = cell[part]
            assert measured["rmse_to_fine"] > 0
            assert 0 <= measured["classified_as_label"] <= 1
            assert measured["variance_over_fine"] > 0
        assert cell["seconds"] >= 0


def test_figures_against_a_direct_computation(undisturbed: Path, entry: dict[str, Any]) -> None:
    net = sd.load_model(entry["denoiser"]["file"])
    classifier = sd.load_classifier(entry["classifier"]["file"])
    x = sd.noise((1, 28, 28), 80.0, range(20))
    labels = {"class_labels": torch.arange(20) % 10}
    fine = sd.sample(
        net, x, sd.schedules.karras(20, final="zero"), "heun", None, conditioning=labels
    )
    assert fine.nfe == 39
    cells = json.loads((undisturbed / "results.json").read_text())["cells"]
    sigmas = {
        "heun": sd.schedules.karras(2, 0.01, 80.0, final="zero"),
        "euler": sd.schedules.karras(3, 0.01, 80.0),
    }
    for solver in sigmas:
        for part, coefficient in (("base", None), ("relaxed", "energy")):
            found = cells[f"{solver} karras 3"][part]
            result = sd.sample(net, x, sigmas[solver], solver, coefficient, conditioning=labels)
            assert result.nfe == 3
            distance = sd.metrics.frechet_distance(
                classifier.features(result.x), classifier.features(fine.x)
            )
            assert found["frechet_distance"]["value"] == pytest.approx(distance, rel=1e-3)
            rmse = float((result.x - fine.x).square().mean().sqrt())
            assert found["rmse_to_fine"] == pytest.approx(rmse, rel=1e-4)


def test_the_fine_solution_starts_where_the_noise_is(
    steindiff: Command, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All samplings of a comparison begin at --sigma-max, the level of their common noise."""
    begun: list[float] = []

    def spy(denoiser: object, x: torch.Tensor, sigmas: torch.Tensor, *_: Any, **__: Any) -> Any:
        begun.append(float(sigmas[0]))
        assert float(x.std()) == pytest.approx(20, rel=0.1)
        return sampling.SampleResult(x + torch.rand_like(x), 1)

    monkeypatch.setattr(sampling, "sample", spy)
    out = tmp_path / "out"
    assert steindiff("compare", "--model", tiny, "--out", out, *SMALL, "--sigma-max", 20).code == 0
    assert len(begun) >= 5
    assert set(begun) == {20.0}


def test_started_again_it_computes_nothing(
    steindiff: Command, tiny: str, finished: Path, runs: list[int]
) -> None:
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    outcome = steindiff("compare", "--model", tiny, "--out", finished, *SMALL)
    assert outcome.code == 0
    assert runs == []
    assert {file.name: file.read_bytes() for file in finished.iterdir()} == before
    assert "Euler / DDIM" in outcome.out  # the table is shown again


def test_a_lost_picture_is_drawn_again(
    steindiff: Command, tiny: str, finished: Path, undisturbed: Path, runs: list[int]
) -> None:
    (finished / "compare.png").unlink()
    assert steindiff("compare", "--model", tiny, "--out", finished, *SMALL).code == 0
    assert runs == [20, 10, 10, 10, 10]  # the fine solution and what is shown, but no cell
    assert (finished / "compare.png").read_bytes() == (undisturbed / "compare.png").read_bytes()
    assert figures(finished) == figures(undisturbed)


@pytest.mark.parametrize(
    "change",
    [("--first-seed", 5), ("--samples", 21), ("--solver", "deis"), ("--coefficient", "constant")],
    ids=str,
)
def test_results_of_another_setting_are_kept(
    steindiff: Command, tiny: str, finished: Path, runs: list[int], change: tuple[Any, ...]
) -> None:
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    outcome = steindiff("compare", "--model", tiny, "--out", finished, *SMALL, *change)
    refused(outcome, "results.json holds the results of another setting", "--overwrite")
    assert runs == []
    assert {file.name: file.read_bytes() for file in finished.iterdir()} == before


def test_results_of_another_setting_are_replaced_when_asked(
    steindiff: Command, tiny: str, finished: Path, runs: list[int]
) -> None:
    arguments = ("compare", "--model", tiny, "--out", finished, *SMALL, "--first-seed", 5)
    assert steindiff(*arguments, "--overwrite").code == 0
    results = json.loads((finished / "results.json").read_text())
    assert results["seeds"] == [5, 24]
    assert results["complete"] is True
    assert list(results["cells"]) == CELLS
    assert runs.count(20) == 5  # the fine solution, and two cells of two


def test_interrupted_after_the_first_cell(
    steindiff: Command,
    tiny: str,
    tmp_path: Path,
    undisturbed: Path,
    runs: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    arguments = ("compare", "--model", tiny, "--out", out, *SMALL)
    original = compare._Experiment.cell

    def cell(self: Any, plan: compare.Plan) -> dict[str, Any]:
        if plan.spec == "euler":
            raise KeyboardInterrupt
        return original(self, plan)

    with monkeypatch.context() as patch:
        patch.setattr(compare._Experiment, "cell", cell)
        outcome = steindiff(*arguments)
    assert outcome.code == 130
    assert "Interrupted" in outcome.err
    assert "Traceback" not in outcome.err
    assert [file.name for file in out.iterdir()] == ["results.json"]
    part = json.loads((out / "results.json").read_text())
    assert list(part["cells"]) == CELLS[:1]
    assert part["complete"] is False
    assert runs == [20] * 3
    runs.clear()
    assert steindiff(*arguments).code == 0
    assert runs[:3] == [20] * 3  # the fine solution and the missing cell's two samplings
    assert 20 not in runs[3:]
    assert figures(out) == figures(undisturbed)
    assert (out / "compare.png").read_bytes() == (undisturbed / "compare.png").read_bytes()


def test_interrupted_before_anything_is_known(
    steindiff: Command, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(sampling, "sample", interrupted)
    out = tmp_path / "out"
    outcome = steindiff("compare", "--model", tiny, "--out", out, *SMALL)
    assert outcome.code == 130
    assert list(out.iterdir()) == []


def emptied(results: dict[str, Any]) -> str:
    return ""


def halved(results: dict[str, Any]) -> str:
    text = json.dumps(results)
    return text[: len(text) // 2]


def without_setting(results: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in results.items() if key != "setting"})


def without_cells(results: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in results.items() if key != "cells"})


def with_a_hollow_cell(results: dict[str, Any]) -> str:
    del results["cells"][CELLS[0]]["relaxed"]
    return json.dumps(results)


def with_text_for_a_figure(results: dict[str, Any]) -> str:
    results["cells"][CELLS[1]]["ratio"]["value"] = "low"
    return json.dumps(results)


def with_cells_in_a_list(results: dict[str, Any]) -> str:
    return json.dumps({**results, "cells": list(results["cells"].values())})


def as_a_list(results: dict[str, Any]) -> str:
    return json.dumps([results])


@pytest.mark.parametrize(
    "damage",
    [
        emptied, halved, without_setting, without_cells, with_a_hollow_cell,
        with_text_for_a_figure, with_cells_in_a_list, as_a_list,
    ],
)  # fmt: skip
def test_damaged_results(
    steindiff: Command,
    tiny: str,
    finished: Path,
    runs: list[int],
    damage: Callable[[dict[str, Any]], str],
) -> None:
    path = finished / "results.json"
    text = damage(json.loads(path.read_text()))
    path.write_text(text)
    outcome = steindiff("compare", "--model", tiny, "--out", finished, *SMALL)
    refused(outcome, f"{path} is damaged", "pass --overwrite")
    assert runs == []
    assert path.read_text() == text


def test_damaged_results_are_replaced_when_asked(
    steindiff: Command, tiny: str, finished: Path, undisturbed: Path
) -> None:
    (finished / "results.json").write_text("{")
    arguments = ("compare", "--model", tiny, "--out", finished, *SMALL, "--overwrite")
    assert steindiff(*arguments).code == 0
    assert figures(finished) == figures(undisturbed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "tinny"], ["model is 'tinny'", "a shipped one is needed", "tiny"]),
        (["--solver", "eulr"], ["solver 'eulr' is unknown", "Did you mean 'euler'?"]),
        (["--solver", "ipndm:5"], ["order is 5", "1 to 4"]),
        (["--schedule", "karas"], ["schedule 'karas' is unknown", "'karras'?"]),
        (["--coefficient", "enrgy"], ["coefficient 'enrgy' is unknown", "'energy'?"]),
        (["--nfe", "0"], ["steps is 0"]),
        (["--sigma-min", "90"], ["sigma_min is 90.0 and sigma_max 80.0"]),
        (["--guidance", "inf"], ["scale is inf"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_what_compare_refuses(
    steindiff: Command,
    tiny: str,
    tmp_path: Path,
    runs: list[int],
    options: list[str],
    said: list[str],
) -> None:
    """All of it before anything is computed."""
    out = tmp_path / "out"
    outcome = steindiff("compare", "--model", tiny, "--out", out, *SMALL, *options)
    assert outcome.code == 2
    refused(Outcome(2, "", outcome.err), *said)
    assert runs == []
    assert not (out / "results.json").exists()


@pytest.mark.parametrize("option", ["--samples", "--resamples"])
def test_too_few(steindiff: Command, tiny: str, tmp_path: Path, option: str) -> None:
    outcome = steindiff("compare", "--model", tiny, "--out", tmp_path / "out", option, 3)
    assert outcome.code == 2
    assert option in outcome.err
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_compare_into_a_path_below_a_file(
    steindiff: Command, tiny: str, tmp_path: Path, runs: list[int]
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    outcome = steindiff("compare", "--model", tiny, "--out", file / "out", *SMALL)
    refused(outcome, "is not writable")
    assert runs == []
    assert file.read_text() == "in the way"
