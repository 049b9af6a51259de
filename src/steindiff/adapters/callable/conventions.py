"""What a network may have been meant to be asked and to answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...levels import PREDICTIONS
from ..coordinates import Coordinates, flow, ve, vp
from .denoiser import FunctionDenoiser

REVERSED = "x0 - eps"
"""A flow velocity that points from noise to data."""


def conventions(declared: FunctionDenoiser) -> Iterator[tuple[str, FunctionDenoiser]]:
    """Combinations of a prediction and coordinates that are in use, without the declared one."""
    for coordinates in _coordinates(declared.coordinates):
        for prediction in _predictions(declared, coordinates):
            if (prediction, coordinates.name) != (declared.prediction, declared.coordinates.name):
                yield f"{prediction}, {coordinates.name}", _read(declared, prediction, coordinates)


def _predictions(declared: FunctionDenoiser, coordinates: Coordinates) -> Sequence[str]:
    """All in the declared coordinates; elsewhere v goes with VP, and velocities with flows."""
    if coordinates is declared.coordinates:
        return (*PREDICTIONS, REVERSED)
    if "flow" in coordinates.name:
        return ("epsilon", "sample", "flow", REVERSED)
    return ("epsilon", "sample", "v") if "vp" in coordinates.name else ("epsilon", "sample")


def _read(
    declared: FunctionDenoiser, prediction: str, coordinates: Coordinates
) -> FunctionDenoiser:
    if prediction != REVERSED:
        return replace(declared, prediction=prediction, coordinates=coordinates)

    def negated(x: Tensor, time: Tensor, **conditioning: object) -> Tensor:
        return -declared.f(x, time, **conditioning)

    return FunctionDenoiser(negated, "flow", coordinates)


def _coordinates(declared: Coordinates) -> list[Coordinates]:
    """The usual ones, and the usual mistakes around them."""
    table = declared if declared.name == "vp" else vp(_scaled_linear())
    straight, scaled = flow(), flow(1000)
    known = [
        declared,
        ve(),
        table,
        straight,
        scaled,
        replace(ve(), time=table.time, name="input not scaled, time of vp"),
        replace(table, time=ve().time, name="input scaled as vp, time sigma"),
        replace(table, time=lambda s: table.time(s) / 1000, name="vp, timestep / 1000"),
        replace(straight, time=lambda s: 1 - straight.time(s), name="flow reversed, time 1 - t"),
        replace(
            scaled, time=lambda s: 1000 - scaled.time(s), name="flow reversed, time 1000 (1 - t)"
        ),
    ]
    return list({coordinates.name: coordinates for coordinates in known}.values())


def _scaled_linear() -> Tensor:
    """The table of Stable Diffusion, for a network whose own is not known."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64, device="cpu") ** 2
    return torch.cumprod(1 - betas, 0)
