"""A picture of sampling in two dimensions: base, relaxed and exact, from the same noise."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from torch import Tensor

from steindiff.denoisers import GaussianMixture
from steindiff.sampling import noise, sample
from steindiff.solvers import Solver
from steindiff.stein import Coefficient
from steindiff.trajectory import FineSolution

_COLOURS, _DATA = ("#767676", "#0072b2", "#222222"), "#e4c9a0"


@dataclass(frozen=True)
class Paths:
    """Trajectories of one batch by three ways, at common levels.

    Attributes:
        levels: (F,), decreasing noise levels of the frames.
        steps: levels of the few-step sampling.
        base: (F, B, 2), states of the plain solver at the levels; between its steps they are on
            the straight line in sigma.
        relaxed: (F, B, 2), those of the relaxed solver.
        exact: (F, B, 2), those of the exact flow.
        data: (N, 2), samples of the data.
    """

    levels: np.ndarray
    steps: tuple[float, ...]
    base: np.ndarray
    relaxed: np.ndarray
    exact: np.ndarray
    data: np.ndarray


def ring(modes: int = 5, radius: float = 2.0, spread: float = 0.4) -> GaussianMixture:
    """A mixture of equal modes on a circle in the plane."""
    angle = torch.arange(modes, dtype=torch.float64) * (2 * torch.pi / modes)
    means = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    return GaussianMixture(means, spread**2)


def trace_paths(
    mixture: GaussianMixture,
    solver: Solver,
    coefficient: Coefficient,
    sigmas: Sequence[float],
    *,
    count: int = 200,
    frames: int = 48,
    seed: int = 0,
) -> Paths:
    """Follows `count` noises by the solver, by the relaxed solver, and by the exact flow.

    Args:
        mixture: of samples (2,).
        sigmas: levels of the sampling; the last above 0.
        frames: how many levels the picture has.
        seed: of the first noise, which count up from it.

    Raises:
        ValueError: samples of another shape.
    """
    if mixture.sample_shape != (2,):
        raise ValueError(f"mixture has samples of shape {mixture.sample_shape}; (2,) is needed")
    steps = tuple(float(sigma) for sigma in sigmas)
    # The same noise in units of sigma: what starts at 80 in the plane says nothing of the data.
    x = noise((2,), steps[0], range(seed, seed + count), dtype=torch.float64)
    fine = FineSolution(mixture, x, {}, 64, steps[-1] / 2, steps[0])
    levels = np.geomspace(steps[0], steps[-1], frames)
    levels[0], levels[-1] = steps[0], steps[-1]
    exact = torch.stack([fine.at(float(level)) for level in levels])
    few = [
        sample(mixture, x, steps, solver, rule, end="none", return_trajectory=True).trajectory
        for rule in (None, coefficient)
    ]
    generator = torch.Generator().manual_seed(seed)
    data = mixture.sample(2000, generator)
    base, relaxed = (_between(path or (), steps, levels) for path in few)
    return Paths(levels, steps, base, relaxed, exact.numpy(), data.numpy())


def animate(paths: Paths, titles: Sequence[str], *, hold: int = 12) -> bytes:
    """The paths as an animated GIF: a panel each for base, relaxed and exact.

    States are shown divided by sqrt(1 + sigma^2), so that noise and data fit one frame.

    Args:
        paths: of `trace_paths`.
        titles: of the three panels.
        hold: how many frames the end is held for.
    """
    frames = [_frame(paths, titles, k) for k in range(len(paths.levels))]
    shown = [frame.quantize(64, dither=Image.Dither.NONE) for frame in frames]
    stream = io.BytesIO()
    durations = [90] * (len(shown) - 1) + [90 * hold]
    shown[0].save(
        stream, format="gif", save_all=True, append_images=shown[1:], duration=durations, loop=0,
        optimize=True,
    )  # fmt: skip
    return stream.getvalue()


def still(paths: Paths, titles: Sequence[str]) -> Figure:
    """The last frame with the whole trajectories, as a figure."""
    return _figure(paths, titles, len(paths.levels) - 1)


def _between(states: Sequence[Tensor], steps: Sequence[float], levels: np.ndarray) -> np.ndarray:
    """A sampler's states at the levels: straight in sigma between its steps."""
    found = []
    for level in levels:
        for k, (high, low) in enumerate(itertools.pairwise(steps)):
            if low <= level <= high:
                share = (high - level) / (high - low)
                found.append(torch.lerp(states[k], states[k + 1], share))
                break
    return torch.stack(found).numpy()


def _frame(paths: Paths, titles: Sequence[str], k: int) -> Image.Image:
    canvas: Any = FigureCanvasAgg(_figure(paths, titles, k))
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _figure(paths: Paths, titles: Sequence[str], k: int) -> Figure:
    figure = Figure(figsize=(8.4, 3.2), dpi=80)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.1, top=0.88, wspace=0.03)
    ways = (paths.base, paths.relaxed, paths.exact)
    panels = figure.subplots(1, 3)
    for axes, states, title, colour in zip(panels, ways, titles, _COLOURS, strict=True):
        _panel(axes, paths, states, k, colour)
        # Shorter lines for a solver with options; panels are 2.7 inches wide.
        lines = textwrap.wrap(title, 34)
        axes.set_title("\n".join(lines), fontsize=10 if len(lines) == 1 else 8, color=colour)
    figure.text(0.99, 0.03, f"noise level σ = {paths.levels[k]:.2g}", ha="right", fontsize=9)
    figure.legend(handles=_legend(), loc="lower left", bbox_to_anchor=(0, -0.01), ncols=3,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure


def _legend() -> list[Line2D]:
    """What the marks of a panel are, in black where the panels have colours of their own."""
    black = _COLOURS[-1]
    dots: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3.5}
    return [
        Line2D([], [], color=black, label="samples now", **dots),
        Line2D([], [], color=black, linewidth=0.7, label="their paths"),
        Line2D([], [], color=_DATA, label="data", **dots),
    ]


def _panel(axes: Axes, paths: Paths, states: np.ndarray, k: int, colour: str) -> None:
    scale = 1 / np.sqrt(1 + paths.levels**2)
    axes.scatter(*paths.data.T, s=2, color=_DATA, linewidths=0)
    trail = (states * scale[:, None, None])[: k + 1, :40]
    axes.plot(trail[:, :, 0], trail[:, :, 1], color=colour, linewidth=0.4, alpha=0.35)
    now = states[k] * scale[k]
    axes.scatter(*now.T, s=5, color=colour, linewidths=0)
    axes.set(xlim=(-3.1, 3.1), ylim=(-3.1, 3.1), xticks=[], yticks=[])
    axes.set_aspect("equal")
    for side in axes.spines.values():
        side.set_color("#d9d9d9")
