"""Local Lipschitz constants: the largest singular value of a map's Jacobian, for each sample.

Power iteration on J'J, which costs one Jacobian-vector and one vector-Jacobian product a round,
with all its iterates kept: the best vector of the space that they span (Lanczos) is found by the
same products, and converges with the square root of the rounds that the last iterate alone needs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch
from ..._jacobian import Jacobian, Map
from ..._reductions import accumulator_dtype


class Lipschitz(NamedTuple):
    """A local Lipschitz constant of each sample.

    Attributes:
        constant: (B,) L, a lower bound that grows to the largest singular value of J.
        residual: (B,) |J'J v - L^2 v|/L^2: J'J has an eigenvalue within this share of L^2.
        direction: (B, *shape) v, the unit vector that the map stretches by L.
        rounds: products with J and with J' that it took.
    """

    constant: Tensor
    residual: Tensor
    direction: Tensor
    rounds: int


def local_lipschitz(
    f: Map, x: Tensor, *, rounds: int = 24, tolerance: float = 1e-2, seed: int = 0
) -> Lipschitz:
    """The largest singular value of df/dx at `x`.

    Golub & Van Loan 2013, "Matrix Computations", section 10.1 (Lanczos), on J'J and with full
    orthogonalisation; the published Lipschitz constants are by plain power iteration.

    Args:
        f: differentiable twice by autograd, each sample by itself; called once.
        x: (B, *shape).
        rounds: at most so many, >= 1.
        tolerance: stop when every sample's residual is below.
        seed: of the start vector, the same for every sample.

    Returns:
        A `Lipschitz`, in float64 (float32 on mps) but for the direction, which is as `x` is.

    Raises:
        TypeError, ValueError: `x` is no batch of samples, rounds < 1, tolerance <= 0, or f as
            `Jacobian` refuses it.
    """
    if rounds < 1 or not tolerance > 0:
        raise ValueError(f"rounds is {rounds} and tolerance {tolerance}; >= 1 and > 0 are needed")
    space = _Krylov(Jacobian(f, check_batch(x)), x, seed)
    for _ in range(min(rounds, x[0].numel())):
        space.grow()
        if bool((space.residual < tolerance).all()):
            break
    return Lipschitz(
        space.value.clamp_min(0).sqrt(), space.residual, space.vector.to(x.dtype).reshape(x.shape),
        len(space.basis),
    )  # fmt: skip


class _Krylov:
    """The span of the power iterates of J'J, and the best vector in it, for each sample."""

    def __init__(self, jacobian: Jacobian, x: Tensor, seed: int) -> None:
        self.jacobian, self.x = jacobian, x
        self.basis: list[Tensor] = []
        self.images: list[Tensor] = []  # J'J of the basis
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn((1, *x.shape[1:]), generator=generator, dtype=torch.float64)
        dtype = accumulator_dtype(x.device)
        self.next = _unit(start.to(x.device, dtype).expand(x.shape).flatten(1))

    def grow(self) -> None:
        """One round: J'J of the newest vector, and the best vector of the larger span."""
        newest = self.next
        image = self._image(newest)
        self.basis.append(newest)
        self.images.append(image)
        basis, images = torch.stack(self.basis, dim=1), torch.stack(self.images, dim=1)
        matrix = basis @ images.transpose(1, 2)
        values, vectors = torch.linalg.eigh((matrix + matrix.transpose(1, 2)) / 2)
        self.value, weights = values[:, -1], vectors[:, None, :, -1]
        self.vector = (weights @ basis)[:, 0]
        off = (weights @ images)[:, 0] - self.value[:, None] * self.vector
        moves = self.value > 0
        self.residual = off.norm(dim=1) / torch.where(moves, self.value, 1.0)
        for _ in range(2):  # twice is enough
            image = image - ((basis @ image[:, :, None]).transpose(1, 2) @ basis)[:, 0]
        self.next = _unit(image)

    def _image(self, v: Tensor) -> Tensor:
        tangent = v.to(self.x.dtype).reshape(self.x.shape)
        image = self.jacobian.transposed_times(self.jacobian.times(tangent))
        return image.to(v.dtype).flatten(1)


def _unit(v: Tensor) -> Tensor:
    """`v` (B, d) with rows of length 1; zeros stay zeros, which add nothing to a span."""
    length = v.norm(dim=1, keepdim=True)
    return v / torch.where(length > 0, length, 1.0)
