"""How fast the denoised sample moves along the fine trajectories, and levels that follow it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch

from ..schedules import karras
from ..trajectory import FineSolution

Motion = tuple[tuple[float, ...], tuple[float, ...]]
"""Levels, decreasing, and the root mean square of dD/d ln sigma at each of them."""

GITS_STEPS, GITS_FACTOR = 60, 1.15


def motion(fine: FineSolution) -> Motion:
    """v = rms |dD/d ln sigma| between the levels of a fine solution above 0.

    The mean is over samples and elements; the unit is that of the data.
    """
    levels = [level for level in fine.levels if level > 0]
    denoised = [
        state - level * slope
        for state, level, slope in zip(fine.states, levels, fine.slopes, strict=False)
    ]
    middles, speeds = [], []
    for k in range(len(levels) - 1):
        high, low = levels[k], levels[k + 1]
        moved = (denoised[k + 1] - denoised[k]).double().square().mean().sqrt()
        middles.append(math.sqrt(high * low))
        speeds.append(float(moved) / math.log(high / low))
    return tuple(middles), tuple(speeds)


def arc_levels(found: Motion, steps: int, sigma_max: float, power: float) -> tuple[float, ...]:
    """`steps` levels that share out the integral of v^power over ln sigma equally, then 0.

    Below the lowest level of `found` v falls like sigma, as it does for any smooth density.

    Args:
        found: as `motion` gives it.
        steps: how many levels above 0.
        sigma_max: the first of them.
        power: 1 shares out the arc itself; less gives more levels to where D hardly moves.
    """
    middles, speeds = (np.array(side[::-1]) for side in found)
    logs, values = np.log(middles), np.maximum(speeds, 1e-12) ** power
    grid = np.linspace(logs[0] - 6, math.log(sigma_max), 4001)
    below = values[0] * np.exp(power * (grid - logs[0]))
    density = np.where(grid < logs[0], below, np.interp(grid, logs, values))
    mass = np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))
    mass = np.concatenate([[0.0], mass]) / mass[-1]
    where = np.interp(1 - np.arange(1, steps) / steps, mass, grid)
    return (sigma_max, *np.exp(where).tolist(), 0.0)


def strictly_decreasing(levels: Sequence[float]) -> bool:
    """Whether levels can be sampled: each clearly below the one before."""
    return all(low < 0.98 * high for high, low in pairwise(levels))


def shortest_levels(fine: FineSolution, steps: int, low: float) -> tuple[float, ...]:
    """The `steps` levels, then 0, between which Euler's steps stray least from the fine solution.

    Dynamic programming over the levels of the fine solution that are not below `low`. The cost of a
    step between two of them is the mean distance of Euler's step, taken where the fine solution is,
    to where the fine solution arrives; no model call is made. After `gits_levels`.
    """
    levels = [level for level in fine.levels if level >= low]
    states = torch.stack([fine.at(level) for level in (*levels, 0.0)])

    def strayed(arrived: torch.Tensor, first: int) -> torch.Tensor:
        return (states[first:] - arrived).flatten(2).norm(dim=2).mean(dim=1)

    places = _shortest([*levels, 0.0], states, fine.slopes, strayed, steps, 1.0)
    return (*(levels[place] for place in places), 0.0)


def gits_levels(
    levels: Sequence[float], states: torch.Tensor, slopes: Sequence[torch.Tensor], steps: int
) -> tuple[float, ...]:
    """The `steps` + 1 of a trajectory's levels that GITS takes: the first, the last, and between.

    The cost of Euler's step between two of them is how much further off the straight line through
    the trajectory's ends it arrives than the trajectory does; the steps after it count 1.15 times
    as much, and so on.

    Source: Chen et al. 2024, "On the Trajectory Regularity of ODE-based Diffusion Sampling", arXiv
    2405.11326, section 4; cost and factor as in their code, https://github.com/zju-pi/diff-sampler,
    gits-main, whose trajectory is that of 256 noises and 60 steps of iPNDM-4 on Karras' levels.

    Args:
        levels: of the trajectory, decreasing.
        states: (len(levels), B, *shape), there.
        slopes: dx/dsigma there; the last is not needed.
        steps: how many, fewer than the levels.
    """
    end = states[-1].flatten(1)
    axis = torch.nn.functional.normalize(states[0].flatten(1) - end, dim=1)

    def off(x: torch.Tensor) -> torch.Tensor:
        away = x.flatten(2) - end
        along = (away * axis).sum(dim=2, keepdim=True) * axis
        return (away - along).norm(dim=2).mean(dim=1)

    own = off(states)
    own[-1] = 0
    places = _shortest(
        levels,
        states,
        slopes,
        lambda arrived, first: off(arrived) - own[first:],
        steps,
        GITS_FACTOR,
    )
    return (*(levels[place] for place in places), levels[-1])


def gits_trajectory(
    fine: FineSolution,
) -> tuple[list[float], torch.Tensor, list[torch.Tensor]]:
    """Karras' 61 levels with states and slopes, from a fine solution in place of one more run.

    Slopes are linear in ln sigma between those of the fine solution.
    """
    known = fine.levels[:-1]
    inner = karras(GITS_STEPS, known[-1], known[0])[1:-1].tolist()
    levels = [known[0], *inner, known[-1]]
    slopes = []
    for level in levels:
        after = next((k for k, other in enumerate(known) if other < level), len(known) - 1)
        high, low = known[after - 1], known[after]
        share = math.log(high / level) / math.log(high / low)
        slopes.append(torch.lerp(fine.slopes[after - 1], fine.slopes[after], share))
    return levels, torch.stack([fine.at(level) for level in levels]), slopes


def _shortest(
    levels: Sequence[float], states: torch.Tensor, slopes: Sequence[torch.Tensor],
    cost_of: Callable[[torch.Tensor, int], torch.Tensor], steps: int, factor: float,
) -> list[int]:  # fmt: skip
    """Where the cheapest way of so many Euler steps to the last level departs, step by step.

    `cost_of` says what it costs to have arrived at states (n, B, *shape), at the levels from a
    number on; what comes after a step counts `factor` times.
    """
    count = len(levels) - 1
    cost = torch.full((count, count + 1), math.inf, dtype=torch.float64)
    for i in range(count):
        ahead = torch.tensor([level - levels[i] for level in levels[i + 1 :]])
        ahead = ahead.to(states).reshape(-1, *[1] * (states.ndim - 1))
        euler = states[i] + ahead * slopes[i].to(states.dtype)
        cost[i, i + 1 :] = cost_of(euler, i + 1).double()
    best, came = cost[:, count], []  # one step: from each level to the last
    for _ in range(steps - 1):
        total = cost[:, :count] + factor * best
        came.append(total.argmin(dim=1))
        best = total.min(dim=1).values
    places = [0]
    for choice in reversed(came):
        places.append(int(choice[places[-1]]))
    return places
