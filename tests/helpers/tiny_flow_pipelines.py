"""Flow pipelines of 2026 with tiny networks of random weights: without text encoders and decoders.

Every function gives a pipeline with the scheduler that the model is published with, and the
arguments of a guided call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tiny_pipelines import WIDTH, diffusers, generator, seeded

SIZE = 32
"""Height and width of the images; latents are an eighth of it."""
ROPE = (2, 2, 4)
HEADS: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 8}

Made = tuple[Any, dict[str, Any]]


def _euler(**config: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**config)


def _text(tokens: int = 3, width: int = WIDTH, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, tokens, width, generator=generator(seed))


def _without(scheduler: Any, transformer: Any) -> dict[str, Any]:
    parts = {"vae": None, "text_encoder": None, "tokenizer": None}
    return {"scheduler": scheduler, "transformer": transformer, **parts}


def _guided(scale: float = 4.0) -> dict[str, Any]:
    """Two prompts of embeddings, and their scale."""
    texts = {"prompt_embeds": _text(seed=1), "negative_prompt_embeds": _text(seed=2)}
    return {"guidance_scale": scale, "height": SIZE, "width": SIZE, **texts}


def _masked(scale: float = 4.0, dtype: torch.dtype = torch.long) -> dict[str, Any]:
    """The same with their masks."""
    masks = ("prompt_attention_mask", "negative_prompt_attention_mask")
    return {**_guided(scale), **{name: torch.ones(1, 3, dtype=dtype) for name in masks}}


def qwen_image() -> Made:
    """Qwen-Image: dynamic shift, a terminal level, true guidance."""
    with seeded(11):
        transformer = diffusers.QwenImageTransformer2DModel(
            in_channels=64, out_channels=16, num_layers=1, joint_attention_dim=WIDTH,
            axes_dims_rope=ROPE, **HEADS,
        )  # fmt: skip
    scheduler = _euler(
        use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192,
        shift_terminal=0.02, shift=1.0,
    )  # fmt: skip
    arguments = _guided()
    arguments["true_cfg_scale"] = arguments.pop("guidance_scale")
    for name in ("prompt_embeds_mask", "negative_prompt_embeds_mask"):
        arguments[name] = torch.ones(1, 3, dtype=torch.long)
    return diffusers.QwenImagePipeline(**_without(scheduler, transformer)), arguments


def wan() -> Made:
    """Wan 2.1: a video, UniPC on shifted flow levels."""
    with seeded(12):
        transformer = diffusers.WanTransformer3DModel(
            in_channels=4, out_channels=4, text_dim=WIDTH, freq_dim=8, ffn_dim=16, num_layers=1,
            rope_max_seq_len=16, num_attention_heads=2, attention_head_dim=12,
        )  # fmt: skip
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    arguments = {**_guided(), "num_frames": 5}
    return diffusers.WanPipeline(**_without(scheduler, transformer)), arguments


def z_image() -> Made:
    """Z-Image: its own default levels, then shifted."""
    with seeded(13):
        transformer = diffusers.ZImageTransformer2DModel(
            in_channels=4, dim=16, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
            cap_feat_dim=WIDTH, axes_dims=list(ROPE), axes_lens=[64, 16, 16],
        )  # fmt: skip
    arguments = _guided()
    for name in ("prompt_embeds", "negative_prompt_embeds"):
        arguments[name] = [arguments[name][0]]
    return diffusers.ZImagePipeline(**_without(_euler(shift=3.0), transformer)), arguments


def sana() -> Made:
    """Sana: DPM-Solver++ on shifted flow levels."""
    with seeded(14):
        transformer = diffusers.SanaTransformer2DModel(
            in_channels=4, out_channels=4, num_layers=1, num_cross_attention_heads=2,
            cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=WIDTH,
            sample_size=SIZE // 32, **HEADS,
        )  # fmt: skip
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    arguments = {**_masked(), "negative_prompt": None, "use_resolution_binning": False}
    return diffusers.SanaPipeline(**_without(scheduler, transformer)), arguments


def ltx() -> Made:
    """LTX: a video, dynamic shift, a terminal level of 0.1."""
    with seeded(15):
        transformer = diffusers.LTXVideoTransformer3DModel(
            in_channels=8, out_channels=8, cross_attention_dim=16, num_layers=1,
            caption_channels=WIDTH, **HEADS,
        )  # fmt: skip
    scheduler = _euler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024,
        max_image_seq_len=4096, shift_terminal=0.1, shift=1.0,
    )  # fmt: skip
    arguments = {**_masked(), "height": 64, "width": 64, "num_frames": 9}
    return diffusers.LTXPipeline(**_without(scheduler, transformer)), arguments


def chroma() -> Made:
    """Chroma: Beta levels."""
    with seeded(16):
        transformer = diffusers.ChromaTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, joint_attention_dim=WIDTH,
            axes_dims_rope=ROPE, approximator_num_channels=8, approximator_hidden_dim=16,
            approximator_layers=1, **HEADS,
        )  # fmt: skip
    arguments = _masked(dtype=torch.float32)
    scheduler = _euler(shift=1.0, use_beta_sigmas=True)
    return diffusers.ChromaPipeline(**_without(scheduler, transformer)), arguments


def lumina_2() -> Made:
    """Lumina 2: shift 6, guidance that keeps the norm."""
    with seeded(17):
        transformer = diffusers.Lumina2Transformer2DModel(
            sample_size=4, in_channels=4, hidden_size=16, num_layers=1, num_refiner_layers=1,
            num_attention_heads=2, num_kv_heads=1, multiple_of=8, axes_dim_rope=ROPE,
            axes_lens=(64, 16, 16), cap_feat_dim=WIDTH,
        )  # fmt: skip
    arguments = _masked()
    return diffusers.Lumina2Pipeline(**_without(_euler(shift=6.0), transformer)), arguments


def flux_2() -> Made:
    """Flux.2: its shift depends on the number of steps too."""
    with seeded(18):
        transformer = diffusers.Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, joint_attention_dim=WIDTH,
            timestep_guidance_channels=8, axes_dims_rope=(2, 2, 2, 2), **HEADS,
        )  # fmt: skip
    scheduler = _euler(shift=3.0, use_dynamic_shifting=True)
    arguments = _guided()
    del arguments["negative_prompt_embeds"]
    return diffusers.Flux2Pipeline(**_without(scheduler, transformer)), arguments


PIPELINES: dict[str, Callable[[], Made]] = {
    "Qwen-Image": qwen_image,
    "Wan": wan,
    "Z-Image": z_image,
    "Sana": sana,
    "LTX": ltx,
    "Chroma": chroma,
    "Lumina 2": lumina_2,
    "Flux.2": flux_2,
}
