"""A small U-Net denoiser with EDM pre-conditioning: the architecture of the shipped models.

The image is folded into 2x2 patches first, so that the convolutions run on a quarter of the
pixels: on a CPU that buys twice the width for the same time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import check_count, check_values

_HALF = math.sqrt(0.5)  # keeps the variance of a sum of two unit-variance branches at one
_GROUPS = 8
_HEAD_CHANNELS = 32
_LEVELS, _WIDEST = 8, 4096
BOUNDS = {
    "image_size": 4096, "channels": 64, "num_classes": 100_000, "patch": 64, "blocks": 64,
    "embedding": 16_384,
}  # fmt: skip
"""The largest network that a file may ask for: far above what this architecture is good for."""


@dataclass(frozen=True)
class NetworkConfig:
    """Everything needed to rebuild a `UNetDenoiser` besides its weights.

    Raises:
        ValueError: a field of the wrong type or outside of `BOUNDS`, or sizes that do not fit
            together.
    """

    image_size: int = 28
    channels: int = 1
    num_classes: int = 10
    patch: int = 2
    widths: Sequence[int] = (64, 96)
    blocks: int = 1
    embedding: int = 128
    sigma_data: float = 0.7

    def __post_init__(self) -> None:
        for name, most in BOUNDS.items():
            check_count(name, getattr(self, name), 1, most)
        sizes = self.widths if isinstance(self.widths, Sequence) else ()
        if not 0 < len(sizes) <= _LEVELS or not all(map(_is_width, sizes)):
            raise ValueError(
                f"widths is {self.widths!r}; up to {_LEVELS} multiples of {_HEAD_CHANNELS} up to "
                f"{_WIDEST} are needed"
            )
        if not (isinstance(self.sigma_data, (int, float)) and 0 < self.sigma_data < math.inf):
            raise ValueError(f"sigma_data is {self.sigma_data!r}; a number > 0 is needed")
        coarsest = self.patch * 2 ** (len(self.widths) - 1)
        if self.image_size % coarsest:
            raise ValueError(f"image_size is {self.image_size}; a multiple of {coarsest} is needed")

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**asdict(self), "widths": list(self.widths)}

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> NetworkConfig:
        """What `to_dict` wrote."""
        return cls(**{**config, "widths": tuple(config["widths"])})


def _is_width(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return 0 < value <= _WIDEST and value % _HEAD_CHANNELS == 0


class _Block(nn.Module):
    """Residual block; the noise level and the class enter as a scale and a shift (FiLM)."""

    def __init__(self, channels_in: int, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_GROUPS, channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.norm_out = nn.GroupNorm(_GROUPS, channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = self.conv_out(F.silu(self.norm_out(h) * (1 + scale) + shift))
        return (self.skip(x) + h) * _HALF


class _Attention(nn.Module):
    """Self-attention over all positions of the coarsest level."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        heads = self.qkv(self.norm(x)).reshape(b, 3, c // _HEAD_CHANNELS, _HEAD_CHANNELS, h * w)
        q, k, v = heads.transpose(-1, -2).unbind(dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, h, w)
        return (x + self.out(mixed)) * _HALF


