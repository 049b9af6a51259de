"""Sets of images as they are stored, read in parts: folders, archives, and what `generate` made."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from .folder import NAME, read_setting
from .formats import shard_name
from .records import DamagedError, Record, check_files, read_record

PART = 500
"""Images of a part, where a stored shard does not set it."""
PICTURES = (".png", ".jpg", ".jpeg")
_DAMAGE = (OSError, SyntaxError, ValueError, LookupError, EOFError, zlib.error)
_DAMAGE += (zipfile.BadZipFile, tarfile.TarError, Image.DecompressionBombError)

Load = Callable[[], np.ndarray]
"""Reads a part: uint8 (N, H, W, C), C = 1 or 3, all images of one size."""


@dataclass(frozen=True)
class Images:
    """A stored set of images.

    Attributes:
        path: where it is.
        parts: gives the parts in an order that depends on the set only; what a part costs is paid
            when it is loaded. Loading raises ValueError, naming the file, for a damaged one.
    """

    path: Path
    parts: Callable[[], Iterator[Load]]


def open_images(path: Path) -> Images:
    """The images at `path`.

    Args:
        path: a folder that `steindiff generate` made; one of PNG and JPEG files, in subfolders too;
            an NPZ file with `images`, uint8 (N, H, W, C); a WebDataset tar; or a folder of either.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: none of these, or a generated folder that is damaged or incomplete.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_dir() and (path / NAME).exists():
        return _generated(path)
    files = _files(path) if path.is_dir() else [path]
    kinds = {"picture" if file.suffix.lower() in PICTURES else file.suffix for file in files}
    if len(kinds) != 1:
        found = " and ".join(sorted(kinds)) or "no such files"
        raise ValueError(f"{path} holds {found}; PNG and JPEG files, .npz or .tar are needed")
    kind = kinds.pop()
    if kind == "picture":
        return Images(path, lambda: _chunks(files))
    if kind == ".npz":
        return Images(path, lambda: itertools.chain.from_iterable(map(_npz_parts, files)))
    if kind == ".tar":
        return Images(path, lambda: itertools.chain.from_iterable(map(_tar_parts, files)))
    raise ValueError(f"{path} is neither a folder nor a .npz, .tar, .png or .jpg file")


def holds_images(path: Path) -> bool:
    """Whether `path` is a set of images, rather than an NPZ file of something else."""
    if path.is_dir() or path.suffix != ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return "images.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def _files(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(p for p in found if p.suffix.lower() in (*PICTURES, ".npz", ".tar"))


# -- what generate made ---------------------------------------------------------------------------


def _generated(folder: Path) -> Images:
    setting = read_setting(folder)
    identity, count = setting.digest, setting.shards

    def record(number: int) -> Record:
        try:
            return read_record(folder, number, identity)
        except FileNotFoundError:
            raise ValueError(
                f"{folder} is incomplete: shard {number:06d} of {count} is missing; start its "
                "`steindiff generate` again"
            ) from None
        except DamagedError as error:
            raise _damaged_shard(number, error) from error

    def load(number: int) -> np.ndarray:
        try:
            found = record(number)
            check_files(folder, found)
        except DamagedError as error:
            raise _damaged_shard(number, error) from error
        path = folder / shard_name(setting.format, number)
        files = [folder / file.name for file in found.files]
        loads = {"png": lambda: _chunks(files), "npz": lambda: _npz_parts(path)}
        parts = loads.get(setting.format, lambda: _tar_parts(path))()
        return np.concatenate([part() for part in parts])

    for number in range(count):
        record(number)  # said before any work is done
    return Images(folder, lambda: ((lambda k=k: load(k)) for k in range(count)))


def _damaged_shard(number: int, error: Exception) -> ValueError:
    return ValueError(
        f"shard {number:06d} is damaged: {error}; `steindiff generate` started again replaces it"
    )


# -- files ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _naming(path: object) -> Iterator[None]:
    """Whatever a library says of a damaged file, as one error with its name."""
    try:
        yield
    except _RefusedError:
        raise
    except _DAMAGE as error:
        raise _RefusedError(f"{path} is damaged ({type(error).__name__}: {error})") from error


class _RefusedError(ValueError):
    """An error that says already which file it is about."""


def _chunks(files: list[Path]) -> Iterator[Load]:
    for begin in range(0, len(files), PART):
        chunk = files[begin : begin + PART]
        yield lambda chunk=chunk: _stack((_decode(file, file) for file in chunk), chunk)


def _stack(images: Iterable[np.ndarray], names: list[Any]) -> np.ndarray:
    decoded: list[np.ndarray] = []
    for image, name in zip(images, names, strict=True):
        if decoded and image.shape != decoded[0].shape:
            raise _RefusedError(
                f"{name} has shape {image.shape} (height, width, channels) and {names[0]} "
                f"{decoded[0].shape}; one size is needed"
            )
        decoded.append(image)
    return np.stack(decoded)


def _decode(source: Path | BinaryIO, name: object) -> np.ndarray:
    with _naming(name), Image.open(source) as picture:
        if picture.mode not in ("1", "L", "P", "RGB", "CMYK", "YCbCr"):
            raise _RefusedError(
                f"{name} has pixels of mode {picture.mode!r}; 8-bit grey or RGB is due"
            )
        pixels = np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _npz_parts(path: Path) -> Iterator[Load]:
    """Rows of `images` as they stream by, without the whole array in memory."""
    with _naming(path), zipfile.ZipFile(path) as archive:
        if "images.npy" not in archive.namelist():
            found = ", ".join(archive.namelist())
            raise _RefusedError(f"{path} holds {found or 'nothing'}; an array 'images' is needed")
        with archive.open("images.npy") as file:
            count, *shape = _npy_shape(file, path)
            for begin in range(0, count, PART):
                size = (min(PART, count - begin), *shape)
                content = file.read(int(np.prod(size)))
                part = np.frombuffer(content, np.uint8).reshape(size)
                yield lambda part=part: part.copy()
            file.read(1)  # at the end the checksum is compared


def _npy_shape(file: Any, path: Path) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or fortran:
        raise _RefusedError(
            f"{path} has images of dtype {dtype} and shape {shape}; uint8 (N, H, W, 1 or 3) is "
            "needed"
        )
    return shape


def _tar_parts(path: Path) -> Iterator[Load]:
    with _naming(path), path.open("rb") as file:
        _check_end(file, path)
        with tarfile.open(fileobj=file) as archive:
            pictures = (m for m in archive if m.isfile() and m.name.lower().endswith(PICTURES))
            while chunk := list(itertools.islice(pictures, PART)):
                yield _tar_part([_member(archive, member) for member in chunk], chunk, path)
            file.seek(archive.offset)
            if file.read(1024).strip(b"\0"):  # a damaged header ends the listing, without an error
                raise _RefusedError(f"{path} is damaged (a member's header at {archive.offset})")


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # asked of regular files only
    return file.read()


def _tar_part(contents: list[bytes], members: list[tarfile.TarInfo], path: Path) -> Load:
    names = [f"{member.name} in {path}" for member in members]
    pairs = list(zip(contents, names, strict=True))
    return lambda: _stack((_decode(io.BytesIO(data), name) for data, name in pairs), names)


def _check_end(file: BinaryIO, path: Path) -> None:
    """A tar that was cut between two members would otherwise pass for a shorter one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1024))
    if size < 1024 or size % 512 or file.read().strip(b"\0"):
        raise _RefusedError(f"{path} is damaged (truncated: the end mark of a tar is missing)")
    file.seek(0)
