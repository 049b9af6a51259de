"""SteinDiff for whatever speaks k-diffusion's protocol: `(model, x, sigmas, extra_args, ...)`.

from steindiff.adapters.k_diffusion import sample_stein_dpmpp_2m

samples = sample_stein_dpmpp_2m(model, x, sigmas, extra_args={"class_cond": labels})

Needs no k-diffusion: `model(x, sigma, **extra_args) -> denoised` is all it takes.
"""

from .relaxed import relax
from .samplers import (
    SAMPLERS,
    Sampler,
    sample_stein_deis,
    sample_stein_dpmpp_2m,
    sample_stein_dpmpp_3m,
    sample_stein_euler,
    sample_stein_gradient_estimation,
    sample_stein_heun,
    sample_stein_ipndm,
    sample_stein_power,
    sample_stein_res_2s,
    sample_stein_res_multistep,
    sample_stein_unipc,
)
from .tuned import sample_stein_tuned, tuned_recipe, tuned_sigmas

__all__ = [
    "SAMPLERS",
    "Sampler",
    "relax",
    "sample_stein_deis",
    "sample_stein_dpmpp_2m",
    "sample_stein_dpmpp_3m",
    "sample_stein_euler",
    "sample_stein_gradient_estimation",
    "sample_stein_heun",
    "sample_stein_ipndm",
    "sample_stein_power",
    "sample_stein_res_2s",
    "sample_stein_res_multistep",
    "sample_stein_tuned",
    "sample_stein_unipc",
    "tuned_recipe",
    "tuned_sigmas",
]
