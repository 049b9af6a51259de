"""Saves the families' weights, in half precision if they are many, and loads them into float32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from steindiff._errors import unknown_name
from steindiff._files import write_whole

from .autoencoder import Autoencoder
from .build import RECIPES, Classifier
from .denoiser import ConditionalDenoiser

_LIMIT = 3_000_000  # bytes of a file

WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class Family:
    """A trained denoiser with what is needed to judge its samples.

    Attributes:
        denoiser: D(x, sigma, class_labels=...) in VE coordinates.
        classifiers: trained on the images without noise, by name.
        shape: (C, H, W) of a sample.
        classes: names of the classes, in the order of their labels.
        autoencoder: between samples and images, where samples are latents.
    """

    denoiser: ConditionalDenoiser
    classifiers: dict[str, Classifier]
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    autoencoder: Autoencoder | None = None

    @property
    def classifier(self) -> Classifier:
        """The first of the classifiers."""
        return self.classifiers["classifier"]

    def decode(self, samples: Tensor) -> Tensor:
        """Images in [-1, 1] of samples (B, *shape): of latents, or the samples themselves."""
        return samples if self.autoencoder is None else self.autoencoder.decode(samples)


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
    denoiser, classifiers = recipe.build(recipe), recipe.judges(recipe)
    autoencoder = recipe.autoencoder() if recipe.autoencoder else None
    _load(denoiser, denoiser_path(name, folder))
    for part, classifier in classifiers.items():
        _load(classifier, part_path(name, part, folder))
    if autoencoder is not None:
        _load(autoencoder, part_path(name, "autoencoder", folder))
    return Family(denoiser, classifiers, recipe.shape, recipe.classes, autoencoder)


def denoiser_path(name: str, folder: Path = WEIGHTS) -> Path:
    """Where the denoiser's weights are."""
    return folder / f"{name}.safetensors"


def part_path(name: str, part: str, folder: Path = WEIGHTS) -> Path:
    """Where the weights of a family's other networks are: "classifier", "autoencoder", ..."""
    return folder / f"{name}-{part}.safetensors"


def save_weights(path: Path, net: nn.Module) -> None:
    """Writes the state of `net`; in float16 where float32 would take more than 3 MB."""
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    content = save(state)
    if len(content) > _LIMIT:
        content = save({key: _half(value) for key, value in state.items()})
    write_whole(path, lambda file: file.write(content))


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def _load(net: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; research/README.md tells how it is trained")
    net.load_state_dict(load_file(path))  # copies into float32
    net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
