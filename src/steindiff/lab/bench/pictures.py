"""Pictures of samples: images in rows, and points of the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ..picture import labelled_rows
from ..report.look import BLACK, FAINT
from .plots import colour_of
from .results import BASE, PRODUCT
from .titles import coefficient_title

SHOWN = (BASE, PRODUCT, "fine")


def picture_title(name: str) -> str:
    """The display name of a set of samples."""
    return "fine solution" if name == "fine" else coefficient_title(name)


def image_strip(images: np.ndarray, gap: int = 2) -> Image.Image:
    """uint8 images (N, H, W, C), N at least 1, in one row on a transparent ground.

    Raises:
        ValueError: another shape or dtype.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"images have shape {images.shape} and dtype {images.dtype}; uint8 (N >= 1, H, W, C) "
            "are needed"
        )
    count, height, width, channels = images.shape
    strip = Image.new("RGBA", (count * (width + gap) - gap, height), (0, 0, 0, 0))
    for k, image in enumerate(images):
        flat = image[..., 0] if channels == 1 else image[..., :3]
        strip.paste(Image.fromarray(flat).convert("RGBA"), (k * (width + gap), 0))
    return strip


def sample_grid(
    arrays: Mapping[str, np.ndarray], coefficients: Sequence[str] = SHOWN
) -> Image.Image:
    """Labelled rows of images, one a coefficient; a column started from the same noise.

    Args:
        arrays: uint8 images (K, H, W, C) by coefficient.
        coefficients: the rows; those without images are left out.

    Raises:
        ValueError: none of the coefficients has images.
    """
    rows = {picture_title(name): arrays[name] for name in coefficients if name in arrays}
    if not rows:
        raise ValueError(
            f"there are no images of {', '.join(coefficients)}; known: {', '.join(arrays)}"
        )
    return labelled_rows(rows)


def sample_points(arrays: Mapping[str, np.ndarray], coefficients: Sequence[str] = SHOWN) -> Figure:
    """2-D samples, a panel a coefficient, over those of the fine solution in grey.

    Args:
        arrays: (N, 2) by "points:<coefficient>".
        coefficients: the panels; those without points are left out.

    Raises:
        ValueError: none of the coefficients has points.
    """
    points = {r: arrays[f"points:{r}"] for r in coefficients if f"points:{r}" in arrays}
    if not points:
        raise ValueError(
            f"there are no points of {', '.join(coefficients)}; known: {', '.join(arrays)}"
        )
    figure = Figure(figsize=(2.6 * len(points) + 0.2, 2.9), dpi=90)
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.1, top=0.9, wspace=0.05)
    grid = figure.subplots(1, len(points), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (coefficient, values) in zip(grid, points.items(), strict=True):
        if coefficient != "fine" and "points:fine" in arrays:
            axes.scatter(*arrays["points:fine"].T, s=5, color=FAINT, linewidths=0)
        colour = BLACK if coefficient == "fine" else colour_of(coefficient, list(points))
        axes.scatter(*values.T, s=3, color=colour, linewidths=0, alpha=0.7)
        axes.set_title(picture_title(coefficient), fontsize=9)
        axes.set_aspect("equal", adjustable="box")
        axes.tick_params(labelsize=7, length=2)
    return figure
