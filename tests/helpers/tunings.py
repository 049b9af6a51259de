"""Tunings that were not fitted to anything, for tests of what uses them."""

from __future__ import annotations

import steindiff as sd
from steindiff.calibrated import Calibrated
from steindiff.recipes import COEFFICIENT
from steindiff.tuning import Choice, Figures, Ratio, Tuned, Weights

FITTED = Calibrated(
    (14.0, 5.0, 1.8, 0.6, 0.0), ((-0.001,), (0.7, 0.002), (0.6, -0.2, -0.01), (0.4, -0.1))
)


def recipes() -> dict[int, sd.Recipe]:
    """Of four steps with fitted scalars and a fitted end, relaxed; of five without, with an end."""
    chosen = sd.recipe(5, sigma_max=14.0)
    return {4: sd.Recipe(FITTED.levels, FITTED, COEFFICIENT, "none", "levels fitted"), 5: chosen}


def tuned(
    guidance: float = 1.0, model: str = "", model_hash: str = "", weights: Weights | None = None
) -> Tuned:
    """A tuning of these recipes."""
    ratio, figures = Ratio(0.5, 0.4, 0.6), Figures(0.1, 0.2)
    choices = {
        steps: Choice(
            "fitted" if steps == 4 else "recipe", plan, sd.recipe(steps, sigma_max=14.0),
            dict.fromkeys(("tuned", "recipe", "plain"), figures), ratio, ratio, ratio, (),
        )
        for steps, plan in recipes().items()
    }  # fmt: skip
    return Tuned(
        choices, guidance, 14.0, 8, 16, 16, 0, 8, ((10.0, 1.0), (0.5, 0.5)), 100, model, model_hash,
        weights,
    )  # fmt: skip
