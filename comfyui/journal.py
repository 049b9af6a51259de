"""What is measured of a sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from steindiff._reductions import inner
from steindiff.stein import Record


@dataclass
class Journal:
    """Measurements of one sampling; each entry is (B,) and stays on the sampling's device.

    Attributes:
        title: of the method.
        coordinates: "ve" or "flow", those of the states.
        sigmas: (steps + 1), the levels in those coordinates.
        guided: whether the model is guided, so that kappa is far from 1.
        gamma: strength of every step; 1 is the solver's own.
        kappa: <x, x - D>/(n sigma^2) of every step in VE coordinates, over the n elements that are
            sampled. 1 in the mean for an exact model without guidance (Stein's identity).
    """

    title: str
    coordinates: str
    sigmas: Sequence[float]
    guided: bool = False
    gamma: list[Tensor] = field(default_factory=list)
    kappa: list[Tensor] = field(default_factory=list)

    def note(self, step: dict[str, Any], size: int | Tensor) -> None:
        """Adds a step, told by k-diffusion's callback dictionary with its `gamma`."""
        x, sigma = step["x"], self.sigmas[step["i"]]
        # With x/alpha and sigma/alpha for x and sigma, alpha cancels but before D.
        alpha = 1 - sigma if self.coordinates == "flow" else 1.0
        along = inner(x, x - alpha * step["denoised"])
        self.kappa.append(along / (size * sigma**2))
        self.gamma.append(step["gamma"])

    def take(self, record: Record, free: Tensor | float) -> None:
        """Takes over a whole sampling's record; `free` is the share of the elements sampled."""
        self.gamma = list(record.gamma)
        self.kappa = list(record.kappa / free)
