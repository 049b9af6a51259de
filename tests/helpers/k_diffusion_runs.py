"""What the tests of the k-diffusion adapter share: k-diffusion itself, and a small network."""

from __future__ import annotations

import functools
import importlib.util
import sys
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import scipy.integrate  # noqa: F401  (k-diffusion's; imported here to survive the patch below)
import torch
import tqdm.auto  # noqa: F401
from torch import Tensor

TOLERANCE = 1e-5

SHAPE = (3, 4, 4)
LEVELS = (60.0, 20.0, 9.0, 4.0, 1.8, 0.8, 0.3, 0.1)
TO_ZERO, ABOVE_ZERO = (*LEVELS, 0.0), (*LEVELS, 0.03)
EASED_IN = (60.0, 59.99, 59.98, *ABOVE_ZERO[1:])
"""For samplers that differ in their second step only, which is too small here to matter."""
FLOW = (1.0, 0.95, 0.88, 0.78, 0.65, 0.45, 0.2, 0.0)


@functools.cache
def k_diffusion() -> Any:
    """k-diffusion's sampling module from the installed package, alone.

    The package as a whole imports what it trains and evaluates with. Its samplers need one small
    function of the rest, and torchsde and torchdiffeq in samplers that are not run here.
    """
    package = importlib.util.find_spec("k_diffusion")
    if package is None or not package.submodule_search_locations:
        pytest.skip("k-diffusion is not installed: pip install --no-deps k-diffusion")
    path = f"{package.submodule_search_locations[0]}/sampling.py"
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", path)
    assert spec is not None
    assert spec.loader is not None
    parts: dict[str, dict[str, Any]] = {
        "k_diffusion": {},
        "k_diffusion.utils": {"append_dims": _append_dims},
        "torchdiffeq": {"odeint": None},
        "torchsde": {},
    }
    modules = {name: ModuleType(name) for name in parts}
    for name, holds in parts.items():
        vars(modules[name]).update(holds)
    vars(modules["k_diffusion"])["utils"] = modules["k_diffusion.utils"]
    sampling = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, modules):
        spec.loader.exec_module(sampling)
    return sampling


def _append_dims(v: Tensor, ndim: int) -> Tensor:
    return v.reshape(v.shape + (1,) * (ndim - v.ndim))


def denoise(x: Tensor, sigma: Tensor, shift: float = 0.0) -> Tensor:
    """D(x, sigma) of a small network, preconditioned for data of variance 1; each sample alone."""
    generator = torch.Generator().manual_seed(8)
    own, left, across = torch.randn(3, *SHAPE, generator=generator, dtype=torch.float64).to(x)
    level = sigma.reshape(-1, *[1] * (x.ndim - 1))
    noise = level / (1 + level**2).sqrt()
    scaled = x / (1 + level**2).sqrt()
    mixed = own * scaled + left * scaled.roll(1, -1) + across * scaled.flip(1)
    return x / (1 + level**2) + 0.8 * noise * torch.tanh(mixed + level.log() / 4 + shift)


def denoise_flow(x: Tensor, sigma: Tensor, shift: float = 0.0) -> Tensor:
    """The same network behind a flow's coordinates; near pure noise it knows the mean alone."""
    alpha = (1 - sigma).clamp_min(1e-6)
    per_sample = alpha.reshape(-1, *[1] * (x.ndim - 1))
    return denoise(x / per_sample, sigma / alpha, shift)


def close(a: Tensor, b: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def start(sigma: float, batch: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return (sigma * torch.randn(batch, *SHAPE, generator=generator, dtype=torch.float64)).to(dtype)


def levels(values: tuple[float, ...] = TO_ZERO, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def gaussian_flow(spread: float) -> Any:
    """D of N(0, spread^2) in a flow's coordinates, exact at pure noise too."""

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.reshape(-1, *[1] * (x.ndim - 1))
        alpha = 1 - level
        return x * alpha * spread**2 / (alpha**2 * spread**2 + level**2)

    return model


class Counted:
    """A model that remembers the levels it was called at."""

    def __init__(self, model: Any = denoise) -> None:
        self.model = model
        self.sigmas: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        self.sigmas.append(sigma.clone())
        return self.model(x, sigma, **kwargs)
