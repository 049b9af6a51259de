"""What is sampled from: a denoiser with what it takes, where it lives and what shows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..._files import digest
from ...denoisers import ClassifierFreeGuidance, Denoiser
from ..metrics import Features, unlearned_features

Conditioning = Callable[[Sequence[int]], dict[str, Any]]
"""What a denoiser takes for the samples of these seeds."""


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
        images: whether samples are images that a report can show, in [-1, 1].
        exact: the exact denoiser where `denoiser` is a perturbed one.
        sigma_min: the lowest level that the denoiser was made for.
        sigma_max: the highest one.
        hashes: of the files behind it, by what they hold.
        note: what a reader has to know of it beside its name, in a sentence; mostly "".
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
    hashes: Mapping[str, str] = MappingProxyType({})
    note = ""

    @property
    def guidance(self) -> float:
        """Scale of the guidance; 1 is none."""
        denoiser = self.denoiser
        return denoiser.scale if isinstance(denoiser, ClassifierFreeGuidance) else 1.0

    @property
    def model_hash(self) -> str:
        """SHA-256 of the denoiser's file, of the only file, or of the hashes of all; "" of none."""
        hashes = dict(self.hashes)
        if "denoiser" in hashes:
            return hashes["denoiser"]
        return next(iter(hashes.values())) if len(hashes) == 1 else digest(hashes) if hashes else ""

    def column(self, seed: int) -> str:
        """What the sample of a seed is called in a picture: its class, its prompt, or its seed."""
        return f"seed {seed}"

    def pictures(self, x: Tensor) -> Tensor | None:
        """Samples as images (N, 1 or 3, H, W) in [-1, 1]; None where they are none."""
        return x if self.images else None

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
        decode: samples -> images in [-1, 1], where samples are latents.
        columns: names of samples in pictures, seed by seed in turn; their seeds if left out.
        hashes: as in `Subject`.
        note: as in `Subject`.
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
        decode: Callable[[Tensor], Tensor] | None = None,
        columns: Sequence[str] = (),
        hashes: Mapping[str, str] = MappingProxyType({}),
        note: str = "",
    ) -> None:
        self.name, self.denoiser, self.shape = name, denoiser, tuple(shape)
        self.sigma_min, self.sigma_max = limits
        self.device, self.features = device, unlearned_features(self.shape)
        self.images = decode is not None or (len(self.shape) == 3 and self.shape[0] in (1, 3))
        self.columns, self.hashes, self.note = tuple(columns), hashes, note
        self._conditioning, self._rounding, self._decode = conditioning, rounding, decode

    def conditioning(self, seeds: Sequence[int]) -> dict[str, Any]:
        return self._conditioning(seeds)

    def rounded(self, sigmas: Tensor) -> Tensor:
        return self._rounding(sigmas)

    def column(self, seed: int) -> str:
        columns = self.columns
        return columns[seed % len(columns)] if columns else super().column(seed)

    def pictures(self, x: Tensor) -> Tensor | None:
        if not self.images:
            return None
        return x if self._decode is None else self._decode(x.to(self.device)).cpu()


def guided(net: Any, guidance: float, null_label: int | None) -> Denoiser:
    """The network under classifier-free guidance against its label of no class; 1 is itself.

    Raises:
        ValueError: it has no such label.
    """
    if guidance == 1:
        return net
    if null_label is None:
        raise ValueError(
            f"guidance is {guidance:g}; this network was trained without a label for 'no class', "
            "so that there is nothing to guide against: 1 is needed"
        )
    return ClassifierFreeGuidance(net, guidance, {"class_labels": null_label})


def guided_name(name: str, guidance: float) -> str:
    """The name that reports show."""
    return name if guidance == 1 else f"{name}, guidance {guidance:g}"
