"""research/fit_prior.py: pooled fits of several networks, on mixtures in place of networks."""

from __future__ import annotations

import pytest
import torch

import steindiff as sd
from bed import Network
from fit_prior import Fit, fit_entry, make_fit, spread
from steindiff.denoisers import Denoiser, Gaussian, GaussianMixture


def mixture(seed: int, dim: int) -> GaussianMixture:
    points = torch.randn(7, dim, generator=torch.Generator().manual_seed(seed))
    return GaussianMixture(points, 0.1)


def fit(name: str, denoiser: Denoiser, dim: int) -> Fit:
    return make_fit(Network(name, f"hash of {name}", denoiser, (dim,), {}), range(8), 12)


def test_one_network_gets_its_own_calibration() -> None:
    one = fit("one", mixture(1, 12), 12)
    found = fit_entry("karras", 5, [one], [], "euler", 0.01)
    own = sd.calibrate(
        mixture(1, 12), sd.schedules.karras(5), shape=(12,), noises=8, held_out=1, fine_steps=12,
        ridge=0.01, seed=0,
    )  # fmt: skip
    assert found.entry.sigmas == own.levels
    assert found.entry.scalars == own.scalars
    assert own.calibration is not None
    assert found.shared == found.own == {"one": own.calibration.fit_error}
    assert all(value == 0 for row in found.entry.spread for value in row)


def test_networks_of_other_shapes_are_pooled_and_a_follower_has_no_say() -> None:
    a = fit("a", mixture(1, 12), 12)
    b = fit("b", mixture(2, 30), 30)
    c = fit("c", Gaussian(variance=2.0, shape=(4,)), 4)
    both = fit_entry("log_snr", 4, [a, b], [], "euler", 0.01)
    follower = fit_entry("log_snr", 4, [a, b], [c], "euler", 0.01)
    swapped = fit_entry("log_snr", 4, [b, a], [], "euler", 0.01)
    assert follower.entry == both.entry
    assert follower.shared.keys() == follower.own.keys() == {"a", "b", "c"}
    assert follower.own["c"] < follower.shared["c"]
    assert any(value > 0 for row in both.entry.spread for value in row)
    for row, other in zip(both.entry.scalars, swapped.entry.scalars, strict=True):
        assert row == pytest.approx(other)
    alone = [fit_entry("log_snr", 4, [one], [], "euler", 0.01) for one in (a, b)]
    first = [found.entry.scalars[0][0] for found in alone]
    assert min(first) <= both.entry.scalars[0][0] <= max(first)


def test_spread_is_the_standard_deviation() -> None:
    own = [((1.0,), (2.0, 5.0)), ((3.0,), (2.0, 9.0)), ((5.0,), (2.0, 1.0))]
    assert spread(own) == ((2.0,), (0.0, 4.0))
