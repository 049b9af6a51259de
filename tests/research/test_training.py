"""The trainings: some steps on random data. The committed weights are not made here."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import train_family
import train_latent
from families import load_family
from families.data import Pasted, Split
from families.pasting import paste
from families.weights import WEIGHTS
from training import Plan, accuracy, averaged, cosine, curve_of, noise_levels, train


def _pasted(count: int = 40) -> Pasted:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 4, 64, 64), generator=generator, dtype=torch.uint8)
    return Pasted(images, torch.arange(count) % 18, torch.arange(count) % 30)


def _line(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(3, 1)


def _loss(net: nn.Linear, step: int) -> Tensor:
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    return (net(x)[:, 0] - x.sum(dim=1)).square().mean()


def _plan(steps: int) -> Plan:
    return Plan(steps, lambda step: 0.02, lambda step: 0.98)


def test_an_interrupted_training_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.pt", tmp_path / "part.pt"
    net = _line(0)
    train(net, lambda step: _loss(net, step), _plan(600), whole)
    again = _line(0)

    def breaks(step: int) -> Tensor:
        if step == 450:
            raise KeyboardInterrupt
        return _loss(again, step)

    with pytest.raises(KeyboardInterrupt):
        train(again, breaks, _plan(600), part)
    assert curve_of(part)["step"] == 400
    resumed = _line(1)  # other weights, which the checkpoint replaces
    train(resumed, lambda step: _loss(resumed, step), _plan(600), part)
    assert torch.equal(resumed.weight, net.weight)
    assert torch.equal(averaged(_line(2), part).weight, averaged(_line(2), whole).weight)
    assert curve_of(part)["curve"] == curve_of(whole)["curve"]
    assert curve_of(whole)["curve"][-1][1] < 0.01 * curve_of(whole)["curve"][0][1]


def test_average_follows_slowly(tmp_path: Path) -> None:
    net = _line(0)
    start = copy.deepcopy(net.weight)
    train(net, lambda step: _loss(net, step), _plan(3), tmp_path / "few.pt")
    average = averaged(_line(1), tmp_path / "few.pt")
    moved, followed = (net.weight - start).norm(), (average.weight - start).norm()
    assert 0 < followed < moved
    assert not average.training
    assert not average.weight.requires_grad


def test_noise_levels_are_spread_as_documented() -> None:
    levels = noise_levels(20_000, (0.002, 80.0), torch.Generator().manual_seed(0)).log()
    assert levels.median().item() == pytest.approx(-1.0, abs=0.05)
    far = (levels > -1 + 3 * 1.4).float().mean().item()  # of the tenth: (4.38 - 3.2) / 10.6
    assert far == pytest.approx(0.1 * (4.382 - 3.2) / 10.597 + 0.9 * 0.00135, rel=0.25)


def test_cosine_warms_up_and_ends_at_nothing() -> None:
    assert cosine(1.0, 0, 1000) == pytest.approx(1 / 300)
    assert cosine(1.0, 500, 1000) == pytest.approx(0.5)
    assert cosine(1.0, 1000, 1000) == pytest.approx(0.0)


def test_accuracy_leaves_the_mode_as_it_was() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.9))
    images = torch.eye(4).view(4, 4, 1, 1)
    assert accuracy(net, images, torch.tensor([0, 1, 2, 0])) == 0.75
    assert net.training


def test_family_takes_steps_and_loses_less(tmp_path: Path) -> None:
    images = torch.linspace(-1, 1, 16).expand(8, 3, 16, 16) * torch.tensor(0.9)
    data = Split(images.contiguous(), torch.arange(8) % 7)
    few = replace(train_family.TRAININGS["photos-resnet"], steps=6, finishing=4, batch=8)
    checkpoint = tmp_path / "checkpoint.pt"
    train_family.train_family("photos-resnet", few, data, 0, checkpoint)
    assert curve_of(checkpoint)["step"] == 10
    recipe = train_family.RECIPES["photos-resnet"]
    net = averaged(recipe.build(recipe), checkpoint)
    before = train_family.held_out_loss(recipe.build(recipe), data)
    assert train_family.held_out_loss(net, data) < before


def test_latent_family_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    stages = {name: replace(stage, steps=2, batch=4) for name, stage in train_latent.STAGES.items()}
    before = {path.name: path.stat().st_mtime_ns for path in WEIGHTS.iterdir()}
    train_latent.train_all(_pasted(), tmp_path, tmp_path, stages, 0, "cpu")
    assert {path.name: path.stat().st_mtime_ns for path in WEIGHTS.iterdir()} == before
    family = load_family("latent-emoji", folder=tmp_path)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert family.denoiser(x, 1.0).isfinite().all()
    assert family.decode(x).shape == (2, 3, 64, 64)
    for part in stages:
        assert curve_of(tmp_path / f"{part}.pt")["step"] == 2
    # Finished: a second call takes no step, and writes the same weights.
    kept = shutil.copytree(tmp_path, tmp_path / "kept")
    train_latent.train_all(_pasted(), tmp_path, tmp_path, stages, 0, "cpu")
    for path in kept.glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_latents_are_normalised_over_the_data(tmp_path: Path) -> None:
    recipe = train_latent.RECIPES["latent-emoji"]
    assert recipe.autoencoder is not None
    net = recipe.autoencoder()
    batches = train_latent.Batches(_pasted(), 0, "cpu")
    stage = replace(train_latent.STAGES["autoencoder"], batch=4)
    train_latent._normalise(net, batches, stage)
    images = torch.cat([
        batches.draw(4, batches.generator(stage.steps + k))[0]
        for k in range(train_latent.STATISTICS_BATCHES)
    ])  # fmt: skip
    latents = net.encode(images)
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)


def test_pasting_is_a_function_of_the_seed_and_stays_in_range() -> None:
    data = _pasted()
    picked = torch.arange(6)
    first, again, other = (
        paste(data, picked, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first.shape == (6, 3, 64, 64)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.abs().max() <= 1


def test_pasted_nothing_is_a_vertical_gradient() -> None:
    """A transparent emoji leaves the background: rows of one colour, the ends not far apart."""
    clear = Pasted(torch.zeros(1, 4, 64, 64, dtype=torch.uint8), *torch.zeros(2, 1).long())
    images = paste(clear, torch.zeros(20).long(), torch.Generator().manual_seed(0))
    assert torch.equal(images, images[..., :1].expand_as(images))
    slope = images[:, :, 1:, 0] - images[:, :, :-1, 0]
    torch.testing.assert_close(slope, slope[:, :, :1].expand_as(slope), atol=1e-5, rtol=0)
    assert (63 * slope[:, :, 0]).abs().max() <= 0.6 + 1e-4


def test_pasted_opaque_colour_covers_its_middle() -> None:
    red = torch.zeros(1, 4, 64, 64, dtype=torch.uint8)
    red[:, 0] = red[:, 3] = 255
    data = Pasted(red, *torch.zeros(2, 1).long())
    middle = paste(data, torch.zeros(20).long(), torch.Generator().manual_seed(0))[:, :, 32, 32]
    assert (middle[:, 0] >= 0.7 - 1e-5).all()
    assert (middle[:, 1:] == -1).all()
