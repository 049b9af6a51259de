"""Reading a pipeline: from its folder, or one that is loaded already."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import nn

from .model import FolderModel, PipelineDenoiser
from .networks import BY_LABEL, BY_PROMPT
from .pictures import decoder_of
from .trained import noisy, trained_for, untunable
from .whole import WholePipeline

_SHIPPED = "FashionMNISTPipeline"
"""The pipeline of the shipped network, which stands in examples/."""
_KNOWN = (_SHIPPED, *BY_LABEL, *BY_PROMPT)
_LATENT = ("vae", "vqvae")
_SPARE = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that a denoiser does not need; the first holds more than a gigabyte."""
_LIBRARIES = ("diffusers", "transformers", "steindiff.adapters.diffusers")
"""Where parts of a folder may come from."""


def load_folder(
    path: str | Path,
    *,
    prompt: str = "",
    prompts: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> FolderModel:
    """The model of a saved pipeline of diffusers, in float32.

    Nothing is downloaded, and no code that lies in the folder is run.

    Args:
        path: a folder as `save_pretrained` writes it, with its model_index.json.
        prompt: of a pipeline that takes one; encoded once, the same for every sample, and not
            guided.
        prompts: several, in place of `prompt`: class label k is prompt k, and `null_label` is "no
            prompt", for `ClassifierFreeGuidance`.
        device: where the network is put.

    Raises:
        FileNotFoundError: no such folder, or no model_index.json in it.
        ValueError: a pipeline, a part or a scheduler that is not read, a distilled one among them;
            a prompt where none is taken, or both `prompt` and `prompts`.
        OSError: a part that is missing or damaged, as diffusers reports it.
    """
    name = _name(_index(Path(path)))
    _check_name(name, f"{path} holds")
    _check_prompt(name, prompt, prompts)
    return denoiser_of(open_pipeline(path, device), prompt=prompt, prompts=prompts)


def open_pipeline(path: str | Path, device: torch.device | str = "cpu") -> Any:
    """The pipeline itself, for those who ask for several prompts of it one after the other.

    Raises:
        FileNotFoundError, ValueError, OSError: as `load_folder`.
    """
    folder = Path(path)
    index = _index(folder)
    _check_name(_name(index), f"{folder} holds")
    pipeline: Any = DiffusionPipeline.from_pretrained(
        folder, local_files_only=True, torch_dtype=torch.float32, **_left_out(folder, index)
    )
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
    return pipeline.to(device)


def takes_prompt(pipeline: Any) -> bool:
    """Whether a pipeline is asked by a text."""
    return any(cls.__name__ in BY_PROMPT for cls in type(pipeline).__mro__)


def denoiser_of(pipeline: Any, *, prompt: str = "", prompts: Sequence[str] = ()) -> FolderModel:
    """The model of a pipeline that is loaded already.

    Its network is used as it is, on its device and in its dtype. While it is called it is in
    evaluation mode and its weights need no gradients; between the calls it is left as it was. What
    it was trained for is what the pipeline's scheduler says: one of other betas, or of another
    kind, makes another D of it.

    Args:
        pipeline: one of diffusers, or that of the shipped network in examples/.
        prompt: as in `load_folder`.
        prompts: as in `load_folder`.

    Raises:
        ValueError, TypeError: as `load_folder`.
    """
    names = [cls.__name__ for cls in type(pipeline).__mro__]
    name = next((name for name in names if name in _KNOWN), names[0])
    _check_name(name, "pipeline is")
    _check_prompt(name, prompt, prompts)
    if name == _SHIPPED:
        return _shipped(pipeline)
    return _of_diffusers(pipeline, name, prompt, tuple(prompts))


def _shipped(pipeline: Any) -> FolderModel:
    network, config = pipeline.denoiser.network, pipeline.denoiser.config
    return FolderModel(
        network,
        network.sample_shape,
        network.config.num_classes,
        config["sigma_min"],
        config["sigma_max"],
        f"{_SHIPPED}: {type(network).__name__}, ve, sample",
        latent=False,
        null_label=network.null_label,
    )


def _of_diffusers(pipeline: Any, name: str, prompt: str, prompts: tuple[str, ...]) -> FolderModel:
    trained = trained_for(pipeline.scheduler)
    network = {**BY_LABEL, **BY_PROMPT}[name](pipeline, prompts or prompt)
    shape, low, high = network.sample_shape, trained.sigma_min, trained.sigma_max
    denoiser = PipelineDenoiser(
        trained.denoiser(network), shape, network.classes, network.null_label, low, high,
        untunable(pipeline), prompts or (prompt,) * bool(prompt),
    )  # fmt: skip
    kind = f"{type(pipeline).__name__}: {type(network.module).__name__}, {trained.name}"
    whole = isinstance(network, WholePipeline)
    decoder = network.decode if whole else decoder_of(pipeline)
    latent = any(part in pipeline.components for part in _LATENT)
    return FolderModel(
        denoiser, shape, network.classes, low, high, kind, latent, network.null_label,
        decoder, prompts if name in BY_PROMPT else None, noisy(pipeline.scheduler),
    )  # fmt: skip


def _index(folder: Path) -> dict[str, Any]:
    """What a folder says it holds; all that goes wrong here goes wrong before diffusers is asked,
    which would take a path that does not exist for the name of something to download.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"path is {str(folder)!r}, which is no folder; the folder of a saved pipeline is "
            "needed (nothing is downloaded here)"
        )
    file = folder / "model_index.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"path is {str(folder)!r}, which has no model_index.json; the folder of a saved "
            "pipeline, as save_pretrained writes it, is needed"
        )
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if not isinstance(index, dict):
        raise ValueError(f"{file} is damaged: it holds a {type(index).__name__}, not an object")
    return index


def _name(index: dict[str, Any]) -> str:
    return str(index.get("_class_name"))


def _check_name(name: str, what: str) -> None:
    if name not in _KNOWN:
        raise ValueError(
            f"{what} a {name}, which is not read here. Read are {', '.join(_KNOWN)}. To sample "
            "with any other, relax its scheduler (steindiff.adapters.diffusers.relax); to measure "
            "it, give its network as a function: steindiff.adapters.callable.from_function, and "
            "--function MODULE:FUNCTION"
        )


def _check_prompt(name: str, prompt: str, prompts: Sequence[str]) -> None:
    if not isinstance(prompt, str):
        raise TypeError(f"prompt is a {type(prompt).__name__}; a text is needed")
    if isinstance(prompts, str) or not all(isinstance(text, str) for text in prompts):
        raise TypeError(f"prompts is {prompts!r}; a list of texts is needed")
    if prompt and prompts:
        raise ValueError(f"prompt is {prompt!r} and prompts has {len(prompts)}; one is needed")
    for argument, given in (("prompt", prompt), ("prompts", list(prompts))):
        if given and name not in BY_PROMPT:
            raise ValueError(f"{argument} is {given!r}; a {name} takes none")


def _left_out(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    """Arguments that load the pipeline without what it was saved without, or does not need.

    Raises:
        ValueError: a part from elsewhere than the libraries that are known here: loading it would
            import a module by that name.
    """
    parts = {
        name: value
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and not name.startswith("_")
    }
    spare = {name for name, value in parts.items() if name in _SPARE or value == [None, None]}
    for name in parts.keys() - spare:
        library, cls = parts[name]
        if library not in _LIBRARIES:
            raise ValueError(
                f"{folder} has {name} as {cls} of {library}; parts of {', '.join(_LIBRARIES)} are "
                "loaded from a folder, others from Python: denoiser_of(pipeline)"
            )
    left_out: dict[str, Any] = dict.fromkeys(spare)
    return {**left_out, "requires_safety_checker": False} if "safety_checker" in spare else left_out
