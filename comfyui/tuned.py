"""SAMPLER and SIGMAS of a file of `steindiff tune`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from steindiff.adapters.k_diffusion import sample_stein_tuned, tuned_recipe, tuned_sigmas
from steindiff.recipes import Recipe

from .journal import Journal
from .lazy import comfy
from .regions import Everything
from .samplers import Rule, SteinFunction, make_sampler

SLACK = 1e-3


class TunedFunction(SteinFunction):
    """What KSAMPLER calls: `SteinFunction` for the solver of a tuning.

    Args:
        plan: its recipe.
        record: whether a sampling is measured.
    """

    def __init__(self, plan: Recipe, record: bool) -> None:
        self.plan, self.rule = plan, Rule(plan.coefficient, {}, record, plan.end)
        self.solver, self.options, self.theirs = "tuned", {}, None
        self.__name__ = "sample_stein_tuned"
        self.journal = None

    def _ours(
        self,
        region: Everything,
        sigmas: Tensor,
        coordinates: Literal["ve", "flow"],
        journal: Journal | None,
    ) -> Callable[..., Tensor]:
        check_guidance(region, self.plan.guidance)
        return partial(sample_stein_tuned, sigmas=sigmas, tuned=self.plan, coordinates=coordinates)


def check_guidance(region: Everything, wanted: float | None) -> None:
    """Raises ValueError where the guider has another scale; one of two scales has none to name."""
    guider = region.inner_model
    cfg = getattr(guider, "cfg", None)
    if isinstance(cfg, (int, float)) and not hasattr(guider, "cfg2") and cfg != wanted is not None:
        raise ValueError(
            f"cfg of the guider is {cfg:g}; the file was tuned for {wanted:g}: set cfg to it, or "
            "tune for that guidance"
        )


def sampler_and_sigmas(
    model: Any, file: str, steps: int, guidance: float, record: bool, any_model: bool = False
) -> tuple[Any, Tensor]:
    """The sampler of a file and its levels, as the MODEL names them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one of another number of steps, guidance, network or range of
            levels. Another network is a warning with `any_model`.
        TypeError: no MODEL that tells its model_sampling.
    """
    get = getattr(model, "get_model_object", None)
    if get is None:
        raise TypeError(f"model is a {type(model).__name__}; a MODEL of ComfyUI is needed")
    sampling = get("model_sampling")
    flow = isinstance(sampling, comfy("model_sampling").CONST)
    plan = tuned_recipe(file, steps, guidance, any_model)
    plan.check_network(getattr(getattr(model, "model", None), "diffusion_model", None))
    levels = tuned_sigmas(plan, "flow" if flow else "ve")
    low, high = float(sampling.sigma_min), float(sampling.sigma_max)
    if levels[0] > high * (1 + SLACK) or levels[-2] < low * (1 - SLACK):
        raise ValueError(
            f"{file} has levels from {levels[0]:g} to {levels[-2]:g}; this model knows {high:g} to "
            f"{low:g}: it was tuned for another"
        )
    return make_sampler(TunedFunction(plan, record)), levels.to(torch.float32)
