"""The energy law: how much |x|^2 the exact probability-flow ODE loses in a step, per sample.

Along the ODE d|x|^2/d ln(sigma) = 2 q with q = <x, x - D>, for any D. What a step has to know is
q(sigma) between its ends. For a state x = x0 + sigma eps of the forward process

    q = <x0 + sigma eps, sigma eps> = a sigma^2 + b sigma,    a = |eps|^2, b = <x0, eps>,

where D is the posterior mean and by Stein's identity E q = d sigma^2: a is the energy of the
sample's noise, and b, which is 0 in the mean, is the chance overlap of its noise with its signal.
The law loses |x|^2 - |x'|^2 = 2 int q dsigma/sigma = a (sigma^2 - sigma'^2) + 2 b (sigma - sigma').
One level gives q alone: then b = 0 has to be assumed. Two levels give both terms.
"""

from __future__ import annotations

from torch import Tensor


def one_level(q: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """(B,): the loss with b = 0, (1 - r^2) q."""
    return (1 - (sigma_next / sigma) ** 2) * q


def two_levels(
    q: Tensor, sigma: float, q_before: Tensor, sigma_before: float, sigma_next: float
) -> Tensor:
    """(B,): the loss with a and b of the last two levels; `sigma_before` > `sigma`."""
    b = (q / sigma**2 - q_before / sigma_before**2) / (1 / sigma - 1 / sigma_before)
    a = q / sigma**2 - b / sigma
    return a * (sigma**2 - sigma_next**2) + 2 * b * (sigma - sigma_next)
