"""What is diagnosed: a denoiser, how it is sampled, and how much is spent on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..._errors import check_batch
from ..._jacobian import Map
from ...denoisers import Denoiser, GaussianMixture
from ...sampling import noise
from ...solvers import Solver
from ...stein import Coefficient
from ...trajectory import FineSolution
from ..diagnostics import Collapse, Identity, energy, stein_identity
from ..metrics import bootstrap
from ..specs import make_schedule

Conditioning = Callable[[Sequence[int]], dict[str, Any]]
"""What the denoiser takes for the samples of these seeds."""


class Modes(Protocol):
    """What tells the modes or classes of samples."""

    what: str

    def collapse(self, samples: Tensor, reference: Tensor, seeds: Sequence[int]) -> Collapse:
        """How `samples` are spread over and within modes, beside the reference's."""
        ...


@dataclass(frozen=True)
class Sizes:
    """How much is spent. The defaults take minutes on two cores for a small network.

    Attributes:
        samples: trajectories that identities, coefficients and energies are measured on.
        jacobians: of them, those that Lipschitz constants are measured on.
        levels: noise levels at which the denoiser itself is looked at.
        probes: Gaussian probes of a trace at each level.
        study: probes of the study of probes.
        modes: samples whose modes are counted.
        counts: numbers of steps for Lipschitz constants and modes, besides the one asked for.
        steps_shown: at most so many steps of a sampling have their Lipschitz constants measured.
        fine_steps: Heun steps of the fine solution. On a mixture in 64 dimensions 40, 80 and 160
            of them leave 2, 0.5 and 0.2% too much variance within modes.
        rounds: of a Lipschitz constant at most.
        pairs: states of the study of Stein discrepancies.
        frames: of the animation.
    """

    samples: int = 96
    jacobians: int = 8
    levels: int = 12
    probes: int = 6
    study: int = 256
    modes: int = 300
    counts: tuple[int, ...] = (3, 4, 6, 8, 10)
    dense: tuple[int, ...] = (20, 100)
    steps_shown: int = 8
    fine_steps: int = 64
    rounds: int = 16
    pairs: int = 512
    frames: int = 40

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; at least {least} is needed")
        for name in ("counts", "dense"):
            if any(steps < 1 for steps in getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; numbers >= 1 are needed")
        if not self.counts:
            raise ValueError("counts is empty; at least one number of steps is needed")
        if self.jacobians > self.samples:
            raise ValueError(
                f"jacobians is {self.jacobians} and samples {self.samples}; they are among them"
            )


_LEAST = {
    "samples": 2, "jacobians": 1, "levels": 2, "probes": 1, "study": 2, "modes": 1,
    "steps_shown": 1, "fine_steps": 2, "rounds": 1, "pairs": 2, "frames": 2,
}  # fmt: skip
"""Without these there is no variance, no spread, no picture."""


class LevelSurvey(NamedTuple):
    """The denoiser at one level of the fine trajectory."""

    sigma: float
    x: Tensor
    identity: Identity


@dataclass(frozen=True)
class Setting:
    """A denoiser and how it is sampled.

    Attributes:
        name: of the model, for the report.
        denoiser: D, in VE coordinates.
        shape: of one sample.
        solver, coefficient: what is diagnosed, and their texts in `solver_text` and
            `coefficient_text`.
        schedule: name of `SCHEDULES`. steps: asked for. sigma_min, sigma_max: ends of the levels.
        conditioning: what the denoiser takes, by seed.
        modes: what tells modes, if anything does.
        exact: the mixture behind an exact denoiser.
        sizes: how much is spent.
        first_seed: seeds count up from it.
        device: of the denoiser.
        rounding: brings levels to those that the network knows.
    """

    name: str
    denoiser: Denoiser
    shape: tuple[int, ...]
    solver: Solver
    solver_text: str
    coefficient: Coefficient
    coefficient_text: str = "energy"
    schedule: str = "karras"
    steps: int = 5
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    conditioning: Conditioning = lambda seeds: {}
    modes: Modes | None = None
    exact: GaussianMixture | None = None
    sizes: Sizes = field(default_factory=Sizes)
    first_seed: int = 0
    device: str = "cpu"
    rounding: Callable[[Tensor], Tensor] = lambda sigmas: sigmas

    def __post_init__(self) -> None:
        if self.steps < 3:
            raise ValueError(f"steps is {self.steps}; at least 3 are needed, two of them relaxed")

    @property
    def size(self) -> int:
        """d, elements of a sample."""
        return int(np.prod(self.shape))

    def levels(self, steps: int | None = None) -> list[float]:
        """The noise levels of a sampling of that many steps."""
        ends = self.steps if steps is None else steps, self.sigma_min, self.sigma_max
        return self.rounding(make_schedule(self.schedule, *ends, "sigma_min")).tolist()

    def start(self, count: int) -> Tensor:
        """Noises (count, *shape) at the highest level."""
        return noise(self.shape, self.levels()[0], self.seeds(count), device=self.device)

    def seeds(self, count: int) -> range:
        return range(self.first_seed, self.first_seed + count)

    def given(self, count: int) -> dict[str, Any]:
        """Conditioning of the first `count` samples."""
        return self.conditioning(self.seeds(count))

    def denoiser_at(self, sigma: float, count: int) -> Map:
        """x -> D(x, sigma) of the first `count` samples."""
        given = self.given(count)

        def at_level(x: Tensor) -> Tensor:
            return self.denoiser(x, x.new_full((len(x),), sigma), **given)

        return at_level

    @cached_property
    def fine(self) -> FineSolution:
        """The fine solution of the first `sizes.samples` noises."""
        return self.solve(self.sizes.samples)

    def solve(self, count: int) -> FineSolution:
        """The fine solution of the first `count` noises."""
        return FineSolution(
            self.denoiser, self.start(count), self.given(count), self.sizes.fine_steps,
            self.sigma_min, self.levels()[0],
        )  # fmt: skip

    def part(self, begin: int, end: int, count: int) -> Setting:
        """The same for samples `begin` to `end` of `count`, which are its `sizes.modes`."""
        size = min(end, count) - begin
        sizes = replace(self.sizes, modes=size)
        return replace(self, first_seed=self.first_seed + begin, sizes=sizes)

    @cached_property
    def survey(self) -> list[LevelSurvey]:
        """The denoiser at levels from the highest to the lowest, at states of the fine solution."""
        found = []
        for sigma in self.survey_levels():
            x = self.fine.at(sigma)
            identity = stein_identity(
                self.denoiser, x, sigma, conditioning=self.given(len(x)), probes=self.sizes.probes
            )
            found.append(LevelSurvey(sigma, x, identity))
        return found

    def noise_energy(self) -> Tensor:
        """(samples,): |eps|^2/d of the noises, 1 in the mean: what the chance of the draw is."""
        return energy(self.start(self.sizes.samples)) / self.levels()[0] ** 2

    def survey_levels(self) -> list[float]:
        """Levels of equal steps in ln sigma, the highest a little below the start."""
        low, high = max(self.sigma_min, 0.01), 0.999 * self.levels()[0]
        return np.geomspace(high, low, self.sizes.levels).tolist()


def mean_of(values: Tensor) -> dict[str, float]:
    """Mean of (B,) values with its 95% bootstrap interval, as results hold it."""
    flat = values.detach().cpu().double().flatten()
    found = bootstrap(lambda rows: float(rows.mean()), flat)
    return found._asdict()


def without_chance(values: Tensor, control: Tensor) -> Tensor:
    """`values` (B,) less what a control of known mean 1 explains of them, to the same mean.

    A control variate (Glasserman 2003, "Monte Carlo Methods in Financial Engineering", section
    4.1), its weight by regression.
    """
    control = control.to(values) - 1
    centred = control - control.mean()
    spread = (centred * centred).sum()
    weight = (centred * values).sum() / torch.where(spread > 0, spread, 1.0)
    return values - weight * control


def spread_of(values: Tensor) -> dict[str, float]:
    """Median, and the middle 90%, of (B,) values."""
    flat = check_batch(values.detach().cpu().double().reshape(1, -1))[0]
    low, middle, high = torch.quantile(
        flat, torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    ).tolist()
    return {"low": low, "median": middle, "high": high, "max": flat.max().item()}
