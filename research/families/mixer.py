"""MLP-mixer body: no convolution and no attention, only MLPs over patches and over channels."""

from __future__ import annotations

from torch import Tensor, nn

from .patches import to_images, to_tokens


class _MixerBlock(nn.Module):
    """An MLP across the tokens, then one across the channels; the embedding scales and shifts."""

    def __init__(self, tokens: int, width: int, embedding: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width)
        self.mix_tokens = _mlp(tokens, 2 * tokens)
        self.norm_channels = nn.LayerNorm(width)
        self.mix_channels = _mlp(width, 2 * width)
        self.modulation = nn.Linear(embedding, 2 * width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, None].chunk(2, dim=2)
        x = x + self.mix_tokens(self.norm_tokens(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mix_channels(self.norm_channels(x) * (1 + scale) + shift)


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Mixer(nn.Module):
    """MLP-mixer (Tolstikhin et al. 2021, arXiv 2105.01601) from images to images.

    Args:
        shape: (C, H, W), H and W multiples of `patch`.
        patch: side of a patch in pixels.
        width: channels of a token.
        depth: number of blocks.
        embedding: width of the conditioning vector.
    """

    def __init__(
        self, shape: tuple[int, int, int], patch: int, width: int, depth: int, embedding: int
    ) -> None:
        super().__init__()
        channels, self.height, columns = shape
        self.patch = patch
        tokens, pixels = self.height * columns // patch**2, channels * patch**2
        self.embed = nn.Linear(pixels, width)
        self.blocks = nn.ModuleList(_MixerBlock(tokens, width, embedding) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, pixels)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.embed(to_tokens(x, self.patch))
        for block in self.blocks:
            h = block(h, embedding)
        return to_images(self.out(self.norm(h)), self.patch, self.height)
