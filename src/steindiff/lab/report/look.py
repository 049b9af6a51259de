"""The look that figures share: colours, and axes without what is not needed."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe & Ito 2008: apart from each other for every common kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#222222",
)  # fmt: skip
GREY, FAINT = "#767676", "#d9d9d9"


def plain_numbers(*axes: Axis) -> None:
    """Log axes, once drawn on, with numbers such as 0.5 at their ticks; none on linear ones."""
    for axis in axes:
        low, high = axis.get_view_interval()
        if axis.get_scale() != "log" or low <= 0:
            continue
        narrow = math.log10(high / low) < 2
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=9))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def tidy(axes: Axes) -> None:
    """A faint grid, small ticks, and no frame above and to the right."""
    axes.grid(color="#ececec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
