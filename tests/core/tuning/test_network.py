"""A tuning is for one network and one guidance, and says so where it is used with another."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import tunings
from torch import Tensor, nn

import steindiff as sd
from steindiff.tuning import Choice, Weights, network
from steindiff.tuning.contest import Contest
from steindiff.tuning.network import module_in, weights_of


class Net(nn.Module):
    """A small D, of another seed another one."""

    sample_shape = (6,)

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 6)

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor | None = None) -> Tensor:
        level = sigma.reshape(-1, 1)
        return self.second(self.first(x / (1 + level)).tanh()) / (1 + level)


class Unreadable(Tensor):
    """Quantized weights in the dtype that they were of, which can only be multiplied with."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.linalg.vector_norm:
            raise NotImplementedError(func)
        return super().__torch_function__(func, types, args, kwargs)


NET = Net()
X = sd.noise((6,), 14.0, range(4))


@dataclass
class Wrapped:
    """What denoisers do with a network."""

    other: Any
    inner: Any


def test_figures_hold_in_any_order_precision_and_wrapping() -> None:
    wanted = weights_of(NET)
    assert wanted is not None
    assert wanted.count == 6 * 16 + 16 + 16 * 6 + 6
    flat = torch.cat([one.detach().flatten() for one in NET.parameters()])
    assert wanted.size == pytest.approx(float(flat.square().mean().sqrt()), rel=1e-6)
    assert wanted.mean == pytest.approx(float(flat.abs().mean()), rel=1e-6)
    turned = nn.ModuleList([nn.Linear(16, 6), nn.Linear(6, 16)])
    turned[0].load_state_dict(NET.second.state_dict())
    turned[1].load_state_dict(NET.first.state_dict())
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        for net in (NET, turned, Wrapped("", NET)):
            again = copy.deepcopy(net)
            if isinstance(again, nn.Module):
                again.to(dtype)
            found = weights_of(again)
            assert found is not None
            assert found.same(wanted)
    other = weights_of(Net(1))
    assert other is not None
    assert not other.same(wanted)
    assert not wanted._replace(count=wanted.count + 1).same(wanted)


def test_what_cannot_be_read_is_not_known() -> None:
    assert weights_of(lambda x, sigma: x) is None
    assert weights_of(Net().to("meta")) is None
    assert weights_of(nn.Identity()) is None
    whole = Net()
    whole.register_parameter("packed", nn.Parameter(torch.ones(4, dtype=torch.uint8), False))
    assert weights_of(whole) is None
    whole = Net()
    whole.first.weight = nn.Parameter(Unreadable(whole.first.weight.detach()), False)
    assert whole.first.weight.dtype == torch.float32
    assert weights_of(whole) is None


@pytest.mark.filterwarnings("ignore")
def test_layers_that_torch_quantized_are_not_read_as_another_network() -> None:
    quantization = pytest.importorskip("torch.ao.quantization")
    quantized = quantization.quantize_dynamic(
        nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16)), {nn.Linear}
    )
    assert [one.numel() for one in quantized.parameters()] == [16, 16]
    assert weights_of(quantized) is None


def test_a_network_is_read_once_and_again_where_it_was_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that samplings do not wait for the device; a copy is another network."""
    asked: list[int] = []
    figures = network._figures

    def counted(parameters: Any) -> Weights | None:
        asked.append(len(parameters))
        return figures(parameters)

    monkeypatch.setattr(network, "_figures", counted)
    net = Net()
    before = weights_of(net)
    assert weights_of(Wrapped("", net)) is before
    assert asked == [4]
    assert weights_of(copy.deepcopy(net)) == before
    assert asked == [4, 4]
    with torch.no_grad():
        net.first.weight.mul_(2)
    scaled = weights_of(net)
    assert before is not None
    assert scaled is not None
    assert not scaled.same(before)
    net.load_state_dict(Net().state_dict())
    assert weights_of(net) == before
    net.second = nn.Linear(16, 6, bias=False)
    assert weights_of(net) != before
    assert asked == [4, 4, 4, 4, 3]
    assert weights_of(net) is weights_of(net)
    with torch.inference_mode():
        unversioned = Net()
    assert weights_of(unversioned) == weights_of(unversioned) == before
    assert asked[5:] == [4, 4]


def test_of_several_modules_the_least_deep_is_the_network() -> None:
    """A pipeline has its decoder as near as its network, and a denoiser the network nearer."""
    pipe = Wrapped(nn.Linear(2, 2), NET)
    assert module_in(Wrapped(pipe, NET)) is NET


@pytest.fixture(scope="module")
def found() -> sd.Tuned:
    few: dict[str, Any] = {"noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 4}
    return sd.tune(NET, 4, sigma_max=14.0, fit=False, calls=1190, model="mine", **few)


def test_another_network_is_refused_where_it_is_sampled_with(
    found: sd.Tuned, tmp_path: Path
) -> None:
    found.save(tmp_path / "tuned.json")
    kept = sd.load_tuned(tmp_path / "tuned.json")
    assert kept == found
    assert kept.weights == weights_of(NET)
    wanted = sd.sample(NET, X, kept.recipe(4).sigmas, kept.recipe(4).solver,
                       kept.recipe(4).coefficient, end=kept.recipe(4).end).x  # fmt: skip
    assert torch.equal(sd.sample(NET, X, steps=kept.recipe(4)).x, wanted)
    with pytest.raises(ValueError, match=r"network has 214 weights .* tuned for mine, of 214.*any"):
        sd.sample(Net(1), X, steps=kept.recipe(4))
    with pytest.warns(UserWarning, match="network has 214 weights"):
        sd.sample(Net(1), X, steps=kept.recipe(4, any_model=True))
    sd.sample(lambda x, sigma: NET(x, sigma), X, steps=kept.recipe(4))  # not seen inside


def test_fits_are_left_out_under_guidance_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def choice(contest: Contest, fit: bool) -> Choice:
        asked.append(fit)
        return tunings.tuned().choices[4]

    monkeypatch.setattr(Contest, "choice", choice)
    guided = sd.ClassifierFreeGuidance(NET, 2.0, {"label": 1.0})
    for denoiser in (NET, guided):
        for options in ({}, {"fit": True}, {"fit": False}):
            few: dict[str, Any] = {"noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 4}
            few |= {"conditioning": {"label": torch.zeros(4)}, "shape": (6,), **options}
            sd.tune(denoiser, 4, **few)
    assert asked == [True, True, False, False, True, False]


def test_guidance_is_checked() -> None:
    plan = tunings.tuned(4.0).recipe(4)
    plan.check_guidance(None)
    plan.check_guidance(4)
    with pytest.raises(ValueError, match="guidance is 1; the recipe was tuned for 4"):
        plan.check_guidance(1.0)
    with pytest.raises(TypeError, match="guidance"):
        plan.check_guidance("4")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [3, [1, 2.0], [0, 1.0, 1.0], [3, -1.0, 1.0], [3, 1.0, "a"]])
def test_damaged_weights(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    replace(tunings.tuned(), weights=Weights(3, 1.0, 0.5)).save(path)
    assert sd.load_tuned(path).weights == Weights(3, 1.0, 0.5)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "weights": value}))
    with pytest.raises(ValueError, match=r"tuned.json is damaged: weights"):
        sd.load_tuned(path)


@pytest.mark.parametrize("path", [3, None, [], b"a"])
def test_what_is_no_path_is_said(path: Any) -> None:
    with pytest.raises(TypeError, match=r"path is .*; the path of a file of steindiff tune"):
        sd.load_tuned(path)
