"""What is sampled from: shipped networks, mixtures whose denoiser is known, and given denoisers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._errors import check_options, unknown_name
from ..denoisers import ClassifierFreeGuidance, Denoiser, GaussianMixture, Perturbed
from ..models import MODELS, load_model
from .metrics import ClassifierFeatures, Features, Pixels, mode_coverage, nearest_mode
from .specs import parse_spec

Conditioning = Callable[[Sequence[int]], dict[str, Any]]
"""What a denoiser takes for the samples of these seeds."""

MAX_DIM, MAX_MODES, MAX_MEANS = 2**24, 2**20, 2**26
"""Of a mixture: the dimensions, the modes, and their product (2^26 is half a GiB of means)."""


class Labels:
    """Class labels in turn: the sample of seed s gets s mod `classes`; none without classes."""

    def __init__(self, classes: int, device: str = "cpu") -> None:
        self.classes, self.device = classes, device

    def __call__(self, seeds: Sequence[int]) -> dict[str, Any]:
        if not self.classes:
            return {}
        return {"class_labels": self.of(seeds).to(self.device)}

    def of(self, seeds: Sequence[int]) -> Tensor:
        """(len(seeds),) int64 on the CPU."""
        return torch.tensor([seed % self.classes for seed in seeds])


class Subject:
    """A denoiser with what it takes to sample from it and to judge its samples.

    Attributes:
        name: for reports.
        denoiser: D in VE coordinates, guided where guidance was asked for.
        shape: of one sample.
        device: of the denoiser.
        features: what distances are measured in.
        images: whether samples are images that a report can show.
        exact: the exact denoiser where `denoiser` is a perturbed one.
        sigma_min: the lowest level that the denoiser was made for.
        sigma_max: the highest one.
    """

    name: str
    denoiser: Denoiser
    shape: tuple[int, ...]
    features: Features
    device = "cpu"
    images = False
    exact: Denoiser | None = None
    sigma_min = 0.0
    sigma_max = math.inf

    def conditioning(self, seeds: Sequence[int]) -> dict[str, Any]:
        """What the denoiser takes for the samples of these seeds."""
        return {}

    def rounded(self, sigmas: Tensor) -> Tensor:
        """The levels that the denoiser knows nearest to these."""
        return sigmas

    def judge(self, x: Tensor, features: Tensor, seeds: Sequence[int]) -> dict[str, Any]:
        """Metrics that only this kind of subject has: modes, agreement with the labels."""
        return {}


class Given(Subject):
    """A denoiser that comes from elsewhere: a function, a pickle, a folder.

    Args:
        name: for reports.
        denoiser: D(x, sigma, **conditioning), in VE coordinates.
        shape: of one sample.
        conditioning: what the denoiser takes, by seed; nothing if left out.
        rounding: brings levels to those that the denoiser knows.
        limits: the lowest and the highest level that it was made for.
        device: of the denoiser.
    """

    def __init__(
        self,
        name: str,
        denoiser: Denoiser,
        shape: Sequence[int],
        *,
        conditioning: Conditioning = lambda seeds: {},
        rounding: Callable[[Tensor], Tensor] = lambda sigmas: sigmas,
        limits: tuple[float, float] = (0.0, math.inf),
        device: str = "cpu",
    ) -> None:
        self.name, self.denoiser, self.shape = name, denoiser, tuple(shape)
        self.sigma_min, self.sigma_max = limits
        self.device, self.features = device, Pixels()
        self._conditioning, self._rounding = conditioning, rounding

    def conditioning(self, seeds: Sequence[int]) -> dict[str, Any]:
        return self._conditioning(seeds)

    def rounded(self, sigmas: Tensor) -> Tensor:
        return self._rounding(sigmas)


class Network(Subject):
    """A shipped class-conditional network; sample of seed s is asked to be of class s mod K."""

    images = True

    def __init__(self, name: str, guidance: float, device: str = "cpu") -> None:
        self.name, self.model, self.device = name, name, device
        net = load_model(name, device=device)
        self.shape, self.classes = net.sample_shape, net.config.num_classes
        self.labels = Labels(self.classes, device)
        self.classifier = ClassifierFeatures(name)
        self.features = self.classifier
        self.denoiser = net
        if guidance != 1:
            self.name = f"{name}, guidance {guidance:g}"
            none = {"class_labels": net.null_label}
            self.denoiser = ClassifierFreeGuidance(net, guidance, none)

    def conditioning(self, seeds: Sequence[int]) -> dict[str, Any]:
        return self.labels(seeds)

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


def of_edm(path: Path, trust: bool, device: str = "cpu") -> Given:
    """The EDM network in a pickle, with its labels and its levels.

    Raises:
        ValueError: as `load_edm_pickle` does; a network that does not say what it samples.
    """
    from ..adapters.edm import from_edm, load_edm_pickle

    network: Any = load_edm_pickle(path, trust=trust)
    net = from_edm(network.to(device))
    if net.sample_shape is None:
        raise ValueError(f"{path} holds a network without img_channels and img_resolution")
    return Given(
        path.name, net, net.sample_shape, conditioning=Labels(net.label_dim or 0, device),
        rounding=net.round_sigma, limits=(net.sigma_min, net.sigma_max), device=device,
    )  # fmt: skip


def of_folder(path: Path, prompt: str, device: str = "cpu") -> Given:
    """The network of a saved pipeline of diffusers, with its classes and its levels.

    Raises:
        ValueError: as `load_folder` does, or diffusers is not installed.
    """
    try:
        from ..adapters.diffusers.folder import load_folder
    except ImportError as error:
        raise ValueError(str(error)) from error
    model = load_folder(path, prompt=prompt, device=device)
    return Given(
        f"{path.name} ({model.kind})", model.denoiser, model.sample_shape,
        conditioning=Labels(model.classes, device), limits=(model.sigma_min, model.sigma_max),
        device=device,
    )  # fmt: skip
