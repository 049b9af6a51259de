"""The look that figures share: colours, and axes without what is not needed."""

from __future__ import annotations

from matplotlib.axes import Axes

# Okabe & Ito 2008: apart from each other for every common kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#222222",
)  # fmt: skip
GREY, FAINT = "#767676", "#d9d9d9"


def tidy(axes: Axes) -> None:
    """A faint grid, small ticks, and no frame above and to the right."""
    axes.grid(color="#ececec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
