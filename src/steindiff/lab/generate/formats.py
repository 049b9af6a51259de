"""The three ways to store a shard of images, each with bytes that depend on the images only."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..._files import sha256

PARTIAL = ".partial"
FORMATS = {"png": "", "npz": ".npz", "wds": ".tar"}
"""Name of a format -> how the name of a shard ends; PNG has a folder a shard."""


@dataclass(frozen=True)
class Shard:
    """Consecutive images of a run.

    Attributes:
        number: of the shard, from 0.
        first: index of its first image in the run.
        images: uint8 (N, H, W, C), C = 1 or 3.
        seeds: N, one an image.
        classes: N, one an image.
    """

    number: int
    first: int
    images: np.ndarray
    seeds: list[int]
    classes: list[int]


def shard_name(kind: str, number: int) -> str:
    """Name of the shard's file, or of its folder for PNG."""
    return f"{number:06d}" if kind == "png" else f"shard-{number:06d}{FORMATS[kind]}"


def write_shard(folder: Path, kind: str, shard: Shard) -> list[dict[str, Any]]:
    """Writes the shard into `folder`, whole or not at all; replaces an earlier one.

    Returns:
        name (relative to `folder`), bytes and sha256 of each file.

    Raises:
        OSError: the disk is full, or whatever else keeps a file from being written.
    """
    name = shard_name(kind, shard.number)
    final, partial, old = folder / name, folder / PARTIAL / name, folder / PARTIAL / f"{name}.old"
    partial.parent.mkdir(exist_ok=True)
    try:
        if kind == "png":
            files = _write_folder(partial, shard)
        else:
            files = [_write_file(partial, lambda file: _WRITERS[kind](file, shard), sync=True)]
        if final.is_dir():  # a folder cannot be replaced in one move
            final.rename(old)
        partial.replace(final)
    finally:
        _remove(partial)
        _remove(old)
    base = Path(name) if kind == "png" else Path()
    return [{**file, "name": (base / file["name"]).as_posix()} for file in files]


def encode_png(image: np.ndarray) -> bytes:
    """uint8 (H, W, C) -> PNG, with fixed options."""
    buffer = io.BytesIO()
    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    picture.save(buffer, "PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def _write_folder(path: Path, shard: Shard) -> list[dict[str, Any]]:
    path.mkdir()
    return [
        _write_file(
            path / f"img{shard.first + k:09d}.png",
            lambda file, image=image: file.write(encode_png(image)),
        )
        for k, image in enumerate(shard.images)
    ]


def _write_npz(file: BinaryIO, shard: Shard) -> None:
    """As `steindiff sample --npz` does; NumPy dates every member 1 January 1980."""
    seeds, classes = np.array(shard.seeds), np.array(shard.classes)
    np.savez(file, images=shard.images, seeds=seeds, labels=classes)


def _write_tar(file: BinaryIO, shard: Shard) -> None:
    """WebDataset: the members of a sample follow each other and share a name up to the dot."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in _members(shard):
            member = tarfile.TarInfo(name)  # owner 0, date 0
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _members(shard: Shard) -> Iterator[tuple[str, bytes]]:
    for k, (image, seed, label) in enumerate(
        zip(shard.images, shard.seeds, shard.classes, strict=True)
    ):
        key = f"{shard.first + k:09d}"
        yield f"{key}.cls", str(label).encode()
        yield f"{key}.json", json.dumps({"seed": seed}).encode()
        yield f"{key}.png", encode_png(image)


_WRITERS: dict[str, Callable[[BinaryIO, Shard], None]] = {"npz": _write_npz, "wds": _write_tar}


def _write_file(
    path: Path, write: Callable[[BinaryIO], object], sync: bool = False
) -> dict[str, Any]:
    """A file and what its record says of it, read from the file.

    Args:
        path: of the file.
        write: writes its content.
        sync: wait for the disk, which may tell only then that it is full. A thousand pictures
            would take as long to wait for as to make; each run reads them before it counts them.
    """
    with path.open("wb") as file:
        write(file)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
