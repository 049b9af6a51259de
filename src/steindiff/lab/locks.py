"""One run a folder: locks that the kernel frees when their process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path
from typing import TextIO

FOLDER = ".locks"
WAIT = 5.0  # seconds: what is left of a killed run needs a moment to end


def lock_rank(folder: Path, rank: int) -> TextIO:
    """Holds the lock of a rank for as long as the returned file is open.

    Rank 0 also makes sure that no other rank of an earlier run is still alive: one whose first
    process was killed may still be writing.

    Raises:
        OSError: another run is at work in `folder`, named by process and machine; or the file
            system knows no locks.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    deadline = time.monotonic() + WAIT
    file = _lock(folder / FOLDER / f"{rank:05d}", deadline)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    if rank == 0:
        for other in sorted((folder / FOLDER).iterdir()):
            if other.name != Path(file.name).name:
                _lock(other, deadline).close()
    return file


def _lock(path: Path, deadline: float) -> TextIO:
    file = path.open("a+", encoding="utf-8")
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise BlockingIOError(
                f"{path.parent.parent} is in use by another run ({holder}); wait for its end, "
                "or choose another --out"
            ) from None
        except OSError as error:
            file.close()
            raise OSError(f"{path} cannot be locked: {error.strerror or error}") from error
