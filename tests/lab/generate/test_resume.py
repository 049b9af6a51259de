"""What killed runs, full disks and damaged files leave behind, and how the next run goes on."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from damage import contents, flip, shorten
from matrices import slow
from waiting import BOUND

from steindiff import sampling
from steindiff.lab import locks
from steindiff.lab.cli.commands import app

COUNT, SHARD = 1800, 15
SMALL = ("--count", 60, "--shard-size", SHARD, "--steps", 2, "--device", "cpu")
LARGE = ("--count", COUNT, "--shard-size", SHARD, "--steps", 2, "--device", "cpu")


def made(folder: Path) -> int:
    """How many shards have their record."""
    return len(list((folder / "shards").glob("[0-9]*.json")))


def whole(folder: Path, wanted: dict[str, bytes]) -> None:
    """The shards that have a record are as in an undisturbed run."""
    for record in (folder / "shards").glob("[0-9]*.json"):
        assert record.read_bytes() == wanted[f"shards/{record.name}"]
        for file in json.loads(record.read_text())["files"]:
            assert (folder / file["name"]).read_bytes() == wanted[file["name"]]


def make(weights: Path, out: Path, *options: object) -> Path:
    command = ["generate", "--out", str(out), "--model", str(weights), *map(str, options)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["steindiff", *command])
        app(command, standalone_mode=False)
    return out


@pytest.fixture(scope="module")
def large(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run of many shards writes, in a process of its own like those of a test.

    What other tests have done to this one (threads, modes of torch) must not reach the pixels.
    """
    out = tmp_path_factory.mktemp("large") / "out"
    command = ["steindiff", "generate", "--out", out, "--model", weights, *LARGE]
    code = "import sys; sys.argv = {}; from steindiff.lab.cli.commands import app; app()"
    argv = [str(part) for part in command]
    subprocess.run([sys.executable, "-c", code.format(argv)], check=True, capture_output=True)
    return contents(out)


