"""Saves the families' weights, in half precision if they are many, and loads them into float32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn

from steindiff._errors import unknown_name
from steindiff._files import write_whole

from .build import RECIPES
from .classifier import FamilyClassifier
from .denoiser import FamilyDenoiser

_LIMIT = 3_000_000  # bytes of a file

WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class Family:
    """A trained denoiser with what is needed to judge its samples.

    Attributes:
        denoiser: D(x, sigma, class_labels=...) in VE coordinates.
        classifier: trained on the noise-free images.
        shape: (C, H, W) of a sample.
        classes: names of the classes, in the order of their labels.
    """

    denoiser: FamilyDenoiser
    classifier: FamilyClassifier
    shape: tuple[int, int, int]
    classes: tuple[str, ...]


def load_family(name: str, *, folder: Path = WEIGHTS) -> Family:
    """The trained networks of a family, in float32, in evaluation mode, without gradients.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: no weights in `folder`.
        RuntimeError: weights that do not fit the architecture.
    """
    if name not in RECIPES:
        raise unknown_name("family", name, RECIPES)
    recipe = RECIPES[name]
    denoiser = recipe.build(recipe)
    classifier = FamilyClassifier(recipe.shape[0], len(recipe.classes))
    for net, path in (
        (denoiser, denoiser_path(name, folder)),
        (classifier, judge_path(name, folder)),
    ):
        _load(net, path)
    return Family(denoiser, classifier, recipe.shape, recipe.classes)


def denoiser_path(name: str, folder: Path = WEIGHTS) -> Path:
    """Where the denoiser's weights are."""
    return folder / f"{name}.safetensors"


def judge_path(name: str, folder: Path = WEIGHTS) -> Path:
    """Where the classifier's weights are."""
    return folder / f"{name}-classifier.safetensors"


def save_weights(path: Path, net: nn.Module) -> None:
    """Writes the state of `net`; in float16 where float32 would take more than 3 MB."""
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    content = save(state)
    if len(content) > _LIMIT:
        content = save({key: _half(value) for key, value in state.items()})
    write_whole(path, lambda file: file.write(content))


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.is_floating_point() else value


def _load(net: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; research/README.md tells how it is trained")
    net.load_state_dict(load_file(path))  # copies into float32
    net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
