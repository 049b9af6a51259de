"""Flow pipelines asked as a whole: what they pack, encode and hand to their network is theirs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor

from .evaluation import evaluating

WHOLE: dict[str, Mapping[str, Any]] = {
    "FluxPipeline": MappingProxyType({}),  # a distilled guidance is an input, left as it is
    "QwenImagePipeline": MappingProxyType({"true_cfg_scale": 1.0}),
    "WanPipeline": MappingProxyType({"guidance_scale": 1.0, "num_frames": 1}),
}
"""Pipelines that are asked so -> arguments of a call that evaluates the network once, unguided."""


class _Asked(FlowMatchEulerDiscreteScheduler):
    """One "step" at the level that is asked for, whatever the pipeline sets; keeps what it saw.

    Args:
        steps: the training timesteps.
        level: a flow's time.
        result: what the step gives in place of the state, if anything.

    Attributes:
        seen: the network's output, and the state that it was given.
    """

    def __init__(self, steps: int, level: float, result: Tensor | None) -> None:
        super().__init__(num_train_timesteps=steps)
        self.level, self.result = level, result

    def set_timesteps(
        self, num_inference_steps: Any = None, device: Any = None, sigmas: Any = None,
        mu: Any = None, timesteps: Any = None,
    ) -> None:  # fmt: skip
        times: Any = self.config
        self.sigmas = torch.tensor([self.level, 0.0])
        self.timesteps = torch.tensor([self.level * times.num_train_timesteps], device=device)
        self.num_inference_steps = 1

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **ignored: Any) -> Any:
        self.seen = model_output, sample
        return (sample if self.result is None else self.result.to(sample),)


class WholePipeline:
    """The velocity v(x, time, class_labels) of a flow pipeline, by calls of the pipeline itself.

    Args:
        pipeline: one of `WHOLE`; a copy of it is called, with another scheduler.
        prompt: one for all samples, or several, of which a class label says the number; the label
            after the last is the empty prompt.

    Attributes:
        module: the network.
        sample_shape: of one sample as the pipeline holds it, at its default size; packed, if it
            packs.
        classes: how many prompts; 0 for one.
        null_label: the label of the empty prompt; None for one.
        decode: samples -> (B, 3, H, W) in [-1, 1], of a video its first frame; None without a VAE.

    Raises:
        ValueError: no text encoder; or the pipeline samples another state than the latents that it
            is given.
    """

    def __init__(self, pipeline: Any, prompt: str | tuple[str, ...]) -> None:
        if getattr(pipeline, "text_encoder", None) is None:
            raise ValueError(
                f"text_encoder of the {type(pipeline).__name__} is None; the prompt needs it"
            )
        self._pipe = copy.copy(pipeline)
        self._steps = pipeline.scheduler.config["num_train_timesteps"]
        self._pipe.encode_prompt = _remembered(pipeline.encode_prompt)
        self._pipe.set_progress_bar_config(disable=True)
        names = {cls.__name__ for cls in type(pipeline).__mro__}
        self._arguments = next(given for name, given in WHOLE.items() if name in names)
        self.module = pipeline.transformer
        self._prompts = [prompt] if isinstance(prompt, str) else [*prompt, ""]
        self.classes = len(self._prompts) - 1
        self.null_label = self.classes or None
        _, (_, state) = self._call(None, self._prompts[:1], 1.0)
        self.sample_shape = tuple(state.shape[1:])
        self.decode = self._decode if getattr(pipeline, "vae", None) is not None else None

    def __call__(self, x: Tensor, time: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """v (B, *sample_shape) of x, at one time for all samples, 0 to `num_train_timesteps`."""
        levels = set(time.flatten().tolist())
        if len(levels) != 1:
            raise ValueError(f"time is {sorted(levels)}; a pipeline takes one for the whole batch")
        labels = [0] * len(x) if class_labels is None else class_labels.tolist()
        prompts = [self._prompts[label] for label in labels]
        _, (velocity, seen) = self._call(x, prompts, levels.pop() / self._steps)
        if seen.shape != x.shape:
            raise ValueError(
                f"latents of shape {tuple(x.shape)} became {tuple(seen.shape)} in the "
                f"{type(self._pipe).__name__}; one that samples what it is given is needed"
            )
        return velocity.to(x)

    def _call(
        self,
        x: Tensor | None,
        prompts: list[str],
        level: float,
        result: Tensor | None = None,
        out: str = "latent",
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """What the pipeline makes of it, and what its one step saw.

        Calls in several threads share nothing that they write: each has a copy of its own.
        """
        pipe = copy.copy(self._pipe)
        pipe.scheduler = asked = _Asked(self._steps, level, result)
        with evaluating(self.module):
            made = pipe(
                prompt=prompts, latents=x, num_inference_steps=1, output_type=out,
                return_dict=False, **self._arguments,
            )[0]  # fmt: skip
        return made, asked.seen

    def _decode(self, latents: Tensor) -> Tensor:
        """By the pipeline's own last lines, after an evaluation that nothing is made of."""
        images = []
        for one in latents.split(1):
            found, _ = self._call(one, self._prompts[:1], 1.0, one, "pt")
            images.append(found[:, 0] if found.ndim == 5 else found)
        return torch.cat(images).float() * 2 - 1


def _remembered(encode: Callable[..., Any]) -> Callable[..., Any]:
    """Encodes each list of prompts once in a row: the steps of a sampling all ask for the same."""
    kept: tuple[str, Any] = "", None

    def encode_prompt(*args: Any, **options: Any) -> Any:
        nonlocal kept
        asked, last = repr((args, sorted(options.items()))), kept  # read once: there may be threads
        if last[0] != asked:
            kept = last = asked, encode(*args, **options)
        return last[1]

    return encode_prompt
