"""The reader of pickles: good files whole, hostile ones refused by name, nothing ever run.

An audit hook watches the interpreter itself: whatever is executed, imported, opened or started
while a file is read is seen, however it was reached.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_pickles import ASKS, BROKEN, RUNNABLE, good_files
from waiting import BOUND

from steindiff.adapters.edm import UnsafePickleError, load_edm_pickle, load_tensors
from steindiff.adapters.edm.files import _restricted

resource = pytest.importorskip("resource")

SENTINEL = "hostile_pickle_ran"
WATCHED = ("exec", "compile", "import", "open", "pickle.", "os.", "subprocess.", "socket.", "code.")
SECONDS, BYTES = 2.0, 200 * 2**20

_seen: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event.startswith(WATCHED):
        _seen.append(f"{event} {arguments[:1]}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """What the interpreter did of the kinds `WATCHED`."""
    global _seen
    if not getattr(watched, "installed", False):
        sys.addaudithook(_hook)  # for the rest of the process: hooks cannot be taken out
        watched.installed = True  # type: ignore[attr-defined]
    _seen = events = []
    try:
        yield events
    finally:
        _seen = None


@contextmanager
def limited(count: int) -> Iterator[None]:
    """No more address space than now and `count` bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + count
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_safely(path: Path, read: Callable[[Path], object] = load_tensors) -> ValueError | None:
    """The error of reading `path`; fails if anything ran, or took too long or too much."""
    begin = time.process_time()
    error = None
    with limited(BYTES), watched() as events:
        try:
            read(path)
        except ValueError as caught:
            error = caught
    assert time.process_time() - begin < SECONDS
    # To read a file is to open it, once.
    assert [event for event in events if str(path) not in event] == []
    assert len(events) <= 1
    assert not Path(SENTINEL).exists()
    return error


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True, scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is imported at first use has been."""
    for content in good_files().values():
        path = tmp_path_factory.mktemp("warm") / "good"
        path.write_bytes(content)
        load_tensors(path)
    "names in archives".encode("cp437")


def state() -> dict[str, torch.Tensor]:
    return pickle.loads(good_files()["plain, protocol 4"])


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "the file.pkl"
    path.write_bytes(content)
    return path


# -- good files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", good_files())
def test_every_form_of_a_state_dict_is_read(form: str, tmp_path: Path) -> None:
    path, expected = written(tmp_path, good_files()[form]), state()
    assert read_safely(path) is None
    loaded = load_tensors(path)
    assert list(loaded) == list(expected)
    for name, value in expected.items():
        assert loaded[name].dtype == value.dtype
        assert loaded[name].stride() == value.stride()
        assert torch.equal(loaded[name], value)


def test_tensors_of_one_storage_are_read_once(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    parts = {"whole": whole, "part": whole[3:9].view(2, 3), "again": whole}
    file = io.BytesIO()
    torch.save(parts, file)
    for content in (file.getvalue(), pickle.dumps(parts)):
        loaded = load_tensors(written(tmp_path, content))
        assert all(torch.equal(loaded[name], parts[name]) for name in parts)
    assert loaded["whole"].data_ptr() == loaded["again"].data_ptr()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_containers_are_read(protocol: int, tmp_path: Path) -> None:
    value = {
        "numbers": [1, -2, 300, 70_000, 2**40, -(2**70), 0.5, None, True, False],
        "texts": ("", "a", "é", "x" * 300),
        "nested": [{"a": ()}, {}, [], [[1], [2]], (1, 2, 3, 4)],
        1: torch.Size((2, 3)),
    }
    assert _restricted(written(tmp_path, pickle.dumps(value, protocol))) == value


def test_bytes_and_sets_are_read(tmp_path: Path) -> None:
    value = {"bytes": b"\x00\xff", "set": {1, 2}, "frozen": frozenset("ab"), "long": b"x" * 300}
    assert _restricted(written(tmp_path, pickle.dumps(value, 4))) == value


# -- hostile files --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", RUNNABLE)
def test_these_files_are_really_hostile(case: str) -> None:
    """Loaded the usual way they run their command."""
    content = RUNNABLE[case][0]
    if case in {"zip file", "legacy file", "legacy file, system part"}:
        with suppress(Exception):  # after it has run
            torch.load(io.BytesIO(content), weights_only=False)
    else:
        with suppress(Exception):  # after it has run
            pickle.loads(content)
    end = time.monotonic() + BOUND
    while not Path(SENTINEL).exists():  # Popen does not wait
        assert time.monotonic() < end, "nothing was run"
        time.sleep(0.02)


@pytest.mark.parametrize("case", ASKS)
def test_what_asks_for_more_is_refused_by_name(case: str, tmp_path: Path) -> None:
    content, asked_for = ASKS[case]
    path = written(tmp_path, content)
    error = read_safely(path)
    assert isinstance(error, UnsafePickleError), error
    assert asked_for in error.asked_for
    assert error.path == path
    assert str(path) in str(error)
    assert asked_for in str(error)
    assert "\x1b" not in str(error)
    assert isinstance(read_safely(path, load_edm_pickle), UnsafePickleError)


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_refused(case: str, tmp_path: Path) -> None:
    path = written(tmp_path, BROKEN[case])
    error = read_safely(path)
    assert isinstance(error, ValueError)
    assert not isinstance(error, UnsafePickleError)
    assert str(path) in str(error)
    assert len(str(error)) < 600 + len(str(path))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("too many instructions", "more than 250000 instructions"),
        ("10 GB claimed, zip", "more bytes than the file holds"),
        ("10 GB claimed, legacy", "more bytes than the file holds"),
        ("zip bomb", "compressed"),
        ("zip bomb in a storage", "compressed"),
        ("zip: 60,000 members", "more than 50000 members"),
        ("one storage, two sizes", "two sizes or dtypes"),
        ("missing storage", "a storage is missing"),
        ("path outside", "a storage is missing"),
        ("legacy: no data", "a storage is missing"),
        ("view by its offset", "outside of its storage of 4 elements"),
        ("stride 0, 10 GB", "outside of its storage of 4 elements"),
        ("fewer bytes than elements", "16 bytes claims 8 elements"),
    ],
)
def test_the_reason_is_said(case: str, said: str, tmp_path: Path) -> None:
    assert said in str(read_safely(written(tmp_path, BROKEN[case])))


@pytest.mark.parametrize("form", good_files())
def test_truncated_anywhere(form: str, tmp_path: Path) -> None:
    content = good_files()[form]
    assert len(content) > 9_000
    for length in [*range(0, len(content), 1000), *range(1, 300, 7), len(content) - 1]:
        error = read_safely(written(tmp_path, content[:length]))
        assert isinstance(error, ValueError), length
        assert "the file.pkl" in str(error)


@pytest.mark.parametrize("form", ["plain, protocol 0", "plain, protocol 4", "legacy", "zip"])
def test_bytes_changed_at_random(form: str, tmp_path: Path) -> None:
    """Whatever comes out, it is tensors or a ValueError, and nothing was run."""
    content, chance = good_files()[form], random.Random(0)
    refused = 0
    for _ in range(150):
        broken = bytearray(content)
        for _ in range(chance.choice([1, 3, 20])):
            # Mostly in the instructions, of which the end has as many as the beginning.
            at = chance.choice([chance.randrange(700), chance.randrange(len(content))])
            broken[chance.choice([at, len(content) - 1 - at])] = chance.randrange(256)
        refused += read_safely(written(tmp_path, bytes(broken))) is not None
    assert refused > 20


# -- paths ----------------------------------------------------------------------------------------


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("zero", "dangling", "pipe", "", "missing"):
        with pytest.raises(FileNotFoundError, match="is not a file"):
            load_tensors(tmp_path / name)
    (tmp_path / "link").symlink_to(written(tmp_path, good_files()["zip"]))
    assert load_tensors(tmp_path / "link").keys() == state().keys()


def test_what_is_no_state_dict_is_said(tmp_path: Path) -> None:
    for value, said in [
        ([1, 2], "holds a list"),
        ({}, "holds 0 entries"),
        ({"ema": {"a": 1}}, "a int under 'a'"),
        ({1: torch.ones(1)}, "a Tensor under 1"),
    ]:
        with pytest.raises(ValueError, match=said):
            load_tensors(written(tmp_path, pickle.dumps(value)))
