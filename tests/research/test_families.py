"""The research families: their weights load, their calls hold the contract, D is what it claims."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from families import FAMILIES, load_family
from families.augmentation import AUGMENTATIONS, Augmentation
from families.build import RECIPES
from families.parameterisation import Parameterisation, edm, flow, velocity_vp
from families.patches import to_images, to_tokens
from families.weights import WEIGHTS, denoiser_path, part_path, save_weights
from steindiff.denoisers import ClassifierFreeGuidance

PARAMETERISATIONS = {"edm": edm(0.5), "velocity_vp": velocity_vp, "flow": flow}
SIGMAS = torch.logspace(-3, 2, 26, dtype=torch.float64)


def _pair(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x0, eps and x = x0 + sigma eps, one row for each sigma."""
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, len(sigma), 40, generator=generator, dtype=torch.float64)
    return x0, eps, x0 + sigma[:, None] * eps


def test_true_velocity_gives_the_data() -> None:
    sigma = SIGMAS[:, None]
    x0, eps, x = _pair(SIGMAS)
    s = torch.sin(torch.atan(sigma))  # the angle of Salimans & Ho: alpha = cos, s = sin
    alpha = torch.cos(torch.atan(sigma))
    skip, out, scale = velocity_vp(sigma)
    torch.testing.assert_close(scale * x, alpha * x0 + s * eps)
    torch.testing.assert_close(skip * x + out * (alpha * eps - s * x0), x0)


def test_true_flow_gives_the_data() -> None:
    sigma = SIGMAS[:, None]
    t = sigma / (1 + sigma)
    x0, eps, x = _pair(SIGMAS)
    skip, out, scale = flow(sigma)
    torch.testing.assert_close(scale * x, (1 - t) * x0 + t * eps)
    torch.testing.assert_close(skip * x + out * (x0 - eps), x0)


def test_edm_is_the_linear_optimum_for_its_sigma_data() -> None:
    """With F = 0 it is the posterior mean of N(0, sigma_data^2); F has variance one."""
    skip, out, scale = edm(0.5)(SIGMAS)
    variance = 0.25
    torch.testing.assert_close(skip, variance / (variance + SIGMAS**2))
    torch.testing.assert_close(out**2, variance * SIGMAS**2 / (variance + SIGMAS**2))
    torch.testing.assert_close(scale**2 * (variance + SIGMAS**2), torch.ones_like(SIGMAS))


def test_vp_velocity_is_edm_of_unit_data_with_the_sign_turned() -> None:
    ours, theirs = velocity_vp(SIGMAS), edm(1.0)(SIGMAS)
    torch.testing.assert_close(ours.skip, theirs.skip)
    torch.testing.assert_close(ours.out, -theirs.out)
    torch.testing.assert_close(ours.input, theirs.input)


@pytest.mark.parametrize("name", PARAMETERISATIONS)
def test_no_noise_leaves_the_image(name: str) -> None:
    parameterisation: Parameterisation = PARAMETERISATIONS[name]
    skip, out, _ = parameterisation(torch.zeros(1))
    assert (skip.item(), out.item()) == (1.0, 0.0)


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, math.nan])
def test_edm_refuses(sigma_data: float) -> None:
    with pytest.raises(ValueError, match="sigma_data is"):
        edm(sigma_data)


def test_tokens_are_patches_and_back() -> None:
    images = torch.arange(2 * 3 * 8 * 12.0).view(2, 3, 8, 12)
    tokens = to_tokens(images, 4)
    assert tokens.shape == (2, 6, 48)
    assert tokens[1, 4].tolist() == images[1, :, 4:8, 4:8].flatten().tolist()
    assert torch.equal(to_images(tokens, 4, 8), images)


