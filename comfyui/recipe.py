"""SAMPLER and SIGMAS of a recipe, for the levels that a model of ComfyUI knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from steindiff import recipes
from steindiff.adapters.coordinates import flow_sigma, flow_time
from steindiff.solvers import SOLVERS

from .lazy import comfy
from .samplers import Rule, SteinFunction, make_sampler


def sampler_and_sigmas(model: Any, steps: int, guidance: float, record: bool) -> tuple[Any, Tensor]:
    """What `steindiff.recipes.recipe` says for so many steps of a MODEL, at that cfg.

    A flow model begins at its pure noise, which has no VE level; the recipe's own first level
    stands for it.

    Raises:
        ValueError: as `recipe`. TypeError: no MODEL that tells its model_sampling.
    """
    get = getattr(model, "get_model_object", None)
    if get is None:
        raise TypeError(f"model is a {type(model).__name__}; a MODEL of ComfyUI is needed")
    sampling = get("model_sampling")
    low, high = float(sampling.sigma_min), float(sampling.sigma_max)
    flow = isinstance(sampling, comfy("model_sampling").CONST)
    plan = recipes.recipe(steps, guidance) if flow else recipes.recipe(steps, guidance, high)
    levels = _raised(plan.sigmas, flow_sigma(low) if flow else low)
    if flow:
        levels = [high, *(float(flow_time(sigma)) for sigma in levels[1:])]
    name = next(name for name, cls in SOLVERS.items() if cls is type(plan.solver))
    rule = Rule(plan.coefficient, {}, record, plan.end)
    function = SteinFunction(name, rule, vars(plan.solver))
    return make_sampler(function), torch.tensor(levels, dtype=torch.float32)


def _raised(sigmas: Sequence[float], low: float) -> list[float]:
    """The levels, none above 0 below `low`: drawn together in log sigma where one would be."""
    *above, end = sigmas
    if above[-1] >= low:
        return list(sigmas)
    share = math.log(above[0] / low) / math.log(above[0] / above[-1])
    return [*(above[0] * (sigma / above[0]) ** share for sigma in above), end]
