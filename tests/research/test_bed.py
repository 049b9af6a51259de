"""The bed: what every network of it must hold, and how far samples are from its fine solution."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import steindiff as sd
from bed import NETWORKS, Bed, Network, load_network
from families import load_family
from steindiff.denoisers import Gaussian
from steindiff.lab.metrics import RandomConvolutions, RandomProjections, frechet_distance

SEEDS = range(3, 15)
FINE_STEPS = 8
MIXTURE = "mixture:dim=24,modes=3,separation=6"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module", params=[*NETWORKS, MIXTURE])
def bed(request: pytest.FixtureRequest, runs: Path) -> Bed:
    return Bed(request.param, seeds=SEEDS, fine_steps=FINE_STEPS, runs=runs)


def _noisy(x: Tensor, share: float) -> Tensor:
    normal = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    return x + share * x.std() * normal


def test_networks_are_the_shipped_one_and_the_families() -> None:
    assert NETWORKS == (
        "fashion-mnist", "digits-mixer", "emoji-transformer", "photos-resnet", "latent-emoji",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"latent-emojis.*latent-emoji"):
        load_network("latent-emojis")


def test_fine_solution_is_at_no_distance_and_noise_is_far_in_every_feature_set(bed: Bed) -> None:
    assert len(bed.feature_sets) == 2
    fine = bed.fine(bed.sigma_min)
    own = bed.distances(fine)
    assert own.keys() == {*bed.feature_sets, "rmse"}
    assert all(abs(value) < 1e-3 for value in own.values())
    little, more = (bed.distances(_noisy(fine, share)) for share in (0.2, 0.8))
    for name in bed.feature_sets:
        assert 0.01 < little[name] < more[name], name
    assert 3.5 < more["rmse"] / little["rmse"] < 4.5


def test_features_are_the_same_every_time(bed: Bed) -> None:
    again = load_network(bed.network.name)
    for name in bed.feature_sets:
        first, second = bed.features(name, bed.x), bed.features(name, bed.x)
        assert torch.equal(first, second)
        assert torch.equal(first, again.feature_sets[name](bed.x).double())
        assert first.shape[0] == len(SEEDS)
        assert first.dtype == torch.float64
    with pytest.raises(ValueError, match="inception"):
        bed.features("inception", bed.x)


def test_samples_decode_to_images(bed: Bed) -> None:
    fine = bed.fine(0.0)
    images = bed.images(fine)
    if bed.network.name == "latent-emoji":
        assert images.shape == (len(SEEDS), 3, 64, 64)
    else:
        assert torch.equal(images, fine)
    if bed.network.name != MIXTURE:
        assert images.abs().quantile(0.99) < 1.3


def test_latents_survive_the_way_through_images_as_noise_does_not(runs: Path) -> None:
    bed = Bed("latent-emoji", seeds=SEEDS, fine_steps=FINE_STEPS, runs=runs)
    autoencoder = load_family("latent-emoji").autoencoder
    assert autoencoder is not None

    def lost(latents: Tensor) -> float:
        again = autoencoder.encode(autoencoder.decode(latents))
        return ((again - latents).square().mean() / latents.square().mean()).sqrt().item()

    assert lost(bed.fine(0.0)) < 0.7 * lost(bed.x / bed.sigma_max)


@pytest.mark.parametrize("sigma", [80.0, 20.0, 5.0])
def test_kappa_on_own_samples_is_one(bed: Bed, sigma: float) -> None:
    """<x, x - D> / (d sigma^2) = 1 on average for the exact posterior mean.

    At lower levels 12 samples, from a fine solution of 8 steps, are not enough to tell: there
    research/README.md has what check_family.py measures on images.
    """
    x0 = bed.fine(0.0)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    x = x0 + sigma * eps
    denoised = bed.network.denoiser(x, torch.full((len(x),), sigma), **bed.conditioning)
    # Less the part whose mean is known, <x, sigma eps> - d sigma^2.
    kappa = 1 + (x * (x0 - denoised)).sum().item() / (x0.numel() * sigma**2)
    assert abs(kappa - 1) < 0.02


def test_kept_fine_solution_is_the_same_and_is_not_made_again(bed: Bed, runs: Path) -> None:
    fine = bed.fine(0.7)
    kept = list(runs.glob(f"{bed.network.name.partition(':')[0]}-1-*.pt"))
    assert len(kept) == 1
    again = Bed(bed.network.name, seeds=SEEDS, fine_steps=FINE_STEPS, runs=runs)

    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("the fine solution is on disk")

    object.__setattr__(again.network, "denoiser", refuse)
    assert torch.equal(again.fine(0.7), fine)
    assert torch.equal(again.fine(0.0), bed.fine(0.0))
    assert not list(runs.glob(".*"))  # no file half written


def test_few_steps_are_nearer_with_the_oracle_than_without(bed: Bed) -> None:
    levels = sd.schedules.karras(5)
    plain, oracle = (bed.measure("euler", levels, rule) for rule in (None, "oracle"))
    assert 0 < oracle["rmse"] < plain["rmse"]
    assert bed.denoiser.hits > 0  # both begin with the same call


def test_what_the_fine_solution_depends_on_names_its_file(tmp_path: Path) -> None:
    made = [
        Bed(MIXTURE, seeds=range(4), fine_steps=4, runs=tmp_path),
        Bed(MIXTURE, seeds=range(5), fine_steps=4, runs=tmp_path),
        Bed(MIXTURE, seeds=range(4), fine_steps=5, runs=tmp_path),
        Bed(MIXTURE, seeds=range(4), fine_steps=4, sigma_max=40.0, runs=tmp_path),
        Bed("mixture:dim=24,modes=4", seeds=range(4), fine_steps=4, runs=tmp_path),
    ]
    ends = [bed.fine(0.0) for bed in made]
    assert len(list(tmp_path.iterdir())) == len(made)
    assert not torch.equal(ends[0], ends[3])
    kept_nowhere = Bed(MIXTURE, seeds=range(4), fine_steps=4, runs=None)
    assert torch.equal(kept_nowhere.fine(0.0), ends[0])


def test_own_network_against_closed_forms() -> None:
    """N(0, 1): the fine solution is x sqrt((sigma^2 + 1) / (sigma_max^2 + 1))."""
    own = Network(
        "own", "", Gaussian(variance=1.0, shape=(6,)), (6,), {"itself": lambda x: x}
    )  # fmt: skip
    bed = Bed(own, seeds=range(130), fine_steps=100, runs=None)
    exact = bed.x * math.sqrt((0.5**2 + 1) / (80.0**2 + 1))
    torch.testing.assert_close(bed.fine(0.5), exact, rtol=2e-3, atol=1e-4)
    found = bed.distances(1.1 * bed.fine(0.5), 0.5)
    assert found["rmse"] == pytest.approx(0.1, rel=1e-4)
    features = bed.fine(0.5).double()
    assert found["itself"] == pytest.approx(float(frechet_distance(1.1 * features, features)))


def test_diverged_samples_are_infinitely_far() -> None:
    def broken(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.where((sigma < 1)[:, None], math.inf, 0.0 * x)

    own = Network("own", "", broken, (6,), {"itself": lambda x: x})
    bed = Bed(own, seeds=range(3), runs=None)
    infinite = {"itself": math.inf, "rmse": math.inf}
    assert bed.measure("euler", sd.schedules.karras(4)) == infinite
    assert bed.distances(torch.full((3, 6), math.nan)) == infinite


def test_guidance_and_labels() -> None:
    plain, guided = (Bed("digits-mixer", w, seeds=range(25, 29), runs=None) for w in (1.0, 3.0))
    assert plain.conditioning["class_labels"].tolist() == [5, 6, 7, 8]
    assert torch.equal(plain.x, guided.x)
    level = torch.full((4,), 5.0)
    none = torch.full((4,), 10)
    given = plain.denoiser(plain.x, level, **plain.conditioning)
    null = plain.denoiser(plain.x, level, class_labels=none)
    torch.testing.assert_close(
        guided.denoiser(plain.x, level, **guided.conditioning), null + 3 * (given - null),
        atol=1e-3, rtol=1e-3,
    )  # fmt: skip
    with pytest.raises(ValueError, match="guidance is 2"):
        load_network(MIXTURE, 2.0)


def test_refuses_too_few_seeds() -> None:
    with pytest.raises(ValueError, match="seeds has 1"):
        Bed(MIXTURE, seeds=range(1))


def test_random_features_are_those_of_the_documented_seed() -> None:
    """The weights in the order and of the scale that the documentation gives."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 3, 3, 3, generator=generator) * math.sqrt(2 / 27)
    bias = 0.1 * torch.randn(32, generator=generator)
    (first, first_bias), *_ = RandomConvolutions(3).layers
    assert torch.equal(first, weight)
    assert torch.equal(first_bias, bias)
    assert RandomConvolutions(1)(torch.zeros(2, 1, 16, 16)).shape == (2, 64)
    assert RandomProjections(7)(torch.zeros(2, 7)).shape == (2, 64)
