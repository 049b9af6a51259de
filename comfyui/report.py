"""The picture of a journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from .journal import Journal

WIDTH, HEIGHT, DPI = 960, 640, 100
"""Of the picture: pixels, pixels, and pixels an inch."""
_SHOWN = 16
"""At most so many images of a batch get a line of their own."""


def draw(journal: Journal) -> Tensor:
    """An IMAGE (1, HEIGHT, WIDTH, 3), float32 in [0, 1]: gamma and kappa over the steps."""
    canvas = FigureCanvasAgg(plot(journal))
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(pixels.astype(np.float32) / 255)[None]


def plot(journal: Journal) -> Figure:
    """The figure: gamma above, kappa below."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, layout="constrained")
    strength, health = figure.subplots(2, 1, sharex=True)
    kappa, steps = table(journal.kappa), len(journal.gamma)
    _lines(strength, table(journal.gamma), "strength γ (1: the plain solver)")
    _lines(health, kappa, "κ (1: exact, no guidance)")
    if journal.guided:  # it spans orders of magnitude
        health.set_yscale("log" if kappa.min() > 0 else "symlog")
    health.set_xticks(range(steps), _labels(journal.sigmas[:steps]))
    health.set_xlabel("noise level σ that the step starts at")
    figure.suptitle(f"{journal.title}; {steps} steps")
    return figure


def table(entries: Sequence[Tensor]) -> np.ndarray:
    """(steps, B) float64 of a journal's entries."""
    return np.stack([entry.detach().cpu().double().numpy() for entry in entries])


def _lines(axes: Any, values: np.ndarray, label: str) -> None:
    axes.axhline(1.0, color="0.7", linewidth=1)
    for column in values.T[:_SHOWN]:
        axes.plot(column, color="tab:blue", alpha=0.35, linewidth=1, marker=".")
    if values.shape[1] > 1:
        axes.plot(values.mean(axis=1), color="tab:blue", linewidth=2, label="mean of the batch")
        axes.legend(loc="best", frameon=False)
    axes.set_ylabel(label)
    axes.grid(axis="y", alpha=0.3)


def _labels(sigmas: Sequence[float]) -> list[str]:
    """Every level while they fit, then some of them."""
    every = -(-len(sigmas) // 12)
    return [f"{sigma:.3g}" if i % every == 0 else "" for i, sigma in enumerate(sigmas)]
