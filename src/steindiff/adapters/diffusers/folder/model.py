"""What a pipeline is read as: a denoiser, and what has to be known to sample from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....denoisers import Denoiser
from ...callable import FunctionDenoiser


@dataclass(frozen=True)
class FolderModel:
    """The model of a pipeline.

    Attributes:
        denoiser: D(x, sigma, **conditioning), x (B, *sample_shape) in VE coordinates. It can be
            differentiated by x as often as the network can.
        sample_shape: (channels, height, width) of what is sampled: pixels, or latents.
        classes: how many class labels it takes, as `class_labels` (B,) int64; 0 for none.
        sigma_min: the lowest VE noise level that it was trained at.
        sigma_max: the highest one. Where training went up to pure noise, whose level is infinite,
            it is a high finite one.
        kind: one line for a report, such as "DDPMPipeline: UNet2DModel, vp, epsilon".
        latent: whether latents are sampled, not pixels.
        null_label: the label of "no class" or "no prompt", for guidance; None where there is none.
        decode: latents (B, *sample_shape) -> images (B, 3, H, W), which lie in [-1, 1] or a little
            beyond; None where pixels are sampled.
        prompts: those that the class labels are numbers of; None where none is taken.
        noisy: the pipeline's scheduler, where it adds noise at every step on purpose; else "".
    """

    denoiser: Denoiser
    sample_shape: tuple[int, ...]
    classes: int
    sigma_min: float
    sigma_max: float
    kind: str
    latent: bool
    null_label: int | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    prompts: tuple[str, ...] | None = None
    noisy: str = ""


@dataclass(frozen=True)
class PipelineDenoiser:
    """D(x, sigma, class_labels) of a network of diffusers.

    Attributes:
        function: D without checks of its conditioning.
        sample_shape: (channels, height, width).
        label_dim: number of classes; 0 for a network without.
        null_label: the label that stands for "no class"; None where there is none, or none known.
        sigma_min: as in `FolderModel`.
        sigma_max: as in `FolderModel`.
        untunable: why `steindiff.tune` refuses it; "" where it does not.
        prompts: what the labels stand for.
    """

    function: FunctionDenoiser
    sample_shape: tuple[int, ...]
    label_dim: int
    null_label: int | None
    sigma_min: float
    sigma_max: float
    untunable: str = ""
    prompts: tuple[str, ...] = ()

    @property
    def pure_noise(self) -> bool:
        """Whether it knows pure noise, a flow's t = 1."""
        return self.function.pure_noise

    def __call__(
        self, x: Tensor, sigma: Tensor | float, /, class_labels: Tensor | None = None
    ) -> Tensor:
        """Denoised estimate of `x`.

        Args:
            x: (B, *sample_shape), the noisy states in VE coordinates.
            sigma: a number, a 0-dim tensor, or (B,).
            class_labels: (B,) int64, 0 .. label_dim - 1, or `null_label`.

        Raises:
            ValueError, TypeError: missing or unwanted labels, or of the wrong shape or dtype.
        """
        return self.function(x, sigma, **self._labels(x, class_labels))

    def check(self, x: Tensor, class_labels: Tensor | None = None, **unknown: object) -> None:
        """Checks that need the values of the input: called once per sampling, not once per step.

        Raises:
            ValueError, TypeError: a sample shape that the network was not built for, missing or
                impossible labels, or a conditioning that is not known.
        """
        if unknown:
            takes = "it takes 'class_labels'" if self.label_dim else "it takes none"
            raise ValueError(
                f"conditioning has {sorted(unknown)}, which this model does not take; {takes}"
            )
        if tuple(x.shape[1:]) != self.sample_shape:
            raise ValueError(
                f"x has samples of shape {tuple(x.shape[1:])}; this model takes {self.sample_shape}"
            )
        for labels in self._labels(x, class_labels).values():
            lowest, highest = int(labels.min()), int(labels.max())
            if lowest < 0 or highest > self._last_label:
                raise ValueError(
                    f"class_labels holds values from {lowest} to {highest}; this model has the "
                    f"classes 0 to {self.label_dim - 1}{self._null}"
                )

    @property
    def _last_label(self) -> int:
        return self.label_dim - 1 if self.null_label is None else self.null_label

    @property
    def _null(self) -> str:
        return "" if self.null_label is None else f", and {self.null_label} for 'no class'"

    def _labels(self, x: Tensor, labels: Tensor | None) -> dict[str, Any]:
        if not self.label_dim:
            if labels is not None:
                raise ValueError("class_labels was given; this model has no classes")
            return {}
        if labels is None:
            raise ValueError(
                "class_labels is missing: pass conditioning={'class_labels': LongTensor of shape "
                f"({len(x)},)}}, of the classes 0 to {self.label_dim - 1}{self._null}"
            )
        if not isinstance(labels, Tensor):
            raise TypeError(f"class_labels is a {type(labels).__name__}; an int64 tensor is needed")
        if labels.dtype != torch.int64 or labels.shape != x.shape[:1]:
            raise ValueError(
                f"class_labels has shape {tuple(labels.shape)} and dtype {labels.dtype}; an int64 "
                f"tensor of shape ({len(x)},) is needed"
            )
        return {"class_labels": labels}