def test_augmentation_shifts_and_mirrors_whole_images() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 1] = 1.0
    many = Augmentation(mirror=True, shift=1, background=7.0)(
        image.expand(500, -1, -1, -1), torch.Generator().manual_seed(0)
    )
    places = {tuple(p) for p in (many == 1.0).nonzero()[:, 2:].tolist()}
    assert places == {(row, column) for row in (1, 2, 3) for column in range(5)}
    border = torch.ones(5, 5, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert not (many[:, 0, ~border] == 7.0).any()
    assert (many[:, 0, border] == 7.0).any()


def test_names_agree() -> None:
    assert set(FAMILIES) == {*AUGMENTATIONS, "latent-emoji"}  # whose images have an alpha channel
    with pytest.raises(ValueError, match="digits"):
        load_family("digits")


@pytest.fixture(scope="module", params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def _input(name: str, count: int = 3) -> tuple[Tensor, Tensor]:
    shape = RECIPES[name].shape
    x = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(count) % len(RECIPES[name].classes)


def test_files_are_small(name: str) -> None:
    files = [path for path in WEIGHTS.iterdir() if path.name.startswith(name)]
    assert {denoiser_path(name), part_path(name, "classifier")} <= set(files)
    assert max(path.stat().st_size for path in files) < 3e6


def test_call(name: str) -> None:
    family = load_family(name)
    net = family.denoiser
    x, labels = _input(name)
    denoised = net(x, 1.5, class_labels=labels)
    assert denoised.shape == x.shape
    assert denoised.dtype == torch.float32
    assert not denoised.requires_grad
    assert torch.equal(denoised, net(x, torch.tensor(1.5), class_labels=labels))
    assert torch.equal(denoised, net(x, torch.full((len(x),), 1.5), class_labels=labels))
    assert torch.equal(denoised, load_family(name).denoiser(x, 1.5, class_labels=labels))
    levels = torch.tensor([0.1, 1.5, 40.0])
    each = torch.cat([net(x[k : k + 1], levels[k], labels[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(net(x, levels, labels), each, atol=1e-4, rtol=1e-4)
    double = net(x.double(), 1.5, class_labels=labels)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), denoised, atol=1e-4, rtol=1e-4)
    assert (net.sample_shape, net.num_classes) == (family.shape, len(family.classes))
    assert (net.null_label, net.sigma_max) == (len(family.classes), 80.0)


def test_no_noise_is_the_identity(name: str) -> None:
    x, labels = _input(name)
    net = load_family(name).denoiser
    assert torch.equal(net(x, 0.0, labels), x)
    assert (net(x, 1e-4, labels) - x).square().mean().sqrt() < 5e-4


def test_null_label_is_what_guidance_contrasts_with(name: str) -> None:
    net = load_family(name).denoiser
    x, labels = _input(name)
    null = net(x, 5.0)
    assert torch.equal(null, net(x, 5.0, class_labels=torch.full((3,), net.null_label)))
    given = net(x, 5.0, class_labels=labels)
    assert (given - null).abs().max() > 1e-3
    guided = ClassifierFreeGuidance(net, 2.0, {"class_labels": net.null_label})
    found = guided(x, torch.full((3,), 5.0), class_labels=labels)
    torch.testing.assert_close(found, null + 2 * (given - null), atol=1e-3, rtol=1e-3)


def test_denoises_pure_noise_to_the_same_scale_as_images(name: str) -> None:
    """At sigma = 80 an image of noise tells nothing: D is near the class mean, inside [-1, 1]."""
    net = load_family(name).denoiser
    x, labels = _input(name, 16)
    denoised = net(80.0 * x, 80.0, labels)
    assert denoised.abs().mean() < 1.2
    kappa = ((80 * x * (80 * x - denoised)).sum() / (80 * x).square().sum()).item()
    assert abs(kappa - 1) < 0.02


def test_refuses(name: str) -> None:
    net = load_family(name).denoiser
    x, labels = _input(name)
    with pytest.raises(ValueError, match=r"x has samples of shape \(1, 2, 2\)"):
        net(torch.zeros(3, 1, 2, 2), 1.0)
    with pytest.raises(ValueError, match=r"class_labels has shape \(2,\)"):
        net(x, 1.0, class_labels=labels[:2])
    with pytest.raises(ValueError, match=r"dtype torch\.int32"):
        net(x, 1.0, class_labels=labels.int())


def test_classifiers(name: str) -> None:
    family = load_family(name)
    x, _ = _input(name)
    images = family.decode(x)
    for classifier in family.classifiers.values():
        features = classifier.features(images)
        assert features.shape == (3, classifier.head.in_features)
        logits = classifier.logits(images)
        assert logits.shape == (3, len(family.classes))
        hidden = torch.nn.functional.silu(features) if name == "latent-emoji" else features
        torch.testing.assert_close(classifier.head(hidden), logits)


def test_decode_gives_images(name: str) -> None:
    family = load_family(name)
    x, _ = _input(name)
    if family.autoencoder is None:
        assert family.decode(x) is x
        return
    images = family.decode(x)
    assert images.shape == (3, 3, 64, 64)
    # Noise is no latent of an image, and is still decoded to colours that can be shown.
    assert images.abs().quantile(0.99) < 1.5
    latents = family.autoencoder.encode(images)
    assert latents.shape == (3, 4, 8, 8)
    drawn = family.autoencoder.encode(images, torch.Generator().manual_seed(0))
    assert 0.1 < (drawn - latents).square().mean().sqrt() < 1


def test_missing_or_foreign_weights(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a file"):
        load_family(name, folder=tmp_path)
    shutil.copy(denoiser_path(name), part_path(name, "classifier", tmp_path))
    shutil.copy(denoiser_path(name), denoiser_path(name, tmp_path))
    with pytest.raises(RuntimeError, match="Missing key"):
        load_family(name, folder=tmp_path)


def test_saved_weights_come_back_rounded_once(name: str, tmp_path: Path) -> None:
    family = load_family(name)
    save_weights(denoiser_path(name, tmp_path), family.denoiser)
    assert denoiser_path(name, tmp_path).read_bytes() == denoiser_path(name).read_bytes()
