"""A few-step path beside the fine trajectory from the same noises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._errors import non_finite_samples, require_finite
from .._reductions import inner
from ..denoisers.base import Denoiser
from ..solvers.base import History
from ..solvers.euler import euler_candidate
from ..trajectory import FineSolution
from .fit import Equations, normal_equations
from .solver import KEEP, combine, differences

LOWEST = 0.002


class Rows:
    """A denoiser with the conditioning of each noise bound, evaluated a batch at a time.

    Args:
        denoiser: D(x, sigma, **conditioning).
        conditioning: tensors with a row for each noise; anything else is passed as it is.
        batch: noises at a time.
        told: is told of noises evaluated.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        conditioning: Mapping[str, Any],
        batch: int,
        told: Callable[[int], object],
    ) -> None:
        self.denoiser, self.conditioning = denoiser, dict(conditioning)
        self.batch, self.told = batch, told

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.each(x, lambda part: self.denoised(x[part], sigma[part], part))

    def denoised(self, x: Tensor, sigma: Tensor, part: slice) -> Tensor:
        """D of the noises of one batch."""
        return self.denoiser(x, sigma, **self._rows(part))

    def each(self, x: Tensor, make: Callable[[slice], Tensor]) -> Tensor:
        """What `make` gives of each batch of the noises `x`, one after the other: (B, ...)."""
        found = []
        for part in self.parts(len(x)):
            found.append(make(part))
            self.told(len(found[-1]))
        return torch.cat(found)

    def parts(self, count: int) -> list[slice]:
        """The batches of so many noises."""
        return [slice(k, min(k + self.batch, count)) for k in range(0, count, self.batch)]

    def check(self, x: Tensor) -> None:
        """The denoiser's own check of its conditioning, if it has one."""
        check = getattr(self.denoiser, "check", None)
        if check is not None:
            check(x, **self.conditioning)

    def _rows(self, part: slice) -> dict[str, Any]:
        return {
            name: value[part] if isinstance(value, Tensor) and value.ndim else value
            for name, value in self.conditioning.items()
        }


def fine_solution(denoiser: Rows, x: Tensor, levels: Sequence[float], steps: int) -> FineSolution:
    """The fine trajectory from the noises `x`, for any sampling between the ends of `levels`."""
    lowest = levels[-1] or min(levels[-2], LOWEST)
    return FineSolution(denoiser, x, {}, steps, lowest, levels[0])


def relative_rmse(x: Tensor, fine: Tensor) -> float:
    """Relative root mean square error of samples (B, *shape): (mean of |x - x*|^2/|x*|^2)^(1/2)."""
    return float(relative_squares(x, fine).mean().sqrt())


def relative_squares(x: Tensor, fine: Tensor) -> Tensor:
    """(B,): |x - x*|^2/|x*|^2 of samples (B, *shape)."""
    return inner(x - fine, x - fine) / inner(fine, fine)


class FewStepPath:
    """Samples on their way through the levels, with the states that they should have.

    `equations` and `advance` take turns, one pair a step.

    Args:
        denoiser: the denoiser with everything bound.
        x: (B, *shape), the noises at levels[0].
        levels: of the few-step sampling.
        fine: the fine trajectory from the same noises.
    """

    def __init__(
        self,
        denoiser: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        levels: Sequence[float],
        fine: FineSolution,
    ) -> None:
        self.denoiser, self.x, self.levels = denoiser, x, levels
        self.targets = [fine.at(level) for level in levels[1:]]
        self.history = History(steps_left=len(levels) - 1)

    def equations(self) -> Equations:
        """Evaluates the denoiser where the path is, and sets the next step's equations up."""
        i, sigma, sigma_next = self._place()
        level = torch.full((len(self.x),), sigma, dtype=self.x.dtype, device=self.x.device)
        denoised = self.denoiser(self.x, level)
        require_finite("the denoiser's output", non_finite_samples(denoised).tolist(), i, sigma)
        self.history = self.history.push(sigma, denoised, KEEP)
        missing = self.targets[i] - euler_candidate(self.x, denoised, sigma, sigma_next)
        return normal_equations(missing, differences(self.history, self.x, sigma_next))

    def advance(self, scalars: Sequence[float]) -> None:
        """Takes the step with these scalars; into sigma = 0 there may be none."""
        _, sigma, sigma_next = self._place()
        basis = differences(self.history, self.x, sigma_next)[: len(scalars)]
        candidate = euler_candidate(self.x, self.history.values[0], sigma, sigma_next)
        self.x = combine(candidate, basis, scalars)
        self.history = self.history.advance()

    def error(self) -> float:
        """`relative_rmse` of the last state."""
        return relative_rmse(self.x, self.targets[-1])

    def _place(self) -> tuple[int, float, float]:
        i = len(self.levels) - 1 - self.history.steps_left
        return i, self.levels[i], self.levels[i + 1]
