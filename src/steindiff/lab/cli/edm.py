"""What `steindiff sample --edm` adds: a network from a pickle, its classes and its levels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from ...adapters.edm import EDMDenoiser, from_edm, load_edm_pickle
from ...models import UNetDenoiser, load_model
from ..specs import make_schedule

_DEFAULT_MODEL = "fashion-mnist"

EdmOption = Annotated[
    Path | None, typer.Option(help="Pickle of an EDM network, in place of --model.")
]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Let the file of --edm run its code; official ones do.")
]
Network = UNetDenoiser | EDMDenoiser


def load_network(model: str, edm: Path | None, trust: bool, guidance: float) -> Network:
    """The network of --model or of --edm.

    Raises:
        ValueError: options that do not go together; a pickle that asks for more than tensors
            without --trust; a network that does not say what it samples, or samples latents.
    """
    if edm is None:
        if trust:
            raise ValueError("--trust is for --edm PATH, which is missing")
        return load_model(model)
    if model != _DEFAULT_MODEL:
        raise ValueError(f"--model {model} and --edm {edm} are both given; one is needed")
    if guidance != 1:
        raise ValueError(
            f"--guidance is {guidance}; EDM networks have no label for 'no class' that they were "
            "trained with (autoguidance: steindiff.adapters.edm.from_edm)"
        )
    net = from_edm(load_edm_pickle(edm, trust=trust))
    if net.sample_shape is None:
        raise ValueError(f"{edm} holds a network without img_channels and img_resolution")
    if net.sample_shape[0] not in (1, 3):
        raise ValueError(
            f"{edm} samples {net.sample_shape[0]} channels: latents, which need their decoder; "
            "images of 1 or 3 channels are written here"
        )
    return net


def number_of_classes(net: Network) -> int:
    """How many classes a network has; 0 for none."""
    return (net.label_dim or 0) if isinstance(net, EDMDenoiser) else net.config.num_classes


def make_levels(
    net: Network, schedule: str, steps: int, sigma_min: float, sigma_max: float, final: str
) -> Tensor:
    """The schedule, within the levels that an EDM network says it was made for."""
    if not isinstance(net, EDMDenoiser):
        return make_schedule(schedule, steps, sigma_min, sigma_max, final)
    low, high = max(sigma_min, net.sigma_min), min(sigma_max, net.sigma_max)
    return net.round_sigma(make_schedule(schedule, steps, low, high, final))
