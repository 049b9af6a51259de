"""Autoencoder between images and latents of an eighth of their side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 8
_LOG_VARIANCE = (-12.0, 4.0)  # the encoder's are kept inside


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_GROUPS, width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.norm_out = nn.GroupNorm(_GROUPS, width)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        return x + self.conv_out(F.silu(self.norm_out(h)))


def _down(a: int, b: int) -> nn.Module:
    return nn.Conv2d(a, b, 3, stride=2, padding=1)


def _up(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, padding=1))


def _out(width: int, channels: int) -> list[nn.Module]:
    return [
        nn.GroupNorm(_GROUPS, width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)
    ]  # fmt: skip


class Autoencoder(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] <-> latents (B, `latent_channels`, H/8, W/8).

    Latents have zero mean and unit deviation a channel over the data, by the buffers `mean` and
    `deviation`. Variational as in Rombach et al. 2022 (arXiv 2112.10752), section 3.1.

    Args:
        widths: channels at full, half and quarter resolution (the last also at an eighth).
        latent_channels: of the latents.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, widths: Sequence[int], latent_channels: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.encoder = nn.Sequential(
            nn.Conv2d(3, fine, 3, padding=1), _ResidualBlock(fine),
            _down(fine, middle), _ResidualBlock(middle),
            _down(middle, coarse), _ResidualBlock(coarse),
            _down(coarse, coarse), _ResidualBlock(coarse),
            *_out(coarse, 2 * latent_channels),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1), _ResidualBlock(coarse),
            _up(coarse, coarse), _ResidualBlock(coarse),
            _up(coarse, middle), _ResidualBlock(middle),
            _up(middle, fine), _ResidualBlock(fine),
            *_out(fine, 3),
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(1, latent_channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, latent_channels, 1, 1))

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the latents, before they are normalised."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance.clamp(*_LOG_VARIANCE)

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalised latents: their mean, or drawn with `generator`."""
        latents, log_variance = self.moments(images)
        if generator is not None:
            noise = torch.randn(latents.shape, generator=generator, device=generator.device)
            latents = latents + torch.exp(log_variance / 2) * noise.to(latents)
        return (latents - self.mean) / self.deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Images of normalised latents, hardly outside [-1, 1]."""
        return self.decoder(latents * self.deviation + self.mean)
