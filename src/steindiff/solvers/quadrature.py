"""Weights of multistep solvers: integrals of the polynomials through the remembered points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

from numpy.polynomial.legendre import leggauss

_NODES = 16
"""Exact for polynomials up to degree 31; e^s over a step of 10 in s is then good to 1e-13."""


@cache
def _gauss_legendre() -> tuple[tuple[float, float], ...]:
    """(node, weight) pairs on [0, 1]."""
    nodes, weights = leggauss(_NODES)
    return tuple(zip(((1 + nodes) / 2).tolist(), (weights / 2).tolist(), strict=True))


def _itself(s: float) -> float:
    return s


def lagrange_integrals(
    points: Sequence[float],
    start: float,
    end: float,
    density: Callable[[float], float],
    variable: Callable[[float], float] = _itself,
) -> list[float]:
    """For each k the integral from `start` to `end` of L_k(variable(s)) density(s) ds.

    L_k is the polynomial that is 1 at variable(points[k]) and 0 at that of the other points.
    """
    integrals = [0.0] * len(points)
    places = [variable(point) for point in points]
    for node, weight in _gauss_legendre():
        s = start + (end - start) * node
        mass, at = weight * (end - start) * density(s), variable(s)
        for k, place in enumerate(places):
            others = (other for j, other in enumerate(places) if j != k)
            integrals[k] += mass * math.prod((at - other) / (place - other) for other in others)
    return integrals
