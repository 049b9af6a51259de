"""The U-Net denoiser: its pre-conditioning, its precision and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.models.network import NetworkConfig, UNetDenoiser

CONFIG = NetworkConfig(
    image_size=8, channels=2, num_classes=3, patch=2, widths=(32, 32), embedding=32, sigma_data=0.6
)


@pytest.fixture(scope="module")
def net() -> UNetDenoiser:
    """Random weights everywhere: some convolutions start at zero, and would hide the labels."""
    torch.manual_seed(0)
    net = UNetDenoiser(CONFIG).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return net


@pytest.fixture(scope="module")
def x() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.randn(3, 2, 8, 8, generator=generator)


LABELS = torch.tensor([0, 2, 3])


def test_a_clean_image_is_returned_as_it_is(net: UNetDenoiser, x: Tensor) -> None:
    differences = [
        float((net(x, sigma, LABELS) - x).abs().max()) for sigma in (1e-1, 1e-3, 1e-5, 1e-30)
    ]
    assert differences[0] > differences[1] > differences[2] >= differences[3]
    assert differences[2] < 1e-3
    assert differences[3] < 1e-6


@pytest.mark.parametrize("sigma", [0.02, 0.6, 7.0, 80.0])
def test_preconditioning(net: UNetDenoiser, x: Tensor, sigma: float) -> None:
    """Table 1 of Karras et al. 2022, around the bare network and its embedding."""
    data = CONFIG.sigma_data
    c_skip = data**2 / (sigma**2 + data**2)
    c_out = sigma * data / math.sqrt(sigma**2 + data**2)
    c_in = 1 / math.sqrt(sigma**2 + data**2)
    c_noise = math.log(sigma) / 4
    raw = net.unet(c_in * x, net._embed(torch.full((3,), c_noise), LABELS))
    expected = c_skip * x + c_out * raw
    assert float((c_out * raw).abs().max()) > 1e-3  # there is a network in it
    torch.testing.assert_close(net(x, sigma, LABELS), expected, rtol=1e-4, atol=1e-5)


def test_network_input_has_unit_variance(
    net: UNetDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    forward = net.unet.forward

    def spy(x: Tensor, embedding: Tensor) -> Tensor:
        seen.append(x)
        return forward(x, embedding)

    monkeypatch.setattr(net.unet, "forward", spy)
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(64, dtype=torch.int64)
    for sigma in (0.1, 1.0, 80.0):
        clean, noise = torch.randn(2, 64, 2, 8, 8, generator=generator)
        net(CONFIG.sigma_data * clean + sigma * noise, sigma, labels)
    assert [round(float(x.std()), 1) for x in seen] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("sigma", [0.05, 2.5, 80.0])
def test_one_level_for_all_or_one_each(net: UNetDenoiser, x: Tensor, sigma: float) -> None:
    expected = net(x, torch.full((3,), sigma), LABELS)
    assert torch.equal(net(x, sigma, LABELS), expected)
    assert torch.equal(net(x, torch.tensor(sigma), LABELS), expected)


def test_levels_belong_to_their_samples(net: UNetDenoiser, x: Tensor) -> None:
    levels = [0.1, 3.0, 40.0]
    together = net(x, torch.tensor(levels), LABELS)
    for k, sigma in enumerate(levels):
        alone = net(x[k : k + 1], sigma, LABELS[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, net(x, 3.0, LABELS), atol=1e-2)


def test_labels_matter_and_null_is_one_of_them(net: UNetDenoiser, x: Tensor) -> None:
    assert net.null_label == 3
    same = x[:1].expand(4, -1, -1, -1)
    labels = torch.arange(4)
    net.check(same, class_labels=labels)
    outputs = net(same, 2.0, labels).flatten(1)
    assert torch.isfinite(outputs).all()
    assert torch.pdist(outputs).min() > 1e-2


@pytest.mark.parametrize(
    ("weights", "tolerance"), [(torch.float16, 2e-2), (torch.bfloat16, 1e-1)], ids=str
)
@pytest.mark.parametrize("sigma", [0.05, 1.0, 80.0])
def test_half_precision_weights(
    x: Tensor, weights: torch.dtype, tolerance: float, sigma: float, net: UNetDenoiser
) -> None:
    half = UNetDenoiser(CONFIG).eval().requires_grad_(False)
    half.load_state_dict(net.state_dict())
    half.to(weights)
    states = x / 3 * math.hypot(sigma, CONFIG.sigma_data)
    expected, found = net(states, sigma, LABELS), half(states, sigma, LABELS)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)  # the weights were rounded indeed
    error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert float(error) < tolerance


def test_the_skip_path_is_computed_in_the_precision_of_x(net: UNetDenoiser, x: Tensor) -> None:
    """At a low level the output is x but for a trifle, however coarse the weights are."""
    half = UNetDenoiser(CONFIG).eval().requires_grad_(False)
    half.load_state_dict(net.state_dict())
    half.to(torch.bfloat16)
    assert float((half(x, 1e-6, LABELS) - x).abs().max()) < 1e-4  # bfloat16 of x is off by 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_output_has_the_dtype_of_x(net: UNetDenoiser, x: Tensor, dtype: torch.dtype) -> None:
    found = net(x.to(dtype), 2.0, LABELS)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), net(x, 2.0, LABELS), rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("call", ["forward", "check", "sample"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"class_labels is missing: .* of shape \(3,\).* 3 for 'no class'"),
        (torch.tensor([0, 1]), r"class_labels has shape \(2,\) and dtype torch.int64.*\(3,\)"),
        (torch.tensor(1), r"class_labels has shape \(\) and dtype torch.int64.*\(3,\)"),
        (torch.zeros(3, 1, dtype=torch.int64), r"class_labels has shape \(3, 1\).*\(3,\)"),
        (torch.zeros(3), r"class_labels has .* torch.float32; an int64 tensor of shape \(3,\)"),
        (torch.zeros(3, dtype=torch.int32), "class_labels has .* torch.int32; an int64 tensor"),
    ],
    ids=["missing", "short", "number", "column", "float", "int32"],
)
def test_bad_labels(net: UNetDenoiser, x: Tensor, labels: Any, message: str, call: str) -> None:
    conditioning = {} if labels is None else {"class_labels": labels}
    calls = {
        "forward": lambda: net(x, 1.0, **conditioning),
        "check": lambda: net.check(x, **conditioning),
        "sample": lambda: sd.sample(net, x, [80.0, 1.0], conditioning=conditioning),
    }
    with pytest.raises(ValueError, match=message):
        calls[call]()


@pytest.mark.parametrize(
    ("labels", "values"), [([0, 4, 1], "from 0 to 4"), ([0, -1, 2], "from -1 to 2")]
)
def test_labels_out_of_range(net: UNetDenoiser, x: Tensor, labels: list[int], values: str) -> None:
    message = f"class_labels holds values {values}; this model has the classes 0 to 2, and 3"
    conditioning = {"class_labels": torch.tensor(labels)}
    with pytest.raises(ValueError, match=message):
        net.check(x, **conditioning)
    with pytest.raises(ValueError, match=message):
        sd.sample(net, x, [80.0, 1.0], conditioning=conditioning)


def test_wrong_sample_shape(net: UNetDenoiser) -> None:
    assert net.sample_shape == (2, 8, 8)
    message = r"x has samples of shape \(1, 8, 8\); this model takes \(2, 8, 8\)"
    with pytest.raises(ValueError, match=message):
        net.check(torch.zeros(3, 1, 8, 8), class_labels=LABELS)


def test_unknown_conditioning(net: UNetDenoiser, x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"conditioning has \['prompt'\].*takes 'class_labels'"):
        net.check(x, class_labels=LABELS, prompt="a shoe")


def test_checked_samplings_go_through(net: UNetDenoiser, x: Tensor) -> None:
    """The refusals above are not those of a model that takes nothing."""
    result = sd.sample(net, x, [80.0, 1.0, 0.1], conditioning={"class_labels": LABELS})
    assert result.nfe == 2
    assert torch.isfinite(result.x).all()
