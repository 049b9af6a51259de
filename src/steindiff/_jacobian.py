"""Products with the Jacobian of a map, each sample of the batch by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ._errors import check_batch, check_callable

Map = Callable[[Tensor], Tensor]
"""f: (B, *shape) -> (B, *shape), each sample by itself."""


class _PlainAttention:
    """Attention that is not fused: the fused one has no second derivative, which `times` needs.

    torch's switches are the process's, not a thread's. The first thread to come sets them and the
    last to go restores them: each for itself, one could restore what another had set, and attention
    would stay as it is in here, for all that follows.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._switches = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._switches.enter_context(sdpa_kernel(SDPBackend.MATH))
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._switches.close()


_PLAIN_ATTENTION = _PlainAttention()


class Jacobian:
    """J = df/dx at `x`, one matrix a sample, known by its products alone.

    f is called once, with gradients on even under no_grad or inference_mode. Its graph is kept
    for all products: as long as the object lives.

    Args:
        f: differentiable by autograd.
        x: (B, *shape).

    Attributes:
        value: (B, *shape), f(x), detached.

    Raises:
        TypeError: `x` is not a real floating-point tensor.
        ValueError: f's output of another shape than `x`, or not connected to it by autograd; where
            f has parameters that are trained, the latter is seen at the first product.
    """

    def __init__(self, f: Map, x: Tensor) -> None:
        check_callable("f", f)
        check_batch(x)
        self._forward: tuple[Tensor, Tensor] | None = None
        with torch.inference_mode(False), torch.enable_grad(), _PLAIN_ATTENTION:
            self._leaf = x.clone().detach().requires_grad_()
            self._output = f(self._leaf)
        if self._output.shape != x.shape:
            raise ValueError(
                f"f(x) has shape {tuple(self._output.shape)}; that of x, {tuple(x.shape)}, is "
                "needed"
            )
        self._connected(self._output if self._output.requires_grad else None)
        self.value = self._output.detach()

    @staticmethod
    def _connected(tensor: Tensor | None) -> Tensor:
        if tensor is None:
            raise ValueError(
                "f(x) is not connected to x by autograd (does f run under no_grad, or detach?); "
                "use finite_difference for such a map"
            )
        return tensor

    def transposed_times(self, cotangent: Tensor) -> Tensor:
        """J' u for u (B, *shape): one backward pass."""
        cotangent = cotangent.to(self._output.dtype)
        product = torch.autograd.grad(
            self._output, self._leaf, cotangent, retain_graph=True, allow_unused=True
        )[0]
        return self._connected(product)

    def times(self, tangent: Tensor) -> Tensor:
        """J v for v (B, *shape).

        The transposed product is linear in its cotangent u, and J v is the derivative of
        <J' u, v> by u: two backward passes, of which the first is done once. Unlike forward-mode
        differentiation it works with whatever can be differentiated twice.

        Raises:
            RuntimeError: an operation of f has no second derivative.
        """
        if self._forward is None:
            with torch.inference_mode(False), torch.enable_grad(), _PLAIN_ATTENTION:
                cotangent = torch.zeros_like(self._output, requires_grad=True)
                product = torch.autograd.grad(
                    self._output, self._leaf, cotangent, create_graph=True, allow_unused=True
                )[0]
            self._forward = cotangent, self._connected(product)
        cotangent, product = self._forward
        if not product.requires_grad:  # J' u does not depend on u: J = 0
            return torch.zeros_like(tangent)
        return torch.autograd.grad(
            product, cotangent, tangent.to(product.dtype), retain_graph=True
        )[0]
