"""Pictures: a plain grid, and base beside relaxed beside the fine solution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image


def image_grid(images: np.ndarray, columns: int, gap: int = 2, zoom: int = 2) -> Image.Image:
    """uint8 images (N, H, W, C) side by side on white, enlarged without smoothing."""
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8
    )
    for k, image in enumerate(images):
        top = gap + (k // columns) * (height + gap)
        left = gap + (k % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet)
    size = (picture.width * zoom, picture.height * zoom)
    return picture.resize(size, Image.Resampling.NEAREST)


class Row(NamedTuple):
    """One row of a comparison: uint8 images (N, H, W, C) and what stands to the left of them."""

    title: str
    subtitle: str
    images: np.ndarray
    colour: str


def comparison(
    rows: Sequence[Row], columns: Sequence[str], title: str, caption: str, cell: float = 0.92
) -> Figure:
    """A labelled picture; column k of every row started from the same noise."""
    left, top, bottom = 2.9, 1.0, 0.75
    width, height = left + cell * len(columns) + 0.15, top + cell * len(rows) + bottom
    figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
    figure.text(0.015, 1 - 0.3 / height, title, fontsize=15, weight="bold", va="center")
    for r, row in enumerate(rows):
        base = bottom + cell * (len(rows) - 1 - r)
        middle = (base + cell / 2) / height
        figure.text(
            0.015, middle + 0.14 / height, row.title, fontsize=11.5, color=row.colour,
            weight="bold", va="center",
        )  # fmt: skip
        figure.text(0.015, middle - 0.14 / height, row.subtitle, fontsize=9.5, va="center")
        for c, name in enumerate(columns):
            box = (
                (left + cell * c) / width,
                base / height,
                0.94 * cell / width,
                0.94 * cell / height,
            )
            axes = figure.add_axes(box)
            axes.imshow(row.images[c].squeeze(), cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
            if r == 0:
                axes.set_title(name, fontsize=9, pad=3)
    figure.text(0.015, 0.32 / height, caption, fontsize=9.5, va="center", linespacing=1.4)
    return figure
