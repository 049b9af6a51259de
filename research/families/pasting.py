"""Emoji of any place, size and turn on random two-colour gradients: the latent family's data."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Pasted

_BRIGHTNESS = (0.85, 0.3)  # lowest, and how much may be added
_CONTRAST = 0.6  # of the ends of a gradient, from a range of this width
_TURN = 0.4  # radians, the width of the range around upright
_SIZE = (0.75, 0.3)  # relative: the lowest, and how much may be added
_SHIFT = 0.3  # of half the image, the width of the range


def paste(data: Pasted, picked: Tensor, generator: torch.Generator) -> Tensor:
    """Random images (B, 3, 64, 64) in [-1, 1] of the emoji `picked` (B,).

    Brightness, background, turn, size, mirror and shift are drawn with `generator`, which is on
    the device of the data.
    """
    emoji = data.images[picked].float() / 255
    colours, alpha = emoji[:, :3], emoji[:, 3:]
    colours = (colours * (_BRIGHTNESS[0] + _BRIGHTNESS[1] * _draw(emoji, 3, generator))).clamp(0, 1)
    background = _gradients(emoji, generator)
    moved = _moved(torch.cat([colours * alpha, alpha], dim=1), generator)  # premultiplied
    return 2 * (moved[:, :3] + (1 - moved[:, 3:]) * background) - 1


def _draw(like: Tensor, channels: int, generator: torch.Generator) -> Tensor:
    shape = (len(like), channels, 1, 1)
    return torch.rand(shape, generator=generator, device=like.device)


def _gradients(like: Tensor, generator: torch.Generator) -> Tensor:
    """From one colour at the top to another at the bottom, (B, 3, H, 1)."""
    top = _draw(like, 3, generator)
    bottom = (top + _CONTRAST * (_draw(like, 3, generator) - 0.5)).clamp(0, 1)
    way = torch.linspace(0, 1, like.shape[2], device=like.device).view(1, 1, -1, 1)
    return torch.lerp(top, bottom, way)


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turned, scaled, mirrored and shifted images."""
    turn, size, mirror, across, down = _draw(images, 5, generator)[:, :, 0, 0].unbind(dim=1)
    angle = _TURN * (turn - 0.5)
    scale = 1 / (_SIZE[0] + _SIZE[1] * size)
    side = torch.where(mirror < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [
        torch.stack([cos * side, -sin, _SHIFT * (across - 0.5)], dim=1),
        torch.stack([sin * side, cos, _SHIFT * (down - 0.5)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)
