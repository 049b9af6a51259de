"""The networks that commands sample from: shipped, from a file, guided, or of an EDM pickle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ..._files import sha256
from ...adapters.edm import EDMDenoiser
from ...models import MODELS, UNetDenoiser, load_model
from ..specs import parse_range
from ..subjects import of_edm
from .commands.sample import AnyNetwork
from .method import Chosen
from .models import check_edm
from .options import MODEL

Network = UNetDenoiser | EDMDenoiser


def load_network(asked: AnyNetwork, device: torch.device) -> Network:
    """The network of --model or of --edm.

    Raises:
        ValueError: options that do not go together; a pickle that asks for more than tensors
            without --trust; a network that does not say what it samples, or samples latents.
    """
    check_edm(asked)
    edm = asked.edm
    if edm is None:
        return load_model(asked.model, device=device)
    if asked.model != MODEL:
        raise ValueError(f"--model {asked.model} and --edm {edm} are both given; one is needed")
    found = of_edm(edm, asked.trust, str(device))
    net = cast(EDMDenoiser, found.denoiser)
    if found.shape[0] not in (1, 3):
        raise ValueError(
            f"{edm} samples {found.shape[0]} channels: latents, which need their decoder; "
            "images of 1 or 3 channels are written here"
        )
    return net


def number_of_classes(net: Network) -> int:
    """How many classes a network has; 0 for none."""
    return (net.label_dim or 0) if isinstance(net, EDMDenoiser) else net.config.num_classes


def class_labels(net: UNetDenoiser, classes: str | None) -> list[int]:
    """The labels that an option asks for, or all that the network has."""
    known = net.config.num_classes
    labels = parse_range(classes, "classes") if classes else list(range(known))
    if max(labels) >= known:
        raise ValueError(f"classes is {classes!r}; this model has the classes 0 to {known - 1}")
    return labels


def model_hash(model: str) -> str:
    """SHA-256 of the weights' file of a model, shipped or not."""
    return MODELS[model]["denoiser"]["sha256"] if model in MODELS else sha256(Path(model))


def within_levels(net: Network, chosen: Chosen) -> Tensor:
    """The levels of a method, within those that an EDM network says it was made for."""
    if not isinstance(net, EDMDenoiser):
        return chosen.levels()
    method = replace(chosen.method, sigma_min=max(chosen.method.sigma_min, net.sigma_min))
    sigma_max = min(chosen.sigma_max, net.sigma_max)
    return net.round_sigma(replace(chosen, method=method, sigma_max=sigma_max).levels())
