"""Contractivity: Lipschitz constants of a denoiser and of steps, and what bounds them."""
