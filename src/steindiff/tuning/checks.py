"""What a tuning asks of its settings, before anything is evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .._errors import MOST_STEPS, check_callable, check_count, check_number, shown
from ..calibrated.run import MOST
from ..denoisers import Denoiser
from ..denoisers.base import highest_known
from .network import bare
from .trials import PURE_NOISE

TOP = 80.0
"""The highest level that is not pure noise."""
LEAST = 16
"""Held-out and fresh noises at the least: with fewer an interval says nothing."""


def screening(held_out: int) -> int:
    """How many of the held-out noises screen."""
    return max(LEAST // 2, held_out // 3)


def check_steps(steps: int | Sequence[int]) -> list[int]:
    """The numbers of steps, each once, in order.

    Raises:
        TypeError: neither a number nor a sequence.
        ValueError: none, or one that is no int >= 3.
    """
    try:
        wanted = [steps] if isinstance(steps, int) else list(steps)
    except TypeError:
        raise TypeError(f"steps is {shown(steps)}; an int, or several, are needed") from None
    if not wanted:
        raise ValueError("steps is empty; one number of steps or more is needed")
    return sorted({check_count("steps", count, 3, MOST_STEPS) for count in wanted})


def check_counts(
    noises: int, held_out: int, fresh: int, fine_steps: int, seed: int, batch: int | None
) -> None:
    """Raises ValueError for a count that is no int within its bounds; names it."""
    for name, value, low in (
        ("noises", noises, 4), ("held_out", held_out, LEAST), ("fresh", fresh, LEAST),
        ("fine_steps", fine_steps, 4), ("batch", 1 if batch is None else batch, 1),
    ):  # fmt: skip
        check_count(name, value, low, MOST)
    check_count("seed", seed, -(2**62), 2**62)


def check_conditioning(conditioning: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """`conditioning`, empty for None; raises TypeError where it is no mapping."""
    if conditioning is not None and not isinstance(conditioning, Mapping):
        raise TypeError(f"conditioning is {shown(conditioning)}; a mapping of names is needed")
    return conditioning or {}


def check_tunable(denoiser: Denoiser) -> None:
    """Raises ValueError for a denoiser that says why it is not to be tuned, guided or not.

    Raises:
        TypeError: a pipeline of diffusers.
    """
    if hasattr(denoiser, "scheduler") and hasattr(denoiser, "components"):
        raise TypeError(
            f"denoiser is a {type(denoiser).__name__}; a pipeline is tuned by "
            "steindiff.adapters.diffusers.tune(pipe, steps, prompts=[...], guidance=...)"
        )
    why = getattr(bare(denoiser), "untunable", "")
    if why:
        raise ValueError(f"denoiser is of {why}")


def start_levels(
    denoiser: Denoiser, sigma_min: float, sigma_max: float | None
) -> tuple[tuple[float, float], float]:
    """The lowest level above 0 and the highest, and where samplings start: there, or pure noise.

    Args:
        denoiser: whose flow may start from pure noise, or that may say the highest level it knows.
        sigma_min: as `tune` takes it.
        sigma_max: as `tune` takes it.

    Raises:
        TypeError, ValueError: 0 < sigma_min < sigma_max < infinity is not the case.
    """
    network = bare(denoiser)
    pure = sigma_max is None and getattr(network, "pure_noise", False)
    highest = min(TOP, highest_known(network))
    top = highest if sigma_max is None else check_number("sigma_max", sigma_max)
    if not 0 < check_number("sigma_min", sigma_min) < top < math.inf:
        raise ValueError(
            f"sigma_min is {sigma_min} and sigma_max {top}; 0 < sigma_min < sigma_max < inf "
            "is needed"
        )
    return (sigma_min, top), PURE_NOISE if pure else top


def check_callables(features: object, told: object) -> None:
    """Raises TypeError for features that are given, or a `told`, that cannot be called."""
    if features is not None:
        check_callable("features", features)
    check_callable("told", told)


def check_budget(
    calls: int | None, minutes: float | None, needed: int, held_out: int, wanted: Sequence[int]
) -> None:
    """Raises TypeError, ValueError for a budget that is no number, or too small for a tuning.

    Args:
        calls: as `tune` takes it.
        minutes: as `tune` takes it.
        needed: evaluations of the fine solution and of the verdict.
        held_out: noises of a candidate.
        wanted: the numbers of steps.
    """
    least = needed + sum(held_out * (2 * count + 1) for count in wanted) + 4
    if calls is not None and check_count("calls", calls, 0, 10**12) < least:
        raise ValueError(
            f"calls is {calls}; {least} are needed for the fine solution, one candidate and the "
            "fresh noises (fewer noises, steps or fine_steps need less)"
        )
    if minutes is not None and not 0 < check_number("minutes", minutes) < math.inf:
        raise ValueError(f"minutes is {minutes}; a finite number > 0 is needed")
