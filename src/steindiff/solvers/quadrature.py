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


def lagrange_integrals(
    points: Sequence[float], start: float, end: float, density: Callable[[float], float]
) -> list[float]:
    """For each k the integral from `start` to `end` of L_k(s) density(s) ds.

    L_k is the polynomial that is 1 at points[k] and 0 at the other points.
    """
    integrals = [0.0] * len(points)
    for node, weight in _gauss_legendre():
        s = start + (end - start) * node
        mass = weight * (end - start) * density(s)
        for k, point in enumerate(points):
            others = (other for j, other in enumerate(points) if j != k)
            integrals[k] += mass * math.prod((s - other) / (point - other) for other in others)
    return integrals
