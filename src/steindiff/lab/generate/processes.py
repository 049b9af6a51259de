"""One process, or as many as torchrun or `accelerate launch` started: what they tell each other."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional
from torch.distributed.distributed_c10d import PrefixStore, Store

from ..devices import check_device
from .lifeline import Lifeline, LostError

# A process waits for the others where a stage of the work ends, so about as long as a shard takes.
# A process that died is noticed at once, by its lifeline; this is for a machine that is lost.
TIMEOUT = timedelta(minutes=30)
JOIN = timedelta(minutes=5)  # for all processes to start, imports from a slow disk included


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        local_rank: number of this process on its machine.
        store: of the counts, where there are several processes.
        counters: the counts, where there is one.
        lifeline: what tells of another's death.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    store: Any = None
    counters: Counter[str] = field(default_factory=Counter)
    lifeline: Lifeline = field(default_factory=Lifeline)

    def count(self, name: str, by: int = 1) -> int:
        """Adds to a counter common to all processes; returns its new value."""
        if self.size == 1:
            self.counters[name] += by
            return self.counters[name]
        self.lifeline.check()
        with _reaching():
            return int(self.store.add(name, by))

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank. All must call it."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        self.lifeline.check()
        with _reaching():
            dist.all_gather_object(values, value)
        return values

    def collect(self, value: Any) -> list[Any] | None:
        """The value of every process, by rank, in rank 0; None elsewhere. All must call it."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = None if self.rank else [None] * self.size
        with _reaching():
            dist.gather_object(value, values)
        return values

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A stage that ends for all processes as soon as it fails in one.

        What a lower rank has said already is not said again: the process then ends with code 2.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        try:
            said = self.gather(None if failure is None else str(failure))
        except OSError as lost:
            raise failure or lost from None
        if failure is not None and str(failure) not in said[: self.rank]:
            raise failure
        if any(text is not None for text in said):
            raise SystemExit(2)

    def device(self, name: str) -> torch.device:
        """ "auto", "cpu", "cuda" or "cuda:N" -> the device of this process.

        Raises:
            ValueError: as `check_device`, or one GPU for several processes.
        """
        device = check_device(name)
        if device.type != "cuda":
            return device
        if self.size > 1 and device.index is not None:
            raise ValueError(f"device is {name!r}, one for {self.size} processes; pass cuda")
        return check_device(f"cuda:{self.local_rank}") if device.index is None else device


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    """What torch says of a process that it cannot reach, as one error of ours."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).splitlines() or [type(error).__name__]
        raise LostError(said[0]) from error


@contextlib.contextmanager
def processes() -> Iterator[Processes]:
    """Joins the processes named by the launcher's RANK, WORLD_SIZE, LOCAL_RANK and MASTER_ADDR.

    Without these variables there is one process, and no process group. Counters and small objects
    travel by gloo on the CPU; tensors on a GPU by NCCL.

    `torch.distributed.nn.functional` is imported before the group is made: the defaults of its
    functions keep the group of the time of its import for good, and the building of a network
    imports it. gloo's threads would then outlive `destroy_process_group`, and one that still held
    a tensor would abort the process as the interpreter ends.

    Raises:
        ValueError: variables that are incomplete.
        OSError: the other processes cannot be reached.
    """
    size = _variable("WORLD_SIZE", 1)
    local_rank = _variable("LOCAL_RANK", 0 if size == 1 else None)
    if size == 1:
        yield Processes(local_rank=local_rank)
        return
    rank, lifeline = _variable("RANK", None), Lifeline()
    backend = "gloo"
    if dist.is_nccl_available() and local_rank < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    with _reaching():
        store = _meet(rank, size, lifeline)
        dist.init_process_group(
            backend,
            store=PrefixStore("group", store),
            rank=rank,
            world_size=size,
            timeout=TIMEOUT,
        )
    work = PrefixStore("work", store)
    try:
        yield Processes(rank, size, local_rank, work, lifeline=lifeline)
    except (Exception, SystemExit):  # not what ends this process alone, such as Ctrl-C
        lifeline.leave()
        raise
    else:
        lifeline.leave()
    finally:
        dist.destroy_process_group()


def _meet(rank: int, size: int, lifeline: Lifeline) -> Store:
    """The store that all share, once every process has its lifeline.

    From then on a death is noticed at once. Nothing can tell a process that died before it came
    here from one that is slow to start: for that there is `JOIN`.
    """
    host, port = os.environ.get("MASTER_ADDR", ""), _variable("MASTER_PORT", None)
    if not host:
        raise ValueError("the environment variable MASTER_ADDR is missing; a launcher sets it")
    launched = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun has the store
    store = dist.TCPStore(  # type: ignore[attr-defined]
        host,
        port,
        size,
        is_master=rank == 0 and not launched,
        timeout=JOIN,
        wait_for_workers=False,
        multi_tenant=True,
    )
    run = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    seconds = JOIN.total_seconds()
    if rank == 0:
        lifeline.host(size - 1, lambda address: run.set("lifeline", address), seconds)
    else:
        lifeline.join(host, run.get("lifeline").decode(), seconds)
    run.set_timeout(TIMEOUT)
    return run


def _variable(name: str, default: int | None) -> int:
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise ValueError(f"the environment variable {name} is {text!r}; a launcher's number is due")
    return int(text)
