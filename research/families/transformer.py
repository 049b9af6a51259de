"""Transformer body on patches, conditioned by adaptive layer norms with gates."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .patches import to_images, to_tokens

_HEAD_CHANNELS = 32
_MODULATIONS = 6  # shift, scale and gate, for the attention and for the MLP


class _TransformerBlock(nn.Module):
    """Attention and MLP, each modulated and gated; the gates start closed."""

    def __init__(self, width: int, qk_norm: bool) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(_MODULATIONS, width))
        self.qkv = nn.Linear(width, 3 * width, bias=not qk_norm)
        self.norm_q, self.norm_k = (
            nn.RMSNorm(_HEAD_CHANNELS) if qk_norm else nn.Identity() for _ in range(2)
        )
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.table)[
            :, :, None
        ].unbind(dim=1)
        x = x + gate_a * self._attention(_norm(x) * (1 + scale_a) + shift_a)
        return x + gate_m * self.mlp(_norm(x) * (1 + scale_m) + shift_m)

    def _attention(self, x: Tensor) -> Tensor:
        # Written out: for so few tokens PyTorch's fused kernel takes half of a training step.
        q, k, v = self.qkv(x).unflatten(2, (3, -1, _HEAD_CHANNELS)).permute(2, 0, 3, 1, 4)
        q, k = self.norm_q(q), self.norm_k(k)
        weights = (q * _HEAD_CHANNELS**-0.5 @ k.transpose(-1, -2)).softmax(dim=-1)
        return self.out((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))


def _norm(x: Tensor) -> Tensor:
    """Layer norm without weights: the modulation has them."""
    return F.layer_norm(x, x.shape[-1:])


def _waves(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of row and column, as large as the tokens: where positions start from.

    Small random ones left the samples a patchwork: neighbours hardly knew each other.
    """
    frequencies = torch.exp(torch.linspace(0.0, math.log(0.05), width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    phases = torch.cat([axis.reshape(-1, 1) * frequencies for axis in (row, column)], dim=1)
    return torch.cat([phases.sin(), phases.cos()], dim=1)


class Transformer(nn.Module):
    """DiT (Peebles & Xie 2023, arXiv 2212.09748) from images to images.

    One modulation is computed for all blocks, each adds a table of its own (Chen et al. 2023,
    PixArt-alpha, arXiv 2310.00426, "adaLN-single"): that spends the parameters on the blocks.

    Args:
        shape: (C, H, W), H and W multiples of `patch`.
        patch: side of a patch in pixels.
        width: channels of a token, a multiple of 32 (the channels of a head).
        depth: number of blocks.
        embedding: width of the conditioning vector.
        qk_norm: RMS norms of queries and keys (Henry et al. 2020, arXiv 2010.04245), whose
            projection then has no bias.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        patch: int,
        width: int,
        depth: int,
        embedding: int,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        channels, self.height, columns = shape
        self.patch = patch
        pixels = channels * patch**2
        self.embed = nn.Linear(pixels, width)
        self.positions = nn.Parameter(_waves(self.height // patch, columns // patch, width))
        self.modulation = nn.Linear(embedding, _MODULATIONS * width)
        self.blocks = nn.ModuleList(_TransformerBlock(width, qk_norm) for _ in range(depth))
        self.modulation_out = nn.Linear(embedding, 2 * width)
        self.out = nn.Linear(width, pixels)
        for layer in (self.modulation, self.modulation_out, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.embed(to_tokens(x, self.patch)) + self.positions
        modulation = self.modulation(embedding).unflatten(1, (_MODULATIONS, -1))
        for block in self.blocks:
            h = block(h, modulation)
        shift, scale = self.modulation_out(embedding)[:, None].chunk(2, dim=2)
        return to_images(self.out(_norm(h) * (1 + scale) + shift), self.patch, self.height)
