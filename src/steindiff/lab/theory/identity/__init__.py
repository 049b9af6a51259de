"""Stein's identities of a denoiser: measured at states of its own marginals, and judged."""
