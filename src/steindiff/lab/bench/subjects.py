"""What the bench samples from: shipped networks, and mixtures whose denoiser is known."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._errors import check_options, unknown_name
from ...denoisers import ClassifierFreeGuidance, Denoiser, GaussianMixture, Perturbed
from ...models import MODELS, load_model
from ..metrics import ClassifierFeatures, Features, Pixels, mode_coverage, nearest_mode
from ..specs import parse_spec


class Subject(ABC):
    """A denoiser with what it takes to sample from it and to judge its samples.

    Attributes:
        denoiser: D, guided where guidance was asked for.
        shape: of one sample.
        features: what distances are measured in.
        images: whether samples are images that a report can show.
        exact: the exact denoiser where `denoiser` is a perturbed one.
    """

    denoiser: Denoiser
    shape: tuple[int, ...]
    features: Features
    images = False
    exact: Denoiser | None = None

    def conditioning(self, seeds: Sequence[int]) -> dict[str, Any]:
        """What the denoiser takes for the samples of these seeds."""
        return {}

    @abstractmethod
    def judge(self, x: Tensor, features: Tensor, seeds: Sequence[int]) -> dict[str, Any]:
        """Metrics that only this kind of subject has: modes, agreement with the labels."""


class Network(Subject):
    """A shipped class-conditional network; sample of seed s is asked to be of class s mod K."""

    images = True

    def __init__(self, name: str, guidance: float, device: str = "cpu") -> None:
        self.device = device
        net = load_model(name, device=device)
        self.shape, self.classes = net.sample_shape, net.config.num_classes
        self.classifier = ClassifierFeatures(name)
        self.features = self.classifier
        self.denoiser = net
        if guidance != 1:
            none = {"class_labels": net.null_label}
            self.denoiser = ClassifierFreeGuidance(net, guidance, none)

    def conditioning(self, seeds: Sequence[int]) -> dict[str, Any]:
        return {"class_labels": self._labels(seeds).to(self.device)}

    def judge(self, x: Tensor, features: Tensor, seeds: Sequence[int]) -> dict[str, Any]:
        guesses = self.classifier.classify(features).argmax(dim=1)
        labels = self._labels(seeds)
        target = torch.bincount(labels, minlength=self.classes).double() / len(labels)
        return {
            "modes": _coverage(guesses, target),
            "as_label": (guesses == labels).double().mean().item(),
        }

    def _labels(self, seeds: Sequence[int]) -> Tensor:
        return torch.tensor([seed % self.classes for seed in seeds])


@dataclass(frozen=True)
class MixtureOptions:
    """A Gaussian mixture with a pooled variance of 1/4 a coordinate, as EDM's data have.

    Attributes:
        dim: of the space. modes: how many, of equal weight.
        separation: typical distance between two means, in standard deviations of a mode.
        spectrum: variances fall with the coordinate's index as index^-spectrum; 0 is isotropic,
            natural images have about 2 over their frequencies.
        error: of the denoiser, see `Perturbed`; 0 is the exact one.
        seed: of the means.
    """

    dim: int = 64
    modes: int = 10
    separation: float = 8.0
    spectrum: float = 0.0
    error: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("dim", 1), ("modes", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(f"mixture option {name} is {value!r}; an int >= {low} is needed")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"mixture option seed is {self.seed!r}; an int is needed")
        for name in ("separation", "spectrum", "error"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"mixture option {name} is {value!r}; a number >= 0 is needed")


class Mixture(Subject):
    """A Gaussian mixture: the exact denoiser, or the exact one with a smooth error."""

    def __init__(self, options: MixtureOptions) -> None:
        self.shape, self.features = (options.dim,), Pixels()
        generator = torch.Generator().manual_seed(options.seed)
        profile = torch.arange(1, options.dim + 1, dtype=torch.float64) ** -options.spectrum
        profile /= profile.mean()
        between = options.separation**2 / (2 * options.dim)  # in variances of a mode
        within = 0.25 / (1 + between)
        spread = (profile * within * between).sqrt()
        normal = torch.randn(options.modes, options.dim, generator=generator, dtype=torch.float64)
        self.means = (normal * spread).float()
        variances = (profile * within).expand(options.modes, -1).float()
        self.mixture = GaussianMixture(self.means, variances)
        self.denoiser = self.mixture
        if options.error:
            self.exact = self.mixture
            self.denoiser = Perturbed(self.mixture, options.dim, options.error)

    def judge(self, x: Tensor, features: Tensor, seeds: Sequence[int]) -> dict[str, Any]:
        target = torch.full((len(self.means),), 1 / len(self.means), dtype=torch.float64)
        return {"modes": _coverage(nearest_mode(x, self.means), target)}


def _coverage(assignments: Tensor, target: Tensor) -> dict[str, Any]:
    found = mode_coverage(assignments, target)
    return {"modes": found.modes, "covered": found.covered, "kl": found.kl}


def check_subject(spec: str, guidance: float) -> None:
    """Raises ValueError for a model or guidance that `make_subject` could not make."""
    name, options = parse_spec(spec, "model")
    if name == "mixture":
        check_options("model", name, MixtureOptions, options)
        MixtureOptions(**options)  # type: ignore[arg-type]
        if guidance != 1:
            raise ValueError(f"guidance is {guidance:g} for {spec!r}; a mixture has none: 1")
    elif spec not in MODELS:
        raise unknown_name("model", spec, [*MODELS, "mixture"])
    if not math.isfinite(guidance):
        raise ValueError(f"guidance is {guidance}; a finite number is needed")


def make_subject(spec: str, guidance: float, device: str = "cpu") -> Subject:
    """The subject of a name: a shipped model, or "mixture:dim=64,modes=10,..."."""
    check_subject(spec, guidance)
    name, options = parse_spec(spec, "model")
    if name == "mixture":
        return Mixture(MixtureOptions(**options))  # type: ignore[arg-type]
    return Network(name, guidance, device)


def hashes_of(spec: str) -> dict[str, str]:
    """SHA-256 of the files behind a model; a mixture has none."""
    if spec not in MODELS:
        return {}
    return {part: MODELS[spec][part]["sha256"] for part in ("denoiser", "classifier")}
