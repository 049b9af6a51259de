"""What a network F predicts, as D(x, sigma) = skip x + out F(input x), in VE coordinates.

VE coordinates: x = x0 + sigma eps. A process x_t = alpha x0 + s eps is in them after division by
alpha, with sigma = s / alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Coefficients(NamedTuple):
    """The three factors, each of the shape of sigma."""

    skip: Tensor
    out: Tensor
    input: Tensor


Parameterisation = Callable[[Tensor], Coefficients]


def edm(sigma_data: float) -> Parameterisation:
    """Pre-conditioning of Karras et al. 2022 (arXiv 2206.00364), table 1.

    Raises:
        ValueError: `sigma_data` that is not positive.
    """
    if not sigma_data > 0:
        raise ValueError(f"sigma_data is {sigma_data}; a positive standard deviation is needed")

    def coefficients(sigma: Tensor) -> Coefficients:
        total = sigma.square() + sigma_data**2
        norm = total.sqrt()
        return Coefficients(sigma_data**2 / total, sigma * sigma_data / norm, 1 / norm)

    return coefficients


def velocity_vp(sigma: Tensor) -> Coefficients:
    """F = v = alpha eps - s x0 with alpha^2 + s^2 = 1 (Salimans & Ho 2022, arXiv 2202.00512).

    x0 = alpha x_t - s v (their appendix D), where alpha = 1 / sqrt(1 + sigma^2), s = sigma alpha
    and x_t = alpha x.
    """
    alpha = (1 + sigma.square()).rsqrt()
    return Coefficients(alpha.square(), -sigma * alpha, alpha)


def flow(sigma: Tensor) -> Coefficients:
    """F = x0 - eps, the velocity towards the data of x_t = (1 - t) x0 + t eps.

    The straight paths of Lipman et al. 2023 (arXiv 2210.02747) and Liu et al. 2023
    (arXiv 2209.03003): x0 = x_t + t F, where t = sigma / (1 + sigma) and x_t = (1 - t) x.
    """
    keep = 1 / (1 + sigma)
    return Coefficients(keep, sigma * keep, keep)
