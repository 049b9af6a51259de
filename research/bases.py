"""Bases on the recipe's levels: the multistep in a power of sigma, and re-injection above zero.

    python research/bases.py --network digits-mixer --steps 8

Fréchet distances in both feature sets and the relative error to the fine solution, each base with
the recipe's levels, coefficient and end; a line of JSON each. docs/evidence/recipe.md has what came
of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

import steindiff as sd
from bed import NETWORKS, Bed
from steindiff._reductions import inner
from steindiff.recipes import recipe
from steindiff.solvers import BoundDenoiser, HistoryKind, Solver, Step
from steindiff.stein.end import Remembered, _root

FIRST_SEED, COUNT = 20_000, 256


class ReinjectedState(NamedTuple):
    """State of `Reinjected`: that of the solver, the step before, and the steps still to do."""

    solver: Any
    before: Remembered | None
    left: int


@dataclass(frozen=True)
class Reinjected(Solver):
    """A solver whose last steps above zero get back what they lack along D - D_.

    x'' = T + w (D - D_), w >= 0 the root of |x''|^2 = |x|^2 - (1 - r^2) <x, x - D>, the energy law
    of one level; at most (1 - r) times the w of D extrapolated linearly to sigma = 0.

    Attributes:
        solver: what makes the steps T.
        count: how many of them, the last that end above zero.
    """

    solver: Solver
    count: int = 2

    @property
    def history(self) -> HistoryKind:
        return self.solver.history

    def init(self, x: Tensor, sigmas: Sequence[float]) -> ReinjectedState:
        return ReinjectedState(self.solver.init(x, sigmas), None, len(sigmas) - 1)

    def step(
        self,
        denoiser: BoundDenoiser,
        x: Tensor,
        sigma: float,
        sigma_next: float,
        state: ReinjectedState,
    ) -> Step:
        step = self.solver.step(denoiser, x, sigma, sigma_next, state.solver)
        seen, left = Remembered(step.denoised, sigma), state.left - 1
        if sigma_next == 0 or state.before is None or left > self.count:
            return step._replace(state=ReinjectedState(step.state, seen, left))
        ratio, move = sigma_next / sigma, step.denoised - state.before.denoised
        start = step.start
        energy = inner(start, start) - (1 - ratio**2) * inner(start, start - step.denoised)
        lack = energy - inner(step.x, step.x)
        weight = _root(lack, inner(step.x, move), inner(move, move))
        weight = weight.clamp_max((1 - ratio) * sigma / (state.before.sigma - sigma))
        found = step.x + weight.to(x.dtype).view(-1, *[1] * (x.ndim - 1)) * move
        replaced = self.solver.replace(step.state, step.x, found)
        return step._replace(x=found, state=ReinjectedState(replaced, seen, left))

    def replace(
        self, state: ReinjectedState, proposed: Tensor, accepted: Tensor
    ) -> ReinjectedState:
        return state._replace(solver=self.solver.replace(state.solver, proposed, accepted))


BASES: dict[str, Solver] = {
    "ipndm 3": sd.IPNDM(3),
    "unipc 2": sd.UniPC(2),
    "dpmpp_2m": sd.DPMpp2M(),
    "power 3, p .3": sd.PowerMultistep(3, 0.3),
    "power 2, p .3": sd.PowerMultistep(2, 0.3),
    "ipndm 3, re-injected": Reinjected(sd.IPNDM(3)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    parser.add_argument("--count", type=int, default=COUNT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bed = Bed(options.network, 1.0, range(options.first, options.first + options.count))
    plan = recipe(options.steps)
    for name, solver in BASES.items():
        found = bed.measure(solver, plan.sigmas, plan.coefficient, plan.end)
        print(json.dumps({"base": name, **found}), flush=True)


if __name__ == "__main__":
    main()
