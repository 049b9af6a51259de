"""The metrics of a benchmark: their names, how they are shown, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .results import Interval, MeanAndDeviation, Modes


def _number(value: Any) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "—"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "—"


def _interval(value: Interval) -> str:
    return f"{_number(value.value)} [{_number(value.low)}, {_number(value.high)}]"


def _spread(value: MeanAndDeviation) -> str:
    return f"{_number(value.value)} ± {_number(value.std)}"


def _modes(value: Modes) -> str:
    return f"{value.covered}/{value.modes}, KL {_number(value.kl)}"


class Metric(NamedTuple):
    """One metric.

    Attributes:
        key: its name in `Metrics`.
        title: its heading.
        better: which way is better, in words.
        meaning: what it measures.
        source: where it is from.
        format: makes a text of what the results hold.
    """

    key: str
    title: str
    better: str
    meaning: str
    source: str
    format: Callable[[Any], str] = _number

    def show(self, value: Any) -> str:
        """The text of a value; a dash where there is none."""
        return "—" if value is None else self.format(value)


METRICS = (
    Metric(
        "fd", "FD", "lower",
        "Fréchet distance between Gaussians fitted to the features of the samples and to those of "
        "the fine solution, with its 95% interval.",
        "Dowson & Landau 1982; Heusel et al. 2017", _interval,
    ),
    Metric(
        "fd_infinity", "FD∞", "lower",
        "The Fréchet distance extrapolated to infinitely many samples, which takes out most of the "
        "bias of a finite number. It can come out slightly negative.",
        "Chong & Forsyth 2020",
    ),
    Metric(
        "fd_to_exact", "FD to exact", "lower",
        "Where the model is a perturbed exact one: Fréchet distance to the exact model's fine "
        "solution, model error included. What is left at unlimited steps is the model's alone.",
        "",
    ),
    Metric(
        "kid", "KID", "lower",
        "Squared maximum mean discrepancy of the features with a cubic kernel, unbiased; mean and "
        "standard deviation over subsets. It can come out slightly negative.",
        "Bińkowski et al. 2018", _spread,
    ),
    Metric(
        "precision", "precision", "higher",
        "Share of the samples that lie within the manifold of the reference: fidelity.",
        "Kynkäänniemi et al. 2019", _percent,
    ),
    Metric(
        "recall", "recall", "higher",
        "Share of the reference that lies within the manifold of the samples: variety.",
        "Kynkäänniemi et al. 2019", _percent,
    ),
    Metric(
        "density", "density", "higher",
        "How many neighbourhoods of reference points a sample lies in, relative to what is "
        "expected: fidelity that outliers do not inflate. It can exceed 1.",
        "Naeem et al. 2020",
    ),
    Metric(
        "coverage", "coverage", "higher",
        "Share of the reference points that have a sample in their neighbourhood: variety.",
        "Naeem et al. 2020", _percent,
    ),
    Metric(
        "sliced_wasserstein", "SW", "lower",
        "Sliced Wasserstein distance: between one-dimensional projections, averaged over random "
        "directions.",
        "Rabin et al. 2011",
    ),
    Metric(
        "rmse", "RMSE", "lower",
        "Root of the mean squared difference to the fine solution that started from the same "
        "noise: how far samples are from where the exact flow takes them.",
        "",
    ),
    Metric(
        "relative_error", "relative error", "lower",
        "That error over the root mean square of the fine samples, with its 95% interval.",
        "", _interval,
    ),
    Metric(
        "modes", "modes", "all covered, KL lower",
        "Modes or classes that the samples reach, and the Kullback-Leibler divergence of their "
        "shares from the weights of the modes, or from the shares that were asked for.",
        "", _modes,
    ),
    Metric(
        "as_label", "as label", "higher",
        "Share of the samples that the classifier takes for the class that was asked for.",
        "", _percent,
    ),
    Metric(
        "variance_ratio", "variance ratio", "near 1",
        "Variance of the samples over that of the fine solution: below 1 they are too alike, above "
        "1 too spread.",
        "",
    ),
)  # fmt: skip
"""In the order in which tables show them."""

TERMS = (
    ("NFE", "Model evaluations that a sample costs. Everything is compared at equal NFE."),
    ("base", "The solver alone."),
    ("SteinDiff", "The solver relaxed by the default coefficient, `energy`."),
    ("γ", "How much of the solver's step is taken: x′ = (1 − γ) x + γ T(x). 1 leaves it alone."),
    (
        "energy",
        "|x|²/d of the state after a step. Relative to the fine solution's at the same noise level "
        "1 is right, less is energy that the solver lost.",
    ),
    (
        "best constant γ",
        "Control: one γ for all steps and samples, the best of a sweep on these very samples. It "
        "is tuned, SteinDiff is not.",
    ),
    ("γ = 1", "Control: a relaxation that does nothing; it has to equal the base."),
    (
        "random γ",
        "Control: SteinDiff's own γ of the whole sampling, dealt out at random over steps and "
        "samples: the same spread, without the law that says which is for when.",
    ),
    (
        "oracle γ",
        "Control: γ by least squares to the fine trajectory, which no sampler knows: what one "
        "number per sample and step could do.",
    ),
    ("the end alone", "Control: the solver with the step into σ = 0, not relaxed."),
    (
        "TSR",
        "Control: temporal score rescaling (arXiv 2510.01184) with k = 0.95 and v = 1, as people "
        "get it: samples of a little more variance.",
    ),
    ("ε / 1.005", "Control: epsilon scaling (arXiv 2308.15321), the predicted noise over 1.005."),
    ("noise × 1.01", "Control: a percent more of the initial noise."),
    (
        "fine solution",
        "The same model sampled from the same noise with many evaluations; stands for the exact "
        "solution of the ODE.",
    ),
    (
        "change",
        "Distance relative to the base's, in percent (or as a factor), with the 95% interval of a "
        "bootstrap that is paired over noises.",
    ),
    ("mean", "Geometric mean of the ratios to the base, over cells in which neither diverged."),
    ("usual", "The schedule that a solver's authors use it on."),
    (
        "l.o.f.",
        "Lower order final: as many past evaluations as steps are left, in the last steps. DPM++ "
        "and UniPC do so by themselves.",
    ),
)
"""Words of the report, and what they mean."""
