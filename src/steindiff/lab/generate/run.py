"""Makes the shards of a run that are not there yet, on any number of processes."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..folders import claim
from ..locks import lock_rank
from .folder import Setting, check_places, open_folder
from .formats import PARTIAL, write_shard
from .processes import Processes
from .records import DamagedError, check_files, read_record, record_path, write_record
from .sampler import Sampler

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        images: made by this run, in all processes.
        seconds: that it took to make them.
        peak_memory: of the process that used most, in bytes; 0 where the system does not tell.
    """

    images: int
    seconds: float
    peak_memory: int


def generate(
    folder: Path,
    setting: Setting,
    sampler: Sampler,
    world: Processes,
    *,
    model: str = "",
    verify: bool = True,
    tell: Callable[[str], object] = print,
    advance: Callable[[int, int], object] = lambda done, todo: None,
) -> Summary:
    """Completes the run in `folder`. All processes of `world` must call it.

    Args:
        folder: a new or empty one, or that of an earlier run with the same setting.
        setting: what to make.
        sampler: of this process.
        model: name of the model, for the record.
        verify: whether to read the shards that are there, or only look at their sizes.
        tell: called in rank 0 with a sentence for each damaged shard and each foreign entry.
        advance: called with how many images this run has made so far, in all processes, and how
            many it is going to make.

    Raises:
        ValueError: another setting, other files in the folder, or samples that are not finite.
        OSError: the folder is in use, the disk is full, or another process has ended.
    """
    with contextlib.ExitStack() as held:
        with world.together():
            if world.rank == 0:
                claim(folder, "images", overwrite=False)
                held.enter_context(lock_rank(folder, 0))
                with _room(folder, setting):
                    for name in open_folder(folder, setting, model):
                        tell(f"{folder} holds {name}, which is not of this run; it is left alone")
        with world.together():
            if world.rank:
                held.enter_context(lock_rank(folder, world.rank))
        todo = _missing(folder, setting, world, verify, tell)
        total = sum(len(setting.indices(number)) for number in todo)
        began = time.monotonic()
        with world.together(), _stops_all(world), _room(folder, setting):
            while not world.count("stop", 0) and (turn := world.count("turn") - 1) < len(todo):
                _make(
                    folder, setting, sampler, todo[turn],
                    lambda n: advance(world.count("images", n), total),
                )  # fmt: skip
        seconds = time.monotonic() - began
        peak = max(world.gather(_peak_memory()))
        if world.rank == 0:  # no process is writing any more
            with contextlib.suppress(OSError):
                (folder / PARTIAL).rmdir()
        if todo:
            advance(total, total)  # what the others made after this one's last image
        return Summary(total, seconds, peak)


def _make(
    folder: Path, setting: Setting, sampler: Sampler, number: int, advance: Callable[[int], object]
) -> None:
    shard = sampler.shard(setting, number, advance)
    record_path(folder, number).unlink(missing_ok=True)  # of the damaged shard in its place
    files = write_shard(folder, setting.format, shard)
    write_record(folder, setting.digest, shard, files)


def _missing(
    folder: Path,
    setting: Setting,
    world: Processes,
    verify: bool,
    tell: Callable[[str], object],
) -> list[int]:
    """Shards to make, in order; each process looks at a part of those that are there."""
    found: list[tuple[int, str]] = []
    with world.together():
        for number in range(world.rank, setting.shards, world.size):
            check_places(folder, setting, number)
            try:
                check_files(folder, read_record(folder, number, setting.digest), verify)
            except FileNotFoundError:
                found.append((number, ""))
            except DamagedError as error:
                found.append((number, str(error)))
    todo = sorted(entry for part in world.gather(found) for entry in part)
    if world.rank == 0:
        for number, damage in todo:
            if damage:
                tell(f"shard {number:06d} is damaged: {damage}; it is made again")
    return [number for number, _ in todo]


@contextlib.contextmanager
def _stops_all(world: Processes) -> Iterator[None]:
    """When one process fails, the others finish the shard that they are at."""
    try:
        yield
    except Exception:
        with contextlib.suppress(OSError):
            world.count("stop")
        raise


@contextlib.contextmanager
def _room(folder: Path, setting: Setting) -> Iterator[None]:
    """Says what a full disk means here."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        records = record_path(folder, 0).parent
        written = sum(1 for _ in records.glob("[0-9]*.json")) if records.is_dir() else 0
        raise OSError(
            f"{folder} has no room for more ({error.strerror}): {written} of {setting.shards} "
            "shards are written and whole; make room, and the same command goes on from there"
        ) from error


def _peak_memory() -> int:
    """Of this process, in bytes; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
