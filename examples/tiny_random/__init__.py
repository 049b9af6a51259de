"""Pipelines of diffusers as SDXL's and Flux's are built, tiny and of random weights: no download.

Their text encoders are left out: prompts are embeddings. Images are noise; the use is what counts.
"""
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from steindiff.adapters.callable import FunctionDenoiser, from_function
from steindiff.adapters.coordinates import vp

WIDTH, TOKENS = 16, 3


def sdxl() -> Any:
    """4 x 8 x 8 latents of 16 x 16 images."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=WIDTH,
        attention_head_dim=2, addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + WIDTH,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(1000, 0.00085, 0.012, "scaled_linear")
    return StableDiffusionXLPipeline(
        unet=unet, vae=_vae(), scheduler=scheduler, **_no_encoders(), add_watermarker=False
    )


def sdxl_denoiser(pipe: Any) -> FunctionDenoiser:
    """D(x, sigma, text=..., pooled=...) of a pipeline of SDXL, for square images, not cropped."""
    size = pipe.default_sample_size * pipe.vae_scale_factor
    ids = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32)

    def noise(x: Any, t: Any, text: Any, pooled: Any) -> Any:
        added = {"text_embeds": pooled, "time_ids": ids.expand(len(x), -1)}
        return pipe.unet(x, t, text, added_cond_kwargs=added, return_dict=False)[0]

    return from_function(noise, "epsilon", coordinates=vp(pipe.scheduler.alphas_cumprod))


def flux() -> Any:
    """16 tokens of 16 channels, which are 4 x 8 x 8 latents; guidance is an input."""
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH,
        axes_dims_rope=(2, 2, 4), guidance_embeds=True,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return FluxPipeline(transformer=transformer, vae=_vae(), scheduler=scheduler, **_no_encoders())


def flux_denoiser(pipe: Any, guidance: float, height: int, width: int) -> FunctionDenoiser:
    """D(x, sigma, text=..., pooled=...) of a pipeline of Flux, for latents of height x width."""
    places = pipe._prepare_latent_image_ids(1, height // 2, width // 2, "cpu", torch.float32)

    def velocity(x: Any, t: Any, text: Any, pooled: Any) -> Any:
        none = torch.zeros(text.shape[1], 3)
        scale = torch.full((len(x),), guidance)
        return pipe.transformer(x, text, pooled, t, places, none, scale, return_dict=False)[0]

    return from_function(velocity, "flow", coordinates="flow")


def prompts(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (count, TOKENS, WIDTH) and pooled (count, WIDTH) of prompts."""
    torch.manual_seed(seed)
    return torch.randn(count, TOKENS, WIDTH), torch.randn(count, WIDTH)


def _vae() -> Any:
    return AutoencoderKL(
        latent_channels=4, block_out_channels=(4, 8), norm_num_groups=4, force_upcast=False,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        shift_factor=0.0,
    )  # fmt: skip


def _no_encoders() -> dict[str, Any]:
    return dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
