"""The coefficient as published, for study: it aims at the clean sample."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Decision, Proposal
from .quotient import SteinQuotient


@dataclass(frozen=True)
class Published(SteinQuotient):
    """gamma* = argmin E|x' - x0|^2 = sigma^2 E div u / E|u|^2   (alpha = 1).

    The general form, [(1 - 1/alpha) E<u,x> + (sigma^2/alpha) E div u]/E|u|^2, loses its drift term
    in VE coordinates, in which the core works.

    Assumes that the *next* state should be the clean sample. For Euler with an exact denoiser that
    gives gamma* = 1/(1 - r): the step lands on the posterior mean D with no noise left, and the
    steps after it leave the marginals. Clamped to gamma <= 1 it therefore does nothing. Kept to
    show this (docs/theory/method.md, section 7), not to be sampled with.

    Source: Li & Zeng 2026, arXiv 2606.07835; Hutchinson with 5 Gaussian probes and the floor
    gamma_min are theirs (the value of the floor is not given there; 0 here).
    """

    def __call__(self, proposal: Proposal, state: int) -> Decision:
        return self.decide(proposal, state, scale=1.0)
