"""Stein relaxation: divergence estimators, coefficients, and the solver that applies them."""

from __future__ import annotations

from typing import Any

from ..errors import check_options, unknown_name
from . import divergence, law
from .base import Coefficient, Decision, Proposal
from .constant import Constant
from .coupled import Coupled
from .energy import Energy
from .oracle import Oracle
from .published import Published
from .record import Record, StepRecord, stack_records
from .relax import Relaxed

COEFFICIENTS: dict[str, type[Coefficient]] = {
    "energy": Energy,
    "published": Published,
    "coupled": Coupled,
    "constant": Constant,
}

__all__ = [
    "COEFFICIENTS",
    "Coefficient",
    "Constant",
    "Coupled",
    "Decision",
    "Energy",
    "Oracle",
    "Proposal",
    "Published",
    "Record",
    "Relaxed",
    "StepRecord",
    "divergence",
    "law",
    "resolve_coefficient",
    "stack_records",
]


def resolve_coefficient(
    coefficient: str | Coefficient | None, **options: Any
) -> Coefficient | None:
    """The coefficient of that name with those options; objects and None pass through.

    Raises:
        ValueError: an unknown name, an option that the coefficient does not have, an option value
            that it refuses, or options beside an object. TypeError: neither a name nor a
            coefficient.
    """
    if coefficient is None or isinstance(coefficient, Coefficient):
        if options:
            raise ValueError(
                f"options {', '.join(sorted(options))} were given beside {coefficient!r}; set them "
                "where the object is made"
            )
        return coefficient
    if not isinstance(coefficient, str):
        raise TypeError(f"coefficient is {coefficient!r}; a name, a Coefficient or None is needed")
    if coefficient not in COEFFICIENTS:
        raise unknown_name("coefficient", coefficient, COEFFICIENTS)
    check_options("coefficient", coefficient, COEFFICIENTS[coefficient], options)
    return COEFFICIENTS[coefficient](**options)
