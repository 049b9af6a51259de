"""Model files: the round trip, and every way in which a file can be wrong."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from steindiff._files import sha256
from steindiff.models import load_classifier, load_model, loader, save_model
from steindiff.models.classifier import Classifier
from steindiff.models.network import BOUNDS, NetworkConfig, UNetDenoiser

CONFIG = NetworkConfig(
    image_size=8, channels=1, num_classes=3, patch=2, widths=(32, 32), embedding=32, sigma_data=0.4
)


@pytest.fixture(scope="module")
def model() -> UNetDenoiser:
    torch.manual_seed(0)
    return UNetDenoiser(CONFIG).eval().requires_grad_(False)


@pytest.fixture
def path(tmp_path: Path, model: UNetDenoiser) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_model(path, model)
    return path


def write(path: Path, model: UNetDenoiser, **changes: Any) -> None:
    """The model's file with other tensors or other metadata (None: without that entry)."""
    tensors: dict[str, Tensor] = {**model.state_dict(), **changes.pop("tensors", {})}
    metadata = {"kind": "denoiser", "config": json.dumps(CONFIG.to_dict()), **changes}
    save_file(
        {key: value for key, value in tensors.items() if value is not None},
        path,
        {key: value for key, value in metadata.items() if value is not None},
    )


def test_round_trip_of_a_denoiser(path: Path, model: UNetDenoiser) -> None:
    loaded = load_model(path)
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert loaded.config.to_dict() == CONFIG.to_dict()
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    x, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 3])
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as loaded models are
    assert torch.equal(loaded(x, 1.5, labels), model(x, 1.5, labels))
    assert torch.equal(load_model(str(path))(x, 1.5, labels), model(x, 1.5, labels))


def test_round_trip_of_a_classifier(tmp_path: Path) -> None:
    torch.manual_seed(1)
    classifier = Classifier(num_classes=4, width=8)
    classifier(torch.randn(4, 1, 28, 28))  # moves the running means off their start
    path = tmp_path / "classifier.safetensors"
    save_model(path, classifier)
    loaded = load_classifier(path)
    before, after = classifier.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert loaded.config == {"num_classes": 4, "width": 8}
    assert not loaded.training
    images = torch.randn(3, 1, 28, 28)
    classifier = classifier.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as loaded models are
    assert torch.equal(loaded(images), classifier(images))
    assert loaded(images).shape == (3, 4)
    assert loaded.features(images).shape == (3, 8)


def test_save_gives_the_hash_and_leaves_one_file(tmp_path: Path, model: UNetDenoiser) -> None:
    path = tmp_path / "m.safetensors"
    digest = save_model(path, model)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest() == sha256(path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644  # others can read it once it is installed
    again = save_model(path, model)  # over an existing file
    assert again == sha256(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    path: Path, model: UNetDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def interrupted(partial: str, final: Path) -> None:
        assert Path(partial).stat().st_size > 0
        raise KeyboardInterrupt

    monkeypatch.setattr("steindiff._files.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(path, model)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_half_precision_weights_are_widened(tmp_path: Path, model: UNetDenoiser) -> None:
    path = tmp_path / "half.safetensors"
    write(path, model, tensors={key: value.half() for key, value in model.state_dict().items()})
    loaded = load_model(path)
    assert loaded.embedding.weight.dtype == torch.float32
    assert torch.equal(loaded.embedding.weight, model.embedding.weight.half().float())


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.5, -1])
def test_truncated_file(path: Path, kept: float) -> None:
    whole = path.read_bytes()
    part = whole[: int(kept * len(whole)) if isinstance(kept, float) else kept]
    assert len(part) < len(whole)
    path.write_bytes(part)
    with pytest.raises(ValueError, match=r"tiny\.safetensors is truncated or no safetensors file"):
        load_model(path)


def test_truncated_at_the_end_of_the_header(path: Path) -> None:
    whole = path.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    path.write_bytes(whole[: 8 + header])
    with pytest.raises(ValueError, match="is truncated or no safetensors file"):
        load_model(path)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n" + bytes(200), b"hello " * 100, struct.pack("<Q", 2) + b"[]"]
)
def test_another_kind_of_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tiny\.safetensors is truncated or no safetensors file"):
        load_model(path)


