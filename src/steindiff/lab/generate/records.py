"""What is known of each shard, so that a later run can tell a whole one from a damaged one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..._files import digest, sha256, write_text
from .formats import Shard

FOLDER = "shards"


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
        shard, files: what was written, and what `write_shard` returned.
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
    path = record_path(folder, shard.number)
    text = json.dumps({"sha256": digest(content), **content})
    write_text(path, text)


def read_record(folder: Path, number: int, setting: str) -> dict[str, Any]:
    """The record of a shard.

    Raises:
        DamagedError: it is not as it was written, or belongs to another setting.
        FileNotFoundError: there is none.
    """
    path = record_path(folder, number)
    try:
        content = json.loads(path.read_bytes())
        expected = content.pop("sha256")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedError(f"its record {path} is damaged ({type(error).__name__})") from error
    if digest(content) != expected:
        raise DamagedError(f"its record {path} is damaged (SHA-256)")
    if (content["shard"], content["setting"]) != (number, setting):
        raise DamagedError(f"its record {path} is of another shard or setting")
    return content


def check_files(folder: Path, record: dict[str, Any], contents: bool = True) -> None:
    """Checks that the files of a shard are there and whole.

    Args:
        folder: of the run.
        record: of the shard.
        contents: whether to read the files, or only look at their sizes.

    Raises:
        DamagedError: a file is missing, of another size, or of other contents.
    """
    for file in record["files"]:
        path = folder / file["name"]
        if not path.is_file():
            raise DamagedError(f"{path} is missing")
        size = path.stat().st_size
        if size != file["bytes"]:
            raise DamagedError(f"{path} has {size} bytes instead of {file['bytes']}")
        if contents and sha256(path) != file["sha256"]:
            raise DamagedError(f"{path} has another SHA-256 than when it was written")
