"""Pipelines of diffusers with tiny networks of random weights, built without any download.

Text encoders are left out: prompts are embeddings. Images are 16 x 16, latents 4 x 8 x 8.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

diffusers: Any = importlib.import_module("diffusers")  # its own types refuse what it documents

SIZE = 16
"""Height and width of the images."""
TOKENS, WIDTH = 3, 16
"""A prompt is (TOKENS, WIDTH), its pooled form (WIDTH,)."""

SD_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
"""The betas of Stable Diffusion; with them every scheduler starts at sigma 14.6 or below."""
SD_OFFSET = {**SD_SCHEDULE, "steps_offset": 1}
"""What the pipelines of Stable Diffusion want of a scheduler that has an offset."""


def stable_diffusion(scheduler: Any = None) -> Any:
    """Stable Diffusion 1.x, with PNDM unless told otherwise."""
    with seeded(1):
        unet = _unet()
    return diffusers.StableDiffusionPipeline(
        unet=unet,
        vae=_vae(),
        scheduler=scheduler or pndm(),
        **without_encoders(1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(scheduler: Any = None) -> Any:
    """Stable Diffusion XL, with Euler unless told otherwise."""
    with seeded(2):
        unet = _unet(
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + WIDTH,
        )
    return diffusers.StableDiffusionXLPipeline(
        unet=unet,
        vae=_vae(),
        scheduler=scheduler or euler(),
        **without_encoders(2),
        add_watermarker=False,
    )


def stable_diffusion_3(scheduler: Any = None) -> Any:
    """Stable Diffusion 3, a flow model, with its shift of 3."""
    with seeded(3):
        transformer = diffusers.SD3Transformer2DModel(
            sample_size=SIZE // 2,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=WIDTH,
            pos_embed_max_size=SIZE // 2,
        )
    scheduler = scheduler or diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer, vae=_vae(), scheduler=scheduler, **without_encoders(3)
    )


def flux(scheduler: Any = None) -> Any:
    """Flux, a flow model whose shift `mu` depends on the size of the image."""
    with seeded(4):
        transformer = diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(2, 2, 4),
            guidance_embeds=True,
        )
    scheduler = scheduler or diffusers.FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True
    )
    return diffusers.FluxPipeline(
        transformer=transformer, vae=_vae(), scheduler=scheduler, **without_encoders(2)
    )


def unconditional_unet() -> Any:
    """The network of pipelines in pixels, such as DDIM's: 3 x 8 x 8."""
    with seeded(5):
        return diffusers.UNet2DModel(
            sample_size=8,
            in_channels=3,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )


def pndm() -> Any:
    """The scheduler that Stable Diffusion 1.x is published with."""
    return diffusers.PNDMScheduler(**SD_OFFSET, skip_prk_steps=True)


def euler() -> Any:
    """The scheduler that Stable Diffusion XL is published with."""
    return diffusers.EulerDiscreteScheduler(**SD_OFFSET, timestep_spacing="leading")


def prompts(batch: int = 1, *, negative: bool = True, seed: int = 0) -> dict[str, Any]:
    """Embeddings of `batch` prompts for Stable Diffusion; prompt k depends on seed + k alone."""
    found: dict[str, Any] = {"prompt_embeds": _embeddings(batch, seed, TOKENS, WIDTH)}
    if negative:
        found["negative_prompt_embeds"] = _embeddings(batch, seed + 1000, TOKENS, WIDTH)
    return found


def pooled_prompts(batch: int = 1, *, negative: bool = True, seed: int = 0) -> dict[str, Any]:
    """The same for the pipelines that want a pooled embedding besides."""
    found = prompts(batch, negative=negative, seed=seed)
    found["pooled_prompt_embeds"] = _embeddings(batch, seed + 2000, WIDTH)
    if negative:
        found["negative_pooled_prompt_embeds"] = _embeddings(batch, seed + 3000, WIDTH)
    return found


def without_encoders(number: int) -> dict[str, None]:
    """The names of that many text encoders and of their tokenizers, all None."""
    suffixes = ["", *(f"_{k}" for k in range(2, number + 1))]
    return {
        f"{part}{suffix}": None for part in ("text_encoder", "tokenizer") for suffix in suffixes
    }


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generators(batch: int, seed: int = 0) -> list[torch.Generator]:
    """One generator an image, so that its noise does not depend on the batch."""
    return [generator(seed + k) for k in range(batch)]


def _unet(**extra: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=SIZE // 2,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        **extra,
    )


def _vae() -> Any:
    with seeded(6):
        return diffusers.AutoencoderKL(
            sample_size=SIZE,
            latent_channels=4,
            block_out_channels=(4, 8),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            force_upcast=False,
            shift_factor=0.0,
        )


def _embeddings(batch: int, seed: int, *shape: int) -> Tensor:
    return torch.stack([torch.randn(*shape, generator=generator(seed + k)) for k in range(batch)])


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the weights that are drawn inside, and leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
