"""Exact denoisers of known distributions: D(x, sigma) = E[x0 | x0 + sigma * eps = x].

Each also knows the exact divergence of D, so that the estimators can be held against the truth.
Arithmetic is done in float64 (float32 on mps), and the denoised sample is returned in the dtype of
`x`. Nothing is multiplied or summed across the batch, so that a sample's result is the same to the
last bit whatever batch it is in (but for a Gaussian with a full covariance, whose matrix products
do not promise it).
"""

from .base import Exact
from .gaussian import Gaussian
from .mixture import Empirical, GaussianMixture

__all__ = ["Empirical", "Exact", "Gaussian", "GaussianMixture"]