@pytest.fixture(scope="module", params=["png", "npz", "wds"])
def finished(
    request: pytest.FixtureRequest, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run of four shards; not to be written to."""
    out = tmp_path_factory.mktemp(request.param) / "out"
    return make(weights, out, "--format", request.param, *SMALL)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry a batch that is sampled in this process."""
    taken: list[int] = []
    original = sampling.sample

    def counted(*args: Any, **kwargs: Any) -> Any:
        taken.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(sampling, "sample", counted)
    return taken


def again(finished: Path) -> tuple[object, ...]:
    """The options of a finished run."""
    setting = json.loads((finished / "generate.json").read_text())["setting"]
    return ("--format", setting["format"], *SMALL)


# -- killed ---------------------------------------------------------------------------------------


def until(condition: Callable[[], bool], ranks: Any) -> None:
    end = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < end, ranks.said
        if all(process.exitcode is not None for process in ranks.processes):
            return
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_at_ten_moments(
    start: Callable[..., Any], weights: Path, large: dict[str, bytes], tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    print(f"seed of the moments: {seed}")
    out = tmp_path / "out"
    command = ("generate", "--out", out, "--model", weights, *LARGE)
    left = []
    for kill in range(10):
        ranks = start(2, *command)
        if kill % 3:  # most of them while shards are made, the others while the run begins
            before = made(out)
            until(lambda before=before: made(out) > before, ranks)
        time.sleep(moments.uniform(0, 0.1 if kill % 3 else 0.6))
        order = moments.sample([0, 1], 2)
        ranks.kill(*order)
        ranks.wait()
        left.append(made(out))
        whole(out, large)
    print(f"shards after each kill: {left}")
    assert left == sorted(left)
    assert 0 < left[3] < COUNT // SHARD, "the kills did not fall into the work"
    ranks = start(2, *command)
    assert ranks.wait() == [0, 0], ranks.said
    assert "is damaged" not in ranks.said
    assert contents(out) == large


@pytest.mark.parametrize("killed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_one_process_killed(
    start: Callable[..., Any], weights: Path, large: dict[str, bytes], tmp_path: Path, killed: int
) -> None:
    """The others end, with an error, before long; without a launcher that would end them."""
    out = tmp_path / "out"
    command = ("generate", "--out", out, "--model", weights, *LARGE)
    ranks = start(3, *command)
    until(lambda: made(out) > 1, ranks)
    ranks.kill(killed)
    codes = ranks.wait()
    assert codes[killed] == -signal.SIGKILL
    assert [code for rank, code in enumerate(codes) if rank != killed] == [2, 2], ranks.said
    assert "another process of this run has ended" in ranks.said
    assert "Error: " in ranks.said
    whole(out, large)
    ranks = start(3, *command)
    assert ranks.wait() == [0, 0, 0], ranks.said
    assert contents(out) == large


@pytest.mark.slow
def test_a_killed_launcher(
    start: Callable[..., Any], weights: Path, large: dict[str, bytes], tmp_path: Path
) -> None:
    """torchrun gives each process a session of its own: they outlive it, but not for long."""
    out = tmp_path / "out"
    command = ("generate", "--out", out, "--model", weights, *LARGE)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
    run = subprocess.Popen(
        [*torchrun, "2", "-m", "steindiff", *map(str, command)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + BOUND
    while made(out) < 2:
        assert time.monotonic() < end
        assert run.poll() is None
        time.sleep(0.002)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert made(out) < COUNT // SHARD
    again = start(1, *command)
    assert again.wait() == [0], again.said
    assert contents(out) == large


@pytest.mark.slow
def test_what_is_left_of_a_killed_run_keeps_others_out(
    start: Callable[..., Any],
    steindiff: Callable[..., Any],
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    command = ("generate", "--out", out, "--model", weights, *LARGE)
    ranks = start(2, *command)
    until(lambda: made(out) > 1, ranks)
    os.kill(ranks.processes[1].pid, signal.SIGSTOP)
    ranks.kill(0)
    ranks.processes[0].join()
    monkeypatch.setattr(locks, "WAIT", 0.3)
    holder = f"process {ranks.processes[1].pid} on {socket.gethostname()}"
    steindiff(*command).refused(f"{out} is in use by another run ({holder})")
    ranks.kill(1)
    ranks.wait()
    assert steindiff(*command).code == 0
    assert made(out) == COUNT // SHARD


def test_two_runs_at_once(
    start: Callable[..., Any],
    steindiff: Callable[..., Any],
    weights: Path,
    large: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    command = ("generate", "--out", out, "--model", weights, *LARGE)
    ranks = start(2, *command)
    until(lambda: made(out) > 1, ranks)
    pid = ranks.processes[0].pid
    os.kill(pid, signal.SIGSTOP)  # so that it is sure to be at work still
    monkeypatch.setattr(locks, "WAIT", 0.3)
    steindiff(*command).refused(f"in use by another run (process {pid} on")
    os.kill(pid, signal.SIGCONT)
    assert ranks.wait() == [0, 0], ranks.said
    assert contents(out) == large


# -- no room --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["npz", slow("png"), slow("wds")])
def test_limit_of_the_size_of_files(
    start: Callable[..., Any], weights: Path, tmp_path: Path, kind: str
) -> None:
    """A quota that the shard or its record runs into, in both processes."""
    out = tmp_path / "out"
    options = ("--format", kind, *SMALL, "--shard-size", 30)
    command = ("generate", "--out", out, "--model", weights, *options)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1900, 1900))"
    ranks = start(2, *command, before=limit)
    assert ranks.wait() == [2, 2], ranks.said
    assert f"{out} has no room for more (File too large): 0 of 2 shards" in ranks.said
    assert "Traceback" not in ranks.said
    assert (out / "generate.json").exists()
    assert not list((out / "shards").iterdir())
    assert not list((out / ".partial").iterdir())
    assert not list(out.glob("shard-*"))
    ranks = start(2, *command)
    assert ranks.wait() == [0, 0], ranks.said
    undisturbed = make(weights, tmp_path / "undisturbed", *options)
    assert contents(out) == contents(undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    try:
        failed = subprocess.run(mount, capture_output=True).returncode
    except OSError:
        failed = 1
    if failed:
        pytest.skip("no permission to mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kind", ["png", "npz", "wds"])
def test_full_disk(
    steindiff: Callable[..., Any], weights: Path, small_disk: Path, tmp_path: Path, kind: str
) -> None:
    (small_disk / "other").write_bytes(bytes(200 * 1024))
    out = small_disk / "out"
    options = ("--format", kind, "--count", 90, "--shard-size", 5, "--steps", 1)
    command = ("generate", "--out", out, "--model", weights, *options)
    outcome = steindiff(*command)
    outcome.refused(f"{out} has no room for more ({os.strerror(errno.ENOSPC)})", "same command")
    wanted = contents(make(weights, tmp_path / "undisturbed", *options))
    assert f": {made(out)} of 18 shards are written and whole" in outcome.err
    assert 0 < made(out) < 18
    whole(out, wanted)
    assert not list(out.rglob(".*.json.*"))
    partial = out / ".partial"
    assert not partial.exists() or not list(partial.iterdir())
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert steindiff(*command).code == 0
    assert contents(out) == wanted


# -- damaged --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [shorten, flip, Path.unlink], ids=["short", "bit", "gone"])
def test_damaged_shards_are_named_and_made_again(
    steindiff: Callable[..., Any],
    finished: Path,
    weights: Path,
    tmp_path: Path,
    batches: list[int],
    damage: Callable[[Path], object],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    victim = json.loads((out / "shards" / "000002.json").read_text())["files"][-1]["name"]
    damage(out / victim)
    steindiff("evaluate", out, out, "--features", "pixels").refused("shard 000002 is damaged")
    outcome = steindiff("generate", "--out", out, "--model", weights, *again(finished))
    assert outcome.code == 0
    assert f"shard 000002 is damaged: {out / victim}" in outcome.err
    assert outcome.err.count("is damaged") == 1
    assert "made again" in outcome.err
    assert f"{SHARD} made now" in outcome.out
    assert len(batches) == 1
    assert contents(out) == contents(finished)


@pytest.mark.parametrize("damage", [shorten, flip], ids=["short", "bit"])
def test_damaged_records(
    steindiff: Callable[..., Any],
    finished: Path,
    weights: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    damage(out / "shards" / "000001.json")
    steindiff("fid-stats", out, "--out", tmp_path / "x.npz", "--features", "pixels").refused(
        "shard 000001 is damaged", "its record"
    )
    outcome = steindiff("generate", "--out", out, "--model", weights, *again(finished))
    assert outcome.code == 0
    assert "shard 000001 is damaged: its record" in outcome.err
    assert contents(out) == contents(finished)


def test_without_verifying_only_sizes_are_looked_at(
    steindiff: Callable[..., Any],
    finished: Path,
    weights: Path,
    tmp_path: Path,
    batches: list[int],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    files = json.loads((out / "shards" / "000000.json").read_text())["files"]
    flip(out / files[0]["name"])
    command = ("generate", "--out", out, "--model", weights, *again(finished))
    outcome = steindiff(*command, "--no-verify")
    assert outcome.code == 0
    assert "nothing to do" in outcome.out
    shorten(out / files[0]["name"])
    assert "shard 000000 is damaged" in steindiff(*command, "--no-verify").err
    assert len(batches) == 1
    assert contents(out) == contents(finished)


def test_finished_runs_do_nothing(
    steindiff: Callable[..., Any],
    finished: Path,
    weights: Path,
    tmp_path: Path,
    batches: list[int],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    outcome = steindiff("generate", "--out", out, "--model", weights, *again(finished))
    assert outcome.code == 0
    assert f"{out} is complete: 60 images; there was nothing to do" in outcome.out
    assert batches == []
    assert contents(out) == contents(finished)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--steps", 3), "steps is 2 there and 3 here"),
        (("--count", 61), "count is 60 there and 61 here"),
        (("--first-seed", 1), "first_seed is 0 there and 1 here"),
        (("--batch", 5), "batch is 100 there and 5 here"),
        (("--classes", "1"), "classes is [0, 1, 2] there and [1] here"),
        (("--model", "fashion-mnist"), "classes is [0, 1, 2] there"),
        (("--solver", "euler"), 'solver is "IPNDM('),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_another_setting(
    steindiff: Callable[..., Any],
    finished: Path,
    weights: Path,
    batches: list[int],
    change: tuple[Any, ...],
    said: str,
) -> None:
    before = contents(finished)
    command = ("generate", "--out", finished, "--model", weights, *again(finished), *change)
    steindiff(*command).refused(f"{finished} was made with another setting: {said}")
    assert contents(finished) == before
    assert batches == []


@pytest.mark.parametrize("damage", [shorten, flip], ids=["short", "bit"])
def test_damaged_setting(
    steindiff: Callable[..., Any],
    finished: Path,
    weights: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    path = out / "generate.json"
    text = path.read_text().replace('"steps": 2', '"steps": 3')
    path.write_text(text)
    if damage is shorten:
        shorten(path)
    command = ("generate", "--out", out, "--model", weights, *again(finished))
    steindiff(*command).refused(f"{path} is damaged")
    assert contents(out) == contents(finished)
