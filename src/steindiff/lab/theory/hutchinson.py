"""How Hutchinson's estimate of a trace scales: with its probes, and with the dimension.

One Gaussian probe z has E<z, Jz> = tr J and the variance |J + J'|_F^2/2, for a symmetric J
2 |J|_F^2 (Hutchinson 1990; Avron & Toledo 2011, lemma 9). n probes have 1/n of it. Relative to
the trace the standard deviation is sqrt(2/n) |J|_F/tr J: the more directions the trace is spread
over, the fewer probes it takes. For J = I in d dimensions it is sqrt(2/(n d)).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch
from ..._jacobian import Jacobian, Map
from ..._reductions import inner

COUNTS = (1, 2, 4, 8, 16, 32, 64)


class ProbeStudy(NamedTuple):
    """Single-probe estimates of the trace of each sample's Jacobian.

    Attributes:
        singles: (N, B), <z, Jz> for N independent probes.
        squares: (N, B), |J'z|^2.
        lengths: (N, B), |z|^2.
        size: d, elements of a sample.
    """

    singles: Tensor
    squares: Tensor
    lengths: Tensor
    size: int

    @property
    def trace(self) -> Tensor:
        """(B,): tr J by all probes, each scaled to the length sqrt(d).

        The direction of a Gaussian probe does not depend on its length: without the length's
        chance the mean is the same, and the variance is 0 where J is a multiple of I.
        """
        return self.size * (self.singles / self.lengths).mean(dim=0)

    @property
    def frobenius(self) -> Tensor:
        """(B,): |J|_F^2, likewise; with `trace`, |J - cI|_F^2 >= 0 whatever the probes are."""
        return self.size * (self.squares / self.lengths).mean(dim=0)

    def variance(self, count: int) -> Tensor:
        """(B,): measured variance of the mean of `count` probes, over disjoint groups of them.

        Raises:
            ValueError: fewer than two groups.
        """
        groups = len(self.singles) // count
        if groups < 2:
            raise ValueError(
                f"count is {count} of {len(self.singles)} probes; at least two groups are needed"
            )
        means = self.singles[: groups * count].reshape(groups, count, -1).mean(dim=1)
        return means.var(dim=0)

    def predicted(self, count: int) -> Tensor:
        """(B,): 2 |J|_F^2/count, the variance that a symmetric J gives."""
        return 2 * self.frobenius / count


def study_probes(f: Map, x: Tensor, *, probes: int = 256, seed: int = 0) -> ProbeStudy:
    """Draws `probes` Gaussian probes for each sample; one call of f and as many products.

    Raises:
        TypeError, ValueError: `x` is no batch of samples, probes < 1, or f as `Jacobian` refuses.
    """
    check_batch(x)
    if probes < 1:
        raise ValueError(f"probes is {probes}; at least 1 is needed")
    jacobian = Jacobian(f, x)
    generator = torch.Generator().manual_seed(seed)
    singles, squares, lengths = [], [], []
    for _ in range(probes):
        z = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        back = jacobian.transposed_times(z)
        singles.append(inner(z, back))
        squares.append(_squared(back))
        lengths.append(_squared(z))
    stacked = map(torch.stack, (singles, squares, lengths))
    return ProbeStudy(*stacked, size=x[0].numel())


def asymmetry(f: Map, x: Tensor, *, seed: int = 0) -> Tensor:
    """(B,): |J - J'|_F/|J + J'|_F by one probe, 0 where f is a gradient.

    An exact denoiser is one: its Jacobian is Cov[x0|x]/sigma^2. A network's is one only as far as
    it was learnt. One probe z for both norms, |Jz - J'z| over |Jz + J'z|.

    Raises: as `study_probes`.
    """
    jacobian = Jacobian(f, check_batch(x))
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    forward, back = jacobian.times(z), jacobian.transposed_times(z)
    skew, whole = _squared(forward - back), _squared(forward + back)
    return (skew / torch.where(skew + whole > 0, whole, 1.0)).sqrt()


def _squared(x: Tensor) -> Tensor:
    return inner(x, x)
