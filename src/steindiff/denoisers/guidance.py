"""Classifier-free guidance, over all noise levels or an interval of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .._errors import check_callable, check_finite, check_values, shown

Sigma = Tensor | float


class ClassifierFreeGuidance:
    """D_w = D_u + scale * (D_c - D_u) inside the interval of noise levels, D_c outside of it.

    Ho & Salimans 2022, "Classifier-Free Diffusion Guidance" (equation 6, scale = 1 + w);
    Kynkaanniemi et al. 2024, "Applying Guidance in a Limited Interval Improves Sample and
    Distribution Quality in Diffusion Models", equation 6.

    Both predictions come from one call of the model with 2B samples; scale = 1 costs only the
    conditional call, as do levels outside the interval. Whether a level is inside is decided on
    the host if `sigma` is there; on an accelerator it is a mask, so that nothing waits for it.

    A guided denoiser is not a posterior mean. Plain attributes of the wrapped denoiser, such as
    `sample_shape`, are there under the same name; its methods are not, since what they say or do
    (`divergence`, `to`) concerns the denoiser without guidance.

    Args:
        denoiser: the conditional denoiser.
        scale: guidance weight; 1 is no guidance, 0 the unconditional prediction.
        unconditional: for each name of a conditioning, what stands for "none": a number that fills
            a tensor like the conditioning, or a tensor that broadcasts to it (best on the model's
            device: from elsewhere it is copied at every call).
        interval: (low, high), guidance for low <= sigma <= high, in units of VE sigma; None for
            all levels.

    Raises:
        TypeError: `denoiser` is not callable.
        ValueError: `scale` not finite, `unconditional` empty, or not 0 <= low <= high.
    """

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        scale: float,
        unconditional: Mapping[str, Tensor | float],
        interval: tuple[float, float] | None = None,
    ) -> None:
        check_callable("denoiser", denoiser)
        check_finite("scale", scale)
        if not isinstance(unconditional, Mapping):
            raise TypeError(
                f"unconditional is a {type(unconditional).__name__}; a mapping is needed"
            )
        if not unconditional:
            raise ValueError(
                "unconditional is empty; it must say what stands for 'none', such as "
                "{'class_labels': denoiser.null_label}"
            )
        self.denoiser = denoiser
        self.scale = float(scale)
        self.unconditional = dict(unconditional)
        self.interval = _check_interval(interval)

    def __call__(self, x: Tensor, sigma: Sigma, /, **conditioning: Any) -> Tensor:
        """Guided estimate of `x`.

        Args:
            x: (B, *shape), the noisy states in VE coordinates.
            sigma: a number, a 0-dim tensor, or (B,).
            **conditioning: what the denoiser takes; tensors whose first dimension is B are given
                to both halves of the doubled batch, anything else is passed as it is.

        Raises:
            ValueError: a name of `unconditional` that is not among the conditioning, a conditioning
                of that name without a row for each sample, or a value that does not broadcast.
        """
        none = self._none(conditioning, len(x))
        inside = self._inside(check_values("sigma", sigma, x))
        if self.scale == 1 or inside is False:
            return self.denoiser(x, sigma, **conditioning)
        conditional, unconditional = self._both(x, sigma, conditioning, none)
        guided = unconditional + self.scale * (conditional - unconditional)
        if inside is True:
            return guided
        mask = inside.to(x.device).reshape(-1, *[1] * (x.ndim - 1))
        return torch.where(mask, guided, conditional)

    def __getattr__(self, name: str) -> Any:
        """A plain attribute of the wrapped denoiser."""
        if name == "denoiser" or name.startswith("_"):  # of an object that is being copied
            raise AttributeError(name)
        value = getattr(self.denoiser, name)
        if callable(value):
            raise AttributeError(
                f"{name} is a method of the denoiser without guidance: guided.denoiser.{name}"
            )
        return value

    def check(self, x: Tensor, **conditioning: Any) -> None:
        """The wrapped denoiser's check, if it has one, of both kinds of conditioning."""
        check = getattr(self.denoiser, "check", None) or (lambda x, **given: None)
        check(x, **conditioning)
        check(x, **self._none(conditioning, len(x)))

    def _none(self, conditioning: Mapping[str, Any], batch: int) -> dict[str, Any]:
        """The conditioning with its unconditional counterparts put in."""
        missing = sorted(set(self.unconditional) - set(conditioning))
        if missing:
            raise ValueError(
                f"unconditional has {missing}, which the conditioning lacks; it has "
                f"{sorted(conditioning)}"
            )
        swapped = {
            name: _like(name, value, conditioning[name], batch)
            for name, value in self.unconditional.items()
        }
        return {**conditioning, **swapped}

    def _inside(self, sigma: Sigma) -> bool | Tensor:
        """Whether `sigma` lies in the interval: for all (True), for none (False), or a mask."""
        if self.interval is None:
            return True
        low, high = self.interval
        if not isinstance(sigma, Tensor):
            return low <= sigma <= high
        mask = (sigma >= low) & (sigma <= high)
        if mask.device.type != "cpu":
            return mask
        return bool(mask.all()) or (mask if bool(mask.any()) else False)

    def _both(
        self, x: Tensor, sigma: Sigma, conditioning: dict[str, Any], none: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """The conditional and the unconditional prediction, in one call."""
        batch = len(x)
        levels = torch.cat([sigma, sigma]) if isinstance(sigma, Tensor) and sigma.ndim else sigma
        doubled = {
            name: torch.cat([value, none[name]])
            if isinstance(value, Tensor) and value.ndim and len(value) == batch
            else value
            for name, value in conditioning.items()
        }
        conditional, unconditional = self.denoiser(torch.cat([x, x]), levels, **doubled).split(
            batch
        )
        return conditional, unconditional


def _like(name: str, value: Tensor | float, conditioning: Any, batch: int) -> Tensor:
    """`value` in the shape, dtype and on the device of `conditioning`."""
    if not isinstance(conditioning, Tensor) or conditioning.ndim == 0:
        raise ValueError(
            f"{name} is {conditioning!r}; guidance needs a tensor with a batch dimension, to stack "
            "its unconditional counterpart with"
        )
    if len(conditioning) != batch:
        raise ValueError(
            f"{name} has shape {tuple(conditioning.shape)}; guidance of {batch} samples needs as "
            "many rows, to stack its unconditional counterpart with"
        )
    if not isinstance(value, Tensor):
        return torch.full_like(conditioning, value)
    try:
        return value.to(conditioning).expand_as(conditioning)
    except RuntimeError as error:
        raise ValueError(
            f"unconditional {name!r} has shape {tuple(value.shape)}, which does not broadcast to "
            f"that of the conditioning, {tuple(conditioning.shape)}"
        ) from error


def _check_interval(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    if interval is None:
        return None
    try:
        low, high = map(float, interval)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"interval is {shown(interval)}; a pair (low, high) is needed") from error
    if not 0 <= low <= high:  # also catches NaN
        raise ValueError(f"interval is {shown(interval)}; 0 <= low <= high is needed")
    return low, high
