"""The exact denoisers of a Gaussian mixture and of a set of points."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..._errors import LARGEST, check_batch, check_count, check_values
from ..._reductions import accumulator_dtype, row_sum
from .base import Exact, check_finite, check_non_negative, draw_noise, parameter

_CHUNK = 2**16  # elements of one sample's components held at once
_BLOCK = 2**21  # elements of all samples' components held at once


class GaussianMixture(Exact):
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

    def _described(self) -> dict[str, object]:
        return {"components": len(self._means)}

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
        check_count("count", count, 1, LARGEST)
        weights = self._weights.to(generator.device)
        index = torch.multinomial(weights, count, replacement=True, generator=generator)
        index = index.to(self._means.device)
        center, spread = self._means[index], self._variances[index].sqrt()
        noise = draw_noise(tuple(center.shape), generator).to(center.device)
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
            return row_sum(both)[..., None]

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
        return odds / row_sum(odds)[:, None]

    def _log_likelihood(self, x: Tensor, variance: Tensor, chunk: slice) -> Tensor:
        """(B, k): ln N(x; mean_k, variance_k + sigma^2), but for a constant."""
        mean, spread = self._chunk(chunk, x)
        total = spread + variance[:, None]  # (B, k, d), or (B, k, 1) for one variance a component
        square = (x[:, None] - mean).square()
        if total.shape[-1] == 1:
            total = total[..., 0]
            return -0.5 * (row_sum(square) / total + x.shape[1] * total.log())
        return -0.5 * row_sum(square / total + total.log())

    def _expectation(self, weights: Tensor, values: Callable[[slice], Tensor]) -> Tensor:
        """sum_k weights_k values_k: (B, n) from weights (B, K) and values (B, k, n) of chunks."""
        total: Tensor | None = None
        for chunk in self._chunks():
            terms = weights[:, chunk, None] * values(chunk)
            part = row_sum(terms.transpose(1, 2))
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


def _components(name: str, means: Tensor) -> Tensor:
    """`means` as (K, d), checked."""
    means = check_values(name, check_batch(means, name))
    check_finite(name, means)
    return means.detach().reshape(len(means), -1)


def _component_variances(variances: float | Tensor, means: Tensor) -> Tensor:
    """(K, 1) or (K, d)."""
    spread = parameter("variances", variances).to(means.device)
    check_non_negative("variances", spread)
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
    values = parameter("weights", weights).to(device)
    if values.shape != (count,):
        raise ValueError(f"weights has shape {tuple(values.shape)}; ({count},) is needed")
    check_non_negative("weights", values)
    if not float(values.sum()) > 0:
        raise ValueError("weights sums to 0; at least one must be positive")
    return values / values.sum()
