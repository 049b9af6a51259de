"""What is known of each shard, so that a later run can tell a whole one from a damaged one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..._files import digest, sha256, write_text
from ..typed import read_json
from .formats import Shard

FOLDER = "shards"


Name = Annotated[str, msgspec.Meta(pattern=r"^[\w-][\w.-]*(/[\w-][\w.-]*)?$")]
"""Of a file relative to the run's folder, which it does not lead out of."""


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a shard."""

    name: Name
    bytes: int
    sha256: str


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a shard.

    Attributes:
        sha256: of the rest.
        shard: its number.
        setting: digest of the run's setting.
        first: index of its first image.
        count: of its images.
        seeds: the first and the last one.
        classes: one an image.
        pixels: SHA-256 of each image's uint8 (H, W, C).
        files: of the shard.
    """

    sha256: str
    shard: int
    setting: str
    first: int
    count: int
    seeds: tuple[int, int]
    classes: list[int]
    pixels: list[str]
    files: list[File]


class DamagedError(ValueError):
    """A shard or its record is not what it was when it was written."""


def record_path(folder: Path, number: int) -> Path:
    """Where the record of a shard is."""
    return folder / FOLDER / f"{number:06d}.json"


def write_record(folder: Path, setting: str, shard: Shard, files: list[dict[str, Any]]) -> None:
    """Writes the record of a shard that has just been written.

    Args:
        folder: of the run.
        setting: digest of the run's setting.
        shard: what was written.
        files: what `write_shard` returned.
    """
    content = {
        "shard": shard.number,
        "setting": setting,
        "first": shard.first,
        "count": len(shard.images),
        "seeds": [shard.seeds[0], shard.seeds[-1]],
        "classes": shard.classes,
        "pixels": [hashlib.sha256(image.tobytes()).hexdigest() for image in shard.images],
        "files": files,
    }
    text = json.dumps({"sha256": digest(content), **content})
    write_text(record_path(folder, shard.number), text)


def read_record(folder: Path, number: int, setting: str) -> Record:
    """The record of a shard.

    Raises:
        DamagedError: it is not as it was written, or belongs to another setting.
        FileNotFoundError: there is none.
    """
    path = record_path(folder, number)
    try:
        record = read_json(path, Record)
    except ValueError as error:
        raise DamagedError(f"its record {error}") from error
    content = msgspec.to_builtins(record)
    del content["sha256"]
    if digest(content) != record.sha256:
        raise DamagedError(f"its record {path} is damaged (SHA-256)")
    if (record.shard, record.setting) != (number, setting):
        raise DamagedError(f"its record {path} is of another shard or setting")
    return record


def check_files(folder: Path, record: Record, contents: bool = True) -> None:
    """Checks that the files of a shard are there and whole.

    Args:
        folder: of the run.
        record: of the shard.
        contents: whether to read the files, or only look at their sizes.

    Raises:
        DamagedError: a file is missing, of another size, or of other contents.
    """
    for file in record.files:
        path = folder / file.name
        if not path.is_file():
            raise DamagedError(f"{path} is missing")
        size = path.stat().st_size
        if size != file.bytes:
            raise DamagedError(f"{path} has {size} bytes instead of {file.bytes}")
        if contents and sha256(path) != file.sha256:
            raise DamagedError(f"{path} has another SHA-256 than when it was written")
