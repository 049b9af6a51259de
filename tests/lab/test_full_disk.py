"""A disk without room: every command that writes one file says so, and leaves no part of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from command import Command

COMMANDS = {
    "calibrate": ("calibrate", "--steps", 3, "--noises", 4, "--fine-steps", 12, "--out", "c.json"),
    "sample": ("sample", "--steps", 1, "--seeds", "0-1", "--out", "a.png"),
    "arrays": ("sample", "--steps", 1, "--seeds", "0-1", "--out", "a.png", "--npz", "a.npz"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk(
    steindiff: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Told when what it held back is written out, as by a disk with 4 kB left."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    outcome = steindiff(*COMMANDS[command])
    outcome.refused(os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []
