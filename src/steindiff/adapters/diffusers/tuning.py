"""`tune` of a pipeline: its prompts, its guidance and its own levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..._errors import check_finite
from ...denoisers import ClassifierFreeGuidance
from ...tuning import Tuned
from ...tuning import tune as tune_denoiser

HIGHEST, LOWEST = 80.0, 0.002
"""Levels of a tuning, where the model knows them."""


def tune(
    pipeline: Any,
    steps: int | Sequence[int] = (5, 6, 8),
    *,
    prompts: Sequence[str] = (),
    guidance: float = 1.0,
    **options: Any,
) -> Tuned:
    """`steindiff.tune` of a pipeline of diffusers, text-to-image, by class or neither.

    The network is asked on the pipeline's device and in its dtype, in evaluation mode, and is left
    as it was; latents stay latents. Noise k gets prompt k mod their number, or class k mod theirs.

    Args:
        pipeline: one of diffusers, or the folder of a saved one.
        steps: numbers of steps to tune for, each 3 or more.
        prompts: of a text-to-image pipeline, such as will be asked for; the empty one if left out.
        guidance: classifier-free, as `guidance_scale` of the pipeline; 1 is none. A guidance that
            is distilled into the network (FLUX.1-dev) is none here.
        **options: of `steindiff.tune`.

    Raises:
        TypeError: no pipeline.
        ValueError: one that is not read, samples with noise or is distilled; guidance of a network
            that knows no "no class", or without a prompt; otherwise as `steindiff.tune`.
    """
    from .folder import denoiser_of, load_folder

    check_finite("guidance", guidance)
    if isinstance(pipeline, (str, Path)):
        device = options.get("device", "cpu")
        model = load_folder(pipeline, prompts=prompts, device=device)
        name = Path(pipeline).name
    elif hasattr(pipeline, "scheduler"):
        model, device = denoiser_of(pipeline, prompts=prompts), pipeline.device
        name = type(pipeline).__name__
    else:
        raise TypeError(
            f"pipeline is a {type(pipeline).__name__}; a pipeline of diffusers, or the folder of "
            "one, is needed (of a denoiser: steindiff.tune)"
        )
    denoiser: Any = model.denoiser
    if guidance != 1:
        if model.null_label is None or model.prompts == ():
            raise ValueError(
                f"guidance is {guidance:g}; there is nothing to guide to: prompts are needed, or a "
                "network that was trained with a label for 'no class'"
            )
        denoiser = ClassifierFreeGuidance(denoiser, guidance, {"class_labels": model.null_label})
    labels = {"class_labels": torch.arange(model.classes, device=device)} if model.classes else {}
    high = model.sigma_max if model.sigma_max < HIGHEST else None
    given = {
        "device": device, "sigma_max": high, "sigma_min": max(LOWEST, model.sigma_min),
        "shape": model.sample_shape, "model": f"{name} ({model.kind})",
    }  # fmt: skip
    return tune_denoiser(denoiser, steps, conditioning=labels, **{**given, **options})
