"""A tiny model, the command in this process, and the command in several processes."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from steindiff.cli import main
from steindiff.denoisers.network import NetworkConfig, UNetDenoiser
from steindiff.models import save_model


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    def refused(self, *said: str) -> None:
        """Exit code 2, and one line on standard error that says what is wrong."""
        assert self.code == 2, self
        assert "Traceback" not in self.out + self.err
        lines = [line for line in self.err.strip().splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        for part in said:
            assert part in lines[0]


@pytest.fixture
def steindiff(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs a command as the installed script does."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["steindiff", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of three classes, random everywhere."""
    torch.manual_seed(0)
    config = NetworkConfig(
        image_size=8, channels=1, num_classes=3, patch=2, widths=(32, 32), embedding=32
    )
    net = UNetDenoiser(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, net)
    return path


@dataclass(frozen=True)
class Ranks:
    """The processes of one run, started as by a launcher, but with no one to watch them."""

    processes: list[BaseProcess]
    log: Path

    def kill(self, *ranks: int) -> None:
        for rank in ranks:
            self.processes[rank].kill()

    def wait(self, timeout: float = 60) -> list[int | None]:
        """Exit codes; None for one that hangs, which is killed."""
        codes = []
        for process in self.processes:
            process.join(timeout)
            codes.append(process.exitcode)
            process.kill()
            process.join()
        return codes

    @property
    def said(self) -> str:
        return self.log.read_text()


_RANK = """
import os, sys
os.environ.update({env!r})
log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1), os.dup2(log, 2)
{before}
sys.argv = {argv!r}
from steindiff.cli import main
main()
"""


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ranks]:
    """Starts a command in several processes, forked from one that has imported the package."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["steindiff.cli"])
    folder = tmp_path_factory.mktemp("logs")

    def run(count: int, *arguments: object, before: str = "") -> Ranks:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = folder / f"{port}-{len(os.listdir(folder))}"
        processes = []
        for rank in range(count):
            env = {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": str(count),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "OMP_NUM_THREADS": "1",
            }
            argv = ["steindiff", *map(str, arguments)]
            code = _RANK.format(env=env, log=str(log), argv=argv, before=before)
            processes.append(context.Process(target=exec, args=(code, {}), daemon=True))
            processes[-1].start()
        return Ranks(processes, log)

    return run
