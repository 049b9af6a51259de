"""Loads and saves models as safetensors files that carry their own configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .._errors import shown, unknown_name
from .._files import sha256, write_whole
from .classifier import Classifier
from .network import NetworkConfig, UNetDenoiser

_FOLDER = Path(__file__).parent
_Model = TypeVar("_Model", bound=nn.Module)

# By its package, so that the import works from an archive too.
_MANIFEST = files("steindiff.models") / "manifest.json"

MODELS: dict[str, dict[str, Any]] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
"""The shipped models: name -> denoiser, classifier and card files with their SHA-256."""


def load_model(name_or_path: str | Path, *, device: torch.device | str = "cpu") -> UNetDenoiser:
    """A trained denoiser, ready to sample from: a shipped one by name, or a file of `save_model`.

    Raises:
        ValueError: an unknown name; a file that is truncated, whose hash is not that of the
            shipped model, or whose weights do not fit the architecture.
        FileNotFoundError: a path that does not exist.
        TypeError: neither a name nor a path.
    """

    def build(config: dict[str, Any]) -> UNetDenoiser:
        return UNetDenoiser(NetworkConfig.from_dict(config))

    return _load(name_or_path, "denoiser", build).to(device)


def load_classifier(name_or_path: str | Path, *, device: torch.device | str = "cpu") -> Classifier:
    """The classifier that belongs to a shipped model. Raises as `load_model` does."""
    return _load(name_or_path, "classifier", lambda config: Classifier(**config)).to(device)


def save_model(path: Path, model: UNetDenoiser | Classifier) -> str:
    """Writes the model in one piece; returns the file's SHA-256."""
    kind = "denoiser" if isinstance(model, UNetDenoiser) else "classifier"
    config = model.config if isinstance(model.config, dict) else model.config.to_dict()
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    content = save(tensors, metadata={"kind": kind, "config": json.dumps(config)})
    write_whole(path, lambda file: file.write(content))
    return sha256(path)


def _load(name_or_path: str | Path, kind: str, build: Callable[[dict[str, Any]], _Model]) -> _Model:
    path, expected = _locate(name_or_path, kind)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    if expected is not None and (found := sha256(path)) != expected:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., {expected[:12]}... is expected; "
            "install the package again"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file: {error}") from error
    if metadata.get("kind") != kind:
        found = f"a {metadata['kind']}" if "kind" in metadata else "a model of unknown kind"
        raise ValueError(f"{path} holds {found}; a {kind} is needed")
    try:
        config = json.loads(metadata["config"])
        with torch.device("meta"), _ShapesOnly():  # what it would be, before that is allocated
            _check_fit(build(config), tensors, path)
        model = build(config).float()  # whatever the default dtype is
    except _MisfitError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        said = "brackets nested too deep" if isinstance(error, RecursionError) else error
        raise ValueError(
            f"{path} has a configuration that is not a {kind}'s: {type(error).__name__}: {said}"
        ) from error
    model.load_state_dict(tensors)
    # Channels last: convolutions run faster on a CPU (by 1.1 to 1.9 as measured), and an image's
    # bits no longer depend on its batch where threads divide that (lab/generate/sampler.py).
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _locate(name_or_path: str | Path, kind: str) -> tuple[Path, str | None]:
    """Path, and the hash it must have if it is shipped."""
    if not isinstance(name_or_path, (str, Path)):
        known = ", ".join(MODELS)
        raise TypeError(
            f"name_or_path is {shown(name_or_path)}; the name of a shipped model ({known}) or the "
            "path of a file of save_model is needed"
        )
    name = str(name_or_path)
    if name in MODELS:
        entry = MODELS[name][kind]
        return _FOLDER / entry["file"], entry["sha256"]
    if isinstance(name_or_path, Path) or os.sep in name or name.endswith(".safetensors"):
        return Path(name_or_path), None
    raise unknown_name("model", name, MODELS)


class _ShapesOnly(TorchFunctionMode):
    """Leaves out what fills parameters: for the meta device it would import torch's compiler.

    That import takes a command longer than the sampling of a few images.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.exp or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class _MisfitError(ValueError):
    """Weights of another architecture than the configuration's."""


def _check_fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    wanted = model.state_dict()
    for key in sorted(wanted.keys() | tensors.keys()):
        if key not in tensors or key not in wanted:
            where = "is missing" if key in wanted else "is not part of the architecture"
            raise _MisfitError(f"{path} does not fit its architecture: {key} {where}")
        if tensors[key].shape != wanted[key].shape:
            raise _MisfitError(
                f"{path} does not fit its architecture: {key} has shape "
                f"{tuple(tensors[key].shape)}, not {tuple(wanted[key].shape)}"
            )
