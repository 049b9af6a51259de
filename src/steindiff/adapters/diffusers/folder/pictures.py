"""Latents as the images that a pipeline makes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_AT_ONCE = 4
"""Images that a decoder, which takes more memory than the denoiser, sees at a time."""

_LOCK = threading.Lock()
"""Held while a decoder may be in a dtype that is not its own."""


def decoder_of(pipeline: Any) -> Callable[[Tensor], Tensor] | None:
    """What turns latents into images as the pipeline itself does; None where it samples pixels."""
    vae = getattr(pipeline, "vae", None) or getattr(pipeline, "vqvae", None)
    if vae is None:
        return None

    @torch.no_grad()
    def decode(latents: Tensor) -> Tensor:
        given = _raw(latents, vae.config)
        with _LOCK, _wide_enough(vae):
            return torch.cat([
                vae.decode(part.to(vae.device, vae.dtype), return_dict=False)[0].float()
                for part in given.split(_AT_ONCE)
            ])  # fmt: skip

    return decode


@contextmanager
def _wide_enough(vae: Any) -> Iterator[None]:
    """As StableDiffusionXLPipeline does: it overflows in 16 bits."""
    overflows = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    if overflows:
        vae.to(torch.float32)
    try:
        yield
    finally:
        if overflows:
            vae.to(torch.float16)


def _raw(latents: Tensor, config: Any) -> Tensor:
    """Latents of the denoiser, of a standard deviation about 1, as those of the decoder."""
    scale = config.get("scaling_factor") or 1.0
    mean, deviation = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and deviation is not None:
        center, spread = (latents.new_tensor(v).reshape(1, -1, 1, 1) for v in (mean, deviation))
        return latents * spread / scale + center
    return latents / scale + (config.get("shift_factor") or 0.0)
