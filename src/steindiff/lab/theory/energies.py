"""Energy, variance and spectrum along a few-step trajectory, beside those of the fine one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch
from ..._reductions import inner, inners
from ...stein import law

BANDS = 8


class LawError(NamedTuple):
    """How well the energy law predicts a step of a trajectory, (B,) each, in units of d sigma^2.

    Attributes:
        one_level: error of the loss predicted from one evaluation.
        two_levels: that of the loss predicted from two; None for the first step.
        mean_only: that of the loss d (sigma^2 - sigma'^2), kappa taken for 1.
    """

    one_level: Tensor
    two_levels: Tensor | None
    mean_only: Tensor


def energy(x: Tensor) -> Tensor:
    """(B,): |x|^2/d of each sample."""
    return inner(x, x) / check_batch(x)[0].numel()


def variance(x: Tensor) -> float:
    """Variance over the batch, averaged over the elements of a sample."""
    return check_batch(x).double().var(dim=0).mean().item()


def euler_deficit(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """(B,): what Euler's step lacks of the one-level energy law, (1 - r)^2 <D, x - D>."""
    (across,) = inners((denoised, x - denoised))
    return (1 - sigma_next / sigma) ** 2 * across


def law_error(
    before: tuple[Tensor, Tensor, float] | None,
    start: tuple[Tensor, Tensor, float],
    end: Tensor,
    sigma_next: float,
) -> LawError:
    """The energy law against a step that was taken, such as one between states of the fine flow.

    Args:
        before: state (B, *shape), D and level of the evaluation before, if there was one.
        start: the same at the start of the step.
        end: (B, *shape), the state at `sigma_next`.
        sigma_next: level of the end.
    """
    x, denoised, sigma = start
    size = x[0].numel()
    power, q, after = inners((x, x), (x, x - denoised), (end, end))
    lost, scale = power - after, size * sigma**2
    two = None
    if before is not None:
        earlier, d, level = before
        predicted = law.two_levels(q, sigma, inner(earlier, earlier - d), level, sigma_next)
        two = (predicted - lost) / scale
    return LawError(
        (law.one_level(q, sigma, sigma_next) - lost) / scale,
        two,
        (size * (sigma**2 - sigma_next**2) - lost) / scale,
    )


def spectrum(x: Tensor, reference: Tensor, bands: int = BANDS) -> Tensor:
    """(bands,): variance of the samples in bands from coarse to fine.

    Images (B, C, H, W): rings of spatial frequency, of equal width up to the Nyquist frequency, the
    corners in the last. Other samples: principal axes of `reference`, from the widest to the
    narrowest, as many in each band as go evenly.

    Args:
        x: (B, *shape), B >= 2.
        reference: (N, *shape), what axes are taken from.
        bands: how many; fewer where a sample has fewer elements.

    Raises:
        TypeError, ValueError: no batch, fewer than two samples, or samples of other shapes.
    """
    if check_batch(x).shape[1:] != check_batch(reference, "reference").shape[1:]:
        raise ValueError(
            f"x has samples of shape {tuple(x.shape[1:])} and reference "
            f"{tuple(reference.shape[1:])}; the same is needed"
        )
    if len(x) < 2:
        raise ValueError(f"x has {len(x)} sample; at least 2 have a variance")
    power, place = _image_power(x, bands) if x.ndim == 4 else _axis_power(x, reference, bands)
    count = int(place.max()) + 1
    total = torch.zeros(count, dtype=torch.float64).index_add(0, place, power)
    return total / torch.bincount(place, minlength=count)


def _image_power(x: Tensor, bands: int) -> tuple[Tensor, Tensor]:
    """Variance of each frequency, and the ring that it is in."""
    height, width = x.shape[-2:]
    amplitude = torch.fft.fft2(x.cpu().double() - x.cpu().double().mean(dim=0), norm="ortho")
    power = amplitude.abs().square().sum(dim=0).mean(dim=0) / (len(x) - 1)
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None, :])
    rings = min(bands, min(height, width) // 2)
    place = (radius / 0.5 * rings).floor().long().clamp_max(rings - 1)
    return power.flatten(), place.flatten()


def _axis_power(x: Tensor, reference: Tensor, bands: int) -> tuple[Tensor, Tensor]:
    """Variance along each principal axis of the reference, and the band that it is in."""
    centred = reference.cpu().double().flatten(1)
    centred = centred - centred.mean(dim=0)
    _, widths, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[widths > 1e-9 * widths[0]]  # fewer samples than dimensions span fewer axes
    power = (x.cpu().double().flatten(1) @ axes.T).var(dim=0)
    place = torch.arange(len(power)) * min(bands, len(power)) // len(power)
    return power, place
