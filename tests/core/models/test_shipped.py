"""The model that comes with the package. Everything here needs its two weight files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff._files import sha256
from steindiff.models import MODELS

NAME = "fashion-mnist"
FOLDER = Path(str(files("steindiff.models")))
LIMIT = 8_000_000  # bytes; what one installs for


@cache
def net() -> sd.models.UNetDenoiser:
    return sd.load_model(NAME)


def run(count: int, sigmas: Tensor, solver: str, coefficient: str | None) -> sd.SampleResult:
    x = sd.noise(net().sample_shape, 80.0, range(count))
    labels = torch.arange(count) % 10
    return sd.sample(net(), x, sigmas, solver, coefficient, conditioning={"class_labels": labels})


def test_the_manifest_names_the_model() -> None:
    assert list(MODELS) == [NAME]
    assert MODELS[NAME].keys() >= {"classes", "denoiser", "classifier"}
    classes = MODELS[NAME]["classes"]
    assert len(classes) == len(set(classes)) == 10
    assert all(isinstance(name, str) and name for name in classes)


@pytest.mark.parametrize("part", ["denoiser", "classifier"])
def test_hashes_are_those_of_the_manifest(part: str) -> None:
    entry = MODELS[NAME][part]
    assert sha256(FOLDER / entry["file"]) == entry["sha256"]


def test_every_weight_file_of_the_folder_is_in_the_manifest() -> None:
    listed = {MODELS[NAME][part]["file"] for part in ("denoiser", "classifier")}
    assert {path.name for path in FOLDER.glob("*.safetensors")} == listed
    assert not list(FOLDER.glob("*.partial"))


def test_the_denoiser_is_small() -> None:
    assert (FOLDER / MODELS[NAME]["denoiser"]["file"]).stat().st_size <= LIMIT


def test_what_the_loaded_models_are() -> None:
    assert net().sample_shape == (1, 28, 28)
    assert net().config.num_classes == net().null_label == 10
    assert not net().training
    classifier = sd.load_classifier(NAME)
    assert classifier(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    for model in (net(), classifier):
        assert all(torch.isfinite(p).all() for p in model.state_dict().values())


def test_five_step_samples_are_images() -> None:
    result = run(20, sd.schedules.karras(5, 0.02, 80.0), "ipndm", "energy")
    assert result.nfe == 5
    assert result.x.shape == (20, 1, 28, 28)
    assert torch.isfinite(result.x).all()
    assert result.x.abs().max() <= 1.5
    assert result.x.min() < -0.9  # the background is black ...
    assert result.x.max() > 0.5  # ... and the clothes are not
    flat = result.x.flatten(1)
    assert torch.pdist(flat).min() > 1  # no two are the same image


def test_the_classifier_recognises_fine_samples() -> None:
    result = run(20, sd.schedules.karras(20, final="zero"), "heun", None)
    assert result.nfe == 39
    guesses = sd.load_classifier(NAME)(result.x).argmax(dim=1)
    agreement = (guesses == torch.arange(20) % 10).double().mean().item()
    assert agreement >= 0.8
