"""One run a folder: locks that the system frees when their process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .._files import write_text

FOLDER = ".locks"
WAIT = 5.0  # seconds: what is left of a killed run needs a moment to end
_HOLDER = ".holder"  # beside the lock: Windows lets nobody read a file that is locked


@contextlib.contextmanager
def lock_rank(folder: Path, rank: int) -> Iterator[None]:
    """Holds the lock of a rank.

    Rank 0 also makes sure that no other rank of an earlier run is still alive: one whose first
    process was killed may still be writing.

    Raises:
        BlockingIOError: another run is at work in `folder`, named by process and machine.
        OSError: the file system knows no locks, or a link would lead out of the folder.
    """
    place = folder / FOLDER
    if place.is_symlink():
        raise OSError(f"{place} is a symbolic link; remove it, or choose another --out")
    place.mkdir(exist_ok=True)
    own = place / f"{rank:05d}"
    with _locked(own):
        write_text(own.with_suffix(_HOLDER), f"process {os.getpid()} on {socket.gethostname()}")
        for other in sorted(place.glob("[0-9]" * 5)) if rank == 0 else ():
            if other != own:
                with _locked(other):
                    pass
        yield


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path, timeout=WAIT)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(
            f"{path.parent.parent} is in use by another run ({_holder(path)}); wait for its end, "
            "or choose another --out"
        ) from None
    except OSError as error:
        raise OSError(f"{path} cannot be locked: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.with_suffix(_HOLDER).read_text(encoding="utf-8") or "another process"
    except (OSError, ValueError):
        return "another process"
