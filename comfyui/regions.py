"""What of the latent is sampled: everything, or what a mask leaves free.

Where ComfyUI's noise mask is 0, its model wrapper writes the known image into the model's input and
output. There D is constant and the path a straight line that any solver follows exactly. A
relaxation that saw this region would count its energy, and leave noise in it that the wrapper then
throws away: part of every correction would be lost. It is therefore hidden from the solver, and
put back, in closed form, into what is shown and returned.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .lazy import comfy


class Everything:
    """The whole latent. Also the model to sample with: every call first looks for an interrupt.

    Attributes:
        inner_model: the guider, which samplers of ComfyUI ask for.
        start: (B, *shape), what the solver starts from.
        size: how many elements of a sample are sampled, a number or (B,).
    """

    def __init__(self, model: Any, x: Tensor) -> None:
        self.model, self.start = model, x
        self.inner_model = getattr(model, "inner_model", None)
        self.size: int | Tensor = x[0].numel()

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        """D(x, sigma), of what the solver sees."""
        comfy("model_management").throw_exception_if_processing_interrupted()
        return self.model(x, sigma, **extra_args)

    def whole(self, x: Tensor, sigma: float) -> Tensor:
        """The state `x` (B, *shape) of the solver at `sigma`, and of all that is hidden from it."""
        return x


class FreeRegion(Everything):
    """What a mask leaves free; the solver sees 0 elsewhere.

    Args:
        model: ComfyUI's wrapper, which applies the mask.
        x: (B, *shape), the whole start, at `sigma`.
        mask: 0 where the image is known; broadcasts against x.
    """

    def __init__(self, model: Any, x: Tensor, sigma: float, mask: Tensor) -> None:
        self.free = (mask.to(x.device) > 0).expand_as(x)
        super().__init__(model, torch.where(self.free, x, 0))
        self.size = self.free.flatten(1).sum(dim=1).clamp_min(1)
        self._hidden, self._sigma = torch.where(self.free, 0, x), sigma
        self._known: Tensor | None = None

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        denoised = super().__call__(x, sigma, **extra_args)
        if self._known is None:
            self._known = torch.where(self.free, 0, denoised)
        return torch.where(self.free, denoised, 0)

    def whole(self, x: Tensor, sigma: float) -> Tensor:
        if self._known is None:
            raise RuntimeError("the model was not called yet; what is known is not known")
        ratio = sigma / self._sigma
        return torch.where(self.free, x, self._known + ratio * (self._hidden - self._known))


def region_of(
    model: Any, x: Tensor, sigma: float, extra_args: dict[str, Any], relaxing: bool
) -> Everything:
    """The region that the mask in `extra_args` leaves free.

    Raises:
        ValueError: a mask of another size; or it changes while sampling (Differential Diffusion)
            and steps are relaxed.
    """
    mask = extra_args.get("denoise_mask")
    if mask is None:
        return Everything(model, x)
    if not _covers(mask, x):
        raise ValueError(
            f"the noise mask has shape {tuple(mask.shape)} and the latent {tuple(x.shape)}; set "
            "the mask with Set Latent Noise Mask, which ComfyUI brings to the latent's size"
        )
    if "denoise_mask_function" not in extra_args.get("model_options", {}):
        return FreeRegion(model, x, sigma, mask)
    if relaxing:
        raise ValueError(
            "the model changes the mask while sampling (Differential Diffusion): parts of the "
            "image become free at noise that a relaxation has altered; take that node out, or "
            "set coefficient to none, and end to none or auto"
        )
    return Everything(model, x)


def _covers(mask: Tensor, x: Tensor) -> bool:
    """Whether the mask broadcasts to the shape of `x`."""
    try:
        return torch.broadcast_shapes(mask.shape, x.shape) == x.shape
    except RuntimeError:
        return False
