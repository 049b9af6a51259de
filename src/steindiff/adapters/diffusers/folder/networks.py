"""The networks of diffusers' pipelines as functions f(x, time, class_labels)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .evaluation import evaluating
from .whole import WHOLE, WholePipeline

_UNET = ("UNet2DModel",)
_CONDITIONED = ("UNet2DConditionModel",)
_DIT = ("DiTTransformer2DModel", "Transformer2DModel")
_SD3 = ("SD3Transformer2DModel",)


@dataclass(frozen=True)
class PipelineNetwork:
    """A network of diffusers.

    Attributes:
        module: what diffusers calls a model.
        sample_shape: (channels, height, width).
        classes: number of class labels; 0 for a network without.
        null_label: that of "no class", if it is known.
        given: what each call is given besides: tensors of one row, the same for all samples, or
            with `prompts` of a row for each label, the last that of "no prompt".
        prompts: whether the class labels are numbers of prompts, which the module itself does not
            take.
        whole_times: whether it knows its training timesteps only, not what lies between them.
    """

    module: Any
    sample_shape: tuple[int, ...]
    classes: int = 0
    null_label: int | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    whole_times: bool = False
    prompts: bool = False

    def __call__(self, x: Tensor, time: Tensor, **conditioning: Tensor) -> Tensor:
        """The prediction (B, C, H, W) for `x` (B, C, H, W) in native coordinates, time (B,)."""
        labels = conditioning.pop("class_labels") if self.prompts else None
        given = {name: _rows(value, len(x), labels) for name, value in self.given.items()}
        timestep = time.round().long() if self.whole_times else time
        x = x.to(self.module.dtype)
        with evaluating(self.module):
            output = self.module(x, timestep=timestep, return_dict=False, **given, **conditioning)
        return output[0][:, : x.shape[1]]  # what follows, if anything, are variances


Prompt = str | tuple[str, ...]
"""One prompt for all samples, or several, of which a class label says the number."""
NetworkOf = Callable[[Any, Prompt], PipelineNetwork | WholePipeline]
"""A pipeline and its prompt or prompts -> its network."""


def _unet(pipeline: Any, prompt: Prompt) -> PipelineNetwork:
    """In pixels or latents, with or without classes."""
    module = _part(pipeline, "unet", _UNET)
    _require(module, "time_embedding_type", ("positional", "learned"))
    _require(module, "class_embed_type", (None, "timestep"))
    whole, classes = module.config["time_embedding_type"] == "learned", 0
    if module.class_embedding is not None:
        classes = module.config["num_class_embeds"]
        if not classes:
            raise ValueError("num_class_embeds of unet is None; the number of classes is needed")
    return PipelineNetwork(module, _shape(module), classes, whole_times=whole)


def _dit(pipeline: Any, prompt: Prompt) -> PipelineNetwork:
    """Label dropout in training made a label of "no class", the one after the last class."""
    module = _part(pipeline, "transformer", _DIT)
    classes = module.config["num_embeds_ada_norm"]
    return PipelineNetwork(module, _shape(module), classes, null_label=classes)


def _stable_diffusion(pipeline: Any, prompt: Prompt) -> PipelineNetwork:
    module = _conditioned(pipeline, addition=None)
    _need(pipeline, "tokenizer", "text_encoder")

    def encode(text: str, none: bool) -> tuple[Tensor, ...]:
        return (pipeline.encode_prompt(text, module.device, 1, none)[none],)

    (text,) = _encoded(prompt, encode)
    return _with_prompt(module, prompt, {"encoder_hidden_states": text.to(module.dtype)})


def _stable_diffusion_xl(pipeline: Any, prompt: Prompt) -> PipelineNetwork:
    """As for an image of the pipeline's default size, not cropped."""
    module = _conditioned(pipeline, addition="text_time")
    _need(pipeline, "tokenizer_2", "text_encoder_2")
    size = (pipeline.default_sample_size * pipeline.vae_scale_factor,) * 2

    def encode(text: str, none: bool) -> tuple[Tensor, ...]:
        return pipeline.encode_prompt(
            text, device=module.device, do_classifier_free_guidance=none
        )[none::2]  # fmt: skip

    text, pooled = _encoded(prompt, encode)
    width = pipeline.text_encoder_2.config.projection_dim or pooled.shape[-1]
    ids = pipeline._get_add_time_ids(size, (0, 0), size, module.dtype, width)
    ids = ids.to(module.device).expand(len(text), -1)
    added = {"text_embeds": pooled.to(module.dtype), "time_ids": ids}
    given = {"encoder_hidden_states": text.to(module.dtype), "added_cond_kwargs": added}
    return _with_prompt(module, prompt, given)


