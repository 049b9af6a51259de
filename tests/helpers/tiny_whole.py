"""Tiny Flux-, Qwen-Image- and Wan-like pipelines that encode a prompt by its letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tiny_flow_pipelines
import tiny_pipelines
import torch
from torch import Tensor

TOKENS = 3


def embedded(prompt: str | list[str]) -> Tensor:
    """(number of prompts, TOKENS, WIDTH): random, by the text."""
    texts = [prompt] if isinstance(prompt, str) else prompt
    seeds = [sum(ord(letter) << k for k, letter in enumerate(text)) for text in texts]
    return torch.stack([
        torch.randn(TOKENS, tiny_pipelines.WIDTH, generator=tiny_pipelines.generator(seed))
        for seed in seeds
    ])  # fmt: skip


def flux() -> Any:
    pipe = tiny_pipelines.flux()
    pipe.default_sample_size = 4

    def encode_prompt(prompt: Any, **ignored: Any) -> Any:
        found = embedded(prompt)
        return found, found[:, 0], torch.zeros(TOKENS, 3)

    return _encoding(pipe, encode_prompt)


def qwen_image() -> Any:
    pipe, _ = tiny_flow_pipelines.qwen_image()
    pipe.default_sample_size = 4

    def encode_prompt(prompt: Any, **ignored: Any) -> Any:
        found = embedded(prompt)
        return found, torch.ones(found.shape[:2], dtype=torch.long)

    return _encoding(pipe, encode_prompt)


def wan() -> Any:
    """It has no default size but that of the call: `WHOLE` has to name a smaller one."""
    pipe, _ = tiny_flow_pipelines.wan()
    return _encoding(pipe, lambda prompt, **ignored: (embedded(prompt), None))


class Encoder(torch.nn.Module):
    """A text encoder of which only this is looked at."""

    device, dtype = torch.device("cpu"), torch.float32


def _encoding(pipe: Any, encode_prompt: Callable[..., Any]) -> Any:
    pipe.text_encoder = Encoder()
    pipe.encode_prompt = encode_prompt
    return pipe


PIPELINES: dict[str, Callable[[], Any]] = {
    "FluxPipeline": flux,
    "QwenImagePipeline": qwen_image,
    "WanPipeline": wan,
}