def test_wrong_hash_of_a_shipped_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"file": str(path), "sha256": sha256(path)}
    monkeypatch.setitem(loader.MODELS, "tiny", {"denoiser": entry})
    assert load_model("tiny").sample_shape == (1, 8, 8)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of one weight: still a valid file
    path.write_bytes(bytes(content))
    load_model(path)
    found, wanted = sha256(path)[:12], entry["sha256"][:12]
    pattern = rf"tiny\.safetensors is damaged: its SHA-256 is {found}.*{wanted}.* is expected"
    with pytest.raises(ValueError, match=pattern):
        load_model("tiny")


def test_missing_file_of_a_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_FOLDER", tmp_path)
    entry = {"file": "gone.safetensors", "sha256": "0" * 64}
    monkeypatch.setitem(loader.MODELS, "tiny", {"denoiser": entry})
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors is not a file"):
        load_model("tiny")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"embedding.bias": None}, r"embedding\.bias is missing"),
        ({"extra.weight": torch.ones(2)}, r"extra\.weight is not part of the architecture"),
        (
            {"embedding.bias": torch.ones(31)},
            r"embedding\.bias has shape \(31,\), not \(32,\)",
        ),
        (
            {"class_embedding.weight": torch.ones(11, 32)},
            r"class_embedding\.weight has shape \(11, 32\), not \(4, 32\)",
        ),
    ],
)
def test_weights_that_do_not_fit(
    tmp_path: Path, model: UNetDenoiser, tensors: dict[str, Any], message: str
) -> None:
    path = tmp_path / "odd.safetensors"
    write(path, model, tensors=tensors)
    with pytest.raises(ValueError, match=rf"odd\.safetensors does not fit .*: {message}"):
        load_model(path)


def test_the_helper_of_these_tests_writes_a_good_file(tmp_path: Path, model: UNetDenoiser) -> None:
    """So that the refusals above and below are not those of a file that is bad in any case."""
    write(tmp_path / "good.safetensors", model)
    assert load_model(tmp_path / "good.safetensors").config.num_classes == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": None}, "holds a model of unknown kind; a denoiser is needed"),
        ({"kind": "tokenizer"}, "holds a tokenizer; a denoiser is needed"),
        ({"config": None}, "has a configuration that is not a denoiser's: KeyError: 'config'"),
        ({"config": "{"}, "has a configuration that is not a denoiser's: JSONDecodeError"),
        ({"config": "[]"}, "has a configuration that is not a denoiser's"),
        ({"config": "null"}, "has a configuration that is not a denoiser's"),
        ({"config": "{}"}, "has a configuration that is not a denoiser's: KeyError: 'widths'"),
    ],
)
def test_bad_metadata(
    tmp_path: Path, model: UNetDenoiser, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "odd.safetensors"
    write(path, model, **changes)
    with pytest.raises(ValueError, match=rf"odd\.safetensors {message}"):
        load_model(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"depth": 3},
        {"widths": []},
        {"widths": 32},
        {"widths": [33]},
        {"widths": [-32]},
        {"num_classes": "3"},
        {"embedding": -1},
        {"patch": None},
        *({name: value} for name in BOUNDS for value in (0, 10**9, 1e308, True, "8", [])),
        {"widths": [32] * 9},
        {"widths": [2**40]},
        {"widths": [True]},
        {"sigma_data": 0},
        {"sigma_data": "0.5"},
        {"sigma_data": float("nan")},
    ],
    ids=str,
)
def test_bad_configuration(tmp_path: Path, model: UNetDenoiser, entry: dict[str, Any]) -> None:
    path = tmp_path / "odd.safetensors"
    write(path, model, config=json.dumps({**CONFIG.to_dict(), **entry}))
    with pytest.raises(ValueError, match=r"odd\.safetensors has a configuration that is not a den"):
        load_model(path)