class _UNet(nn.Module):
    """Encoder, middle and decoder with skip connections; each level halves the resolution."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        pixels = config.channels * config.patch**2
        width = config.widths[0]
        self.conv_in = nn.Conv2d(pixels, width, 3, padding=1)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        skips = [width]
        for level, channels in enumerate(config.widths):
            if level:
                self.encoder.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
            for _ in range(config.blocks):
                self.encoder.append(_Block(width, channels, config.embedding))
                width = channels
                skips.append(width)
        self.middle = nn.ModuleList(
            [
                _Block(width, width, config.embedding),
                _Attention(width),
                _Block(width, width, config.embedding),
            ]
        )
        for level, channels in reversed(list(enumerate(config.widths))):
            for _ in range(config.blocks + 1):
                self.decoder.append(_Block(width + skips.pop(), channels, config.embedding))
                width = channels
            if level:
                upsample = nn.Upsample(scale_factor=2.0, mode="nearest")
                self.decoder.append(nn.Sequential(upsample, nn.Conv2d(width, width, 3, padding=1)))
        self.out = nn.Sequential(
            nn.GroupNorm(_GROUPS, width), nn.SiLU(), nn.Conv2d(width, pixels, 3, padding=1)
        )
        self.patch = config.patch

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for layer in self.encoder:
            h = layer(h, embedding) if isinstance(layer, _Block) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, embedding) if isinstance(layer, _Block) else layer(h)
        for layer in self.decoder:
            if isinstance(layer, _Block):
                h = layer(torch.cat([h, skips.pop()], dim=1), embedding)
            else:
                h = layer(h)
        return F.pixel_shuffle(self.out(h), self.patch)


class UNetDenoiser(nn.Module):
    """Class-conditional denoiser D(x, sigma) = c_skip x + c_out F(c_in x, ln(sigma)/4).

    Pre-conditioning of Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based
    Generative Models", table 1. The coefficients are computed in the precision of `x` (float32 at
    least) whatever the precision of the weights.

    The label `null_label` (= num_classes) stands for "no class": it was trained by label dropout
    and is what classifier-free guidance contrasts with.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.null_label = config.num_classes
        self.unet = _UNet(config)
        logs = torch.linspace(math.log(0.5), math.log(64.0), 16, dtype=torch.float32)
        frequencies = torch.exp(logs)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.noise_embedding = nn.Linear(2 * len(frequencies), config.embedding)
        self.class_embedding = nn.Embedding(config.num_classes + 1, config.embedding)
        self.embedding = nn.Linear(config.embedding, config.embedding)

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """Shape of one sample: (channels, height, width)."""
        return (self.config.channels, self.config.image_size, self.config.image_size)

    def check(self, x: Tensor, class_labels: Tensor | None = None, **unknown: object) -> None:
        """Checks that need the values of the input: called once per sampling, not once per step.

        Raises:
            ValueError: a sample shape that the network was not built for, or missing or
                impossible class labels, or a conditioning that the network does not know.
        """
        if unknown:
            raise ValueError(
                f"conditioning has {sorted(unknown)}, which this model does not take; "
                "it takes 'class_labels'"
            )
        if tuple(x.shape[1:]) != self.sample_shape:
            raise ValueError(
                f"x has samples of shape {tuple(x.shape[1:])}; this model takes {self.sample_shape}"
            )
        labels = check_values("class_labels", self._labels(x, class_labels))
        lowest, highest = torch.stack(labels.aminmax()).tolist()
        if lowest < 0 or highest > self.null_label:
            raise ValueError(
                f"class_labels holds values from {lowest} to {highest}; this model has the classes "
                f"0 to {self.config.num_classes - 1}, and {self.null_label} for 'no class'"
            )

    def forward(
        self, x: Tensor, sigma: Tensor | float, class_labels: Tensor | None = None
    ) -> Tensor:
        """Denoised estimate of `x`.

        Args:
            x: (B, C, H, W), the noisy images x0 + sigma * eps, x0 in [-1, 1].
            sigma: noise level, one for all or (B,).
            class_labels: (B,) int64, 0 .. num_classes - 1, or `null_label`.

        Raises:
            ValueError: missing class labels, or labels of the wrong shape or dtype.
        """
        labels = self._labels(x, class_labels)
        dtype = torch.promote_types(x.dtype, torch.float32)
        level = torch.as_tensor(
            check_values("sigma", sigma, x), dtype=dtype, device=x.device
        ).expand(len(x))
        level_image = level[:, None, None, None]
        sigma_data = self.config.sigma_data
        total = level_image**2 + sigma_data**2
        c_skip = sigma_data**2 / total
        c_out = level_image * sigma_data / total.sqrt()
        weights = self.embedding.weight.dtype
        h = self.unet((x / total.sqrt()).to(weights), self._embed(level.log() / 4, labels))
        return (c_skip * x + c_out * h.to(dtype)).to(x.dtype)

    def _embed(self, noise: Tensor, labels: Tensor) -> Tensor:
        assert isinstance(self.frequencies, Tensor)
        phase = noise[:, None].float() * self.frequencies.float()
        features = torch.cat([phase.cos(), phase.sin()], dim=1).to(self.embedding.weight.dtype)
        mixed = self.noise_embedding(features) + self.class_embedding(labels)
        return F.silu(self.embedding(F.silu(mixed)))

    def _labels(self, x: Tensor, class_labels: Tensor | None) -> Tensor:
        if class_labels is None:
            raise ValueError(
                "class_labels is missing: pass conditioning={'class_labels': LongTensor of shape "
                f"({len(x)},)}}, with {self.null_label} for 'no class'"
            )
        if not isinstance(class_labels, Tensor):
            raise TypeError(
                f"class_labels is a {type(class_labels).__name__}; an int64 tensor is needed"
            )
        if class_labels.dtype != torch.int64 or class_labels.shape != x.shape[:1]:
            raise ValueError(
                f"class_labels has shape {tuple(class_labels.shape)} and dtype "
                f"{class_labels.dtype}; an int64 tensor of shape ({len(x)},) is needed"
            )
        return class_labels
