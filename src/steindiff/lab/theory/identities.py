"""Stein's identities of an exact denoiser, as a check of a network that needs no data.

On the marginal at sigma the score is s = (D - x)/sigma^2, and E<s, f> = -E div f for any f (Stein
1981, lemma 2). Each of these is 0 for an exact denoiser at states of its own marginals:

    f = x:     kappa - 1,  kappa = <x, x - D>/(d sigma^2)
    f = D:     <D, x - D>/(d sigma^2) - div D/d
    f = x - D: |x - D|^2/(d sigma^2) - 1 + div D/d     (second order: E[s s' + grad s] = 0)

The third is the first less the second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._errors import check_batch
from ..._reductions import inners
from ...denoisers import Denoiser
from ...sampling import Bound
from ...stein import divergence
from .hutchinson import study_probes


class Identity(NamedTuple):
    """What is measured at one level, (B,) each in float64.

    Attributes:
        kappa: <x, x - D>/(d sigma^2), 1 in the mean.
        second_order: |x - D|^2/(d sigma^2) - 1 + div D/d, 0 in the mean.
        ratio: j = <D, x - D>/<x, x - D>, the free estimate of (div D)/d.
        trace: (div D)/d by probes, or exactly.
        frobenius: |J_D|_F^2/d by the same probes; NaN beside the exact trace.
        denoised: (B, *shape), D.
    """

    kappa: Tensor
    second_order: Tensor
    ratio: Tensor
    trace: Tensor
    frobenius: Tensor
    denoised: Tensor


def stein_identity(
    denoiser: Denoiser,
    x: Tensor,
    sigma: float,
    *,
    conditioning: Mapping[str, Any] | None = None,
    probes: int = 8,
    exact: bool = False,
    seed: int = 0,
) -> Identity:
    """Stein's identities at states of one level.

    Args:
        denoiser: D, differentiable.
        x: (B, *shape), states at `sigma`, in VE coordinates.
        sigma: > 0.
        conditioning: of the denoiser.
        probes: how many Gaussian ones estimate the trace of each sample, >= 1.
        exact: take the trace by d products instead.
        seed: of the probes.

    Raises:
        TypeError, ValueError: `x` is no batch of samples, `sigma` is not positive and finite,
            probes < 1, or a denoiser as `Jacobian` refuses it.
    """
    check_batch(x)
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma is {sigma}; a finite number > 0 is needed")
    bound = Bound(denoiser, x, dict(conditioning or {}))

    def at_level(z: Tensor) -> Tensor:
        return bound(z, sigma)

    with torch.no_grad():
        denoised = at_level(x)
    size = x[0].numel()
    if exact:
        trace = divergence.exact(at_level, x) / size
        frobenius = torch.full_like(trace, math.nan)
    else:
        study = study_probes(at_level, x, probes=probes, seed=seed)
        trace, frobenius = study.trace / size, study.frobenius / size
    noise = x - denoised
    along, across, left = inners((x, noise), (denoised, noise), (noise, noise))
    scale = size * sigma**2
    return Identity(
        along / scale, left / scale - 1 + trace, across / along, trace, frobenius, denoised
    )