def test_a_large_network_is_not_built_for_a_small_file(tmp_path: Path, model: UNetDenoiser) -> None:
    """The largest that the bounds allow would take hundreds of GiB."""
    path = tmp_path / "odd.safetensors"
    large = {"widths": [4096] * 8, "blocks": 64, "image_size": 256, "embedding": 16_384}
    write(path, model, config=json.dumps({**CONFIG.to_dict(), **large}))
    with pytest.raises(ValueError, match=r"odd\.safetensors does not fit its architecture"):
        load_model(path)


def test_a_configuration_of_brackets(tmp_path: Path, model: UNetDenoiser) -> None:
    path = tmp_path / "odd.safetensors"
    write(path, model, config="[" * 100_000)
    with pytest.raises(ValueError, match=r"is not a denoiser's: RecursionError: brackets nested"):
        load_model(path)


@pytest.mark.parametrize("end", [2**63, 2**64 - 1, -1, 1e308])
def test_a_header_whose_sizes_overflow(tmp_path: Path, end: Any) -> None:
    entry = {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, end]}
    header = json.dumps({"__metadata__": {"kind": "denoiser"}, "w": entry}).encode()
    for length in (len(header), 2**63, 2**64 - 1):
        path = tmp_path / "odd.safetensors"
        path.write_bytes(length.to_bytes(8, "little") + header + bytes(8))
        with pytest.raises(ValueError, match=r"odd\.safetensors is truncated or no safetensors"):
            load_model(path)


def test_configuration_of_another_architecture(tmp_path: Path, model: UNetDenoiser) -> None:
    path = tmp_path / "odd.safetensors"
    write(path, model, config=json.dumps({**CONFIG.to_dict(), "widths": [32, 64]}))
    with pytest.raises(ValueError, match=r"odd\.safetensors does not fit its architecture: unet"):
        load_model(path)


def test_wrong_kind_of_model(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "classifier.safetensors"
    save_model(other, Classifier(width=8))
    assert load_classifier(other).config["width"] == 8
    with pytest.raises(ValueError, match=r"classifier\.safetensors holds a classifier; a denoiser"):
        load_model(other)
    with pytest.raises(ValueError, match=r"tiny\.safetensors holds a denoiser; a classifier"):
        load_classifier(path)


@pytest.mark.parametrize("as_given", [Path, str])
@pytest.mark.parametrize("load", [load_model, load_classifier])
def test_missing_file(
    tmp_path: Path, load: Callable[[Any], object], as_given: Callable[[Path], Any]
) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors is not a file"):
        load(as_given(tmp_path / "none.safetensors"))
    with pytest.raises(FileNotFoundError, match="is not a file"):
        load(as_given(tmp_path))  # a folder


@pytest.mark.parametrize("load", [load_model, load_classifier])
def test_unknown_name(load: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fashion-mnist", "zebra"):
        monkeypatch.setitem(loader.MODELS, name, {})
    with pytest.raises(ValueError) as caught:
        load("fashion-mnits")
    message = str(caught.value)
    assert "model 'fashion-mnits' is unknown. Did you mean 'fashion-mnist'?" in message
    assert "zebra" in message.partition("Known:")[2]
    with pytest.raises(ValueError, match=r"model 'qqq' is unknown\. Known: "):
        load("qqq")


@pytest.mark.parametrize("load", [load_model, load_classifier])
@pytest.mark.parametrize("given", [3, None, b"fashion-mnist"], ids=repr)
def test_what_is_neither_a_name_nor_a_path(load: Callable[[Any], object], given: Any) -> None:
    said = f"name_or_path is {given!r}; the name of a shipped model \\(fashion-mnist\\) or the path"
    with pytest.raises(TypeError, match=said):
        load(given)
