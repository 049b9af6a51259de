"""A tiny model, and the command in several processes."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from waiting import BOUND

from steindiff.models import save_model
from steindiff.models.network import NetworkConfig, UNetDenoiser


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

    def wait(self, timeout: float = BOUND) -> list[int | None]:
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
from steindiff.lab.cli import main
main()
"""


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ranks]:
    """Starts a command in several processes, forked from one that has imported the package."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["steindiff.lab.cli.commands", "steindiff.lab.cli.generate"])
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
