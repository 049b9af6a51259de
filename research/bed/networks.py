"""What a bed samples from, by name: the shipped model, the families and mixtures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from families import FAMILIES, Family, load_family
from families.distilled import DISTILLED, TEACHER, distilled_path, load_distilled
from families.weights import denoiser_path
from steindiff._errors import unknown_name
from steindiff._files import digest, sha256
from steindiff.denoisers import ClassifierFreeGuidance, Denoiser
from steindiff.lab.metrics import RandomConvolutions, RandomProjections
from steindiff.lab.subjects import make_subject
from steindiff.models import MODELS, load_classifier, load_model

NETWORKS = (*MODELS, *FAMILIES)
"""The trained networks that `load_network` takes.

It also takes "mixture:dim=64,modes=10,...", and `DISTILLED`, which is no network of its own: the
guided shipped one at a call an evaluation.
"""

FeatureSet = Callable[[Tensor], Tensor]
"""(B, D) of samples (B, *shape)."""


@dataclass(frozen=True)
class Network:
    """A denoiser with what it takes to sample from it and to judge its samples.

    Attributes:
        name: of the network.
        hash: SHA-256 of the denoiser's file, or of what else makes it.
        denoiser: D, guided where guidance was asked for.
        shape: of one sample.
        feature_sets: what distances are measured in, by name; two or more, for a gain counts
            where they agree.
        conditioning: keyword arguments of the denoiser; rows of tensors are used in turn, the
            sample of seed s gets row s mod their number.
        decode: images of samples; the samples themselves but for a latent model.
    """

    name: str
    hash: str
    denoiser: Denoiser
    shape: tuple[int, ...]
    feature_sets: dict[str, FeatureSet]
    conditioning: dict[str, Any] = field(default_factory=dict)
    decode: FeatureSet = lambda samples: samples

    def conditioning_of(self, seeds: Sequence[int]) -> dict[str, Any]:
        """The conditioning of the samples of these seeds."""
        return {
            name: value[torch.tensor(seeds, dtype=torch.int64) % len(value)]
            if isinstance(value, Tensor) and value.ndim
            else value
            for name, value in self.conditioning.items()
        }


def load_network(name: str, guidance: float = 1.0) -> Network:
    """A network by name, with classifier-free guidance; the distilled one takes it as an input.

    Raises:
        ValueError: an unknown name, guidance for a mixture, or guidance outside of 1 .. 8 for the
            distilled network.
    """
    if name in FAMILIES:
        return _family(name, load_family(name), guidance)
    if name in MODELS:
        return _shipped(name, guidance)
    if name == DISTILLED:
        return _distilled(guidance)
    if name.partition(":")[0] != "mixture":
        raise unknown_name("network", name, [*NETWORKS, DISTILLED, "mixture"])
    return _mixture(name, guidance)


def _family(name: str, family: Family, guidance: float) -> Network:
    sets: dict[str, FeatureSet] = {
        part: _in_images(family, classifier.features)
        for part, classifier in family.classifiers.items()
    }
    if len(sets) == 1:
        sets["random"] = RandomConvolutions(family.shape[0])
    return Network(
        name,
        sha256(denoiser_path(name)),
        _guided(family.denoiser, family.denoiser.null_label, guidance),
        family.shape,
        sets,
        {"class_labels": torch.arange(len(family.classes))},
        family.decode,
    )


def _in_images(family: Family, features: FeatureSet) -> FeatureSet:
    return lambda samples: features(family.decode(samples))


def _shipped(name: str, guidance: float) -> Network:
    net, classifier = load_model(name), load_classifier(name)
    return Network(
        name,
        MODELS[name]["denoiser"]["sha256"],
        _guided(net, net.null_label, guidance),
        net.sample_shape,
        {"classifier": classifier.features, "random": RandomConvolutions(net.sample_shape[0])},
        {"class_labels": torch.arange(net.config.num_classes)},
    )


def _distilled(guidance: float) -> Network:
    shipped = _shipped(TEACHER, 1.0)
    found = digest([shipped.hash, sha256(distilled_path())])
    return replace(shipped, name=DISTILLED, hash=found, denoiser=load_distilled(guidance))


def _mixture(name: str, guidance: float) -> Network:
    subject = make_subject(name, guidance)
    sets = {
        "coordinates": subject.features.features,
        "random": RandomProjections(subject.shape[0]),
    }
    return Network(name, digest(name), subject.denoiser, subject.shape, sets)


def _guided(denoiser: Denoiser, null_label: int, guidance: float) -> Denoiser:
    if guidance == 1:
        return denoiser
    return ClassifierFreeGuidance(denoiser, guidance, {"class_labels": null_label})
