"""What is put around a base solver: its step into sigma = 0, and the relaxation of its steps.

One place for the choice, so that `sample` and every adapter mean the same by "auto".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ._errors import check_options
from .recipes import COEFFICIENT, END, Recipe
from .solvers import Solver
from .stein import Coefficient, Constant, Ended, Relaxed, check_end, resolve_coefficient

AUTO = "auto"
"""What an argument is where the recipe is to choose."""


def choose(
    coefficient: str | Coefficient | None,
    end: str,
    plan: Recipe | None = None,
    **options: Any,
) -> tuple[Coefficient | None, str]:
    """The coefficient and the end that are meant.

    Args:
        coefficient: a name of `COEFFICIENTS`, a `Coefficient`, "auto" for the recipe's, None or
            "none" for the plain solver.
        end: one of `ENDS`; "auto" is the recipe's where the coefficient is the recipe's too or
            there is one, else "none".
        plan: the recipe that chooses; left out, what all recipes have in common.
        **options: of a coefficient that is named; beside "auto" they replace the recipe's own.

    Raises:
        ValueError, TypeError: as `resolve_coefficient` and `check_end`.
    """
    whole = plan is not None and coefficient == AUTO
    if coefficient == AUTO:
        coefficient = plan.coefficient if plan else COEFFICIENT
        if coefficient is not None and options:
            check_options("coefficient", AUTO, type(coefficient), options)
            coefficient, options = replace(coefficient, **options), {}
    rule = resolve_coefficient(coefficient, **options)
    if end == AUTO:
        end = "none" if rule is None and not whole else plan.end if plan else END
    return rule, check_end(end)


def compose(solver: Solver, rule: Coefficient | None, end: str, record: bool = False) -> Solver:
    """The base, its end, and the relaxation around both.

    With no coefficient, end "none" and nothing to record it is the base itself.

    Args:
        solver: the base, neither relaxed nor with an end unless `end` is "none".
        rule: the coefficient; None is none.
        end: one of `ENDS`. It acts only where a sampling ends at 0.
        record: whether the steps are measured, relaxed or not.
    """
    base = solver if end == "none" else Ended(solver, end)
    if rule is None and not record:
        return base
    return Relaxed(base, rule or Constant(1.0), record)
