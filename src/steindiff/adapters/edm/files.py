"""Files of networks: official pickles, files of tensors alone, safetensors."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..._files import write_whole
from .guard import Guard, UnsafePickleError
from .tensors import LEGACY_MAGIC, read_legacy, read_plain, read_zip

_ZIP_MAGIC = b"PK\x03\x04"
_DAMAGE = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, EOFError,
    struct.error, zipfile.BadZipFile, pickle.UnpicklingError,
)  # fmt: skip


def load_edm_pickle(
    path: str | Path, trust: bool = False, net: nn.Module | None = None
) -> nn.Module:
    """The network of a pickle: its "ema", as in official files, or all of it.

    Official files hold the source of their network and run it when they are loaded. Without
    `trust`, a reader that knows tensors and plain containers only is used, which they do not pass;
    a file that holds a state dict does, and is loaded into `net`.

    Args:
        path: the file: a pickle, or a file of torch.save.
        trust: whether the file may run whatever it likes, with your rights. For official files the
            EDM (or EDM2) repository must be importable: put its folder on PYTHONPATH.
        net: a network that the weights fit; None if the file brings its own.

    Returns:
        The network in evaluation mode, without gradients.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: without `trust`, a file that asks for more; it names what for.
        ValueError: a damaged file; tensors alone and no `net`, or one that they do not fit; with
            `trust`, a module that cannot be imported.
    """
    path = _existing(path)
    content = _ema(_trusted(path) if trust else _restricted(path))
    if isinstance(content, nn.Module) and net is None:
        net = content
    elif net is None:
        raise ValueError(
            f"{path} holds no network, only {_described(content)}; pass net=, a network that they "
            "are the weights of, or read them with load_tensors"
        )
    else:
        weights = content.state_dict() if isinstance(content, nn.Module) else content
        _fill(net, _state(weights, path), path)
    return net.eval().requires_grad_(False)


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a pickle, or of its "ema", that holds tensors alone. Runs nothing.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: a file that asks for more; it names what for.
        ValueError: a damaged file, or one that holds something else.
    """
    path = _existing(path)
    return _state(_ema(_restricted(path)), path)


def to_safetensors(
    state_or_net: Mapping[str, Tensor] | nn.Module,
    path: str | Path,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Writes weights as a file that cannot run code, whole or not at all.

    Args:
        state_or_net: the weights; tied ones are written once for each of their names.
        path: the file, replaced if it exists.
        config: what is needed to build the network again; anything that JSON can hold.

    Raises:
        TypeError: something else than tensors by name, or a config that JSON cannot hold.
    """
    net = isinstance(state_or_net, nn.Module)
    state = state_or_net.state_dict() if net else dict(state_or_net)
    wrong = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        raise TypeError(
            f"state_or_net has {wrong[0]!r}, which is no tensor; a state dict is needed"
        )
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    metadata = {"kind": "edm", "config": json.dumps(dict(config or {}))}
    content = save(tensors, metadata=metadata)
    write_whole(Path(path), lambda file: file.write(content))


def from_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the config of a file of `to_safetensors`.

    A file of someone else's has an empty config.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, or no safetensors file.
    """
    path = _existing(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            config = json.loads((file.metadata() or {}).get("config", "{}"))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is truncated or no safetensors file: {error}") from error
    return tensors, config


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():  # neither a folder, nor a pipe or a device that never ends
        raise FileNotFoundError(f"{path} is not a file")
    return path


def _restricted(path: Path) -> Any:
    data = path.read_bytes()
    guard = Guard(path, len(data))
    try:
        if data.startswith(_ZIP_MAGIC):
            return read_zip(data, guard)
        return (read_legacy if data.startswith(LEGACY_MAGIC) else read_plain)(data, guard)
    except UnsafePickleError:
        raise
    except _DAMAGE as error:
        said = str(error)
        if said.startswith(str(path)):
            raise
        raise guard.damaged(f"{type(error).__name__}: {said[:200]}") from error


def _trusted(path: Path) -> Any:
    """Loads with Python's own unpickler: the file may do anything."""
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC:
                return torch.load(path, map_location="cpu", weights_only=False)
            file.seek(0)
            return pickle.load(file)
    except ImportError as error:
        raise ValueError(
            f"{path} needs the module {error.name!r}, which cannot be imported ({error}). "
            "Official files need the EDM (or EDM2) repository: put its folder on PYTHONPATH"
        ) from error
    except _DAMAGE as error:
        raise ValueError(f"{path} could not be loaded: {type(error).__name__}: {error}") from error


def _ema(content: Any) -> Any:
    return content["ema"] if isinstance(content, dict) and "ema" in content else content


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path} holds {_described(content)}; tensors by name are needed")
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise ValueError(
                f"{path} holds a {type(value).__name__} under {name!r}; tensors by name are "
                "needed, at the top or under 'ema'"
            )
    return dict(content)


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"{len(content)} entries of a dictionary"
    return f"a {type(content).__name__}"


def _fill(net: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit net: {' '.join(str(error).split())}") from error
