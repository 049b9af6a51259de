"""Maps of (B, *SHAPE) whose Jacobians are known, or found row by row."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from draws import normal
from torch import Tensor

from steindiff.denoisers import GaussianMixture

SHAPE, SIZE = (3, 4), 12
Map = Callable[[Tensor], Tensor]
MATRIX, OUTER = normal(SIZE, SIZE, seed=1), normal(SIZE, SIZE, seed=2)
MIXTURE = GaussianMixture(normal(4, *SHAPE, seed=3), 0.2)


def linear(matrix: Tensor) -> Map:
    """The map of a matrix (d, d), d numbers a sample."""
    return lambda x: (x.flatten(1) @ matrix.T.to(x)).reshape(x.shape)


def network(x: Tensor) -> Tensor:
    """One hidden layer."""
    return (torch.tanh(x.flatten(1) @ MATRIX.T / 4) @ OUTER.T).reshape(x.shape)


def attention(x: Tensor) -> Tensor:
    """Its fused kernels have no second derivative."""
    heads = x.reshape(len(x), 1, *SHAPE)
    return F.scaled_dot_product_attention(2 * heads, heads, heads.sin()).reshape(x.shape)


def matrices(f: Map, x: Tensor) -> Tensor:
    """(B, d, d): the Jacobian at every sample, by one backward pass for each row."""
    found = [torch.autograd.functional.jacobian(f, one[None]) for one in x]
    return torch.stack([torch.as_tensor(j).reshape(x[0].numel(), -1) for j in found])
