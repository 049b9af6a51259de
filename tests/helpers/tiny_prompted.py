"""Tiny pipelines with text encoders, as small as can be: a letter is a word."""

from __future__ import annotations

import importlib
from typing import Any

import tiny_pipelines as tiny
import torch

diffusers: Any = importlib.import_module("diffusers")
transformers: Any = importlib.import_module("transformers")

BETAS: dict[str, Any] = {"beta_start": 1e-4, "beta_end": 0.02}


def ddim(**options: Any) -> Any:
    return diffusers.DDIMScheduler(**{**BETAS, "clip_sample": False, **options})


def clip(width: int, seed: int, projected: int | None = None) -> tuple[Any, Any]:
    """An encoder and its tokenizer; a prompt is 5 tokens of `width`, pooled to `projected`."""
    words = ["<|startoftext|>", "<|endoftext|>", *"abc", *(f"{letter}</w>" for letter in "abc")]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=5)
    config = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=width,
        projection_dim=projected or width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=5,
        bos_token_id=0,
        eos_token_id=1,
    )
    cls = "CLIPTextModelWithProjection" if projected else "CLIPTextModel"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return getattr(transformers, cls)(config).eval(), tokenizer


def stable_diffusion() -> Any:
    pipe = tiny.stable_diffusion(ddim(**tiny.SD_SCHEDULE))
    encoder, tokenizer = clip(tiny.WIDTH, 10)
    pipe.register_modules(text_encoder=encoder, tokenizer=tokenizer)
    return pipe


def stable_diffusion_xl() -> Any:
    pipe = tiny.stable_diffusion_xl(ddim(**tiny.SD_SCHEDULE))
    (one, words), (two, words_2) = clip(8, 11), clip(8, 12, tiny.WIDTH)
    pipe.register_modules(
        text_encoder=one, tokenizer=words, text_encoder_2=two, tokenizer_2=words_2
    )
    return pipe


def stable_diffusion_3() -> Any:
    pipe = tiny.stable_diffusion_3()
    (one, words), (two, words_2) = clip(8, 13, 8), clip(8, 14, 8)
    pipe.register_modules(
        text_encoder=one, tokenizer=words, text_encoder_2=two, tokenizer_2=words_2
    )
    pipe.tokenizer_max_length = 5
    return pipe
