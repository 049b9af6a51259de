"""Coefficients by name, and relaxing by name."""

from __future__ import annotations

from typing import Any

from .._errors import check_options, shown, unknown_name
from ..solvers import Solver, resolve_solver
from .base import Coefficient
from .constant import Constant
from .coupled import Coupled
from .energy import Energy
from .published import Published
from .relax import Relaxed

COEFFICIENTS: dict[str, type[Coefficient]] = {
    "energy": Energy,
    "published": Published,
    "coupled": Coupled,
    "constant": Constant,
}

NONE = "none"
"""The word for no coefficient, where only words can be written."""


def resolve_coefficient(
    coefficient: str | Coefficient | None, **options: Any
) -> Coefficient | None:
    """The coefficient of that name with those options; objects and None pass through.

    "none" is None: the plain solver.

    Raises:
        ValueError: an unknown name, an option that the coefficient does not have, an option value
            that it refuses, or options beside an object.
        TypeError: neither a name nor a coefficient.
    """
    if coefficient == NONE:
        coefficient = None
    if coefficient is None or isinstance(coefficient, Coefficient):
        if options:
            raise ValueError(
                f"options {', '.join(sorted(options))} were given beside {coefficient!r}; set them "
                "where the object is made"
            )
        return coefficient
    if not isinstance(coefficient, str):
        raise TypeError(
            f"coefficient is {shown(coefficient)}; a name, a Coefficient or None is needed"
        )
    if coefficient not in COEFFICIENTS:
        raise unknown_name("coefficient", coefficient, (*COEFFICIENTS, NONE))
    check_options("coefficient", coefficient, COEFFICIENTS[coefficient], options)
    return COEFFICIENTS[coefficient](**options)


def relax(
    solver: str | Solver, coefficient: str | Coefficient = "energy", *, record: bool = False
) -> Relaxed:
    """The solver, relaxed: x' = (1 - gamma) x + gamma T(x) with gamma from the coefficient.

    Args:
        solver: a name of `SOLVERS` or a `Solver`.
        coefficient: a name of `COEFFICIENTS` or a `Coefficient`.
        record: whether each step is measured; `sample(record=True)` asks for it by itself.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor an object of the kind, or a solver that is relaxed already.
    """
    rule = resolve_coefficient(coefficient)
    if rule is None:
        raise TypeError("coefficient is None; without one there is nothing to relax with")
    return Relaxed(resolve_solver(solver), rule, record)
