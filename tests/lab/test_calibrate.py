"""`steindiff calibrate`, and its file in the other commands."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Command

import steindiff as sd
from steindiff._files import sha256
from steindiff.lab.bench.grid import make_grid
from steindiff.lab.bench.titles import solver_title
from steindiff.lab.images import to_uint8
from steindiff.lab.specs import parse_solver
from steindiff.models import MODELS, save_model
from steindiff.models.classifier import Classifier
from steindiff.models.network import NetworkConfig, UNetDenoiser

FEW = ("--noises", 3, "--held-out", 2, "--fine-steps", 3)
LOW = ("--sigma-min", 0.05, "--sigma-max", 10)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of ten classes."""
    torch.manual_seed(0)
    config = NetworkConfig(image_size=28, num_classes=10, widths=(32, 32), embedding=32)
    net = UNetDenoiser(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, net)
    return path


@pytest.fixture
def tiny(weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Name of that model, shipped for the length of a test."""
    entry: dict[str, Any] = {"classes": [f"class {k}" for k in range(10)]}
    entry["denoiser"] = {"file": str(weights), "sha256": sha256(weights)}
    path = tmp_path / "classifier.safetensors"
    entry["classifier"] = {"file": str(path), "sha256": save_model(path, Classifier(width=8))}
    monkeypatch.setitem(MODELS, "tiny", entry)
    return "tiny"


def calibrate(steindiff: Command, out: Path, model: object, *more: object) -> Any:
    outcome = steindiff(
        "calibrate", "--out", out, "--model", model, "--steps", 3, *FEW, *LOW, *more
    )
    assert outcome.code == 0, outcome
    return outcome


@pytest.mark.parametrize("final", ["sigma_min", "zero"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_from_calibration_to_images(
    steindiff: Command, weights: Path, tmp_path: Path, guidance: float, final: str
) -> None:
    """The command that `calibrate` prints last works as it stands."""
    out = tmp_path / "c, 1.json"
    more = ("--guidance", guidance, "--final", final, "--schedule", "log_snr")
    outcome = calibrate(steindiff, out, weights, *more)
    solver = sd.load_calibration(out)
    made = solver.calibration
    assert made is not None
    assert made.about.model_hash == sha256(weights)
    assert (made.about.schedule, made.about.guidance) == ("log_snr", guidance)
    assert (made.noises, made.held_out, made.fine_steps) == (3, 2, 3)
    assert made.command.startswith("steindiff calibrate --out")
    assert f"{made.fit_error:.4f} on the 3 noises of the fit" in outcome.out
    assert f"{made.held_out_error:.4f} on 2 others" in outcome.out
    for row in solver.scalars:
        assert all(f"{value:.4f}" in outcome.out for value in row)
    said = shlex.split(outcome.out.strip().splitlines()[-1])
    assert said[:2] == ["steindiff", "sample"]
    npz = tmp_path / "images.npz"
    said = [*said[1:-2], "--npz", str(npz), "--seeds", "0-3"]
    done = steindiff(*said)
    assert done.code == 0, done
    with np.load(npz) as arrays:
        images = arrays["images"]
    net = sd.load_model(weights)
    denoiser = (
        net
        if guidance == 1
        else sd.denoisers.ClassifierFreeGuidance(net, guidance, {"class_labels": net.null_label})
    )
    x = sd.noise(net.sample_shape, 10.0, range(4))
    wanted = sd.sample(
        denoiser, x, solver.levels, solver, None, conditioning={"class_labels": torch.arange(4)}
    )
    assert np.array_equal(images, to_uint8(wanted.x))


def test_the_calibration_is_that_of_python(
    steindiff: Command, weights: Path, tmp_path: Path
) -> None:
    calibrate(steindiff, tmp_path / "c.json", weights, "--classes", "1,2")
    net = sd.load_model(weights)
    solver = sd.calibrate(
        net, sd.schedules.karras(3, 0.05, 10.0, final="zero"), noises=3, held_out=2, fine_steps=3,
        conditioning={"class_labels": torch.tensor([1, 2])},
    )  # fmt: skip
    assert sd.load_calibration(tmp_path / "c.json") == solver


def test_generate_takes_it(steindiff: Command, weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    calibrate(steindiff, path, weights)
    use = ("--model", weights, "--steps", 3, *LOW, "--count", 4, "--device", "cpu",
           "--format", "npz", "--solver", "calibrated", "--calibration", path)  # fmt: skip
    assert steindiff("generate", "--out", tmp_path / "a", *use).code == 0
    steindiff("generate", "--out", tmp_path / "b", *use, "--guidance", 2).refused(
        "guidance is 2; the calibration is of guidance 1"
    )
    # the folder remembers the scalars, not the name of the file
    shutil.copy(path, tmp_path / "moved.json")
    moved = [tmp_path / "moved.json" if word == path else word for word in use]
    assert "nothing to do" in steindiff("generate", "--out", tmp_path / "a", *moved).out
    calibrate(steindiff, path, weights, "--first-seed", 9, "--overwrite")
    assert steindiff("generate", "--out", tmp_path / "a", *use).code == 2


@pytest.mark.slow
def test_a_bench_takes_it(steindiff: Command, tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    calibrate(steindiff, path, tiny)
    grid = tmp_path / "grid.toml"
    grid.write_text(
        "final = 'zero'\nsigma_min = 0.05\nsigma_max = 10\n"
        "fine_steps = 3\nresamples = 20\ncontrols = ['one']\n"
        "[[cells]]\nmodel = 'tiny'\nschedule = 'karras'\nnfe = [3, 4]\nseeds = '0-15'\n"
        "solver = 'euler'\n"
    )
    use = ("bench", "--grid", grid, "--out", tmp_path / "out")
    outcome = steindiff(*use, "--calibration", path)
    assert outcome.code == 0, outcome
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    text = f"calibrated:file={path}"
    assert [cell["solver"] for cell in results["cells"]] == ["euler", "euler", text]
    last = results["cells"][-1]
    assert last["nfe"] == 3
    assert last["rules"]["base"]["nfe"] == 3
    assert last["rules"]["base"]["metrics"]["fd"]["value"] > 0
    assert last["rules"]["one"]["equals_base"]
    assert results["hashes"][text] == {"calibration": sha256(path)}
    # another calibration at the same path is another bench
    calibrate(steindiff, path, tiny, "--first-seed", 9, "--overwrite")
    steindiff(*use, "--calibration", path).refused("another grid", "hashes")
    # a grid without the calibration's setting
    calibrate(steindiff, path, tiny, "--guidance", 2, "--overwrite")
    steindiff(*use, "--calibration", path).refused("guidance 2", "'karras', 3 NFE", "no cells")


def cells(path: Path, **axes: Any) -> dict[str, Any]:
    block = {
        "model": "tiny", "schedule": "karras", "nfe": 3, "seeds": "0-15",
        "solver": f"calibrated:file={path}", **axes,
    }  # fmt: skip
    return {"final": "zero", "sigma_min": 0.05, "sigma_max": 10.0, "cells": [block]}


def test_a_grid_names_it_and_refuses_another_setting(
    steindiff: Command, tiny: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    calibrate(steindiff, path, tiny)
    grid = make_grid(cells(path))
    assert grid.cells[0].levels == tuple(sd.load_calibration(path).levels)
    for axes, said in (
        ({"model": "fashion-mnist"}, r"model is 'fashion-mnist' .* the calibration is of 'tiny'"),
        ({"model": "mixture"}, r"model is 'mixture' \(SHA-256 unknown"),
        ({"guidance": 2.0}, "guidance is 2; the calibration is of guidance 1"),
        ({"nfe": 4}, "calibrated for schedule karras, 3 steps"),
        ({"schedule": "log_snr"}, "calibrated for schedule karras, 3 steps"),
        ({"solver": "calibrated"}, "needs a file of `steindiff calibrate`"),
        ({"solver": "calibrated:file="}, "needs a file of `steindiff calibrate`"),
        ({"solver": f"calibrated:file={tmp_path}/no.json"}, "no.json is not a file"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            make_grid(cells(path, **axes))


def test_the_text_of_a_solver(steindiff: Command, weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "a=1, b:2.json"
    calibrate(steindiff, path, weights)
    assert parse_solver(f"calibrated:file={path}") == sd.load_calibration(path)
    assert solver_title(f"calibrated:file={path}") == "calibrated (a=1, b:2)"


def test_what_is_refused(steindiff: Command, weights: Path, tmp_path: Path) -> None:
    path, png = tmp_path / "c.json", tmp_path / "o.png"
    calibrate(steindiff, path, weights)
    right = ("--model", weights, "--steps", 3, *LOW)
    use = ("--solver", "calibrated", "--calibration", path)

    def sample(*arguments: object) -> Any:
        return steindiff("sample", "--out", png, *arguments)

    sample(*right, "--solver", "calibrated").refused("needs a file of `steindiff calibrate`")
    sample(*right, "--solver", "euler", "--calibration", path).refused(
        "is for --solver calibrated; the solver is 'euler'"
    )
    sample(*use, "--steps", 3, *LOW).refused("model is 'fashion-mnist'", str(weights))
    sample(*use, *right, "--guidance", 1.5).refused("guidance is 1.5", "of guidance 1")
    sample(*use, *right, "--steps", 4).refused("sigmas is [10, ", "karras, 3 steps, [10, ")
    sample(*use, *right, "--schedule", "log_snr").refused("calibrated for schedule karras")
    sample(*use, *right, "--sigma-max", 20).refused("sigmas is [20, ", "3 steps, [10, ")
    path.write_text(path.read_text()[:200])
    sample(*use, *right).refused("c.json is truncated or no JSON")
    assert not png.exists()
    assert sample(*right).code == 0


def test_what_calibrate_refuses(steindiff: Command, weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for arguments, said in (
        (("--prior", "eulr"), "prior 'eulr' is unknown. Did you mean 'euler'?"),
        (("--schedule", "karas"), "schedule 'karas' is unknown"),
        (("--classes", "0-11"), "this model has the classes 0 to 9"),
        (("--guidance", "nan"), "scale is nan"),
    ):
        steindiff("calibrate", "--out", path, "--model", weights, *FEW, *arguments).refused(said)
        assert not list(tmp_path.iterdir())
    path.write_text("mine")
    steindiff("calibrate", "--out", path, "--model", weights, *FEW).refused("--overwrite")
    assert path.read_text() == "mine"
