"""How a result shows itself in a notebook: PNG and SVG, written with the standard library alone."""

from __future__ import annotations

import base64
import struct
import zlib

from torch import Tensor

MOST = 16
"""Images of a grid, and samples of a plot."""
_COLUMNS, _LARGEST = 8, 1024


def image_grid(x: Tensor) -> str:
    """The first images (N, 1 or 3, H, W) in [-1, 1] as an <img>; "" where `x` is none.

    What lies beyond [-1, 1] is clipped, as in any file of images.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3) or max(x.shape[2:]) > _LARGEST:
        return ""
    shown = x[:MOST].detach().float().cpu().nan_to_num(0.0).clamp(-1, 1)
    count, channels, height, width = shown.shape
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    sheet = shown.new_ones(channels, rows * (height + 1) - 1, columns * (width + 1) - 1)
    for k, image in enumerate(shown):
        top, left = k // columns * (height + 1), k % columns * (width + 1)
        sheet[:, top : top + height, left : left + width] = image
    pixels = ((sheet + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous()
    uri = base64.b64encode(_png(pixels)).decode()
    zoom = max(1, round(96 / width))
    return (
        f'<img alt="{count} of {len(x)} samples" width="{zoom * sheet.shape[2]}" '
        f'style="image-rendering: pixelated; max-width: 100%" src="data:image/png;base64,{uri}">'
    )


def gamma_plot(gamma: Tensor) -> str:
    """gamma (steps, B) as an <svg>: a grey line a sample, the mean in black, and 1 as dashes."""
    values = gamma.detach().double().cpu()
    steps = len(values)
    low, high = min(float(values.min()), 1.0), max(float(values.max()), 1.0)
    room = max(high - low, 1e-3)

    def line(ys: list[float], style: str) -> str:
        points = " ".join(
            f"{40 + 250 * k / max(steps - 1, 1):.1f},{100 - 85 * (y - low) / room:.1f}"
            for k, y in enumerate(ys)
        )
        return f'<polyline fill="none" {style} points="{points}"/>'

    lines = [line(ys, 'stroke="#bbb"') for ys in values.T[:MOST].tolist()]
    lines.append(line([1.0] * steps, 'stroke="#888" stroke-dasharray="4 3"'))
    lines.append(line(values.mean(dim=1).tolist(), 'stroke="#000" stroke-width="1.5"'))
    words = "".join(
        f'<text x="{x}" y="{y}" font-size="10" fill="#555">{text}</text>'
        for x, y, text in ((2, 104, f"{low:.3f}"), (2, 20, f"{high:.3f}"), (40, 118, "γ by step"))
    )
    return (
        '<svg role="img" aria-label="gamma of every step" width="300" height="122" '
        f'style="background: #fff">{"".join(lines)}{words}</svg>'
    )


def _png(pixels: Tensor) -> bytes:
    """uint8 (H, W, 1 or 3) as a PNG file (ISO/IEC 15948), without filters."""
    height, width, channels = pixels.shape
    kind = {1: 0, 3: 2}[channels]  # grey, or RGB
    rows = b"".join(b"\0" + bytes(row) for row in pixels.reshape(height, -1).tolist())

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )  # fmt: skip
