"""What PyTorch is told to use by default, dtype or device, changes no bit of a sampling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import Perturbed
from steindiff.schedules import SCHEDULES
from steindiff.stein.divergence import PROBES, hutchinson
from steindiff.tuning.features import random_layer

DTYPES = [torch.float64, torch.float16, torch.bfloat16]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def denoise(x: Tensor, sigma: Tensor, /, **conditioning: object) -> Tensor:
    return x / (1 + sigma.reshape(-1, *[1] * (x.ndim - 1)) ** 2)


def made() -> list[Tensor]:
    """Of everything that is drawn or laid out, some."""
    x = sd.noise((2, 3), 80.0, range(4))
    traces = [
        hutchinson(lambda z: z**2, x, generator=torch.Generator().manual_seed(3), kind=kind)
        for kind in PROBES
    ]
    layer = random_layer((4, 3, 3), torch.Generator().manual_seed(3))
    perturbed = Perturbed(denoise, 6, 0.1)
    levels = [schedule(6) for schedule in SCHEDULES.values()]
    sampled = sd.sample(denoise, x, steps=5, record=True)
    assert sampled.record is not None
    gamma = sampled.record.gamma
    return [x, *traces, *layer, perturbed.inner, perturbed.outer, *levels, sampled.x, gamma]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_default_dtype(dtype: torch.dtype) -> None:
    expected = made()
    with default_dtype(dtype):
        found = made()
    assert all(map(torch.equal, found, expected))


def test_the_default_device() -> None:
    """Of the meta device, nothing could be read."""
    expected = made()
    with torch.device("meta"):
        found = made()
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_network_is_loaded_in_float32(dtype: torch.dtype) -> None:
    expected = sd.load_model("fashion-mnist")
    with default_dtype(dtype):
        found = sd.load_model("fashion-mnist")
    for kind in ("named_parameters", "named_buffers"):
        one, other = dict(getattr(expected, kind)()), dict(getattr(found, kind)())
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert {tensor.dtype for tensor in other.values()} == {torch.float32}