def _stable_diffusion_3(pipeline: Any, prompt: Prompt) -> PipelineNetwork:
    module = _part(pipeline, "transformer", _SD3)
    _need(pipeline, "tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")

    def encode(text: str, none: bool) -> tuple[Tensor, ...]:
        return pipeline.encode_prompt(
            text, None, None, device=module.device, do_classifier_free_guidance=none
        )[none::2]

    text, pooled = _encoded(prompt, encode)
    given = {"encoder_hidden_states": text, "pooled_projections": pooled}
    return _with_prompt(module, prompt, {k: value.to(module.dtype) for k, value in given.items()})


@torch.no_grad()
def _encoded(prompt: Prompt, encode: Callable[[str, bool], Sequence[Tensor]]) -> list[Tensor]:
    """What a prompt is encoded as: one row of each tensor, or one a prompt and that of none."""
    if isinstance(prompt, str):
        return list(encode(prompt, False))
    rows = [*(encode(text, False) for text in prompt), encode("", True)]
    return [torch.cat(parts) for parts in zip(*rows, strict=True)]


def _with_prompt(module: Any, prompt: Prompt, given: Mapping[str, Any]) -> PipelineNetwork:
    if isinstance(prompt, str):
        return PipelineNetwork(module, _shape(module), given=given)
    count = len(prompt)
    return PipelineNetwork(module, _shape(module), count, count, given, prompts=True)


BY_LABEL: dict[str, NetworkOf] = {
    "DDPMPipeline": _unet,
    "DDIMPipeline": _unet,
    "PNDMPipeline": _unet,
    "LDMPipeline": _unet,
    "DiTPipeline": _dit,
}
"""Pipelines without a prompt."""

BY_PROMPT: dict[str, NetworkOf] = {
    "StableDiffusionPipeline": _stable_diffusion,
    "StableDiffusionXLPipeline": _stable_diffusion_xl,
    "StableDiffusion3Pipeline": _stable_diffusion_3,
    **dict.fromkeys(WHOLE, WholePipeline),
}
"""Pipelines with one."""


def _conditioned(pipeline: Any, addition: str | None) -> Any:
    """The U-Net of a text-to-image pipeline, if it takes nothing but what is given here."""
    module = _part(pipeline, "unet", _CONDITIONED)
    _require(module, "addition_embed_type", (addition,))
    if module.config.get("time_cond_proj_dim") is not None:
        raise ValueError(
            f"{type(module).__name__} of the {type(pipeline).__name__} takes the guidance scale "
            "as an input (time_cond_proj_dim): it is distilled, its steps are no steps of an ODE, "
            "and there is nothing to relax; the model that it was distilled from is needed"
        )
    for name in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type"):
        _require(module, name, (None,))
    return module


def _part(pipeline: Any, name: str, known: tuple[str, ...]) -> Any:
    """The network, if it is of a known class and predicts its input's channels, or twice those."""
    module: Any = getattr(pipeline, name, None)
    if not {cls.__name__ for cls in type(module).__mro__} & {*known}:
        raise ValueError(
            f"{name} of the {type(pipeline).__name__} is a {type(module).__name__}; "
            f"a {known[0]} is needed"
        )
    taken = module.config["in_channels"]
    made = module.config["out_channels"] or taken
    if made not in (taken, 2 * taken):
        raise ValueError(
            f"{name} of the {type(pipeline).__name__} takes {taken} channels and predicts {made}; "
            "as many are needed, or twice as many where variances are predicted (a network that "
            "is given a mask or another image besides is no denoiser of its input)"
        )
    return module


def _require(module: Any, name: str, known: tuple[Any, ...]) -> None:
    value = module.config.get(name)
    if value not in known:
        raise ValueError(
            f"{name} of the {type(module).__name__} is {value!r}; "
            f"{' or '.join(map(repr, known))} is needed"
        )


def _need(pipeline: Any, *names: str) -> None:
    """What a prompt is encoded with."""
    for name in names:
        if getattr(pipeline, name, None) is None:
            raise ValueError(
                f"{name} of the {type(pipeline).__name__} is None; it is needed for the prompt"
            )


def _shape(module: Any) -> tuple[int, ...]:
    size = module.config["sample_size"]
    if size is None:
        raise ValueError(
            f"sample_size of the {type(module).__name__} is None; height and width are needed"
        )
    height, width = (size, size) if isinstance(size, int) else size
    return (module.config["in_channels"], height, width)


def _rows(value: Any, count: int, labels: Tensor | None) -> Any:
    """One row for each of `count` samples: the only one, or that of its label."""
    if isinstance(value, Mapping):
        return {name: _rows(part, count, labels) for name, part in value.items()}
    return value.expand(count, *value.shape[1:]) if labels is None else value[labels]
