"""Least squares of one step: normal equations that can be added up, and their ridge solution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .._reductions import inner

_NEGLIGIBLE = 1e-12
"""Relative to the largest eigenvalue of the scaled equations; below it a direction is not seen."""


class Equations(NamedTuple):
    """Normal equations of one step, as means over samples; float64 on the CPU.

    A sample's loss is |y - sum_j c_j b_j|^2/|y|^2, y what Euler's step lacks to the target: the
    share of Euler's squared error that remains. So every sample counts the same, and so does every
    network when the equations of several are averaged.

    Attributes:
        matrix: (m, m), <b_i, b_j>/|y|^2.
        right: (m,), <b_i, y>/|y|^2.
    """

    matrix: Tensor
    right: Tensor

    def first(self, count: int) -> Equations:
        """Those of the first `count` basis vectors alone."""
        return Equations(self.matrix[:count, :count], self.right[:count])

    def loss(self, scalars: Sequence[float]) -> float:
        """Share of Euler's squared error that remains with these scalars."""
        c = torch.tensor(scalars, dtype=torch.float64)
        return float(1 - 2 * (self.right @ c) + c @ self.matrix @ c)


def normal_equations(
    missing: Tensor, basis: Sequence[Tensor], unit: Tensor | None = None
) -> Equations:
    """The equations of samples `missing` (B, *shape) = y and basis vectors of the same shape.

    Samples that lack nothing are left out; if all lack nothing, the equations are 0. `unit` (B,)
    is what products are divided by in place of |y|^2; `loss` then is off by a constant.
    """
    square = inner(missing, missing) if unit is None else unit
    counts = square > 0
    weight = torch.where(counts, 1 / torch.where(counts, square, 1.0), 0.0)
    weight = weight / counts.sum().clamp_min(1)
    right = torch.stack([(inner(b, missing) * weight).sum() for b in basis])
    matrix = torch.stack(
        [torch.stack([(inner(a, b) * weight).sum() for b in basis]) for a in basis]
    )
    return Equations(matrix.cpu().double(), right.cpu().double())


def pooled(equations: Sequence[Equations]) -> Equations:
    """The mean of several, each with the same weight."""
    return Equations(
        torch.stack([one.matrix for one in equations]).mean(dim=0),
        torch.stack([one.right for one in equations]).mean(dim=0),
    )


def solve(equations: Equations, prior: Sequence[float], ridge: float) -> tuple[float, ...]:
    """The scalars of least loss, drawn to `prior`.

    Minimises loss(c) + ridge sum_j M_jj (c_j - p_j)^2, M the matrix of the equations: the ridge is
    a number without a unit, relative to the weight of the data. Directions that the data do not
    show (parallel basis vectors) stay at the prior.
    """
    wanted = torch.tensor(prior, dtype=torch.float64)
    scale = equations.matrix.diagonal().sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    matrix = equations.matrix / (scale[:, None] * scale)
    right = (equations.right - equations.matrix @ wanted) / scale
    values, vectors = torch.linalg.eigh(matrix)
    seen = values > _NEGLIGIBLE * values.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    inverse = torch.where(seen, 1 / torch.where(seen, values + ridge, 1.0), 0.0)
    change = vectors @ (inverse * (vectors.T @ right)) / scale
    return tuple((wanted + change).tolist())
