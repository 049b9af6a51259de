"""A network `net(x, sigma, class_labels)` as a denoiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..._errors import check_values

EDMNetwork = Callable[..., Tensor]
"""net(x, sigma, class_labels) -> denoised estimate, x in VE coordinates."""


class EDMDenoiser:
    """D(x, sigma, class_labels), of an EDM network, or of two of them for autoguidance.

    With a guide, D = D_guide + guidance * (D_net - D_guide): Karras et al. 2024, "Guiding a
    Diffusion Model with a Bad Version of Itself", equation 3. The guide costs a call of its own.

    x and sigma go into the networks in float32 at least, since an EDM network pre-conditions its
    input in the precision that it gets; what comes out is cast back to the dtype of x. What the
    network does inside (`use_fp16`) is left to it.

    Attributes:
        net: as given.
        guide: as given.
        guidance: as given.
        label_dim: number of classes; 0 for a network without, None for one that does not say,
            which gets `class_labels` as they come.
        sigma_min: lowest level that the network was made for; 0 where it does not say (EDM2).
        sigma_max: highest one; infinity where it does not say.
        sample_shape: (channels, height, width), or None for a network that does not say.
    """

    def __init__(self, net: EDMNetwork, guide: EDMNetwork | None, guidance: float) -> None:
        self.net, self.guide, self.guidance = net, guide, float(guidance)
        self.label_dim: int | None = getattr(net, "label_dim", None)
        self.sigma_min = float(getattr(net, "sigma_min", 0.0))
        self.sigma_max = float(getattr(net, "sigma_max", math.inf))
        self.sample_shape = _sample_shape(net)

    @property
    def null_label(self) -> int | None:
        """The label that stands for "no class", an all-zero row; None without classes."""
        return self.label_dim or None

    def __call__(
        self, x: Tensor, sigma: Tensor | float, class_labels: Tensor | None = None
    ) -> Tensor:
        """Denoised estimate of `x`.

        Args:
            x: (B, *shape), the noisy states in VE coordinates.
            sigma: a number, a 0-dim tensor, or (B,).
            class_labels: (B,) int64, 0 .. label_dim - 1, or `null_label`; or (B, label_dim),
                floating point, already one-hot.

        Raises:
            ValueError, TypeError: missing or unwanted labels, or of the wrong shape or dtype; an
                output that is no tensor of x's shape.
        """
        dtype = torch.promote_types(x.dtype, torch.float32)
        level = torch.as_tensor(
            check_values("sigma", sigma, x), dtype=dtype, device=x.device
        ).expand(len(x))
        wide = x.to(dtype)
        denoised = _call(self.net, wide, level, class_labels).to(dtype)
        if self.guide is not None and self.guidance != 1:
            low = _call(self.guide, wide, level, self._of_guide(class_labels)).to(dtype)
            denoised = low + self.guidance * (denoised - low)
        return denoised.to(x.dtype)

    def check(self, x: Tensor, class_labels: Tensor | None = None, **unknown: object) -> None:
        """Checks that need the values of the input: called once per sampling.

        Raises:
            ValueError, TypeError: a sample shape that the network was not built for, missing or
                impossible labels, or a conditioning that is not known.
        """
        if unknown:
            raise ValueError(
                f"conditioning has {sorted(unknown)}, which this model does not take; "
                "it takes 'class_labels'"
            )
        if self.sample_shape is not None and tuple(x.shape[1:]) != self.sample_shape:
            raise ValueError(
                f"x has samples of shape {tuple(x.shape[1:])}; this model takes {self.sample_shape}"
            )
        if self.label_dim is None:
            return
        _one_hot(x, class_labels, self.label_dim)
        if class_labels is not None and not class_labels.is_floating_point():
            _check_values(class_labels, self.label_dim)

    def round_sigma(self, sigmas: Tensor) -> Tensor:
        """`sigmas` (N,) at the levels that the network knows; unchanged if it knows them all.

        A network that was trained at discrete levels (iDDPM) takes others for the nearest one;
        sample from it at `round_sigma` of a schedule. A 0 stays 0.
        """
        rounded = getattr(self.net, "round_sigma", None)
        if rounded is None:
            return sigmas
        return torch.where(sigmas == 0, sigmas, torch.as_tensor(rounded(sigmas)).to(sigmas))

    def _of_guide(self, class_labels: Tensor | None) -> Tensor | None:
        """A guide without classes guides a network with them."""
        return None if getattr(self.guide, "label_dim", None) == 0 else class_labels


def from_edm(
    net: EDMNetwork, guide: EDMNetwork | None = None, guidance: float = 1.0
) -> EDMDenoiser:
    """A denoiser for `steindiff.sample` from anything with `net(x, sigma, class_labels)`.

    Args:
        net: a network of EDM or EDM2, or anything that is called the same way.
        guide: a second one, for autoguidance; None for none.
        guidance: its weight; 1 is `net` alone, and does not call the guide.

    Raises:
        TypeError: `net` or `guide` is not callable.
        ValueError: guidance is not finite, or is not 1 and there is no guide; `guide` has
            another number of classes than `net`.
    """
    for name, value in (("net", net), ("guide", guide)):
        if value is not None and not callable(value):
            raise TypeError(
                f"{name} is a {type(value).__name__}; a network that is called as "
                "net(x, sigma, class_labels) is needed"
            )
    if net is None:
        raise TypeError("net is None; a network is needed")
    if not math.isfinite(guidance):
        raise ValueError(f"guidance is {guidance}; a finite number is needed")
    if guide is None and guidance != 1:
        raise ValueError(
            f"guidance is {guidance} and guide is None; guiding needs a second network"
        )
    classes, of_guide = (getattr(n, "label_dim", None) for n in (net, guide))
    if of_guide and classes is not None and of_guide != classes:
        raise ValueError(
            f"guide has label_dim {of_guide} and net {classes}; the same, or 0 for a guide "
            "without classes, is needed"
        )
    return EDMDenoiser(net, guide, guidance)


def _call(net: EDMNetwork, x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
    classes = getattr(net, "label_dim", None)
    labels = class_labels if classes is None else _one_hot(x, class_labels, classes)
    denoised: Any = net(x, sigma, labels)
    if not isinstance(denoised, Tensor) or denoised.shape != x.shape:
        got = tuple(denoised.shape) if isinstance(denoised, Tensor) else type(denoised).__name__
        raise ValueError(f"net returned {got}; a tensor of x's shape {tuple(x.shape)} is needed")
    return denoised


def _one_hot(x: Tensor, labels: Tensor | None, classes: int) -> Tensor | None:
    """(B, classes) in float32, a row of zeros for "no class"; None for a net without classes."""
    if classes == 0:
        if labels is not None:
            raise ValueError("class_labels was given; this model has no classes (label_dim is 0)")
        return None
    if labels is None:
        raise ValueError(
            "class_labels is missing: pass conditioning={'class_labels': LongTensor of shape "
            f"({len(x)},)}}, with {classes} for 'no class'"
        )
    if not isinstance(labels, Tensor):
        raise TypeError(f"class_labels is a {type(labels).__name__}; an int64 tensor is needed")
    if labels.is_floating_point() and labels.shape == (len(x), classes):
        return labels.to(torch.float32)
    if labels.dtype != torch.int64 or labels.shape != x.shape[:1]:
        raise ValueError(
            f"class_labels has shape {tuple(labels.shape)} and dtype {labels.dtype}; an int64 "
            f"tensor of shape ({len(x)},), or one-hot rows ({len(x)}, {classes}), are needed"
        )
    known = torch.arange(classes, device=labels.device)
    return (labels[:, None] == known).to(torch.float32)


def _check_values(labels: Tensor, classes: int) -> None:
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > classes:
        raise ValueError(
            f"class_labels holds values from {lowest} to {highest}; this model has the classes "
            f"0 to {classes - 1}, and {classes} for 'no class'"
        )


def _sample_shape(net: object) -> tuple[int, int, int] | None:
    channels, size = getattr(net, "img_channels", None), getattr(net, "img_resolution", None)
    if channels is None or size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return (int(channels), int(height), int(width))
