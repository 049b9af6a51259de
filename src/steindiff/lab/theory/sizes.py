"""How much a diagnosis spends."""

from __future__ import annotations

from dataclasses import dataclass

MAX_STEPS = 10_000
"""Of a sampling."""
MODES_BATCH = 100
"""Samples whose modes are counted at a time."""
MAX_COUNTS = 64
"""Numbers of steps that are compared."""


@dataclass(frozen=True)
class Sizes:
    """How much is spent. The defaults take minutes on two cores for a small network.

    Each has a least value, below which there is no variance, spread or picture, and a largest
    one (`LIMITS`); numbers of steps go up to `MAX_STEPS`.

    Attributes:
        samples: trajectories that identities, coefficients and energies are measured on.
        jacobians: of them, those that Lipschitz constants are measured on.
        levels: noise levels at which the denoiser itself is looked at.
        probes: Gaussian probes of a trace at each level.
        study: probes of the study of probes.
        modes: samples whose modes are counted.
        counts: numbers of steps for Lipschitz constants and modes, besides the one asked for.
        dense: larger numbers of steps, for Lipschitz constants alone.
        steps_shown: at most so many steps of a sampling have their Lipschitz constants measured.
        fine_steps: Heun steps of the fine solution. On a mixture in 64 dimensions 40, 80 and 160
            of them leave 2, 0.5 and 0.2% too much variance within modes.
        rounds: of a Lipschitz constant at most.
        pairs: states of the study of Stein discrepancies, whose cost is their square.
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

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} is {value}; at least {least} is needed")
            if value > most:
                raise ValueError(f"{name} is {value}; at most {most} is possible")
        for name in ("counts", "dense"):
            counts = getattr(self, name)
            if any(not 1 <= steps <= MAX_STEPS for steps in counts):
                raise ValueError(
                    f"{name} is {counts}; numbers >= 1, at most {MAX_STEPS}, are needed"
                )
            if len(counts) > MAX_COUNTS:
                raise ValueError(f"{name} holds {len(counts)} numbers; at most {MAX_COUNTS} do")
        if not self.counts:
            raise ValueError("counts is empty; at least one number of steps is needed")
        if self.jacobians > self.samples:
            raise ValueError(
                f"jacobians is {self.jacobians} and samples {self.samples}; they are among them"
            )


LIMITS = {
    "samples": (2, 1_000_000), "jacobians": (1, 100_000), "levels": (2, 1_000),
    "probes": (1, 10_000), "study": (2, 100_000), "modes": (1, 1_000_000),
    "steps_shown": (1, 1_000), "fine_steps": (2, 10_000), "rounds": (1, 1_000),
    "pairs": (2, 10_000),
}  # fmt: skip
"""The least and the largest value of each size."""
