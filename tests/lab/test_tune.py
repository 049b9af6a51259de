"""`steindiff tune` and `recommend`, and the file in the other commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tunings
from command import Command, check_help

import steindiff as sd
from steindiff.lab.cli import tune as cli
from steindiff.lab.images import to_uint8
from steindiff.models import load_model, save_model
from steindiff.models.network import NetworkConfig, UNetDenoiser

FEW = ("--steps", 3, "--noises", 4, "--held-out", 16, "--fresh", 16, "--fine-steps", 4)
BOUND = ("--calls", 1640)
MIXTURE = ("--model", "mixture:dim=6,modes=3")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of three classes in a file."""
    torch.manual_seed(0)
    net = UNetDenoiser(NetworkConfig(image_size=8, num_classes=3, widths=(32, 32), embedding=16))
    net = net.eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, net)
    return path


def run(steindiff: Command, *arguments: object) -> Any:
    outcome = steindiff(*arguments)
    assert outcome.code == 0, outcome
    return outcome


def test_a_tuning_is_written_shown_and_sampled_with(
    steindiff: Command, model: Path, tmp_path: Path
) -> None:
    """With its report; the images are the core's, and other models are refused by name."""
    out, report = tmp_path / "tuned.json", tmp_path / "tuned.html"
    said = run(steindiff, "tune", "--model", model, *FEW, *BOUND, "--out", out, "--report", report)
    found = sd.load_tuned(out)
    assert found.choices[3].verdict in said.out
    assert "samples are evaluated" in said.err
    assert found.model_hash
    assert found.command.startswith("steindiff tune")
    page = report.read_text()
    assert "3 steps" in page
    assert page.count("data:image/png;base64") == 2
    for each in found.choices[3].tried[:3]:
        assert f"{each.figures.error:.4f}" in page

    arrays = tmp_path / "a.npz"
    run(steindiff, "sample", "--model", model, "--tuned", out, "--seeds", "0-2", "--npz", arrays)
    net = load_model(str(model))
    labels = {"class_labels": torch.arange(3)}
    x = sd.noise(net.sample_shape, 80.0, range(3))
    wanted = to_uint8(sd.sample(net, x, steps=found.recipe(3), conditioning=labels).x)
    assert np.array_equal(np.load(arrays)["images"], wanted)

    again = ("sample", "--tuned", out, "--seeds", "0-1", "--out", tmp_path / "b.png")
    steindiff(*again).refused("model is 'fashion-mnist'", "it was tuned for", "--any-model")
    passed = run(steindiff, *again, "--any-model")
    assert "Note: tuned for" in passed.err
    mine = (*again, "--overwrite", "--model", model)
    steindiff(*mine, "--guidance", 2).refused("guidance is 2; it was tuned for 1")
    steindiff(*mine, "--steps", 5).refused("steps is 5; this network was tuned for 3")
    steindiff(*mine, "--end", "none").refused("brings its own end; drop that option")
    steindiff(*mine, "--sigma-max", 40).refused("sigma_max is 40", "is for sigma_max 80")
    steindiff("sample", "--any-model", "--out", tmp_path / "c.png").refused("--tuned FILE")


def test_recommend_shows_what_to_choose(steindiff: Command) -> None:
    said = run(steindiff, "recommend", *MIXTURE, *FEW, "--top", 2, "--format", "csv")
    lines = said.out.strip().splitlines()
    assert lines[0] == "kind,what,error,distance,score / best plain"
    assert len(lines) >= 4
    assert any(line.startswith("plain,") and line.endswith(",1.00") for line in lines)
    assert any(line.startswith("recipe,") for line in lines)
    assert not any(line.startswith("fitted,") for line in lines)
    assert "3 steps: " in said.err


def test_what_cannot_be(steindiff: Command, tmp_path: Path) -> None:
    out = tmp_path / "tuned.json"
    tune = ("tune", *MIXTURE, *FEW, "--out", out)
    steindiff(*tune, "--calls", 100).refused("calls is 100", "are needed for the fine solution")
    steindiff(*tune, "--minutes", 0).refused("minutes is 0.0")
    steindiff(*tune, "--steps", 2).refused("steps is 2; an int >= 3 is needed")
    steindiff(*tune, "--prompts", tmp_path / "no.txt").refused("--diffusers FOLDER")
    prompts = tmp_path / "prompts.txt"
    text = ("tune", "--diffusers", tmp_path, "--prompts", prompts, *FEW, "--out", out)
    steindiff(*text).refused("prompts file", "is missing; a text file of one prompt a line")
    prompts.write_text("\n")
    steindiff(*text).refused("prompts file", "is empty; one prompt a line is needed")
    out.write_text("{}")
    steindiff(*tune).refused("exists; choose another path or pass --overwrite")
    steindiff("sample", "--tuned", out, "--out", tmp_path / "a.png").refused("not a tuning file")
    steindiff("sample", "--tuned", tmp_path / "no", "--out", tmp_path / "a.png").refused(
        "no is not"
    )


def test_guidance_leaves_the_fits_out_unless_asked_for(
    steindiff: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it may cost says so too."""
    asked: list[bool] = []

    def fit_sampler(denoiser: Any, steps: Any, *, fit: bool, **options: Any) -> sd.Tuned:
        asked.append(fit)
        return tunings.tuned(options["guidance"])

    monkeypatch.setattr(cli, "fit_sampler", fit_sampler)
    costs = []
    for options in ((), ("--guidance", 2), ("--guidance", 2, "--fit"), ("--no-fit",)):
        command = ("tune", "--model", model, *FEW, "--out", tmp_path / "t.json", "--overwrite")
        costs.append(run(steindiff, *command, *options).err.split(" samples are")[0])
    assert asked == [True, False, True, False]
    assert costs[0] == costs[2] != costs[1] == costs[3]


@pytest.mark.parametrize("command", ["tune", "recommend"])
def test_help(command: str) -> None:
    known = ["--steps", "--held-out", "--calls", "--minutes", "--diffusers", "--edm", "--batch"]
    check_help([command], [*known, *(["--fit", "--no-fit"] if command == "tune" else [])])


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (f"{sd.IPNDM(order=4)}; Karras", "ipndm:order=4; Karras"),
        (f"{sd.Euler()}, relaxed, end stein; even", "euler, relaxed, end stein; even"),
        ("fitted scalars, relaxed (twice)", "fitted scalars, relaxed (twice)"),
    ],
)
def test_solvers_are_named_as_commands_name_them(words: str, shown: str) -> None:
    assert cli._named(words) == shown
