"""Noise levels that denoisers are trained at, and their loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LABEL_DROPOUT = 0.1
# ln sigma ~ N(-1, 1.4^2); a tenth of the batch log-uniform, so that the first steps of a
# sampling, from sigma = 80, are trained as well.
NOISE_MEAN, NOISE_STD = -1.0, 1.4
UNIFORM_SHARE = 0.1


def noise_levels(count: int, span: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Stratified noise levels (count,): less variance between batches than independent draws.

    Args:
        count: how many.
        span: lowest and highest of the log-uniform tenth.
        generator: what draws them.
    """
    quantile = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    quantile = quantile.clamp(1e-6, 1 - 1e-6)[torch.randperm(count, generator=generator)]
    normal = NOISE_MEAN + NOISE_STD * torch.special.ndtri(quantile)
    low, high = map(math.log, span)
    uniform = low + (high - low) * quantile
    pick = torch.rand(count, generator=generator) < UNIFORM_SHARE
    return torch.where(pick, uniform, normal).exp()


def denoising_loss(
    net: nn.Module, x0: Tensor, labels: Tensor, sigma: Tensor, weight: Tensor,
    generator: torch.Generator, *, null_label: int, dropout: float = LABEL_DROPOUT,
    half: bool = False,
) -> Tensor:  # fmt: skip
    """Mean of weight |D(x0 + sigma eps) - x0|^2 / d.

    With weight 1/c_out^2, of D = c_skip x + c_out F, what the network F itself predicts has unit
    weight: EDM's choice (Karras et al. 2022, equation 8), for each parameterisation its own.

    Args:
        net: D(x, sigma, labels).
        x0: (B, C, H, W), without noise. labels: (B,).
        sigma: (B,), noise levels. weight: (B,).
        generator: of the noise and the dropout, on the device of x0.
        null_label: takes the place of a share `dropout` of the labels.
        half: whether the network runs under bfloat16 autocast.
    """
    normal = torch.randn(x0.shape, generator=generator, device=x0.device)
    noisy = x0 + sigma[:, None, None, None] * normal
    dropped = torch.rand(len(x0), generator=generator, device=x0.device) < dropout
    with torch.autocast(x0.device.type, torch.bfloat16, enabled=half):
        denoised = net(noisy, sigma, torch.where(dropped, null_label, labels))
    return (weight * (denoised.float() - x0).square().mean(dim=(1, 2, 3))).mean()
