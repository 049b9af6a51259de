"""Mean and covariance of features that come in parts, to the same bits however they are parted.

A sum of floating-point numbers depends on the order of its terms, so that the statistics of a set
would change with the batch size, the number of processes and the order in which they report. Sums
of integers do not. Each feature is therefore rounded to a multiple of 2^-32 and written as three
signed digits in base 2^16,

    x = d_0 + d_1 2^-16 + d_2 2^-32,    |d_i| <= 2^15  (so |x| < 2^15).

A product of two digits is an integer of at most 2^30, and a sum of up to 2^22 of them at most 2^52.
All integers up to 2^53 are float64 numbers, hence a matrix product of digits over up to 2^22 rows
rounds nowhere, whatever order, blocking or fused multiply-add the library behind it chooses. Beyond
one such product the sums go on in int64, which holds them for 2^28 rows.

Covariances are taken from these integers about the mean rounded to a multiple of 2^-32, so nothing
cancels however large the mean is beside the spread: what is lost is the rounding of the features to
2^-32 and a few units in the last place of float64.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ..._errors import check_count

BITS = 16
DIGITS = 3
MOST_ROWS = 1 << 28
"""More rows could overflow int64: the middle product is a sum of 3 x 4 terms of 2^30 a row."""
MOST_FEATURES = 1 << 14
"""Sums of products of so many take 10 GiB, and their number is squared."""
_ELEMENTS = 1 << 22  # of one matrix product; also at most 2^22 rows, as D >= 1


class Moments:
    """Count, sums and sums of products of features, kept as integers (see the module).

    Adding the same rows gives the same `mean()` and `covariance()` to the last bit, in any batches,
    any order, and merged in any way from any number of parts.

    Args:
        dim: D, the number of features.
        device: where the sums are kept and formed; it needs float64.

    Raises:
        ValueError: no int from 1 to 2^14.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.dim = check_count("dim", dim)
        if dim > MOST_FEATURES:
            size = (2 * DIGITS - 1) * dim**2 / 2**27
            raise ValueError(
                f"dim is {dim}: sums of products of so many features take {size:,.0f} GiB; at most "
                f"{MOST_FEATURES} are possible"
            )
        self.count = 0
        # _products[k] is the sum over rows of d_i d_j^T over all i + j = k, in units of 2^-16k.
        self._sums = torch.zeros(DIGITS, dim, dtype=torch.int64, device=device)
        self._products = torch.zeros(2 * DIGITS - 1, dim, dim, dtype=torch.int64, device=device)

    def add(self, features: Tensor) -> None:
        """Takes in the rows of `features`, (N, D); N may be 0. Nothing is added where it raises.

        Raises:
            TypeError: not a tensor, or not of a real floating-point dtype.
            ValueError: another width, NaN or infinite features, features outside of
                (-2^15, 2^15), or more than 2^28 rows in all.
        """
        self._check(features)
        self._check_rows(len(features))
        for part in features.detach().split(max(1, _ELEMENTS // self.dim)):
            digits = _digits(part.to(self._sums.device, torch.float64))
            self._sums += digits.sum(dim=1).long()
            for i in range(DIGITS):
                self._products[2 * i] += (digits[i].mT @ digits[i]).long()
                for j in range(i + 1, DIGITS):
                    product = (digits[i].mT @ digits[j]).long()
                    self._products[i + j] += product + product.mT
        self.count += len(features)

    def __iadd__(self, other: Moments) -> Moments:
        """Takes in the rows of `other`, which stays as it is. Raises as `add` does."""
        if other.dim != self.dim:
            raise ValueError(f"other has {other.dim} features; {self.dim} are needed")
        self._check_rows(other.count)
        self._sums += other._sums.to(self._sums.device)
        self._products += other._products.to(self._sums.device)
        self.count += other.count
        return self

    def all_reduce(self, group: dist.ProcessGroup | None = None) -> None:
        """Every process of an initialised `torch.distributed` group gets the sum over all of them.

        Integers are summed, so that all get the same bits for any number of processes. To be called
        once: a second call would count every row as often as there are processes.

        Raises:
            RuntimeError: `torch.distributed` is not initialised.
            ValueError: more than 2^28 rows in all.
        """
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError(
                "torch.distributed is not initialised; call init_process_group first"
            )
        home = self._sums.device
        device = torch.device("cuda") if dist.get_backend(group) == "nccl" else home
        count = torch.tensor([self.count], device=device)
        dist.all_reduce(count, group=group)
        self._check_rows(int(count) - self.count)
        parts = [tensor.to(device) for tensor in (self._sums, self._products)]
        for tensor in parts:
            dist.all_reduce(tensor, group=group)
        self._sums, self._products = (tensor.to(home) for tensor in parts)
        self.count = int(count)

    def mean(self) -> Tensor:
        """(D,) float64.

        Raises:
            ValueError: no rows.
        """
        if self.count < 1:
            raise ValueError("no features were added; a mean needs at least one row")
        return _value(self._sums) / self.count

    def covariance(self) -> Tensor:
        """(D, D) float64, unbiased: over N - 1.

        Raises:
            ValueError: fewer than two rows.
        """
        if self.count < 2:
            raise ValueError(f"{self.count} rows were added; a covariance needs at least two")
        centre = _digits(self.mean()).long()
        centred = self._products.clone()
        for i in range(DIGITS):
            for j in range(DIGITS):
                c, s = centre[i][:, None], self._sums[i][:, None]
                centred[i + j] += self.count * c * centre[j] - c * self._sums[j] - s * centre[j]
        offset = _value(self._sums - self.count * centre)  # N times what rounding the mean left
        covariance = _value(centred) - offset[:, None] * offset / self.count
        return covariance / (self.count - 1)

    def _check(self, features: object) -> None:
        if not isinstance(features, Tensor):
            raise TypeError(f"features is a {type(features).__name__}; a torch.Tensor is needed")
        if not features.dtype.is_floating_point:
            raise TypeError(
                f"features has dtype {features.dtype}; a real floating-point dtype is needed"
            )
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(
                f"features has shape {tuple(features.shape)}; (N, {self.dim}) is needed"
            )
        if not torch.isfinite(features).all():
            raise ValueError("features holds NaN or infinite features")
        if features.numel() and (largest := float(features.detach().abs().max())) >= 1 << 15:
            raise ValueError(
                f"features reaches {largest:g} in absolute value; less than 2^15 = 32768 is needed "
                "for exact sums, so scale the features down"
            )

    def _check_rows(self, more: int) -> None:
        if more < 0 or self.count + more > MOST_ROWS:
            raise ValueError(
                f"{self.count + more} rows in all; at most 2^28 = {MOST_ROWS} can be summed exactly"
            )


def _digits(x: Tensor) -> Tensor:
    """(3, *x.shape): the signed digits of float64 `x`. All remainders are exact."""
    digits = []
    for _ in range(DIGITS):
        digit = x.round()
        digits.append(digit)
        x = (x - digit) * (1 << BITS)
    return torch.stack(digits)


def _value(sums: Tensor) -> Tensor:
    """Sum over k of sums[k] 2^-16k in float64.

    Carries leave digits of at most half a unit of the next, and so nothing that would cancel.
    """
    carry, value = torch.zeros_like(sums[0]), torch.zeros_like(sums[0], dtype=torch.float64)
    half = 1 << (BITS - 1)
    digits = []
    for digit in reversed(sums[1:].unbind()):
        total = digit + carry
        carry = (total + half) >> BITS
        digits.append(total - (carry << BITS))
    for digit in [*digits, sums[0] + carry]:  # smallest first, each step one unit up
        value = value / (1 << BITS) + digit.double()
    return value
