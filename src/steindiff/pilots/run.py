"""`pilot`: chooses levels, base, gift and end on the fine trajectories of a few noises."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import schedules
from .._errors import NonFiniteError, check_count
from .._provenance import versions
from ..calibrated.path import Rows, fine_solution, relative_rmse
from ..calibrated.run import sample_shape, take_rows
from ..denoisers import ClassifierFreeGuidance, Denoiser
from ..recipes import recipe
from ..sampling import noise, sample
from .candidates import Run, Shape, most_runs, plain_runs, runs
from .motion import Motion, motion
from .record import Finding, Pilot

SEED = 2 * 10**9
"""Of the first noise: away from the seeds that people sample, bench and calibrate with."""


def pilot(
    denoiser: Denoiser,
    steps: int | Sequence[int] = (5, 6, 8),
    *,
    shape: Sequence[int] | None = None,
    conditioning: Mapping[str, Any] | None = None,
    guidance: float | None = None,
    noises: int = 64,
    seed: int = SEED,
    fine_steps: int = 30,
    sigma_max: float = 80.0,
    batch: int = 64,
    device: torch.device | str = "cpu",
    model: str = "",
    told: Callable[[int], object] = lambda done: None,
) -> Pilot:
    """The recipe that suits this network best, for each number of steps: no data, no training.

    Candidates (levels of several shapes, bases, gifts, ends) are sampled from the same noises and
    compared by their relative error to the network's own fine solution.

    Source: this project (docs/evidence/recipe.md).

    Args:
        denoiser: D(x, sigma, **conditioning), guided as it will be sampled with.
        steps: numbers of steps to choose for, each 2 or more.
        shape: of one sample; left out, it is the denoiser's `sample_shape`.
        conditioning: keyword arguments for the denoiser; rows of tensors are used in turn.
        guidance: the guidance scale in it; left out, that of a `ClassifierFreeGuidance`, else 1.
        noises: how many.
        seed: of the first; they count up from it.
        fine_steps: Heun steps of the fine solution.
        sigma_max: level to start from.
        batch: noises at a time.
        device: where to sample.
        model: what the model is called, for the file.
        told: is told of evaluations done, out of at most `evaluations(...)`.

    Raises:
        ValueError: bad steps, counts, shape or conditioning; each is named.
        NonFiniteError: a NaN or an infinity in the fine solution.
    """
    wanted = sorted({steps} if isinstance(steps, int) else set(steps))
    for count in wanted:
        check_count("steps", count, 2)
    for name, value, low in (("noises", noises, 2), ("fine_steps", fine_steps, 4)):
        check_count(name, value, low)
    check_count("batch", batch, 1)
    if guidance is None:
        guidance = denoiser.scale if isinstance(denoiser, ClassifierFreeGuidance) else 1.0
    start = operator.index(seed)
    seeds = range(start, start + noises)
    x = noise(sample_shape(denoiser, shape), sigma_max, seeds, device=device)
    bound = Rows(denoiser, take_rows(conditioning or {}, range(noises)), batch, told)
    ends = schedules.log_snr(2, 0.002, sigma_max, final="zero").tolist()
    with torch.no_grad():
        fine = fine_solution(bound, x, ends, fine_steps)
    trial = _Trial(bound, x, fine.x)
    found = motion(fine)
    findings = {count: _choose(trial, found, count, guidance, sigma_max) for count in wanted}
    return Pilot(
        findings, guidance, sigma_max, noises, start, fine_steps, found, model,
        versions("steindiff", "torch"),
    )  # fmt: skip


def evaluations(steps: int | Sequence[int], noises: int = 64, fine_steps: int = 30) -> int:
    """The most samples that `pilot` evaluates the denoiser for."""
    wanted = {steps} if isinstance(steps, int) else set(steps)
    made = sum(1 + (count - 1) * (1 + most_runs()) for count in wanted)
    return noises * (2 * fine_steps - 1 + made)


class _Trial:
    """Samples candidates from the same noises; their common first evaluation is made once."""

    def __init__(self, denoiser: Rows, x: Tensor, fine: Tensor) -> None:
        self.denoiser, self.x, self.fine = denoiser, x, fine
        self._first: Tensor | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if x is not self.x:
            return self.denoiser(x, sigma)
        if self._first is None:
            self._first = self.denoiser(x, sigma)
        return self._first

    def error(self, run: Run) -> float:
        """Relative root mean square error to the fine solution; infinite where a run diverges."""
        try:
            result = sample(
                self, self.x, run.shape.sigmas, run.solver, run.coefficient, end=run.end
            )  # fmt: skip
        except NonFiniteError:
            return math.inf
        return relative_rmse(result.x, self.fine)


def _choose(trial: _Trial, found: Motion, steps: int, guidance: float, sigma_max: float) -> Finding:
    """The candidate of least error, the fixed recipe and plain solvers among them."""
    fixed = recipe(steps, guidance, sigma_max)
    own = Run(Shape(fixed.sigmas, fixed.why), fixed.solver, fixed.coefficient, fixed.end)
    plain = [(trial.error(run), run) for run in plain_runs(steps, sigma_max)]
    relaxed = [(trial.error(run), run) for run in (own, *runs(found, steps, sigma_max))]
    error, best = min((*relaxed, *plain), key=lambda pair: pair[0])
    return Finding(
        best.recipe,
        error=error,
        fixed_error=relaxed[0][0],
        plain_error=min(error for error, _ in plain),
        tried=len(relaxed) + len(plain),
    )
