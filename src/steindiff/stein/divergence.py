"""Estimates of the divergence div f = sum_i df_i/dx_i, one for each sample.

Stein's identity for x = x0 + sigma * eps: E<sigma eps, f(x)> = sigma^2 E div f (Stein 1981,
"Estimation of the Mean of a Multivariate Normal Distribution", lemma 2), where E[sigma eps | x] =
x - D(x). It gives estimates that cost nothing, right in the mean over the exact marginal; the
others ask the map itself and are right at every x, in the mean over their probes.

A map f takes (B, *shape) to (B, *shape), each sample by itself. All results are (B,), in
float64 (float32 on mps). `hutchinson` and `exact` are detached; through the others gradients flow
if the caller records them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._errors import check_batch, check_callable, check_count, check_number, unknown_name
from .._jacobian import Jacobian, Map
from .._reductions import accumulator_dtype, inner, row_sum

MOST_PROBES = 1_000_000
PROBES = ("gaussian", "rademacher")


def ratio(x: Tensor, denoised: Tensor) -> Tensor:
    """Free estimate of div D: d <D, x - D> / <x, x - D>, d times the Stein ratio j.

    Stein's identity for D over the one for the identity map, E<x, x - D> = d sigma^2. The ratio
    of the two needs no noise level: errors in it, and in the norm of the sample's noise, cancel.

    Args:
        x: (B, *shape), in VE coordinates.
        denoised: (B, *shape), D(x, sigma).

    Returns:
        (B,); not finite where <x, x - D> = 0.

    Raises:
        TypeError, ValueError: `x` is no batch of samples, or `denoised` is of another shape.
    """
    noise = _noise(x, denoised)
    size = math.prod(x.shape[1:])
    return size * inner(denoised, noise) / inner(x, noise)


def residual_ratio(u: Tensor, x: Tensor, denoised: Tensor, sigma: Tensor | float) -> Tensor:
    """Free estimate of div u for any field u(x): <u, x - D> / sigma^2.

    Args:
        u: (B, *shape), the field at `x`, such as the residual x - T(x) of a step T.
        x: (B, *shape), in VE coordinates.
        denoised: (B, *shape), D(x, sigma).
        sigma: > 0, a number, a 0-dim tensor, or (B,).

    Returns:
        (B,).

    Raises:
        TypeError, ValueError: `x` is no batch of samples, the shapes differ, `sigma` is of the
            wrong shape or a number <= 0.
    """
    noise = _noise(x, denoised)
    product = inner(_check_output(u, x, "u"), noise)
    if not isinstance(sigma, Tensor):
        if not (math.isfinite(check_number("sigma", sigma)) and sigma > 0):
            raise ValueError(f"sigma is {sigma}; a finite number > 0 is needed")
        return product / (sigma * sigma)
    if sigma.ndim and sigma.shape != product.shape:
        raise ValueError(f"sigma has shape {tuple(sigma.shape)}; a number or ({len(x)},) is needed")
    return product / sigma.to(product).square()


def finite_difference(
    f: Map,
    x: Tensor,
    generator: torch.Generator | None = None,
    relative_step: float = 1e-3,
    probes: int = 1,
    value: Tensor | None = None,
    kind: str = "gaussian",
    shared_probes: bool = True,
) -> Tensor:
    """Mean over random probes z of <z, f(x + h z) - f(x)> / h.

    The step h is `relative_step` times the root mean square of the sample's own elements. The
    error is O(h), and rounding adds about eps/h: a step of 1e-3 suits float32.

    Args:
        f: the map; one call for each probe, and one more if `value` is not given.
        x: (B, *shape).
        generator: of the CPU; None for torch's global one.
        relative_step: > 0.
        probes: >= 1.
        value: (B, *shape), f(x) if it is known.
        kind: "gaussian" or "rademacher", see `hutchinson`.
        shared_probes: see `hutchinson`.

    Returns:
        (B,).

    Raises:
        TypeError: `x` is not a real floating-point tensor.
        ValueError: probes < 1, relative_step <= 0, unknown kind, a generator that is not the
            CPU's, or f's output (or `value`) of another shape than `x`.
    """
    check_callable("f", f)
    if not (math.isfinite(check_number("relative_step", relative_step)) and relative_step > 0):
        raise ValueError(f"relative_step is {relative_step}; a finite number > 0 is needed")
    directions = _probes(check_batch(x), probes, kind, generator, shared_probes)
    base = _check_output(f(x) if value is None else value, x, "f(x)" if value is None else "value")
    scale = (inner(x, x) / math.prod(x.shape[1:])).sqrt()
    step = relative_step * torch.where(scale > 0, scale, torch.ones_like(scale))
    step_image = step.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    total = torch.zeros_like(step)
    for z in directions:
        moved = _check_output(f(x + step_image * z), x, "f(x)")
        total = total + inner(z.expand_as(x), _difference(moved, base)) / step
    return total / probes


def hutchinson(
    f: Map,
    x: Tensor,
    probes: int = 5,
    kind: str = "gaussian",
    generator: torch.Generator | None = None,
    shared_probes: bool = True,
) -> Tensor:
    """Mean over random probes z of <z, J z>, J the Jacobian of f: unbiased at every x.

    Hutchinson 1990, "A Stochastic Estimator of the Trace of the Influence Matrix". The variance of
    one probe is |J + J'|^2 / 2 with Gaussian probes, and the same without its diagonal with
    Rademacher ones (+-1).

    Probes are drawn on the CPU, whatever the device of `x`, and all samples of the batch get the
    same ones, so that a sample's estimate depends neither on its neighbours nor on its place among
    them. The errors of the samples are then correlated: where a mean over the batch is wanted,
    `shared_probes=False` draws one set for each sample.

    Args:
        f: differentiable by autograd; called once, with gradients on even under no_grad.
        x: (B, *shape).
        probes: number of vector-Jacobian products, >= 1.
        kind: "gaussian" or "rademacher".
        generator: of the CPU; None for torch's global one.
        shared_probes: draw probes (probes, *shape) for all samples, not (probes, B, *shape).

    Returns:
        (B,).

    Raises:
        TypeError: `x` is not a real floating-point tensor.
        ValueError: probes < 1, unknown kind, a generator that is not the CPU's, f's output of
            another shape than `x`, or not connected to it by autograd.
    """
    directions = _probes(check_batch(x), probes, kind, generator, shared_probes)
    total = torch.zeros(len(x), dtype=accumulator_dtype(x.device), device=x.device)
    jacobian = Jacobian(f, x)
    for z in directions:
        total = total + inner(z.expand_as(x), jacobian.transposed_times(z.expand_as(x)))
    return total / probes


def exact(f: Map, x: Tensor) -> Tensor:
    """Exact divergence, by as many vector-Jacobian products as a sample has elements.

    Args:
        f: differentiable by autograd; called once, with gradients on even under no_grad.
        x: (B, *shape).

    Returns:
        (B,).

    Raises:
        TypeError: `x` is not a real floating-point tensor.
        ValueError: f's output of another shape than `x`, or not connected to it by autograd.
    """
    check_batch(x)
    size = math.prod(x.shape[1:])
    diagonal = []
    jacobian = Jacobian(f, x)
    for index in range(size):
        unit = torch.zeros(len(x), size, dtype=x.dtype, device=x.device)
        unit[:, index] = 1
        row = jacobian.transposed_times(unit.reshape(x.shape))
        diagonal.append(row.reshape(len(x), size)[:, index])
    return row_sum(torch.stack(diagonal, dim=1).to(accumulator_dtype(x.device)))


def _probes(
    x: Tensor, probes: int, kind: str, generator: torch.Generator | None, shared: bool
) -> Tensor:
    """(probes, 1 or B, *shape), drawn on the CPU, as `x` is. Each broadcasts to `x`."""
    check_count("probes", probes, 1, MOST_PROBES)
    if kind not in PROBES:
        raise unknown_name("kind of probe", kind, PROBES)
    if not isinstance(generator, torch.Generator | None):
        raise TypeError(f"generator is a {type(generator).__name__}; a torch.Generator is needed")
    if generator is not None and generator.device.type != "cpu":
        raise ValueError(f"generator is on {generator.device}; probes are drawn on the CPU")
    shape = (probes, 1 if shared else len(x), *x.shape[1:])
    if kind == "gaussian":
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    else:
        drawn = torch.randint(0, 2, shape, generator=generator, device="cpu").double() * 2 - 1
    return drawn.to(x.dtype).to(x.device)


def _noise(x: Tensor, denoised: Tensor) -> Tensor:
    """x - D, which estimates sigma * eps, in the accumulator's dtype."""
    return _difference(check_batch(x), _check_output(denoised, x, "denoised"))


def _difference(a: Tensor, b: Tensor) -> Tensor:
    dtype = accumulator_dtype(a.device)
    return a.to(dtype) - b.to(dtype)


def _check_output(output: Tensor, x: Tensor, name: str) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(f"{name} is a {type(output).__name__}; a tensor is needed")
    if output.shape != x.shape:
        raise ValueError(
            f"{name} has shape {tuple(output.shape)}; that of x, {tuple(x.shape)}, is needed"
        )
    return output
