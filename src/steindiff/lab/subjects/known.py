"""Models by name: shipped networks, and mixtures whose denoiser is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._errors import check_options, unknown_name
from ...denoisers import GaussianMixture, Perturbed
from ...models import MODELS, load_model
from ..metrics import ClassifierFeatures, Pixels, mode_coverage, nearest_mode
from ..specs import parse_spec
from .base import Labels, Subject, guided, guided_name

MAX_DIM, MAX_MODES, MAX_MEANS = 2**24, 2**20, 2**26
"""Of a mixture: the dimensions, the modes, and their product (2^26 is half a GiB of means)."""


class Network(Subject):
    """A shipped class-conditional network; sample of seed s is asked to be of class s mod K."""

    images = True

    def __init__(self, name: str, guidance: float, device: str = "cpu") -> None:
        self.name, self.model, self.device = guided_name(name, guidance), name, device
        self.hashes = hashes_of(name)
        net = load_model(name, device=device)
        self.shape, self.classes = net.sample_shape, net.config.num_classes
        self.labels = Labels(self.classes, device)
        self.classifier = ClassifierFeatures(name)
        self.features = self.classifier
        self.denoiser = guided(net, guidance, net.null_label)

    def conditioning(self, seeds: Sequence[int]) -> dict[str, Any]:
        return self.labels(seeds)

    def column(self, seed: int) -> str:
        names = MODELS[self.model]["classes"]
        return names[seed % len(names)]

    def judge(self, x: Tensor, features: Tensor, seeds: Sequence[int]) -> dict[str, Any]:
        guesses = self.classifier.classify(features).argmax(dim=1)
        labels = self.labels.of(seeds)
        target = torch.bincount(labels, minlength=self.classes).double() / len(labels)
        return {
            "modes": _coverage(guesses, target),
            "as_label": (guesses == labels).double().mean().item(),
        }


@dataclass(frozen=True)
class MixtureOptions:
    """A Gaussian mixture with a pooled variance of 1/4 a coordinate, as EDM's data have.

    Attributes:
        dim: of the space, at most 2^24.
        modes: how many, of equal weight; at most 2^20, and dim times modes at most 2^26.
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
        for name, most in (("dim", MAX_DIM), ("modes", MAX_MODES)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"mixture option {name} is {value!r}; an int >= 1 is needed")
            if value > most:
                raise ValueError(f"mixture option {name} is {value}; at most {most} is possible")
        if self.dim * self.modes > MAX_MEANS:
            raise ValueError(
                f"mixture options dim and modes are {self.dim} and {self.modes}: their means take "
                f"{self.dim * self.modes / 2**27:.3g} GiB; dim times modes may be {MAX_MEANS}"
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"mixture option seed is {self.seed!r}; an int is needed")
        for name in ("separation", "spectrum", "error"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"mixture option {name} is {value!r}; a number >= 0 is needed")


class Mixture(Subject):
    """A Gaussian mixture: the exact denoiser, or the exact one with a smooth error."""

    def __init__(self, options: MixtureOptions, name: str = "mixture") -> None:
        self.name = name
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
        return Mixture(MixtureOptions(**options), spec)  # type: ignore[arg-type]
    return Network(name, guidance, device)


def hashes_of(spec: str) -> dict[str, str]:
    """SHA-256 of the files behind a model; a mixture has none."""
    if spec not in MODELS:
        return {}
    return {part: MODELS[spec][part]["sha256"] for part in ("denoiser", "classifier")}
