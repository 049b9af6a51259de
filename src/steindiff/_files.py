"""Files that are written whole or not at all, and the hashes that vouch for them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes beside `path` and moves it there when done, so that no half of a file is ever seen.

    The file is whole on the disk, or an error: some file systems tell of a full disk only when what
    they hold back is written out, so it is, and read once more.

    Raises:
        OSError: the disk is full or broken, or whatever else keeps the file from being written;
            `filename` says which.
    """
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w+b") as file:
            write(file)
            file.flush()
            file.seek(0)
            written = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if sha256(Path(partial)) != written:
            raise OSError(errno.EIO, "the file is not what was written; is the disk full?")
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException as error:
        Path(partial).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say where
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """`write_whole` for a text, in UTF-8."""
    write_whole(path, lambda file: file.write(text.encode()))


def make_folder(path: Path) -> None:
    """Makes the folder, if it is not there, and tries whether it can be written into.

    Raises:
        OSError: it cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(f"{path} is not writable: {error.strerror or error}") from error


def sha256(path: Path) -> str:
    """Hash of a file of any size, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """SHA-256 of something that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
