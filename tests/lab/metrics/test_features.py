"""Feature extractors: names, shapes, what they compute and what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from steindiff.lab.metrics import (
    ClassifierFeatures,
    Features,
    Inception,
    Pixels,
    resolve_features,
    to_unit,
)
from steindiff.models import MODELS, load_classifier, save_model
from steindiff.models.classifier import Classifier


def images(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def shipped() -> ClassifierFeatures:
    return ClassifierFeatures()


def test_classifier_features_are_those_of_the_classifier(shipped: ClassifierFeatures) -> None:
    """In chunks, and with the head on top giving its logits."""
    x = images(520, 1, 28, 28)
    found = shipped.features(x)
    assert (found.shape, found.dtype) == ((520, shipped.dim), torch.float32)
    assert not found.requires_grad
    network = load_classifier("fashion-mnist")
    with torch.no_grad():
        assert torch.allclose(found[490:], network.features(x[490:]), atol=1e-5)
        logits = shipped.classify(found)
        assert torch.allclose(logits[:20], network(x[:20]), atol=1e-4)
    assert logits.shape == (520, len(MODELS["fashion-mnist"]["classes"]))


def test_names_tell_the_weights(shipped: ClassifierFeatures, tmp_path: Path) -> None:
    digest = MODELS["fashion-mnist"]["classifier"]["sha256"]
    assert shipped.name == f"fashion-mnist-classifier@{digest[:12]}"
    names = set()
    for seed in range(2):
        torch.manual_seed(seed)
        path = tmp_path / "mine.safetensors"
        digest = save_model(path, Classifier(num_classes=3, width=16))
        own = ClassifierFeatures(path)
        assert own.name == f"mine-classifier@{digest[:12]}"
        assert own.features(images(4, 1, 28, 28)).shape == (4, own.dim) == (4, 16)
        names.add(own.name)
    assert len(names) == 2


def test_pixels_take_any_shape() -> None:
    x = images(3, 2, 4, 5)
    assert torch.equal(Pixels().features(x), x.reshape(3, 40))
    assert torch.equal(Pixels().features(x[:, 0, 0].double()), x[:, 0, 0])


def test_resolving() -> None:
    assert isinstance(resolve_features("pixels"), Pixels)
    assert isinstance(resolve_features("fashion-mnist"), ClassifierFeatures)

    class Mean:
        name, dim = "mean", 1

        def features(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1).mean(dim=1, keepdim=True)

    own: Features = Mean()
    assert resolve_features(own) is own
    with pytest.raises(ValueError, match=r"'fashion-mnits' is unknown. Did you mean 'fashion-mnis"):
        resolve_features("fashion-mnits")
    with pytest.raises(ValueError, match="'inception:PATH' with its weights is needed"):
        resolve_features("inception")
    with pytest.raises(TypeError, match="features is a int"):
        resolve_features(3)  # pyright: ignore[reportArgumentType]


def test_bad_images_are_named(shipped: ClassifierFeatures) -> None:
    with pytest.raises(ValueError, match=r"images has shape \(2, 3, 28, 28\); \(N, 1, H, W\)"):
        shipped.features(images(2, 3, 28, 28))
    with pytest.raises(TypeError, match=r"images has dtype torch.uint8"):
        shipped.features(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"features has shape \(2, 3\)"):
        shipped.classify(torch.zeros(2, 3))


def test_8_bit_images_span_the_unit_range() -> None:
    eight_bit = torch.arange(256, dtype=torch.uint8).reshape(2, 8, 16, 1)
    unit = to_unit(eight_bit)
    assert unit.shape == (2, 1, 8, 16)
    assert (unit.min(), unit.max()) == (-1, 1)
    back = ((unit + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    assert torch.equal(back, eight_bit)
    with pytest.raises(TypeError, match=r"torch.float32; a torch.uint8"):
        to_unit(unit)
    with pytest.raises(ValueError, match=r"\(N, H, W, C\)"):
        to_unit(eight_bit[0])


@pytest.mark.upstream
def test_inception_is_that_of_torch_fidelity(
    others: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With random weights: the trained ones are no part of the tests."""
    path = tmp_path / "weights.pth"
    kind = others.inception.FeatureExtractorInceptionV3
    with monkeypatch.context() as patch:
        patch.setattr(others.inception, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(kind, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        network = kind("random", ["2048"])
    torch.save(network.state_dict(), path)
    ours = resolve_features(f"inception:{path}")
    assert ours.name.startswith("inception-v3-pool3@")
    assert ours.dim == 2048
    x = images(2, 1, 20, 20)
    eight_bit = ((x + 1) * 127.5).round().to(torch.uint8).repeat(1, 3, 1, 1)
    with torch.no_grad():
        (expected,) = network(eight_bit)
    found = ours.features(x)
    assert found.shape == (2, 2048)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))
    with pytest.raises(ValueError, match=r"\(N, 1 or 3, H, W\)"):
        ours.features(images(2, 2, 20, 20))


def test_inception_says_what_is_missing(
    others: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.pth is not a file; the InceptionV3 weights"):
        Inception(tmp_path / "none.pth")
    path = tmp_path / "wrong.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"wrong.pth holds no weights of torch-fidelity's"):
        Inception(path)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"wrong.pth holds no weights of torch-fidelity's"):
        Inception(path)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ImportError, match="pip install torch-fidelity torchvision"):
        Inception(path)
