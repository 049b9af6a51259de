"""The shipped Fashion-MNIST model as a pipeline of diffusers, for any of its ODE schedulers."""
# pyright: reportPrivateImportUsage=false
# (diffusers' own names are loaded on demand, which does not count as exporting them)

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    ImagePipelineOutput,
    SchedulerMixin,
)
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from steindiff import models
from steindiff._errors import unknown_name

from .card import write_card
from .conventions import Convention, convention_of
from .denoiser import FashionMNISTDenoiser

_CALLBACK_INPUTS = ["latents"]
_OUTPUTS = ("pil", "np", "pt", "latent")


class FashionMNISTPipeline(DiffusionPipeline):
    """Pictures of clothes, 28x28 and grey, by class; from noise or from images.

    Any ODE scheduler of diffusers will do: the network is spoken to in its convention.

    Args:
        denoiser: the network.
        scheduler: of diffusers, relaxed or not.
    """

    __module__ = __name__.rpartition(".")[0]  # the place that saved pipelines name
    model_cpu_offload_seq = "denoiser"
    _callback_tensor_inputs = _CALLBACK_INPUTS

    denoiser: FashionMNISTDenoiser
    scheduler: Any

    def __init__(self, denoiser: FashionMNISTDenoiser, scheduler: SchedulerMixin) -> None:
        super().__init__()
        self.register_modules(denoiser=denoiser, scheduler=scheduler)
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, do_convert_grayscale=True)
        self._interrupt = False

    @classmethod
    def from_shipped(
        cls, name: str = "fashion-mnist", scheduler: SchedulerMixin | None = None
    ) -> FashionMNISTPipeline:
        """With a model that comes with steindiff.

        Args:
            name: as `steindiff.load_model` takes it.
            scheduler: default is DPM-Solver++ 2M over 1000 timesteps of linear betas, whose VE
                noise levels go from 0.01 to 83.6: nearly all that the network was trained on.

        Raises:
            ValueError: an unknown name.
        """
        network = models.load_model(name)
        if scheduler is None:
            scheduler = DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=0.0175)
        return cls(FashionMNISTDenoiser.from_network(network), scheduler)

    @property
    def interrupt(self) -> bool:
        """Whether the steps left are skipped: a callback sets `_interrupt`, as in diffusers."""
        return self._interrupt

    @torch.no_grad()
    def __call__(
        self,
        class_labels: int | Sequence[int] | Tensor,
        num_inference_steps: int = 6,
        guidance_scale: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        image: Any = None,
        strength: float = 0.8,
        num_images_per_class: int = 1,
        eta: float = 0.0,
    ) -> Any:
        """Samples `num_images_per_class` images of each label.

        Args:
            class_labels: 0 .. 9, or 10 for "no class"; one or several.
            num_inference_steps: steps of the scheduler.
            guidance_scale: of classifier-free guidance; 1 is none, and costs half as much.
            generator: for the noise: one, or one an image.
            latents: (N, 1, 28, 28), noise of variance 1, instead of fresh noise.
            output_type: "pil", "np" (N, 28, 28, 1) or "pt" (N, 1, 28, 28), both in [0, 1], or
                "latent": as the scheduler left it, data being in [-1, 1].
            return_dict: whether to return an `ImagePipelineOutput` or a tuple.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": latents}); a
                "latents" in the dict that it returns replaces them.
            callback_on_step_end_tensor_inputs: what the callback is given: "latents" or nothing.
            timesteps, sigmas: a schedule instead of the scheduler's own, where it takes one.
            image: images to start from instead of noise, in any form that diffusers takes; one,
                or one a label.
            strength: in (0, 1], the part of the steps done when starting from an image.
            num_images_per_class: images for each label, one after the other.
            eta: handed to schedulers whose step takes it (DDIM).

        Returns:
            The images in an `ImagePipelineOutput`, or in a tuple.

        Raises:
            ValueError: each names the argument, its value and what would be right.
        """
        labels = self._labels(class_labels, num_images_per_class)
        callback = _Callback(callback_on_step_end, callback_on_step_end_tensor_inputs)
        _check_choice("output_type", [output_type], _OUTPUTS)
        if not math.isfinite(guidance_scale):
            raise ValueError(f"guidance_scale is {guidance_scale}; a finite number is needed")
        steps = self._set_timesteps(num_inference_steps, timesteps, sigmas)
        noise = self._noise(len(labels), generator, latents)
        if image is None:
            start, x = 0, noise * getattr(self.scheduler, "init_noise_sigma", 1.0)
        else:
            start = self._skip(steps, strength)
            x = self._noisy(image, noise, start, num_images_per_class)
        convention = convention_of(self.scheduler)
        predict = partial(self._predict, labels=labels, scale=guidance_scale, convention=convention)
        arguments = self._step_arguments(generator=generator, eta=eta)
        x = self._denoise(x, predict, start, steps - start, callback, arguments)
        images: Any = self.image_processor.postprocess(x, output_type=output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _denoise(
        self,
        x: Tensor,
        predict: Callable[[Tensor, Tensor], Tensor],
        start: int,
        steps: int,
        callback: _Callback,
        arguments: dict[str, Any],
    ) -> Tensor:
        """The loop over the scheduler's timesteps, after the first `start` steps."""
        order = self.scheduler.order
        times = self.scheduler.timesteps[start * order :]
        warm_up = len(times) - steps * order
        self._interrupt = False
        with self.progress_bar(total=steps) as bar:  # type: ignore[call-arg]
            for i, t in enumerate(times):
                if self.interrupt:
                    continue
                output = predict(x, t)
                x = self.scheduler.step(output, t, x, **arguments, return_dict=False)[0]
                x = callback(self, i, t, x)
                if i + 1 == len(times) or (i + 1 > warm_up and (i + 1) % order == 0):
                    bar.update()
        return x

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As any pipeline; the folder also gets a model card with its pictures.

        It can be uploaded as it is. Uploading while saving is refused, since that would put an
        empty card in the place of this one.

        Raises:
            ValueError: `push_to_hub` is asked for.
        """
        if kwargs.get("push_to_hub"):
            raise ValueError("push_to_hub is True; save first, then upload the folder (hf upload)")
        super().save_pretrained(save_directory, *args, **kwargs)
        write_card(Path(save_directory))

    def _labels(self, class_labels: int | Sequence[int] | Tensor, repeats: int) -> Tensor:
        """(N,) int64 on the pipeline's device."""
        labels = torch.as_tensor(class_labels)
        last = self.denoiser.network.null_label
        wrong = labels.is_floating_point() or labels.dtype == torch.bool or labels.ndim > 1
        if wrong or labels.numel() == 0 or bool(((labels < 0) | (labels > last)).any()):
            raise ValueError(
                f"class_labels is {class_labels!r}; integers from 0 to {last - 1} are needed, or "
                f"{last} for 'no class'"
            )
        _check_number("num_images_per_class", repeats)
        return labels.reshape(-1).long().repeat_interleave(repeats).to(self._execution_device)

    def _set_timesteps(
        self, steps: int, timesteps: Sequence[float] | None, sigmas: Sequence[float] | None
    ) -> int:
        """Prepares the scheduler; returns the number of its steps."""
        custom = {"timesteps": timesteps, "sigmas": sigmas}
        given: dict[str, Any] = {k: v for k, v in custom.items() if v is not None}
        if len(given) == 2:
            raise ValueError("timesteps and sigmas are both given; one of them is needed at most")
        _check_number("num_inference_steps", steps)
        for name, values in given.items():
            if name not in inspect.signature(self.scheduler.set_timesteps).parameters:
                taker = type(self.scheduler).__name__
                raise ValueError(f"{name} is given; {taker}.set_timesteps does not take it")
            steps = len(values)
        arguments = given or {"num_inference_steps": steps}
        self.scheduler.set_timesteps(**arguments, device=self._execution_device)
        return steps

    def _noise(self, count: int, generator: Any, latents: Tensor | None) -> Tensor:
        """(N, C, H, W), standard normal."""
        shape = (count, *self.denoiser.network.sample_shape)
        target = {"device": self._execution_device, "dtype": self.denoiser.dtype}
        if latents is not None:
            if tuple(latents.shape) != shape:
                raise ValueError(f"latents has shape {tuple(latents.shape)}; {shape} is needed")
            return latents.to(**target)
        if isinstance(generator, list) and len(generator) != count:
            raise ValueError(f"generator has {len(generator)} entries for {count} images")
        return randn_tensor(shape, generator=generator, **target)

    def _skip(self, steps: int, strength: float) -> int:
        """How many of the first steps an image starts after."""
        if not (hasattr(self.scheduler, "add_noise") or hasattr(self.scheduler, "scale_noise")):
            name = type(self.scheduler).__name__
            raise ValueError(f"image is given; {name} cannot noise images, another scheduler can")
        if not (0 < strength <= 1 and int(steps * strength) >= 1):
            raise ValueError(
                f"strength is {strength} with {steps} steps; above 0 and up to 1 is needed, with "
                "at least one step left: strength * steps >= 1"
            )
        start = steps - int(steps * strength)
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(start * self.scheduler.order)
        return start

    def _noisy(self, image: Any, noise: Tensor, start: int, repeats: int) -> Tensor:
        """The images, noised to the level after the first `start` steps."""
        _, height, width = self.denoiser.network.sample_shape
        clean = self.image_processor.preprocess(image, height, width).to(noise)
        if clean.shape[1:] != noise.shape[1:] or len(clean) not in (1, len(noise) // repeats):
            raise ValueError(
                f"image holds {len(clean)} of shape {tuple(clean.shape[1:])}; one, or one a label, "
                f"of shape {tuple(noise.shape[1:])} is needed"
            )
        clean = clean.repeat_interleave(len(noise) if len(clean) == 1 else repeats, dim=0)
        time = self.scheduler.timesteps[start * self.scheduler.order]
        times = time.repeat(len(noise))
        if hasattr(self.scheduler, "scale_noise"):  # of flow matching; its arguments' order differs
            return self.scheduler.scale_noise(sample=clean, timestep=times, noise=noise)
        return self.scheduler.add_noise(clean, noise, times)

    def _step_arguments(self, **offered: Any) -> dict[str, Any]:
        """Those that the scheduler's step takes."""
        taken = inspect.signature(self.scheduler.step).parameters
        return {name: value for name, value in offered.items() if name in taken}

    def _predict(
        self, latents: Tensor, t: Tensor, labels: Tensor, scale: float, convention: Convention
    ) -> Tensor:
        """The network's output; guided, "no class" being the first half of a doubled batch."""
        if scale != 1:
            none = torch.full_like(labels, self.denoiser.network.null_label)
            latents, labels = torch.cat([latents, latents]), torch.cat([none, labels])
        scale_input = getattr(self.scheduler, "scale_model_input", None)
        fed = latents if scale_input is None else scale_input(latents, t)
        output = self.denoiser(fed, t, labels, convention, return_dict=False)[0]
        if scale == 1:
            return output
        unconditional, conditional = output.chunk(2)
        return unconditional + scale * (conditional - unconditional)


class _Callback:
    """What a pipeline calls after each step, if anything."""

    def __init__(self, function: Callable[..., dict[str, Any]] | None, names: Sequence[str]):
        _check_choice("callback_on_step_end_tensor_inputs", names, _CALLBACK_INPUTS)
        self.function, self.names = function, names

    def __call__(self, pipeline: DiffusionPipeline, step: int, time: Tensor, x: Tensor) -> Tensor:
        """The latents to go on with."""
        if self.function is None:
            return x
        return self.function(pipeline, step, time, dict.fromkeys(self.names, x)).pop("latents", x)


def _check_number(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; an integer of at least 1 is needed")


def _check_choice(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise unknown_name(name, value, known)
