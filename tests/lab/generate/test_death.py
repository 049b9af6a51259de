"""A process of a run dies: the others end soon, whatever they were doing.

How soon does not depend on how busy the machine is, and is not waited out here: the system closes
the connections of a dead process, so that the others know of it at once; then they have `GRACE`
seconds. `BOUND` is far above what a loaded machine needs for the rest, and far below `TIMEOUT`,
after which they would end without all this.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from matrices import quick
from waiting import BOUND

from steindiff.lab.generate import lifeline
from steindiff.lab.generate.lifeline import GRACE, Lifeline, LostError
from steindiff.lab.generate.processes import TIMEOUT

LARGE = ("--count", 100_000, "--shard-size", 15, "--steps", 2, "--device", "cpu")


def test_ten_seconds_are_kept() -> None:
    assert GRACE <= 5
    assert TIMEOUT.total_seconds() > 2 * BOUND


def wait_for(condition: Callable[[], bool], ranks: Any) -> None:
    end = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < end, ranks.said
        assert all(process.exitcode is None for process in ranks.processes), ranks.said
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("victim", "number", "moment"),
    quick(
        product((0, 1, 2), (signal.SIGTERM, signal.SIGKILL), ("begin", "work")),
        [(0, signal.SIGTERM, "begin"), (0, signal.SIGKILL, "work")],
    ),
)
def test_the_others_end(
    start: Callable[..., Any],
    weights: Path,
    tmp_path: Path,
    victim: int,
    number: signal.Signals,
    moment: str,
) -> None:
    out = tmp_path / "out"
    ranks = start(3, "generate", "--out", out, "--model", weights, *LARGE)
    sign = {"begin": ".locks", "work": "shards/*.json"}[moment]
    wait_for(lambda: any(out.glob(sign)), ranks)
    os.kill(ranks.processes[victim].pid, number)
    codes = ranks.wait()
    assert codes[victim] == -number
    assert [code for rank, code in enumerate(codes) if rank != victim] == [2, 2], ranks.said
    assert "another process of this run has ended" in ranks.said
    assert "Traceback" not in ranks.said


CHILD = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("lifeline", sys.argv[2])  # PyTorch is not waited for
lifeline = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lifeline)
lifeline.GRACE = 0.1
line = lifeline.Lifeline()
line.join("127.0.0.1", sys.argv[1], 60)
print("joined", flush=True)
sys.stdin.readline()
time.sleep(10 * lifeline.GRACE)
print("still here", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set in place of ending this process, at once."""
    event = threading.Event()
    monkeypatch.setattr(lifeline, "_end", event.set)
    monkeypatch.setattr(lifeline, "GRACE", 0.0)
    return event


@pytest.fixture
def joined(ended: threading.Event) -> Iterator[tuple[Lifeline, subprocess.Popen[str]]]:
    """Both ends of a lifeline; the other process comes to no `check`."""
    line, children = Lifeline(), []

    def publish(address: str) -> None:
        command = [sys.executable, "-c", CHILD, address, str(lifeline.__file__)]
        children.append(subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True))

    line.host(1, publish, BOUND)
    (child,) = children
    try:
        assert child.stdout.readline() == "joined\n"
        yield line, child
    finally:
        child.kill()
        child.wait()
        assert ended.wait(BOUND)  # no thread is left to end this process later


def test_a_process_that_waits_is_ended(joined: tuple[Lifeline, subprocess.Popen[str]]) -> None:
    line, child = joined
    for connection in line._connections:
        connection.shutdown(socket.SHUT_RDWR)  # what the system does when a process dies
    assert child.wait(BOUND) == 2
    assert child.stderr is not None
    assert "another process of this run has ended" in child.stderr.read()


def test_one_that_left_in_order_ends_no_other(
    joined: tuple[Lifeline, subprocess.Popen[str]],
) -> None:
    line, child = joined
    line.leave()
    for connection in line._connections:
        connection.shutdown(socket.SHUT_WR)
    said = child.communicate("\n")[0]
    assert said == "still here\n"
    assert child.returncode == 0


def test_rank_0_hears_of_a_death(
    joined: tuple[Lifeline, subprocess.Popen[str]], ended: threading.Event
) -> None:
    line, child = joined
    line.check()
    child.kill()
    assert ended.wait(BOUND)
    with pytest.raises(LostError, match="another process of this run has ended"):
        line.check()


LAUNCHED = """
import os, signal, sys
if os.environ["RANK"] == sys.argv.pop(1):
    os.kill(os.getpid(), int(sys.argv.pop(1)))
else:
    sys.argv.pop(1)
from steindiff.lab.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_one_that_dies_before_it_joins_ends_the_others(
    weights: Path, tmp_path: Path, victim: int, number: signal.Signals
) -> None:
    """The launcher sees what nobody else can; without one there is `JOIN`."""
    script, out = tmp_path / "launched.py", tmp_path / "out"
    script.write_text(LAUNCHED)
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = ("generate", "--out", out, "--model", weights, *LARGE)
    run = subprocess.run(
        [sys.executable, "-m", *torchrun, str(script), str(victim), str(int(number))]
        + [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=BOUND,
    )
    assert run.returncode != 0
    assert "have not joined within" not in run.stderr  # it is not `JOIN` that ran out
    assert f"local_rank: {victim}" in run.stderr
    assert not list(out.glob("shards/*.json"))


def test_rank_0_says_whom_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lifeline, "PATIENCE", 0.0)
    with pytest.raises(LostError, match="2 have not joined within 1 s"):
        Lifeline().host(2, lambda address: None, 1.0)
    assert capsys.readouterr().err == "waiting for 2 of 3 processes to start, for 1 s at most\n"


def test_who_does_not_know_the_token_is_not_let_in() -> None:
    line = Lifeline()

    def publish(address: str) -> None:
        port = int(address.split()[0])
        stranger = socket.create_connection(("127.0.0.1", port))
        stranger.sendall(b"x" * 32)
        strangers.append(stranger)

    strangers: list[socket.socket] = []
    with pytest.raises(LostError, match="1 have not joined within 1 s"):
        line.host(1, publish, 1.0)
    assert strangers[0].recv(1) == b""  # closed
    line.check()
