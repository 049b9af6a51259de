"""The published coefficient with its target moved to the next noise level."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Decision, Proposal
from .quotient import SteinQuotient


@dataclass(frozen=True)
class Coupled(SteinQuotient):
    """gamma = argmin E|x' - (x0 + sigma' eps)|^2 = (1 - r) sigma^2 E div u / E|u|^2   (alpha = 1).

    The target is the forward process at sigma' with the noise of the current state; r = 0 gives
    back `Published`. In general coordinates the numerator is
    (1 - alpha'/alpha) E<u,x> + (alpha'/alpha - sigma'/sigma) sigma^2 E div u.

    Assumes that errors of one step do not feed the next: it has the right scale, but for Euler with
    an exact denoiser its mean is 1, so it corrects nothing of the energy that Euler loses.

    Source: this project (docs/theory/method.md, section 7).
    """

    def __call__(self, proposal: Proposal, state: int) -> Decision:
        return self.decide(proposal, state, scale=1 - proposal.ratio)
