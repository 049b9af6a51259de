"""What every schedule and every sampling asks of its levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .._errors import MOST_STEPS, check_count, check_number, check_values, shown, unknown_name

FINALS = ("sigma_min", "zero")


def check_sigmas(sigmas: Tensor | Sequence[float]) -> tuple[float, ...]:
    """The levels of a sampling as Python floats, checked.

    Args:
        sigmas: 1-D tensor or sequence, strictly decreasing, positive; the last may be 0.

    Raises:
        ValueError: not one-dimensional, fewer than two levels, a NaN, an infinity, a negative
            level, a 0 before the end, or levels that do not decrease.
    """
    levels = numbers_of(sigmas)
    if len(levels) < 2:
        raise ValueError(f"sigmas has {len(levels)} level(s); a step needs two")
    for index, level in enumerate(levels):
        _check_level(levels, index, level)
    return levels


def numbers_of(sigmas: Tensor | Sequence[float]) -> tuple[float, ...]:
    """Levels as Python floats. Reads a tensor from its device, once.

    Raises:
        ValueError: not one-dimensional, or no numbers.
    """
    check_values("sigmas", sigmas)
    if isinstance(sigmas, Tensor) and sigmas.ndim != 1:
        raise ValueError(f"sigmas has shape {tuple(sigmas.shape)}; one dimension is needed")
    try:
        values = sigmas.tolist() if isinstance(sigmas, Tensor) else sigmas
        return tuple(check_number("sigmas", value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sigmas is {shown(sigmas)}; a sequence of numbers is needed") from error


def _check_level(levels: tuple[float, ...], index: int, level: float) -> None:
    if not math.isfinite(level):
        raise ValueError(f"sigmas[{index}] is {level}; finite levels are needed")
    if level < 0:
        raise ValueError(f"sigmas[{index}] is {level}; levels may not be negative")
    if level == 0 and index < len(levels) - 1:
        raise ValueError(f"sigmas[{index}] is 0; only the last level may be 0")
    if index and not levels[index - 1] > level:
        raise ValueError(
            f"sigmas[{index - 1}] is {levels[index - 1]} and sigmas[{index}] is {level}; "
            "levels must strictly decrease"
        )


def check_steps(steps: int) -> None:
    """Raises TypeError for no int, ValueError below 1 and above `MOST_STEPS`."""
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps is {steps!r}; an int is needed")
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1 is needed")
    check_count("steps", steps, 1, MOST_STEPS)


def check_final(final: str) -> None:
    """Raises ValueError for what is not in `FINALS`."""
    if final not in FINALS:
        raise unknown_name("final", final, FINALS)


def check_positive(name: str, value: float) -> None:
    """Raises ValueError for what is not finite and above 0."""
    number = check_number(name, value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {value}; a finite number > 0 is needed")


def check_range(steps: int, sigma_min: float, sigma_max: float, final: str) -> None:
    """What all schedules ask of their arguments. Raises as `karras` does."""
    check_steps(steps)
    check_final(final)
    check_positive("sigma_min", sigma_min)
    check_positive("sigma_max", sigma_max)
    if sigma_min >= sigma_max:
        raise ValueError(
            f"sigma_min is {sigma_min} and sigma_max {sigma_max}; sigma_min must be the lower"
        )
