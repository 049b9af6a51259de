"""Pictures: a plain grid, labelled rows, and solvers beside the fine solution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

ZOOM = 2
"""How many times larger images are drawn, without smoothing."""


def image_grid(images: np.ndarray, columns: int, gap: int = 2) -> Image.Image:
    """uint8 images (N, H, W, C) side by side on white, enlarged."""
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
    return _scaled(sheet, ZOOM)


def labelled_rows(
    rows: Mapping[str, np.ndarray],
    names: Sequence[str] = (),
    *,
    scale: float = ZOOM,
    left: int = 150,
) -> Image.Image:
    """Rows of images on white, each with its label before it.

    Args:
        rows: uint8 images (N, H, W, C) of one size by label, N >= 1.
        names: of the columns, written above them; none where left out.
        scale: how many times larger; without smoothing from 1 on.
        left: pixels that labels have.
    """
    pictures = {label: [_scaled(image, scale) for image in row] for label, row in rows.items()}
    width, height = next(iter(pictures.values()))[0].size
    top, gap = 20 if names else 4, 4
    columns = max(map(len, pictures.values()))
    size = left + columns * (width + gap), top + len(rows) * (height + gap)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for c, name in enumerate(names):
        draw.text((left + c * (width + gap), 3), name[: width // 8], "black", font)
    for r, (label, row) in enumerate(pictures.items()):
        y = top + r * (height + gap)
        draw.text((6, y + height / 2), label, "black", font, anchor="lm")
        for c, picture in enumerate(row):
            sheet.paste(picture, (left + c * (width + gap), y))
    return sheet


def _scaled(image: np.ndarray, scale: float) -> Image.Image:
    """A uint8 image (H, W, C)."""
    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    size = round(picture.width * scale), round(picture.height * scale)
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    return picture.resize(size, method)


class Row(NamedTuple):
    """One row of a comparison: uint8 images (N, H, W, C) and what stands to the left of them."""

    title: str
    subtitle: str
    images: np.ndarray
    colour: str


SHOWN, DIFFERENCES = 7, 4
"""Columns of images, and columns of their differences to the last row."""
CELL, LEFT, GAP, RIGHT, TOP, BOTTOM = 0.92, 2.9, 0.25, 0.95, 1.25, 0.95  # inches


def comparison(rows: Sequence[Row], columns: Sequence[str], title: str, caption: str) -> Figure:
    """A labelled picture of images, and of how they differ from the reference.

    Column k of every row started from the same noise. The reference is drawn first, so that it
    stands beside what is nearest to be judged; to the right of the other rows are their differences
    to it (of colours their mean) and the root mean square of these over all images, in units of the
    data, which lie in [-1, 1].

    Args:
        rows: what is compared; the last is the reference.
        columns: names of the columns.
        title: heading of the picture.
        caption: what stands under it.
    """
    shown, compared = min(SHOWN, len(columns)), min(DIFFERENCES, len(columns))
    sheet = _Sheet(len(rows), shown, compared)
    sheet.head(title, columns)
    *others, reference = rows
    sheet.row(0, reference, None)
    for position, row in enumerate(others, 1):
        sheet.row(position, row, reference)
    sheet.foot(caption)
    return sheet.figure


class _Sheet:
    """The figure, and where things are on it, in inches from the top left corner."""

    def __init__(self, rows: int, shown: int, compared: int) -> None:
        self.shown, self.compared = shown, compared
        self.right = LEFT + CELL * shown + GAP
        self.width = self.right + CELL * compared + RIGHT
        self.height = TOP + CELL * rows + BOTTOM
        self.figure = Figure(figsize=(self.width, self.height), dpi=110, facecolor="white")

    def text(self, x: float, y: float, text: str, size: float, **options: Any) -> None:
        self.figure.text(
            x / self.width, 1 - y / self.height, text, fontsize=size, va="center", **options
        )

    def head(self, title: str, columns: Sequence[str]) -> None:
        self.text(0.2, 0.35, title, 15, weight="bold")
        for c in range(self.shown):
            middle = LEFT + CELL * (c + 0.47)
            self.text(middle, TOP - 0.12, columns[c], 9, ha="center")
        for c in range(self.compared):
            middle = self.right + CELL * (c + 0.47)
            self.text(middle, TOP - 0.12, columns[c], 9, ha="center")
        self.text(self.right, TOP - 0.42, "Difference to the fine solution", 11, weight="bold")

    def row(self, position: int, row: Row, reference: Row | None) -> None:
        top = TOP + CELL * position
        self.text(0.2, top + CELL / 2 - 0.14, row.title, 11.5, color=row.colour, weight="bold")
        self.text(0.2, top + CELL / 2 + 0.14, row.subtitle, 9.5)
        for c in range(self.shown):
            self.image(LEFT + CELL * c, top, row.images[c], "gray", 0, 255)
        if reference is None:
            self.text(self.right, top + CELL / 2, "red: brighter, blue: darker, white: none", 9.5)
            return
        difference = (row.images.astype(float) - reference.images.astype(float)) / 127.5
        for c in range(self.compared):
            self.image(self.right + CELL * c, top, difference[c].mean(axis=-1), "RdBu_r", -1, 1)
        end = self.right + CELL * self.compared + 0.05
        size = math.sqrt(np.mean(difference**2))
        self.text(end, top + CELL / 2, f"RMS\n{size:.3f}", 9.5, linespacing=1.5)

    def image(
        self, left: float, top: float, image: np.ndarray, colours: str, low: float, high: float
    ) -> None:
        side = 0.94 * CELL
        axes = self.figure.add_axes(
            (left / self.width, 1 - (top + side) / self.height, side / self.width,
             side / self.height)
        )  # fmt: skip
        axes.imshow(image.squeeze(), cmap=colours, vmin=low, vmax=high)
        axes.set_axis_off()

    def foot(self, caption: str) -> None:
        self.text(0.2, self.height - 0.5, caption, 9.5, linespacing=1.4)
