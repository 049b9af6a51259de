"""The folder of a run: its setting, and what earlier runs left in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..._files import digest, write_text
from ..._provenance import command_line, versions
from .. import locks
from ..folders import MARKER
from ..typed import read_json
from . import records
from .formats import FORMATS, PARTIAL, shard_name

NAME = "generate.json"
_FOLDERS = (locks.FOLDER, PARTIAL, records.FOLDER)


Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Level = Annotated[float, msgspec.Meta(gt=0)]
Class = Annotated[int, msgspec.Meta(ge=0)]


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that the bytes of a run depend on; a folder holds one setting only."""

    model_sha256: str
    solver: str
    coefficient: str
    steps: Count
    schedule: str
    sigma_min: Level
    sigma_max: Level
    final: str
    end: str
    guidance: float
    classes: Annotated[tuple[Class, ...], msgspec.Meta(min_length=1)]
    count: Count
    first_seed: Annotated[int, msgspec.Meta(ge=0)]
    format: Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(FORMATS)})$")]
    shard_size: Count
    batch: Count
    compile: bool
    device: str
    torch: str
    steindiff: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return msgspec.json.decode(msgspec.json.encode(self))

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


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `generate.json` holds: the setting with its digest, and what began the run."""

    setting: Setting
    sha256: str
    model: str
    command: str
    versions: dict[str, str]


def read_setting(folder: Path) -> Setting:
    """The setting that a folder was made with.

    Raises:
        ValueError: its file is damaged; named with the field.
        FileNotFoundError: there is none.
    """
    path = folder / NAME
    found = read_json(path, Description)
    if found.sha256 != found.setting.digest:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is not that of its contents; restore it, or choose "
            "another folder"
        )
    return found.setting


def open_folder(folder: Path, setting: Setting, model: str) -> list[str]:
    """Creates the folder of a new run, or checks that it was made with the same setting.

    Leftovers of killed runs are removed: call it with the folder's lock held.

    Returns:
        Names of entries that are not of this run, which are left alone.

    Raises:
        ValueError: another setting, named; a damaged file; or an entry in the place of ours.
    """
    if (folder / NAME).exists():
        _compare(folder, read_setting(folder), setting)
    _clean(folder)
    (folder / records.FOLDER).mkdir(exist_ok=True)
    if not (folder / NAME).exists():
        _write(folder / NAME, setting, model)
    return _foreign(folder, setting)


def check_places(folder: Path, setting: Setting, shard: int) -> None:
    """Checks that nothing else stands where a shard and its record belong.

    Raises:
        ValueError: a link, a folder in place of a file, or a file in place of a folder.
    """
    own = folder / shard_name(setting.format, shard)
    for path, is_folder in (
        (records.record_path(folder, shard), False),
        (own, setting.format == "png"),
    ):
        there = path.exists() or path.is_symlink()
        if there and (path.is_symlink() or path.is_dir() != is_folder):
            wanted = "folder" if is_folder else "file"
            raise ValueError(
                f"{path} is not the {wanted} that belongs there; remove it, or choose another --out"
            )


def _foreign(folder: Path, setting: Setting) -> list[str]:
    """Entries that no run writes."""
    known = {
        NAME,
        MARKER,
        *_FOLDERS,
        *(shard_name(setting.format, k) for k in range(setting.shards)),
    }
    numbered = {records.record_path(folder, k).name for k in range(setting.shards)}
    inside = [name for name in _names(folder / records.FOLDER) if name not in numbered]
    return [
        *(name for name in _names(folder) if name not in known),
        *(f"{records.FOLDER}/{name}" for name in inside),
    ]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _compare(folder: Path, found: Setting, wanted: Setting) -> None:
    there, here = found.to_dict(), wanted.to_dict()
    for key in sorted(here):
        if there[key] != here[key]:
            raise ValueError(
                f"{folder} was made with another setting: {key} is {there[key]!r} there and "
                f"{here[key]!r} here; choose another --out"
            )


def _write(path: Path, setting: Setting, model: str) -> None:
    made_by = versions("steindiff", "torch", "numpy", "pillow")
    content = Description(setting, setting.digest, model, command_line(), made_by)
    write_text(path, json.dumps(msgspec.to_builtins(content), indent=1))


def _clean(folder: Path) -> None:
    """Removes what a killed run was writing."""
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    for path in (*folder.glob(f".{NAME}.*"), *(folder / records.FOLDER).glob(".*.json.*")):
        path.unlink(missing_ok=True)
