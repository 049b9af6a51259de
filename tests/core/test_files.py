"""Files are whole on the disk, or an error: what a full disk does, and when it says so."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from steindiff._files import write_text, write_whole


def full(handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def lost(handle: int) -> None:
    """Pages that were taken and never reached the disk."""
    os.ftruncate(handle, os.fstat(handle).st_size // 2)


def zeros(handle: int) -> None:
    """As some file systems leave them: the size is right."""
    os.pwrite(handle, bytes(os.fstat(handle).st_size), 0)


@pytest.mark.parametrize("failure", [full, lost, zeros])
@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_a_disk_that_tells_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[[int], None], there: bool
) -> None:
    path = tmp_path / "a.json"
    if there:
        path.write_text("before")
    monkeypatch.setattr(os, "fsync", failure)
    with pytest.raises(OSError, match=r"space|disk") as caught:
        write_text(path, "after, and longer")
    assert caught.value.filename == str(path)
    assert [entry.name for entry in tmp_path.iterdir()] == (["a.json"] if there else [])
    assert not there or path.read_text() == "before"


def test_what_is_written_is_there(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"12")
        file.seek(0)
        file.write(b"3")

    write_whole(tmp_path / "a", write)
    assert (tmp_path / "a").read_bytes() == b"32"
