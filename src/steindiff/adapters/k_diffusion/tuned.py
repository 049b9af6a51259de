"""A tuning's recipe as a k-diffusion sampler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..._errors import check_mapping, shown
from ...denoisers import ClassifierFreeGuidance
from ...recipes import Recipe
from ...tuning import Tuned, load_tuned
from ..coordinates import PURE_NOISE, flow_sigma, flow_time
from .flow import check_levels
from .samplers import Callback, Model, follow_levels

SAME = 1e-3
"""Relative difference of levels that pass as those of the tuning, such as rounded ones."""


def tuned_recipe(
    tuned: str | Path | Tuned | Recipe,
    steps: int | None = None,
    guidance: float | None = None,
    any_model: bool = False,
) -> Recipe:
    """The recipe of a file, of a tuning, or as it is.

    Args:
        tuned: a file of `steindiff tune`, what `tune` gave, or one recipe of it.
        steps: which; left out, the one that there is.
        guidance: that it is to be used with, where that is known.
        any_model: whether another network than the one of the file is let pass, with a warning.

    Raises:
        TypeError: something else, or a guidance that is no number.
        ValueError: a damaged file, another number of steps or another guidance.
    """
    if isinstance(tuned, (str, Path)):
        tuned = load_tuned(tuned)
    if not isinstance(tuned, (Recipe, Tuned)):
        raise TypeError(f"tuned is {shown(tuned)}; a file, a Tuned or a Recipe is needed")
    plan = tuned if isinstance(tuned, Recipe) else tuned.recipe(steps, any_model)
    plan.check_guidance(guidance)
    return plan


def tuned_sigmas(plan: Recipe, coordinates: Literal["ve", "flow"] = "ve") -> Tensor:
    """(steps + 1,) float64: the levels to start `sample_stein_tuned` from, in these coordinates."""
    if not isinstance(plan, Recipe):
        raise TypeError(f"plan is {shown(plan)}; a Recipe is needed")
    flow = coordinates == "flow"
    found = [float(flow_time(sigma)) for sigma in plan.sigmas] if flow else plan.sigmas
    check_levels(found, coordinates)
    return torch.tensor(found, dtype=torch.float64)


def sample_stein_tuned(
    model: Model,
    x: Tensor,
    sigmas: Tensor | Sequence[float] | None = None,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    *,
    tuned: str | Path | Tuned | Recipe,
    coordinates: Literal["ve", "flow"] = "ve",
    any_model: bool = False,
) -> Tensor:
    """k-diffusion sampler: what `steindiff tune` found for this model, on the levels of its own.

    Args:
        model: model(x, sigma, **extra_args) -> denoised.
        x: (B, *shape), the start at the first level of `tuned_sigmas`.
        sigmas: those levels, maybe rounded; left out, they are taken.
        extra_args: keyword arguments for the model; a "cond_scale", as CFG denoisers take it, has
            to be the guidance that was tuned for.
        callback: as for `sample_stein_euler`.
        disable: as tqdm's.
        tuned: a file of `steindiff tune`, what `tune` gave, or one recipe of it.
        coordinates: "ve" or "flow", as for `sample_stein_euler`.
        any_model: whether another network is let pass, with a warning.

    Raises:
        ValueError: other levels than those of the tuning, another guidance or network, as far as
            the model shows them; otherwise as `sample_stein_euler`, a NaN
            in some of the samples included, which is a warning.
    """
    given = None if sigmas is None else list(check_levels(sigmas, coordinates))
    steps = None if given is None else len(given) - 1
    scale = _guidance(model, check_mapping("extra_args", extra_args))
    plan = tuned_recipe(tuned, steps, scale, any_model)
    plan.check_network(model)
    levels = tuned_sigmas(plan, coordinates).tolist()
    if given is not None and not _alike(given, levels, coordinates):
        raise ValueError(
            f"sigmas is {given}; the tuning has the levels {levels} (steindiff.adapters."
            "k_diffusion.tuned_sigmas)"
        )
    return follow_levels(
        model, x, levels if sigmas is None else sigmas, levels, plan.solver, plan.coefficient,
        plan.end, coordinates, extra_args, callback, disable,
    )  # fmt: skip


def _guidance(model: Model, extra_args: Mapping[str, Any]) -> float | None:
    """The guidance scale that is sampled with; None where it can't be seen."""
    scale = model.scale if isinstance(model, ClassifierFreeGuidance) else None
    return extra_args.get("cond_scale", scale)


def _alike(given: Sequence[float], levels: Sequence[float], coordinates: str) -> bool:
    """Whether levels are the same but for rounding, which a flow's time near 1 feels most."""
    if coordinates == "flow":
        given, levels = ([min(flow_sigma(t), PURE_NOISE) for t in side] for side in (given, levels))
    return len(given) == len(levels) and all(
        math.isclose(a, b, rel_tol=SAME) for a, b in zip(given, levels, strict=True)
    )
