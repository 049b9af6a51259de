"""EDM networks: labels, precision, autoguidance, the same samples; their files; the command."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Command
from edm_networks import AsEDM, Discrete, FakeEDM
from safetensors.torch import load_file
from torch import Tensor, nn

import steindiff as sd
from steindiff.adapters.edm import (
    from_edm,
    from_safetensors,
    load_edm_pickle,
    load_tensors,
    to_safetensors,
)

LABELS = torch.tensor([0, 2, 1])


@pytest.fixture(scope="module")
def shipped() -> Any:
    return sd.load_model("fashion-mnist")


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))


# -- the denoiser ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "coefficient"), [("ipndm", "energy"), ("heun", None)])
def test_the_same_samples_as_the_network_itself(
    shipped: Any, solver: str, coefficient: str | None
) -> None:
    start, levels = sd.noise((1, 28, 28), 80.0, range(4)), sd.schedules.karras(4, 0.002, 80.0)
    labels = {"class_labels": torch.tensor([3, 9, 10, 0])}  # 10: no class
    runs = [
        sd.sample(net, start, levels, solver, coefficient, conditioning=labels).x
        for net in (shipped, from_edm(AsEDM(shipped)))
    ]
    torch.testing.assert_close(runs[1], runs[0], rtol=0, atol=1e-5)


def test_a_network_that_says_nothing_gets_labels_as_they_come(shipped: Any) -> None:
    z, labels = torch.randn(2, 1, 28, 28), torch.tensor([1, 7])
    denoiser = from_edm(shipped.__call__)
    assert denoiser.sample_shape is None
    assert denoiser.label_dim is None
    assert (denoiser.sigma_min, denoiser.sigma_max) == (0.0, float("inf"))
    assert torch.equal(denoiser(z, 2.0, labels), shipped(z, 2.0, labels))
    assert torch.equal(denoiser.round_sigma(torch.tensor([3.3, 0.0])), torch.tensor([3.3, 0.0]))


def test_labels_become_one_hot_rows(x: Tensor) -> None:
    net = FakeEDM()
    denoiser = from_edm(net)
    rows = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 0]])
    labels = torch.tensor([0, 2, 3])
    assert denoiser.null_label == 3
    expected = net(x, torch.full((3,), 2.0), rows)
    assert torch.equal(denoiser(x, 2.0, labels), expected)
    assert torch.equal(denoiser(x, torch.tensor([2.0] * 3), rows), expected)
    assert not torch.equal(denoiser(x, 2.0, LABELS), expected)


def test_a_network_without_classes(x: Tensor) -> None:
    net = FakeEDM(label_dim=0)
    denoiser = from_edm(net)
    denoiser.check(x)
    assert torch.equal(denoiser(x, 2.0), net(x, torch.full((3,), 2.0)))
    assert denoiser.null_label is None
    with pytest.raises(ValueError, match="no classes"):
        denoiser.check(x, class_labels=LABELS)


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_precision(x: Tensor, dtype: torch.dtype, fp16: bool) -> None:
    net = FakeEDM(use_fp16=fp16)
    exact = FakeEDM()
    denoised = from_edm(net)(x.to(dtype), torch.tensor(2.0, dtype=dtype), LABELS)
    assert denoised.dtype == dtype
    assert set(net.seen) == {(torch.float32, torch.float32)}
    wide = from_edm(exact)(x.to(dtype).float(), 2.0, LABELS)
    rounding = max(torch.finfo(dtype).eps, 2e-3 if fp16 else 0)
    torch.testing.assert_close(denoised.float(), wide, rtol=rounding, atol=2 * rounding)


def test_float64_stays(x: Tensor) -> None:
    net = FakeEDM()
    assert from_edm(net)(x.double(), 2.0, LABELS).dtype == torch.float64
    assert net.seen == [(torch.float64, torch.float64)]


@pytest.mark.parametrize("classes_of_guide", [3, 0])
def test_autoguidance(x: Tensor, classes_of_guide: int) -> None:
    net, guide, sigma = FakeEDM(), FakeEDM(classes_of_guide), torch.full((3,), 2.0)
    with torch.no_grad():
        guide.image.weight.mul_(0.3)
    rows = nn.functional.one_hot(LABELS, 3).float()
    high, low = net(x, sigma, rows), guide(x, sigma, rows if classes_of_guide else None)
    guided = from_edm(net, guide, 1.7)(x, sigma, LABELS)
    torch.testing.assert_close(guided, low + 1.7 * (high - low))
    assert not torch.allclose(guided, high, atol=1e-2)
    calls = len(guide.seen)
    assert torch.equal(from_edm(net, guide, 1.0)(x, sigma, LABELS), high)
    assert len(guide.seen) == calls


def test_levels_of_a_discrete_network() -> None:
    denoiser = from_edm(Discrete())
    assert (denoiser.sigma_min, denoiser.sigma_max) == (0.01, 50.0)
    rounded = denoiser.round_sigma(torch.tensor([43.0, 7.0, 0.6, 0.0], dtype=torch.float64))
    torch.testing.assert_close(rounded, torch.tensor([50.0, 8.0, 1.0, 0.0], dtype=torch.float64))


def test_a_sampling_is_checked_before_it_begins() -> None:
    net = FakeEDM()
    start = sd.noise((2, 4, 4), 10.0, range(3))
    for conditioning, said in [
        ({}, "class_labels is missing"),
        ({"class_labels": torch.tensor([0, 1, 4])}, "classes 0 to 2, and 3 for 'no class'"),
        ({"class_labels": torch.tensor([0, -1, 1])}, "values from -1 to 1"),
        ({"class_labels": torch.tensor([0, 1])}, r"shape \(2,\)"),
        ({"class_labels": torch.tensor([0.0, 1, 2])}, r"shape \(3,\) and dtype torch.float32"),
        ({"class_labels": torch.zeros(3, 4)}, "one-hot"),
        ({"class_labels": LABELS, "prompt": "a shoe"}, r"\['prompt'\]"),
    ]:
        with pytest.raises(ValueError, match=said):
            sd.sample(from_edm(net), start, [10.0, 1.0], conditioning=conditioning)
    with pytest.raises(TypeError, match="class_labels is a list"):
        from_edm(net).check(start, class_labels=[0, 1, 2])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"shape \(2, 5, 5\); this model takes \(2, 4, 4\)"):
        from_edm(net).check(torch.randn(3, 2, 5, 5), class_labels=LABELS)
    assert not net.seen


def test_bad_networks() -> None:
    net: Any = FakeEDM()
    for arguments, kind, said in [
        ((None,), TypeError, "net is None"),
        (("a path",), TypeError, "net is a str"),
        ((net, 3), TypeError, "guide is a int"),
        ((net, None, 2.0), ValueError, "guidance is 2.0 and guide is None"),
        ((net, net, float("nan")), ValueError, "guidance is nan"),
        ((net, FakeEDM(5), 2.0), ValueError, "guide has label_dim 5 and net 3"),
    ]:
        with pytest.raises(kind, match=said):
            from_edm(*arguments)
    with pytest.raises(ValueError, match=r"net returned \(1, 2, 4, 4\)"):
        from_edm(lambda x, sigma, labels: x[:1])(torch.randn(3, 2, 4, 4), 1.0)


# -- files ----------------------------------------------------------------------------------------


def test_a_state_dict_goes_into_a_network(tmp_path: Path) -> None:
    source, path = FakeEDM(), tmp_path / "weights.pkl"
    with torch.no_grad():
        source.image.weight.add_(1)
    path.write_bytes(pickle.dumps({"ema": source.state_dict(), "step": 7}))
    loaded = load_edm_pickle(path, net=FakeEDM())
    assert torch.equal(loaded.image.weight, source.image.weight)  # pyright: ignore
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    with pytest.raises(ValueError, match=r"weights\.pkl holds no network.* pass net="):
        load_edm_pickle(path)
    with pytest.raises(ValueError, match=r"weights\.pkl does not fit net: .*image.weight"):
        load_edm_pickle(path, net=nn.Linear(2, 2))


def test_an_official_kind_of_file_needs_trust(tmp_path: Path) -> None:
    net, path = FakeEDM(), tmp_path / "official.pkl"
    path.write_bytes(pickle.dumps({"ema": net, "loss_fn": None}))
    with pytest.raises(ValueError, match=r"official\.pkl asks for edm_networks\.FakeEDM"):
        load_edm_pickle(path)
    loaded: Any = load_edm_pickle(path, trust=True)
    assert type(loaded) is FakeEDM
    assert torch.equal(loaded.image.weight, net.image.weight)
    torch.save(net, path)
    assert type(load_edm_pickle(path, trust=True)) is FakeEDM
    into = load_edm_pickle(path, trust=True, net=FakeEDM())
    assert torch.equal(into.image.weight, net.image.weight)  # pyright: ignore


def test_trust_without_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "official.pkl"
    path.write_bytes(b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n(tR.")
    monkeypatch.setitem(sys.modules, "torch_utils", None)
    with pytest.raises(ValueError, match=r"needs the module 'torch_utils.*repository.*PYTHONPATH"):
        load_edm_pickle(path, trust=True)
    path.write_bytes(b"\x80\x04]")
    with pytest.raises(ValueError, match=r"official\.pkl could not be loaded"):
        load_edm_pickle(path, trust=True)


def test_safetensors_and_back(tmp_path: Path) -> None:
    net, path = FakeEDM(), tmp_path / "net.safetensors"
    tied = {**net.state_dict(), "again": net.image.weight, "turned": net.image.weight[0].mT}
    for source in (net, tied):
        to_safetensors(source, path, {"class": "FakeEDM", "label_dim": 3})
        weights, config = from_safetensors(path)
        expected = source.state_dict() if isinstance(source, nn.Module) else source
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
        assert config == {"class": "FakeEDM", "label_dim": 3}
    assert load_file(path).keys() == tied.keys()
    FakeEDM().load_state_dict({k: weights[k] for k in net.state_dict()})


def test_bad_safetensors(tmp_path: Path) -> None:
    path, wrong = tmp_path / "net.safetensors", {"a": "b"}
    with pytest.raises(TypeError, match="'a', which is no tensor"):
        to_safetensors(wrong, path)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        to_safetensors({"a": torch.ones(2)}, path, {"config": object()})
    assert not list(tmp_path.iterdir())
    to_safetensors({"a": torch.ones(200)}, path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"net\.safetensors is truncated"):
        from_safetensors(path)
    with pytest.raises(FileNotFoundError, match="other"):
        from_safetensors(tmp_path / "other")


def test_pickle_to_safetensors_by_way_of_tensors(tmp_path: Path) -> None:
    net = FakeEDM()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    to_safetensors(load_tensors(tmp_path / "net.pt"), tmp_path / "net.safetensors")
    weights, config = from_safetensors(tmp_path / "net.safetensors")
    assert torch.equal(weights["image.weight"], net.image.weight)
    assert config == {}


# -- the command ----------------------------------------------------------------------------------


def small(*arguments: object) -> tuple[object, ...]:
    return ("sample", *arguments, "--seeds", "0-3", "--steps", "3")


def test_the_command_samples_from_a_trusted_file(
    steindiff: Command, shipped: Any, tmp_path: Path
) -> None:
    path = tmp_path / "net.pkl"
    path.write_bytes(pickle.dumps({"ema": AsEDM(shipped)}))
    ours, theirs = tmp_path / "ours.npz", tmp_path / "theirs.npz"
    assert steindiff(*small("--npz", ours)).code == 0
    outcome = steindiff(*small("--npz", theirs, "--edm", path, "--trust"))
    assert outcome.code == 0, outcome
    with np.load(ours) as a, np.load(theirs) as b:
        assert np.abs(a["images"].astype(int) - b["images"]).max() <= 1
        assert a["images"].std() > 30
        assert (a["labels"] == b["labels"]).all()


def test_the_command_refuses_without_trust(
    steindiff: Command, shipped: Any, tmp_path: Path
) -> None:
    path, out = tmp_path / "net.pkl", tmp_path / "out.png"
    path.write_bytes(pickle.dumps({"ema": AsEDM(shipped)}))
    steindiff(*small("--out", out, "--edm", path)).refused(
        "net.pkl asks for edm_networks.AsEDM", "nothing of the file was run", "trust"
    )
    path.write_bytes(pickle.dumps(FakeEDM().state_dict()))
    steindiff(*small("--out", out, "--edm", path)).refused("holds no network")
    steindiff(*small("--out", out, "--trust")).refused("--trust is for --edm")
    steindiff(*small("--out", out, "--edm", path, "--model", "a.safetensors")).refused("--model")
    steindiff(*small("--out", out, "--edm", path, "--guidance", 2)).refused("--guidance is 2")
    steindiff(*small("--out", out, "--edm", tmp_path / "no.pkl")).refused("no.pkl is not a file")
    path.write_bytes(pickle.dumps({"ema": FakeEDM()}))
    steindiff(*small("--out", out, "--edm", path, "--trust")).refused("2 channels: latents")
    assert [p.name for p in tmp_path.iterdir()] == ["net.pkl"]


def test_the_command_without_classes_stays_within_the_levels(
    steindiff: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Discrete(label_dim=0)
    net.img_channels, net.image = 1, nn.Conv2d(1, 1, 3, padding=1)
    seen: list[Tensor] = []
    forward = Discrete.forward

    def watched(self: Discrete, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        seen.append(sigma)
        return forward(self, x, sigma, labels)

    monkeypatch.setattr(Discrete, "forward", watched)
    path, out = tmp_path / "net.pkl", tmp_path / "out.npz"
    path.write_bytes(pickle.dumps(net))
    outcome = steindiff(*small("--npz", out, "--edm", path, "--trust"))
    assert outcome.code == 0, outcome
    assert [float(sigma[0]) for sigma in seen] == pytest.approx([50.0, 8.0, 1.0])
    with np.load(out) as arrays:
        assert sorted(arrays) == ["images", "seeds"]
        assert arrays["images"].shape == (4, 4, 4, 1)
    again = ("--npz", tmp_path / "b.npz", "--edm", path, "--trust", "--classes", "1")
    steindiff(*small(*again)).refused("no classes")


def test_the_metadata_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    to_safetensors({"a": torch.ones(2)}, path, {"depth": 3})
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    assert json.loads(header["__metadata__"]["config"]) == {"depth": 3}
