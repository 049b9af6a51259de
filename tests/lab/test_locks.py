"""One run a folder, whoever holds it and however it ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import BOUND

from steindiff.lab import locks
from steindiff.lab.locks import lock_rank

HOLD = """
import sys
for name in sys.argv[3:]: sys.modules[name] = None
import warnings; warnings.simplefilter("ignore")
from pathlib import Path
from steindiff.lab.locks import lock_rank
with lock_rank(Path(sys.argv[1]), int(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path, rank: int, *blocked: str) -> subprocess.Popen[str]:
    """A process that holds the lock of a rank."""
    command = [sys.executable, "-c", HOLD, str(folder), str(rank), *blocked]
    process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "WAIT", 0.1)


@pytest.mark.parametrize("rank", [0, 3])
def test_another_process(tmp_path: Path, rank: int) -> None:
    """Rank 0 waits for every rank of another run."""
    process = holder(tmp_path, rank)
    said = f"{tmp_path} is in use by another run .process {process.pid} on {socket.gethostname()}"
    with pytest.raises(BlockingIOError, match=said), lock_rank(tmp_path, 0):
        pass
    process.kill()
    process.wait(BOUND)
    process.communicate()
    with lock_rank(tmp_path, 0):  # the system has freed it
        pass


def test_ranks_of_one_run(tmp_path: Path) -> None:
    with lock_rank(tmp_path, 0), lock_rank(tmp_path, 1), lock_rank(tmp_path, 2):
        pass
    with lock_rank(tmp_path, 0):
        pass


@pytest.mark.parametrize("outside", [True, False], ids=["there", "dangling"])
def test_a_link_is_not_followed(tmp_path: Path, outside: bool) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    folder.mkdir()
    if outside:
        elsewhere.mkdir()
    (folder / ".locks").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic link"), lock_rank(folder, 0):
        pass
    assert not outside or os.listdir(elsewhere) == []


def test_links_inside_are_not_followed(tmp_path: Path) -> None:
    """A lock is not opened through a link; the name of the holder takes a link's place."""
    folder, precious = tmp_path / "out", tmp_path / "precious"
    (folder / ".locks").mkdir(parents=True)
    precious.write_text("precious")
    (folder / ".locks" / "00000.holder").symlink_to(precious)
    with lock_rank(folder, 0):
        pass
    (folder / ".locks" / "00001").symlink_to(precious)
    with pytest.raises(OSError, match="00001"), lock_rank(folder, 1):
        pass
    assert precious.read_text() == "precious"


def test_without_fcntl(tmp_path: Path) -> None:
    """As on a system that has none: filelock makes do with a file that names its process."""
    process = holder(tmp_path, 0, "fcntl", "resource", "pwd")
    code = HOLD.replace(
        "import warnings", "import steindiff.lab.locks as l; l.WAIT = 0.1; import warnings"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "0", "fcntl"],
        capture_output=True, text=True, check=False, timeout=BOUND,
    )  # fmt: skip
    assert f"in use by another run (process {process.pid} on" in done.stderr
    process.communicate("\n")
    assert process.returncode == 0
