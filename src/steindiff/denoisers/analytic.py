"""Exact denoisers of known distributions: D(x, sigma) = E[x0 | x0 + sigma * eps = x].

Each also knows the exact divergence of D, so that the estimators can be held against the truth.
Arithmetic is done in float64 (float32 on mps), and the denoised sample is returned in the dtype of
`x`. Nothing is multiplied or summed across the batch, so that a sample's result is the same to the
last bit whatever batch it is in (but for a Gaussian with a full covariance, whose matrix products
do not promise it).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .._errors import check_batch
from .._reductions import accumulator_dtype, pairwise_sum

_CHUNK = 2**16  # elements of one sample's components held at once
_BLOCK = 2**21  # elements of all samples' components held at once


class _Exact(ABC):
    """What the exact denoisers share: checks, flattening, precision."""

    sample_shape: tuple[int, ...] | None

    def __call__(self, x: Tensor, sigma: Tensor | float, /, **conditioning: Any) -> Tensor:
        """Posterior mean E[x0 | x].

        Args:
            x: (B, *shape), the noisy samples x0 + sigma * eps.
            sigma: > 0, a number, a 0-dim tensor, or (B,).
            **conditioning: none is known; there so that any denoiser can be called alike.

        Returns:
            (B, *shape), in the dtype of `x`.

        Raises:
            TypeError: `x` is not a real floating-point tensor.
            ValueError: wrong sample shape, `sigma` of the wrong shape or a number <= 0, or any
                conditioning.
        """
        if conditioning:
            raise ValueError(
                f"conditioning has {sorted(conditioning)}; an exact denoiser takes none"
            )
        flat, variance = self._flatten(x), self._variance(x, sigma)
        return self._denoise(flat, variance).reshape(x.shape).to(x.dtype)

    def divergence(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Exact div_x D(x, sigma), which is tr Cov[x0 | x] / sigma^2.

        Args and errors as for the call.

        Returns:
            (B,) float64 (float32 on mps), >= 0.
        """
        return self._divergence(self._flatten(x), self._variance(x, sigma))

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` clean samples, (count, *shape), in the dtype of the parameters."""

    @abstractmethod
    def _denoise(self, x: Tensor, variance: Tensor) -> Tensor:
        """(B, d) from x (B, d) and sigma^2 (B, 1)."""

    @abstractmethod
    def _divergence(self, x: Tensor, variance: Tensor) -> Tensor:
        """(B,) from x (B, d) and sigma^2 (B, 1)."""

    def _flatten(self, x: Tensor) -> Tensor:
        shape = tuple(check_batch(x).shape[1:])
        if self.sample_shape is not None and shape != self.sample_shape:
            raise ValueError(
                f"x has samples of shape {shape}; this distribution has {self.sample_shape}"
            )
        return x.reshape(len(x), -1).to(accumulator_dtype(x.device))

    def _variance(self, x: Tensor, sigma: Tensor | float, name: str = "sigma") -> Tensor:
        """sigma^2 as (B, 1), in the accumulator's dtype, on the device of `x`."""
        dtype = accumulator_dtype(x.device)
        if not isinstance(sigma, Tensor):
            if not (math.isfinite(sigma) and sigma > 0):
                raise ValueError(f"{name} is {sigma}; a finite number > 0 is needed")
            return torch.full((len(x), 1), sigma, dtype=dtype, device=x.device).square()
        if sigma.ndim and sigma.shape != x.shape[:1]:
            raise ValueError(
                f"{name} has shape {tuple(sigma.shape)}; a number or ({len(x)},) is needed"
            )
        return sigma.to(x.device, dtype).expand(len(x))[:, None].square()


class Gaussian(_Exact):
    """x0 ~ N(mean, covariance).

    D = mean + C (C + sigma^2)^-1 (x - mean), div D = tr C (C + sigma^2)^-1.

    Args:
        mean: a number or a tensor that broadcasts to the sample shape.
        variance: >= 0, a number or a tensor that broadcasts to the sample shape: a diagonal
            covariance.
        covariance: (d, d), symmetric positive semi-definite, over the flattened sample; instead of
            `variance`.
        shape: the sample shape. Left out, it is what `mean` and `variance` broadcast to, or (d,);
            if all of these are numbers, samples of any shape are taken, and none can be drawn.

    Raises:
        TypeError: a parameter that is not of a floating-point dtype.
        ValueError: a NaN or an infinity, a negative variance, a `covariance` that is not symmetric
            or not positive semi-definite, both kinds of variance, or shapes that do not match.
    """

    def __init__(
        self,
        mean: float | Tensor = 0.0,
        variance: float | Tensor = 1.0,
        covariance: Tensor | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        given = [value for value in (mean, variance, covariance) if isinstance(value, Tensor)]
        center, spread = _parameter("mean", mean), _parameter("variance", variance)
        _check_non_negative("variance", spread)
        self._basis: Tensor | None = None
        shapes = [center.shape, spread.shape]
        if covariance is not None:
            if isinstance(variance, Tensor) or variance != 1.0:
                raise ValueError("variance and covariance are both given; give one of them")
            spread, self._basis = _spectrum(covariance)
            shapes = [center.shape] if center.ndim else [spread.shape]
        self.sample_shape = _sample_shape(shapes, shape)
        self._dtype = _common_dtype(given)
        if self._basis is not None and math.prod(self.sample_shape or ()) != len(spread):
            raise ValueError(
                f"covariance is of {len(spread)} dimensions; samples have shape {self.sample_shape}"
            )
        self._mean = self._flat(center)
        self._spread = spread if self._basis is not None else self._flat(spread)

    def transport(self, x: Tensor, sigma: Tensor | float, sigma_next: Tensor | float) -> Tensor:
        """Exact solution at `sigma_next` of the probability-flow ODE dx/dsigma = (x - D)/sigma.

        x' = mean + ((C + sigma_next^2) (C + sigma^2)^-1)^(1/2) (x - mean).

        Args:
            x: (B, *shape), the states at `sigma`.
            sigma: > 0, a number, a 0-dim tensor, or (B,).
            sigma_next: >= 0, likewise; higher or lower than `sigma`.

        Returns:
            (B, *shape), in the dtype of `x`.

        Raises: as the call.
        """
        flat, variance = self._flatten(x), self._variance(x, sigma)
        at_zero = not isinstance(sigma_next, Tensor) and sigma_next == 0
        after = (
            torch.zeros_like(variance) if at_zero else self._variance(x, sigma_next, "sigma_next")
        )
        spread = self._spread.to(variance)
        gain = ((spread + after) / (spread + variance)).sqrt()
        return self._scaled(flat, gain).reshape(x.shape).to(x.dtype)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` clean samples, (count, *shape), in the dtype of the parameters.

        Raises:
            ValueError: the sample shape is not known.
        """
        if self.sample_shape is None:
            raise ValueError("the sample shape is not known; give the Gaussian a shape=")
        size = math.prod(self.sample_shape)
        noise = _noise((count, size), generator).to(self._mean.device)
        flat = self._scaled(noise, self._spread.sqrt().to(noise), centered=True)
        return flat.reshape(count, *self.sample_shape).to(self._dtype)

    def _denoise(self, x: Tensor, variance: Tensor) -> Tensor:
        spread = self._spread.to(variance)
        return self._scaled(x, spread / (spread + variance))

    def _divergence(self, x: Tensor, variance: Tensor) -> Tensor:
        spread = self._spread.to(variance)
        return pairwise_sum((spread / (spread + variance)).expand_as(x))

    def _scaled(self, x: Tensor, gain: Tensor, centered: bool = False) -> Tensor:
        """mean + gain (x - mean), the gain taken along the principal axes."""
        mean = self._mean.to(x)
        deviation = x if centered else x - mean
        if self._basis is None:
            return mean + gain * deviation
        basis = self._basis.to(x)
        return mean + ((deviation @ basis) * gain) @ basis.T

    def _flat(self, value: Tensor) -> Tensor:
        """(d,), or (1,) where any sample shape will do."""
        if self.sample_shape is None or value.ndim == 0:
            return value.reshape(1)
        return value.expand(self.sample_shape).reshape(-1)


class GaussianMixture(_Exact):
    """x0 ~ sum_k weights_k N(means_k, variances_k), with diagonal covariances.

    With the posterior weights w_k(x) (a softmax) and posterior means mu_k(x) of the components:
    D = sum_k w_k mu_k, and div D = sum_k w_k (tr dmu_k/dx + |mu_k - D|^2 / sigma^2), a sum of
    terms that are all >= 0.

    Args:
        means: (K, *shape).
        variances: >= 0: a number, (K,), or (K, *shape).
        weights: (K,), >= 0, normalised here; equal if left out.

    Raises:
        TypeError: a parameter that is not of a floating-point dtype.
        ValueError: a NaN or an infinity, a negative variance or weight, weights that sum to 0, or
            shapes that do not match.
    """

    def __init__(
        self, means: Tensor, variances: float | Tensor, weights: Tensor | None = None
    ) -> None:
        self._means = _components("means", means)
        self.sample_shape = tuple(means.shape[1:])
        self._variances = _component_variances(variances, means)
        self._weights = _component_weights(weights, means)

    @property
    def means(self) -> Tensor:
        """(K, *shape)."""
        return self._means.reshape(len(self._means), *(self.sample_shape or ()))

    @property
    def variances(self) -> Tensor:
        """(K, *shape), also where they were given as fewer numbers."""
        return self._variances.expand_as(self._means).reshape(self.means.shape)

    @property
    def weights(self) -> Tensor:
        """(K,), summing to 1."""
        return self._weights

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` clean samples, (count, *shape), in the dtype of `means`."""
        weights = self._weights.to(generator.device)
        index = torch.multinomial(weights, count, replacement=True, generator=generator)
        index = index.to(self._means.device)
        center, spread = self._means[index], self._variances[index].sqrt()
        noise = _noise(tuple(center.shape), generator).to(center.device)
        return (center + spread * noise).to(center.dtype).reshape(count, *(self.sample_shape or ()))

    def _denoise(self, x: Tensor, variance: Tensor) -> Tensor:
        return torch.cat([self._moments(*rows)[0] for rows in self._rows(x, variance)])

    def _divergence(self, x: Tensor, variance: Tensor) -> Tensor:
        return torch.cat([self._block_divergence(*rows) for rows in self._rows(x, variance)])

    def _block_divergence(self, x: Tensor, variance: Tensor) -> Tensor:
        denoised, weights = self._moments(x, variance)

        def terms(chunk: slice) -> Tensor:
            mean, spread = self._chunk(chunk, x)
            gain = spread / (spread + variance[:, None])
            offset = mean + gain * (x[:, None] - mean) - denoised[:, None]
            both = gain + offset.square() / variance[:, None]
            return pairwise_sum(both)[..., None]

        return self._expectation(weights, terms)[:, 0]

    def _moments(self, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior mean (B, d) and the posterior weights (B, K)."""
        weights = self._posterior_weights(x, variance)

        def component_means(chunk: slice) -> Tensor:
            mean, spread = self._chunk(chunk, x)
            return mean + spread / (spread + variance[:, None]) * (x[:, None] - mean)

        return self._expectation(weights, component_means), weights

    def _posterior_weights(self, x: Tensor, variance: Tensor) -> Tensor:
        logits = [self._log_likelihood(x, variance, chunk) for chunk in self._chunks()]
        logit = torch.cat(logits, dim=1) + self._weights.to(x).log()
        odds = (logit - logit.detach().amax(dim=1, keepdim=True)).exp()
        return odds / pairwise_sum(odds)[:, None]

    def _log_likelihood(self, x: Tensor, variance: Tensor, chunk: slice) -> Tensor:
        """(B, k): ln N(x; mean_k, variance_k + sigma^2), but for a constant."""
        mean, spread = self._chunk(chunk, x)
        total = spread + variance[:, None]  # (B, k, d), or (B, k, 1) for one variance a component
        square = (x[:, None] - mean).square()
        if total.shape[-1] == 1:
            total = total[..., 0]
            return -0.5 * (pairwise_sum(square) / total + x.shape[1] * total.log())
        return -0.5 * pairwise_sum(square / total + total.log())

    def _expectation(self, weights: Tensor, values: Callable[[slice], Tensor]) -> Tensor:
        """sum_k weights_k values_k: (B, n) from weights (B, K) and values (B, k, n) of chunks."""
        total: Tensor | None = None
        for chunk in self._chunks():
            terms = weights[:, chunk, None] * values(chunk)
            part = pairwise_sum(terms.transpose(1, 2))
            total = part if total is None else total + part
        assert total is not None  # there is at least one component
        return total

    def _chunk(self, chunk: slice, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means (k, d) and variances (k, d) or (k, 1), as `x` is."""
        return self._means[chunk].to(x), self._variances[chunk].to(x)

    def _chunks(self) -> Iterator[slice]:
        """Slices of the components. Their length must not depend on the batch: it sets the order
        of summation, and so the last bits."""
        length = max(1, _CHUNK // self._means.shape[1])
        for start in range(0, len(self._means), length):
            yield slice(start, start + length)

    def _rows(self, x: Tensor, variance: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The batch in blocks that bound the memory."""
        components, size = self._means.shape
        length = max(1, _BLOCK // min(components * size, max(_CHUNK, size)))
        for start in range(0, len(x), length):
            yield x[start : start + length], variance[start : start + length]


class Empirical(GaussianMixture):
    """x0 is one of the given points: the mixture of zero variances.

    D is the mean of the points, weighted by the softmax of -|x - point|^2 / (2 sigma^2). It is what
    a network would learn that memorised its training set.

    Args:
        points: (N, *shape).
        weights: (N,), >= 0, normalised here; equal if left out.

    Raises: as `GaussianMixture`.
    """

    def __init__(self, points: Tensor, weights: Tensor | None = None) -> None:
        _components("points", points)
        super().__init__(points, 0.0, weights)


def _parameter(name: str, value: float | Tensor) -> Tensor:
    """`value` as a finite tensor in the accumulator's dtype, on the device it is on."""
    tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    if not tensor.dtype.is_floating_point:
        raise TypeError(f"{name} has dtype {tensor.dtype}; a real floating-point dtype is needed")
    tensor = tensor.detach().to(accumulator_dtype(tensor.device))
    _check_finite(name, tensor)
    return tensor


def _check_finite(name: str, value: Tensor) -> None:
    if not bool(torch.isfinite(value).all()):
        count = int((~torch.isfinite(value)).sum())
        raise ValueError(f"{name} holds {count} NaN or infinite value(s); finite ones are needed")


def _check_non_negative(name: str, value: Tensor) -> None:
    if bool((value < 0).any()):
        raise ValueError(f"{name} holds {value.min():g}; values >= 0 are needed")


def _common_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    dtype = tensors[0].dtype if tensors else torch.get_default_dtype()
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def _sample_shape(
    shapes: Sequence[torch.Size], asked: Sequence[int] | None
) -> tuple[int, ...] | None:
    """The shape that parameters of these shapes broadcast to; None if they are numbers."""
    try:
        found = tuple(torch.broadcast_shapes(*shapes))
        if asked is not None and tuple(torch.broadcast_shapes(found, asked)) != tuple(asked):
            raise RuntimeError
    except RuntimeError as error:
        shown = " and ".join(str(tuple(shape)) for shape in shapes)
        wanted = "" if asked is None else f" to shape {tuple(asked)}"
        raise ValueError(f"parameters of shapes {shown} do not broadcast{wanted}") from error
    return tuple(asked) if asked is not None else found or None


def _spectrum(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Variances (d,) along the principal axes, and these axes as the columns of a (d, d) matrix."""
    matrix = _parameter("covariance", covariance)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.numel() == 0:
        raise ValueError(f"covariance has shape {tuple(matrix.shape)}; (d, d) is needed")
    slack = 10 * torch.finfo(covariance.dtype).eps * len(matrix) * float(matrix.abs().max())
    skew = float((matrix - matrix.T).abs().max())
    if skew > slack:
        raise ValueError(f"covariance differs from its transpose by {skew:g}; it must be symmetric")
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    if float(values[0]) < -slack:
        raise ValueError(
            f"covariance has the eigenvalue {float(values[0]):g}; it must be positive semi-definite"
        )
    return values.clamp(min=0), vectors


def _components(name: str, means: Tensor) -> Tensor:
    """`means` as (K, d), checked."""
    means = check_batch(means, name)
    _check_finite(name, means)
    return means.detach().reshape(len(means), -1)


def _component_variances(variances: float | Tensor, means: Tensor) -> Tensor:
    """(K, 1) or (K, d)."""
    spread = _parameter("variances", variances).to(means.device)
    _check_non_negative("variances", spread)
    if spread.ndim == 0:
        return spread.expand(len(means))[:, None]
    if spread.shape == means.shape[:1] or spread.shape == means.shape:
        return spread.reshape(len(means), -1)
    raise ValueError(
        f"variances has shape {tuple(spread.shape)}; a number, ({len(means)},) or "
        f"{tuple(means.shape)} is needed"
    )


def _component_weights(weights: Tensor | None, means: Tensor) -> Tensor:
    """(K,), summing to 1."""
    count, device = len(means), means.device
    if weights is None:
        return torch.full((count,), 1 / count, dtype=accumulator_dtype(device), device=device)
    values = _parameter("weights", weights).to(device)
    if values.shape != (count,):
        raise ValueError(f"weights has shape {tuple(values.shape)}; ({count},) is needed")
    _check_non_negative("weights", values)
    if not float(values.sum()) > 0:
        raise ValueError("weights sums to 0; at least one must be positive")
    return values / values.sum()


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    device = generator.device
    return torch.randn(shape, generator=generator, device=device, dtype=accumulator_dtype(device))
