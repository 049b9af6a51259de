"""Settings from what a command names: a shipped model, a mixture, an EDM file, a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...denoisers import GaussianMixture
from ..bench.subjects import Mixture, Network, make_subject
from ..diagnostics import Collapse, class_collapse, mixture_collapse
from ..metrics import ClassifierFeatures


class MixtureModes:
    """The modes of a mixture that is known."""

    def __init__(self, mixture: GaussianMixture) -> None:
        self.mixture = mixture
        self.what = f"{len(mixture.means)} modes in {mixture.means[0].numel()} dimensions"

    def collapse(self, samples: Tensor, reference: Tensor, seeds: Sequence[int]) -> Collapse:
        mixture = self.mixture
        return mixture_collapse(samples, mixture.means, mixture.variances, mixture.weights)


class ClassModes:
    """The classes that the classifier of a shipped model sees, in its features."""

    def __init__(self, name: str) -> None:
        self.classifier = ClassifierFeatures(name)
        self.what = "classes seen by the shipped classifier, variance in its features"

    def collapse(self, samples: Tensor, reference: Tensor, seeds: Sequence[int]) -> Collapse:
        pairs = []
        for x in (samples, reference):
            features = self.classifier.features(x)
            pairs += [features, self.classifier.classify(features).argmax(dim=1)]
        return class_collapse(*pairs)


def shipped(spec: str, guidance: float, device: str) -> dict[str, Any]:
    """What a setting takes of a shipped model or of "mixture:dim=64,...".

    Raises:
        ValueError: an unknown model, or guidance that it has not.
    """
    subject = make_subject(spec, guidance, device)
    found: dict[str, Any] = {
        "name": spec if guidance == 1 else f"{spec}, guidance {guidance:g}",
        "denoiser": subject.denoiser,
        "shape": subject.shape,
        "conditioning": subject.conditioning,
    }
    if isinstance(subject, Network):
        found["modes"] = ClassModes(spec)
    elif isinstance(subject, Mixture):
        found["modes"] = MixtureModes(subject.mixture)
        found["exact"] = subject.mixture if subject.exact is None else None
    return found


def edm(path: Path, trust: bool, device: str) -> dict[str, Any]:
    """What a setting takes of an EDM network in a pickle.

    Raises:
        ValueError: as `load_edm_pickle` does; a network that does not say what it samples.
    """
    from ...adapters.edm import from_edm, load_edm_pickle

    network: Any = load_edm_pickle(path, trust=trust)
    net = from_edm(network.to(device))
    if net.sample_shape is None:
        raise ValueError(f"{path} holds a network without img_channels and img_resolution")
    return {
        "name": path.name,
        "denoiser": net,
        "shape": net.sample_shape,
        "conditioning": Labels(net.label_dim or 0, device),
        "rounding": net.round_sigma,
        "limits": (net.sigma_min, net.sigma_max),
    }


def folder(path: Path, prompt: str, device: str) -> dict[str, Any]:
    """What a setting takes of a saved pipeline of diffusers.

    Raises:
        ValueError: as `load_folder` does, or diffusers is not installed.
    """
    try:
        from ...adapters.diffusers.folder import load_folder
    except ImportError as error:
        raise ValueError(str(error)) from error
    model = load_folder(path, prompt=prompt, device=device)
    return {
        "name": f"{path.name} ({model.kind})",
        "denoiser": model.denoiser,
        "shape": model.sample_shape,
        "conditioning": Labels(model.classes, device),
        "limits": (model.sigma_min, model.sigma_max),
    }


class Labels:
    """Class labels in turn, by seed; nothing for a network without classes."""

    def __init__(self, classes: int, device: str) -> None:
        self.classes, self.device = classes, device

    def __call__(self, seeds: Sequence[int]) -> dict[str, Any]:
        if not self.classes:
            return {}
        labels = torch.tensor([seed % self.classes for seed in seeds], device=self.device)
        return {"class_labels": labels}
