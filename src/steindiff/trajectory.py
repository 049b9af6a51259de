"""The fine solution: what a solver with unlimited steps does from the same noise."""

from __future__ import annotations

import torch
from torch import Tensor

from . import schedules
from .sampling import Progress, sample

RHO = 7.0


class FineSolution:
    """Heun on a dense EDM schedule into sigma = 0, with the states in between on request.

    Between its levels the trajectory is a cubic Hermite polynomial in t = sigma^(1/7), in which
    the levels are equidistant: states and slopes dx/dsigma = (x - D)/sigma are those of the run,
    so the interpolation costs no model call and is of higher order than Heun itself. Below the
    lowest level above 0 it is the straight line of the last step.

    Source: schedule and solver are Karras et al. 2022, algorithm 1.

    Args:
        denoiser: D(x, sigma, **conditioning), in VE coordinates.
        x: (B, *shape), the start at `sigma_max`.
        conditioning: keyword arguments for the denoiser.
        steps: Heun steps; NFE is 2 steps - 1.
        sigma_min: the lowest level above 0.
        sigma_max: the level of the start.
    """

    def __init__(
        self,
        denoiser: object,
        x: Tensor,
        conditioning: dict,
        steps: int,
        sigma_min: float,
        sigma_max: float,
    ) -> None:
        sigmas = schedules.karras(steps, sigma_min, sigma_max, RHO, final="zero")
        denoised: list[Tensor] = []

        def keep(progress: Progress) -> None:
            denoised.append(progress.denoised)

        result = sample(
            denoiser, x, sigmas, "heun", None,  # type: ignore[arg-type]
            conditioning=conditioning, return_trajectory=True, callback=keep,
        )  # fmt: skip
        assert result.trajectory is not None
        self.levels = sigmas.tolist()
        self.states = result.trajectory
        self.slopes = [
            (state - d) / sigma
            for state, d, sigma in zip(self.states, denoised, self.levels, strict=False)
        ]
        self.nfe = result.nfe

    @property
    def x(self) -> Tensor:
        """The solution at sigma = 0."""
        return self.states[-1]

    def at(self, sigma: float) -> Tensor:
        """The state at any level of the run's range, (B, *shape).

        Raises:
            ValueError: a level above the start.
        """
        if sigma in self.levels:
            return self.states[self.levels.index(sigma)]
        if not 0 < sigma < self.levels[0]:
            raise ValueError(f"sigma is {sigma}; the trajectory runs from {self.levels[0]} to 0")
        after = next(i for i, level in enumerate(self.levels) if level < sigma)
        if self.levels[after] == 0:
            return torch.lerp(self.states[after], self.states[-2], sigma / self.levels[-2])
        return self._hermite(after - 1, sigma)

    def _hermite(self, i: int, sigma: float) -> Tensor:
        t0, t1, t = (level ** (1 / RHO) for level in (self.levels[i], self.levels[i + 1], sigma))
        u, width = (t - t0) / (t1 - t0), t1 - t0
        # dx/dt = dx/dsigma * rho t^(rho - 1)
        m0, m1 = (
            width * RHO * end ** (RHO - 1) * slope
            for end, slope in ((t0, self.slopes[i]), (t1, self.slopes[i + 1]))
        )
        return (
            (1 + 2 * u) * (1 - u) ** 2 * self.states[i]
            + u * (1 - u) ** 2 * m0
            + u**2 * (3 - 2 * u) * self.states[i + 1]
            + u**2 * (u - 1) * m1
        )
