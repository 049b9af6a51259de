"""Other implementations of the same metrics, and features to compare on."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

Draw = Callable[..., torch.Tensor]


def _stub_torchvision() -> dict[str, ModuleType]:
    """Just what importing torch-fidelity reads of torchvision; the metrics use none of it."""
    names = ("", ".datasets", ".models", ".transforms", ".transforms.functional")
    stubs = {f"torchvision{name}": ModuleType(f"torchvision{name}") for name in names}
    for name in ("CIFAR10", "CIFAR100", "STL10"):
        setattr(stubs["torchvision.datasets"], name, type(name, (), {}))
    for name, module in stubs.items():
        module.__spec__ = ModuleSpec(name, None)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(stubs[parent], child, module)
    return stubs


@pytest.fixture(scope="session")
def others() -> Any:
    """torch-fidelity's and torchmetrics' own functions, with or without torchvision."""
    missing = importlib.util.find_spec("torchvision") is None
    stubs = _stub_torchvision() if missing else {}
    sys.modules.update(stubs)
    try:
        fidelity = {
            "fid": importlib.import_module("torch_fidelity.metric_fid"),
            "kid": importlib.import_module("torch_fidelity.metric_kid"),
            "inception": importlib.import_module("torch_fidelity.feature_extractor_inceptionv3"),
        }
    finally:
        for name in stubs:
            del sys.modules[name]
    return SimpleNamespace(
        **fidelity,
        torchmetrics_fid=importlib.import_module("torchmetrics.image.fid"),
        torchmetrics_kid=importlib.import_module("torchmetrics.image.kid"),
    )


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Correlated features (count, width) in float64 whose moments change with the seed."""

    def features(count: int, width: int, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
        rows = torch.randn(count, width, generator=generator, dtype=torch.float64)
        return rows @ mix / width**0.5 + shift

    return features
