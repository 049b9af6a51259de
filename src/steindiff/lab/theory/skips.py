"""Pre-conditioning as a Stein ratio, and what Stein's identity would choose for a network.

A network F is trained through D = c_skip x + c_out F(c_in x). Two things can be asked of c_skip:

- that F has little to say: c_skip = E<D, x>/E|x|^2 leaves the least |D - c_skip x|^2, so that an
  error of F is multiplied by the smallest c_out. With data of variance s^2 that is
  s^2/(s^2 + sigma^2), EDM's (Karras et al. 2022, table 1 and appendix B.6);
- that F is insensitive: c_skip = E(div D)/d, the Stein ratio j, leaves the least
  |J_D - c_skip I|_F, F's own Jacobian.

For isotropic Gaussian data they are one: the Stein ratio of N(0, s^2 I) is s^2/(s^2 + sigma^2). So
every c_skip is the Stein ratio of Gaussian data of the variance sigma^2 c_skip/(1 - c_skip):
constant for EDM and v-prediction, infinite for a predicted noise (c_skip = 1), 0 for a predicted
sample, and sigma itself, another Gaussian at every level, for a rectified flow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch, unknown_name
from ..._reductions import inner, inners

SKIPS: dict[str, Callable[[float, float], float]] = {
    "edm": lambda sigma, sigma_data: sigma_data**2 / (sigma_data**2 + sigma**2),
    "vp": lambda sigma, sigma_data: 1.0,
    "iddpm": lambda sigma, sigma_data: 1.0,
    "v": lambda sigma, sigma_data: 1 / (1 + sigma**2),
    "flow": lambda sigma, sigma_data: 1 / (1 + sigma),
    "sample": lambda sigma, sigma_data: 0.0,
}
"""c_skip of each parameterisation, of sigma and sigma_data, for x in VE coordinates.

edm, vp and iddpm: Karras et al. 2022, table 1. v: alpha^2 of a variance-preserving level, from
x0 = alpha x_native - sigma_native v (Salimans & Ho 2022, appendix D). flow: D = x_t - t u with
t = sigma/(1 + sigma), x_t = x/(1 + sigma) (Liu et al. 2023).
"""


class Preconditioning(NamedTuple):
    """What one c_skip leaves to the network at one level, means over the states.

    Attributes:
        skip: c_skip.
        out: root mean square of D - c_skip x, the c_out that gives F unit variance: what an error
            of F is multiplied by.
        gain: |J_D - c_skip I|_F/sqrt(d), root mean square over directions: how much of a change of
            x passes through F.
    """

    skip: float
    out: float
    gain: float


def c_skip(name: str, sigma: float, sigma_data: float = 0.5) -> float:
    """c_skip of a parameterisation of `SKIPS`.

    Raises:
        ValueError: an unknown name, or a level or sigma_data that is not positive and finite.
    """
    if name not in SKIPS:
        raise unknown_name("parameterisation", name, SKIPS)
    for label, value in (("sigma", sigma), ("sigma_data", sigma_data)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{label} is {value}; a finite number > 0 is needed")
    return SKIPS[name](sigma, sigma_data)


def gaussian_variance(skip: float, sigma: float) -> float:
    """Variance of the Gaussian data whose Stein ratio at `sigma` is `skip`; may be infinite.

    Raises:
        ValueError: `skip` is not in [0, 1], where no data have it.
    """
    if not 0 <= skip <= 1:
        raise ValueError(f"skip is {skip}; a number from 0 to 1 is needed")
    return sigma**2 * skip / (1 - skip) if skip < 1 else math.inf


def least_squares_skip(x: Tensor, denoised: Tensor) -> float:
    """c_skip = E<D, x>/E|x|^2, which leaves F the least to say; x and D (B, *shape)."""
    along, power = inners((denoised, x), (x, x))
    return (along.sum() / power.sum()).item()


def precondition(
    x: Tensor, denoised: Tensor, trace: Tensor, frobenius: Tensor, skip: float
) -> Preconditioning:
    """What `skip` leaves to the network.

    Args:
        x: (B, *shape), states of a level.
        denoised: (B, *shape), D there.
        trace: (B,), tr J_D (see `study_probes`).
        frobenius: (B,), |J_D|_F^2.
        skip: c_skip.

    Raises:
        TypeError, ValueError: `x` is no batch, or shapes that do not match.
    """
    size = check_batch(x)[0].numel()
    if denoised.shape != x.shape or not trace.shape == frobenius.shape == x.shape[:1]:
        shapes = ", ".join(str(tuple(part.shape)) for part in (x, denoised, trace, frobenius))
        raise ValueError(
            f"x, denoised, trace and frobenius have shapes {shapes}; (B, *shape) twice and (B,) "
            "twice are needed"
        )
    rest = denoised.double() - skip * x.double()
    gain = (frobenius - 2 * skip * trace) / size + skip**2
    return Preconditioning(
        skip,
        math.sqrt(inner(rest, rest).mean().item() / size),
        # Both share their probes (`ProbeStudy`): below 0 by rounding alone.
        math.sqrt(max(0.0, gain.mean().item())),
    )


def stein_skip(trace: Tensor, size: int) -> float:
    """c_skip = E(div D)/d of tr J_D (B,): the Stein ratio of the data behind the denoiser."""
    return torch.as_tensor(trace).double().mean().item() / size
