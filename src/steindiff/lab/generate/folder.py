"""The folder of a run: its setting, and what earlier runs left in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..._files import digest, write_text
from ..._provenance import command_line, versions
from .. import locks
from . import records
from .formats import PARTIAL

NAME = "generate.json"


@dataclass(frozen=True)
class Setting:
    """Everything that the bytes of a run depend on; a folder holds one setting only."""

    model_sha256: str
    solver: str
    coefficient: str
    steps: int
    schedule: str
    sigma_min: float
    sigma_max: float
    final: str
    guidance: float
    classes: tuple[int, ...]
    count: int
    first_seed: int
    format: str
    shard_size: int
    batch: int
    compile: bool
    device: str
    torch: str
    steindiff: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "classes": list(self.classes)}

    @property
    def digest(self) -> str:
        """Of the whole setting, in hexadecimal."""
        return digest(self.to_dict())

    @property
    def shards(self) -> int:
        """How many shards there are, the last one perhaps shorter."""
        return -(-self.count // self.shard_size)

    def indices(self, shard: int) -> range:
        """Which images are in a shard."""
        begin = shard * self.shard_size
        return range(begin, min(begin + self.shard_size, self.count))


def read_setting(folder: Path) -> dict[str, Any]:
    """The setting that a folder was made with, as `Setting.to_dict` gave it.

    Raises:
        ValueError: its file is damaged. FileNotFoundError: there is none.
    """
    path = folder / NAME
    try:
        content = json.loads(path.read_bytes())
        setting = content["setting"]
        if content["sha256"] != digest(setting):
            raise ValueError("its SHA-256 is not that of its contents")
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); restore it, or choose another "
            "folder"
        ) from error
    return setting


def open_folder(folder: Path, setting: Setting, model: str) -> None:
    """Creates the folder of a new run, or checks that it was made with the same setting.

    Leftovers of killed runs are removed: call it with the folder's lock held.

    Raises:
        ValueError: another setting, named, or a damaged file.
    """
    if (folder / NAME).exists():
        _compare(folder, read_setting(folder), setting.to_dict())
    _clean(folder)
    (folder / records.FOLDER).mkdir(exist_ok=True)
    if not (folder / NAME).exists():
        _write(folder / NAME, setting, model)


def check_folder(folder: Path) -> None:
    """Creates `folder` if need be.

    Raises:
        ValueError: it holds something else than a run.
        OSError: it cannot be created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ours = (locks.FOLDER, PARTIAL, records.FOLDER, f".{NAME}.")  # before the setting is written
    foreign = sorted(path.name for path in folder.iterdir() if not path.name.startswith(ours))
    if foreign and not (folder / NAME).exists():
        raise ValueError(f"{folder} holds {foreign[0]}, but no {NAME}; a new folder is needed")


def _compare(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key in sorted(found.keys() | wanted.keys()):
        there, here = found.get(key), wanted.get(key)
        if there != here:
            raise ValueError(
                f"{folder} was made with another setting: {key} is {there!r} there and {here!r} "
                "here; choose another --out"
            )


def _write(path: Path, setting: Setting, model: str) -> None:
    content = {
        "setting": setting.to_dict(),
        "sha256": setting.digest,
        "model": model,
        "command": command_line(),
        "versions": versions("steindiff", "torch", "numpy", "pillow"),
    }
    text = json.dumps(content, indent=1)
    write_text(path, text)


def _clean(folder: Path) -> None:
    """Removes what a killed run was writing."""
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    for path in _leftovers(folder):
        path.unlink(missing_ok=True)


def _leftovers(folder: Path) -> Iterator[Path]:
    yield from folder.glob(f".{NAME}.*")
    yield from (folder / records.FOLDER).glob(".*.json.*")
