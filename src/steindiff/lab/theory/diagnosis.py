"""What is diagnosed: a subject, how it is sampled, and how much is spent on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from ..._jacobian import Map
from ...denoisers import Denoiser, GaussianMixture
from ...sampling import noise, sample
from ...solvers import Euler, Solver, resolve_solver
from ...stein import Coefficient
from ...trajectory import FineSolution
from ..specs import make_schedule, parse_coefficient, parse_solver
from ..subjects import Conditioning, Given, Subject
from .energies import energy
from .identities import Identity, stein_identity
from .sizes import MAX_STEPS, MODES_BATCH, Sizes

if TYPE_CHECKING:
    from .collapse import Modes

MAX_NUMBERS = 2**33
"""Numbers that a diagnosis may hold at once, 32 GiB in float32."""


class Batch(NamedTuple):
    """Noises, and the denoiser with what it takes for them.

    Attributes:
        denoiser: D(x, sigma, **conditioning).
        x: (B, *shape), noises at the highest level.
        conditioning: of these samples.
    """

    denoiser: Denoiser
    x: Tensor
    conditioning: dict[str, Any]

    def at(self, sigma: float) -> Map:
        """x -> D(x, sigma) of these samples."""

        def at_level(x: Tensor) -> Tensor:
            return self.denoiser(x, x.new_full((len(x),), sigma), **self.conditioning)

        return at_level

    def follow(
        self, levels: Sequence[float], solver: Solver, coefficient: Coefficient | None
    ) -> tuple[Tensor, ...]:
        """The states of a sampling after each of its steps."""
        trajectory = sample(
            self.denoiser, self.x, levels, solver, coefficient,
            end="none", conditioning=self.conditioning, return_trajectory=True,
        ).trajectory  # fmt: skip
        assert trajectory is not None
        return trajectory[1:]


class LevelSurvey(NamedTuple):
    """The denoiser at one level of the fine trajectory."""

    sigma: float
    x: Tensor
    identity: Identity


@dataclass(frozen=True)
class Sampling:
    """How a subject is sampled.

    Attributes:
        solver: the base.
        solver_text: its name in results.
        coefficient: of the relaxation.
        coefficient_text: its name in results.
        schedule: name of `SCHEDULES`.
        steps: of the solver, 3 to `MAX_STEPS`.
        sigma_min: the last level.
        sigma_max: the first level.

    Raises:
        ValueError: steps out of their range, or what the schedule refuses.
    """

    solver: Solver
    solver_text: str
    coefficient: Coefficient
    coefficient_text: str = "energy"
    schedule: str = "karras"
    steps: int = 5
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if self.steps < 3:
            raise ValueError(f"steps is {self.steps}; at least 3 are needed, two of them relaxed")
        if self.steps > MAX_STEPS:
            raise ValueError(f"steps is {self.steps}; at most {MAX_STEPS} are possible")
        self.levels()

    @property
    def ways(self) -> dict[str, Coefficient | None]:
        """Without relaxing and with it."""
        return {"base": None, "relaxed": self.coefficient}

    @property
    def solvers(self) -> dict[str, Solver]:
        """The solver, and Euler beside it if it is another."""
        found = {self.solver_text: self.solver}
        if not isinstance(self.solver, Euler):
            found["euler"] = Euler()
        return found

    def levels(self, steps: int | None = None) -> Tensor:
        """The noise levels of so many steps; of those asked for if left out."""
        count = self.steps if steps is None else steps
        return make_schedule(self.schedule, count, self.sigma_min, self.sigma_max, "sigma_min")


@dataclass(frozen=True)
class Diagnosis:
    """A subject, and how it is looked at.

    Attributes:
        subject: the denoiser, what it takes, and which levels it knows.
        sampling: how it is sampled.
        modes: what tells modes, if anything does.
        exact: the mixture behind an exact denoiser.
        sizes: how much is spent.
        first_seed: seeds count up from it.

    Raises:
        ValueError: fine solutions of more than `MAX_NUMBERS` numbers.
    """

    subject: Subject
    sampling: Sampling
    modes: Modes | None = None
    exact: GaussianMixture | None = None
    sizes: Sizes = field(default_factory=Sizes)
    first_seed: int = 0

    def __post_init__(self) -> None:
        sizes = self.sizes
        modes = sizes.modes if self.modes else 0
        # States and slopes of the fine solution of a batch; the states of a sampling; the ends of
        # all samples with modes.
        count = 2 * max(sizes.samples, min(modes, MODES_BATCH)) * sizes.fine_steps
        count += sizes.samples * self.sampling.steps + 2 * modes
        if count * self.size > MAX_NUMBERS:
            raise ValueError(
                f"samples, modes, steps and fine_steps are {sizes.samples}, {sizes.modes}, "
                f"{self.sampling.steps} and {sizes.fine_steps}: with {self.size} elements a sample "
                f"their states take {count * self.size / 2**28:,.0f} GiB; at most "
                f"{MAX_NUMBERS >> 28} are possible"
            )

    @property
    def size(self) -> int:
        """d, elements of a sample."""
        return int(np.prod(self.subject.shape))

    def levels(self, steps: int | None = None) -> list[float]:
        """The noise levels of so many steps that the subject knows."""
        return self.subject.rounded(self.sampling.levels(steps)).tolist()

    def batch(self, count: int, begin: int = 0) -> Batch:
        """`count` samples from the one of number `begin`."""
        first, subject = self.first_seed + begin, self.subject
        seeds = range(first, first + count)
        x = noise(subject.shape, self.levels()[0], seeds, device=subject.device)
        return Batch(subject.denoiser, x, subject.conditioning(seeds))

    def batches(self, count: int, most: int) -> Iterator[Batch]:
        """`count` samples in batches of at most so many."""
        for begin in range(0, count, most):
            yield self.batch(min(most, count - begin), begin)

    def solve(self, batch: Batch) -> FineSolution:
        """The fine solution of a batch."""
        return FineSolution(
            *batch, self.sizes.fine_steps, self.sampling.sigma_min, self.levels()[0]
        )

    @cached_property
    def samples(self) -> Batch:
        """The first `sizes.samples` samples."""
        return self.batch(self.sizes.samples)

    @cached_property
    def fine(self) -> FineSolution:
        """Their fine solution."""
        return self.solve(self.samples)

    @cached_property
    def data_scale(self) -> float:
        """Standard deviation of an element of the fine solution, over samples and elements."""
        return self.fine.x.double().std().item()

    @cached_property
    def survey(self) -> list[LevelSurvey]:
        """The denoiser at levels from the highest to the lowest, at states of the fine solution."""
        found = []
        for sigma in self.survey_levels():
            x = self.fine.at(sigma)
            identity = stein_identity(
                self.subject.denoiser, x, sigma, conditioning=self.samples.conditioning,
                probes=self.sizes.probes,
            )  # fmt: skip
            found.append(LevelSurvey(sigma, x, identity))
        return found

    def survey_levels(self) -> list[float]:
        """Levels of equal steps in ln sigma, the highest a little below the start."""
        low, high = max(self.sampling.sigma_min, 0.01), 0.999 * self.levels()[0]
        return np.geomspace(high, low, self.sizes.levels).tolist()

    def noise_energy(self) -> Tensor:
        """(samples,): |eps|^2/d of the noises, 1 in the mean: what the chance of the draw is."""
        return energy(self.samples.x) / self.levels()[0] ** 2


def make_diagnosis(
    denoiser: Denoiser | Subject,
    shape: Sequence[int] = (),
    *,
    name: str = "denoiser",
    solver: str | Solver = "dpmpp_2m",
    coefficient: str = "energy",
    schedule: str = "karras",
    steps: int = 5,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    conditioning: Conditioning = lambda seeds: {},
    rounding: Callable[[Tensor], Tensor] = lambda sigmas: sigmas,
    device: str = "cpu",
    **options: Any,
) -> Diagnosis:
    """A `Diagnosis` with its solver and coefficient by name.

    Args:
        denoiser: D(x, sigma, **conditioning), in VE coordinates, differentiable twice; or a
            `Subject`, whose own shape, name, conditioning, rounding and device count.
        shape: of one sample.
        name: in the report.
        solver: a text such as "ipndm:2", or a `Solver`.
        coefficient: a text such as "energy:trust=0.2".
        schedule: name of `SCHEDULES`.
        steps: of the solver.
        sigma_min: the last level, no lower than the subject's.
        sigma_max: the first level, no higher than the subject's.
        conditioning: what the denoiser takes, by seed.
        rounding: brings levels to those that the denoiser knows.
        device: of the denoiser.
        options: the other fields of `Diagnosis`: modes, exact, sizes, first_seed.

    Raises:
        TypeError, ValueError: unknown names, or values that the diagnosis refuses.
    """
    rule = parse_coefficient(coefficient)
    if rule is None:
        raise ValueError(f"coefficient is {coefficient!r}; one is needed to compare the base with")
    if isinstance(denoiser, Subject):
        subject = denoiser
    else:
        subject = Given(
            name, denoiser, shape, conditioning=conditioning, rounding=rounding, device=device
        )
    if not subject.shape or min(subject.shape) < 1:
        raise ValueError(f"shape is {subject.shape}; the sizes of one sample, >= 1, are needed")
    sampling = Sampling(
        parse_solver(solver) if isinstance(solver, str) else resolve_solver(solver),
        solver if isinstance(solver, str) else type(solver).__name__,
        rule, coefficient, schedule, steps,
        max(sigma_min, subject.sigma_min), min(sigma_max, subject.sigma_max),
    )  # fmt: skip
    return Diagnosis(subject, sampling, **options)
