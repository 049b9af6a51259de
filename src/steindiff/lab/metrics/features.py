"""Feature extractors: what images are compared in.

A distance between features says nothing without the name of what computed them; `name` therefore
identifies the extractor, weights included.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..._errors import check_batch, unknown_name
from ..._files import sha256
from ...models import MODELS, load_classifier

CHUNK = 500
"""Images that a network sees at a time."""
_DAMAGE = (RuntimeError, ValueError, LookupError, EOFError, OSError, TypeError, AttributeError)


class Features(Protocol):
    """Maps images to features."""

    @property
    def name(self) -> str:
        """Identity, with a hash of the weights where there are any."""
        ...

    @property
    def dim(self) -> int | None:
        """Number of features, None if it depends on the images."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] -> (N, D) float32 on the CPU."""
        ...


class ClassifierFeatures:
    """The layer before the logits of the classifier that comes with a shipped model.

    Args:
        model: name of a shipped model, or a classifier file of `models.save_model`.
        device: where the classifier runs.

    Attributes:
        classifier: the network.

    Raises:
        ValueError, FileNotFoundError: as `models.load_classifier`.
    """

    def __init__(
        self, model: str | Path = "fashion-mnist", device: torch.device | str = "cpu"
    ) -> None:
        self.classifier = load_classifier(model, device=device)
        self.device = torch.device(device)
        shipped = MODELS.get(str(model))
        digest = shipped["classifier"]["sha256"] if shipped else sha256(Path(model))
        self.name = f"{model if shipped else Path(model).stem}-classifier@{digest[:12]}"
        self.dim: int = self.classifier.embed.out_features

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Images (N, 1, H, W) in [-1, 1] -> (N, D) float32 on the CPU.

        Raises:
            TypeError, ValueError: not such images.
        """
        _check_images(images, channels=(1,))
        return _in_chunks(self.classifier.features, images, self.device)

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        """Features (N, D) of `features` -> (N, classes) logits, float32 on the CPU.

        Raises:
            TypeError, ValueError: not such features.
        """
        check_batch(features, "features")
        if features.shape[1:] != (self.dim,):
            raise ValueError(
                f"features has shape {tuple(features.shape)}; (N, {self.dim}) is needed"
            )
        return _in_chunks(self.classifier.head, features, self.device)


class Pixels:
    """Samples themselves, flattened: no network, any shape.

    A limit on what it can say: distances of pixels weigh brightness and place, not content, and D
    is the number of pixels, so that a covariance asks for many samples. For points, or as a check.
    """

    name = "pixels"
    dim = None

    def features(self, images: Tensor) -> Tensor:
        """Samples (N, *shape) -> (N, D) float32 on the CPU, D the number of values of a sample.

        Raises:
            TypeError, ValueError: not a batch of floating-point samples.
        """
        return check_batch(images, "images").detach().flatten(1).float().cpu()


class Inception:
    """The 2048 "pool3" features of the FID: the InceptionV3 of torch-fidelity.

    Needs the packages torch-fidelity and torchvision, and the file of weights
    (weights-inception-2015-12-05-6726825d.pth of torch-fidelity's releases); nothing is downloaded.

    Args:
        weights: the file.
        device: where the network runs.

    Raises:
        FileNotFoundError: no such file.
        ImportError: torch-fidelity or torchvision is not installed.
        ValueError: the file holds no weights of this network.

    Source: Szegedy et al. 2016; Heusel et al. 2017; weights as in the FID's first implementation.
    """

    dim = 2048

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        weights = Path(weights)
        if not weights.is_file():
            raise FileNotFoundError(
                f"{weights} is not a file; the InceptionV3 weights of torch-fidelity are needed"
            )
        self.device = torch.device(device)
        self.network = _load_inception(weights).to(self.device)
        self.name = f"inception-v3-pool3@{sha256(weights)[:12]}"

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Images (N, 1 or 3, H, W) in [-1, 1] -> (N, 2048) float32 on the CPU.

        Rounded to 8 bits as files of images are; one channel is repeated to three.

        Raises:
            TypeError, ValueError: not such images.
        """
        _check_images(images, channels=(1, 3))
        return _in_chunks(lambda part: self.network(_to_rgb(part))[0], images, self.device, 64)


def resolve_features(spec: str | Features) -> Features:
    """The extractor that a name stands for; an extractor is returned as it is.

    Args:
        spec: a shipped model ("fashion-mnist": its classifier), "pixels", "inception:PATH" with
            the file of weights, or any `Features`.

    Raises:
        TypeError: neither a name nor an extractor.
        ValueError: an unknown name, or "inception" without its file.
        FileNotFoundError, ImportError: as `Inception`.
    """
    if not isinstance(spec, str):
        if not (callable(getattr(spec, "features", None)) and hasattr(spec, "name")):
            raise TypeError(
                f"features is a {type(spec).__name__}; a name or an object with name, dim and "
                "features(images) is needed"
            )
        return spec
    kind, _, path = spec.partition(":")
    if kind == "inception":
        if not path:
            raise ValueError(f"features is {spec!r}; 'inception:PATH' with its weights is needed")
        return Inception(Path(path))
    if spec == "pixels":
        return Pixels()
    if spec in MODELS:
        return ClassifierFeatures(spec)
    raise unknown_name("features", spec, [*MODELS, "pixels", "inception:PATH"])


def to_unit(images: Tensor) -> Tensor:
    """8-bit images (N, H, W, C) in 0 .. 255 -> float32 (N, C, H, W) in [-1, 1].

    Raises:
        TypeError: not a uint8 tensor.
        ValueError: another shape.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        found = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images is {found}; a torch.uint8 tensor is needed")
    if images.ndim != 4:
        raise ValueError(f"images has shape {tuple(images.shape)}; (N, H, W, C) is needed")
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def _in_chunks(
    function: Callable[[Tensor], Tensor], x: Tensor, device: torch.device, size: int = CHUNK
) -> Tensor:
    parts = [function(part.to(device, torch.float32)).float().cpu() for part in x.split(size)]
    return torch.cat(parts)


def _check_images(images: Tensor, channels: tuple[int, ...]) -> None:
    check_batch(images, "images")
    if images.ndim != 4 or images.shape[1] not in channels:
        wanted = " or ".join(map(str, channels))
        raise ValueError(
            f"images has shape {tuple(images.shape)}; (N, {wanted}, H, W) in [-1, 1] is needed"
        )


def _to_rgb(images: Tensor) -> Tensor:
    eight_bit = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return eight_bit.expand(-1, 3, -1, -1)


def _load_inception(weights: Path) -> Any:
    try:
        # Importing the package imports torchvision, though this network uses none of it.
        from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorInceptionV3,
        )
    except ImportError as error:
        raise ImportError(
            f"Inception features need the packages torch-fidelity and torchvision ({error}); "
            "pip install torch-fidelity torchvision"
        ) from error
    try:
        # torch-fidelity loads the file as a pickle, which may run code: weights only, first.
        torch.load(weights, map_location="cpu", weights_only=True)
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(weights)).eval()
    except (*_DAMAGE, pickle.UnpicklingError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{weights} holds no weights of torch-fidelity's InceptionV3: {first}"
        ) from error
