"""What killed benches, full disks and damaged files leave behind, and how the next run goes on."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command import Command
from msgspec.structs import replace
from small import block, measured, small
from waiting import BOUND

from steindiff import _files as files
from steindiff.lab import locks
from steindiff.lab.bench import run as bench_run
from steindiff.lab.bench import store as bench_store
from steindiff.lab.bench.grid import Grid, load_grid, make_grid
from steindiff.lab.bench.results import Results, read_results
from steindiff.lab.bench.store import Store
from steindiff.lab.folders import MARKER


def planar() -> Grid:
    """Points of the plane: its cells have a file of samples each."""
    return small(
        block(model="mixture:dim=2,modes=3", solver=["euler", "ipndm"], nfe=[3, 4]),
        controls=["one"],
    )


def figures(folder: Path) -> Results:
    """What results.json holds, without what differs from run to run."""
    results = read_results(folder)
    cells = [replace(cell, seconds=0.0) for cell in results.cells]
    return replace(results, seconds=0.0, cells=cells)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bench that ran through; not to be written to."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    measured(planar(), out)
    return out


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(undisturbed, tmp_path / "out"))


def again(folder: Path, grid: Grid | None = None, **options: Any) -> tuple[list[str], list[str]]:
    """Runs it once more: the cells that were computed, and the warnings."""
    told: list[str] = []
    warned: list[str] = []
    measured(grid or planar(), folder, tell=told.append, warn=warned.append, **options)
    return [text for text in told if "/" in text], warned


def cell_files(folder: Path) -> list[Path]:
    return sorted((folder / "cells").iterdir())


def test_what_is_in_the_folder(undisturbed: Path) -> None:
    names = sorted(path.name for path in undisturbed.iterdir())
    assert names == [".locks", ".steindiff", "bench.json", "cells", "results.json", "samples"]
    assert len(cell_files(undisturbed)) == 4
    assert len(list((undisturbed / "samples").iterdir())) == 4
    results = read_results(undisturbed)
    assert results.complete is True
    assert [cell.id for cell in results.cells] == [cell.id for cell in planar().cells]
    assert results.versions.keys() == {"python", "steindiff", "torch", "numpy"}
    assert results.grid == planar().record()
    assert results.hashes == {"mixture:dim=2,modes=3": {}}


def test_started_again_it_computes_nothing(finished: Path, undisturbed: Path) -> None:
    before = {path: path.read_bytes() for path in cell_files(finished)}
    assert again(finished) == ([], [])
    assert {path: path.read_bytes() for path in cell_files(finished)} == before
    assert figures(finished) == figures(undisturbed)


def test_the_time_is_that_of_the_cells_not_of_the_last_start(finished: Path) -> None:
    seconds = sum(cell.seconds for cell in read_results(finished).cells)
    again(finished)
    assert read_results(finished).seconds >= round(seconds, 1)


def test_more_cells_are_another_grid(finished: Path) -> None:
    grid = small(block(model="mixture:dim=2,modes=3"), controls=["one"])
    with pytest.raises(FileExistsError, match=r"results of another grid \(other cells\)"):
        measured(grid, finished)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"resamples": 21}, "resamples"),
        ({"sweep": [0.9], "fine_steps": 21}, "sweep, fine_steps"),
        ({"coefficients": ["constant:value=0.99"]}, "coefficients"),
    ],
    ids=str,
)
def test_results_of_another_grid_are_kept(
    finished: Path, change: dict[str, Any], named: str
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    grid = make_grid({**msgspec.to_builtins(planar().record()), **change})
    with pytest.raises(FileExistsError) as caught:
        measured(grid, finished)
    assert f"{finished} holds the results of another grid (other {named})" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    after = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert {p: b for p, b in after.items() if ".locks" not in str(p)} == {
        p: b for p, b in before.items() if ".locks" not in str(p)
    }
    # Asked to, it drops them: every cell anew, none of the old grid's left.
    computed, _ = again(finished, grid, overwrite=True)
    assert computed == [cell.id for cell in grid.cells]
    assert len(cell_files(finished)) == len(grid.cells)
    assert read_results(finished).grid == grid.record()


def test_other_weights_are_another_grid(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "_hashes", lambda grid: {"mixture": {"denoiser": "abc"}})
    with pytest.raises(FileExistsError, match=r"another grid \(other hashes\)"):
        measured(planar(), finished)


# -- damage ---------------------------------------------------------------------------------------


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    """One bit, in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00\x01")


def a_list(path: Path) -> None:
    path.write_text("[1, 2]")


def another_figure(path: Path) -> None:
    content = json.loads(path.read_text())
    content["cell"]["samples"] += 1
    path.write_text(json.dumps(content))


def without_checksum(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))


def removed(path: Path) -> None:
    path.unlink()


Damage = Callable[[Path], None]


@pytest.mark.parametrize(
    "damage", [emptied, halved, flipped, not_text, a_list, another_figure, without_checksum]
)
def test_a_damaged_cell_is_named_and_made_again(
    finished: Path, undisturbed: Path, damage: Damage
) -> None:
    path = cell_files(finished)[1]
    name = json.loads(path.read_text())["cell"]["id"]
    damage(path)
    computed, warned = again(finished)
    assert computed == [name]
    assert len(warned) == 1
    assert f"{path} is damaged" in warned[0]
    assert "computed again" in warned[0]
    assert figures(finished) == figures(undisturbed)


@pytest.mark.parametrize("damage", [emptied, halved, flipped, removed])
def test_damaged_samples_are_named_and_made_again(
    finished: Path, undisturbed: Path, damage: Damage
) -> None:
    path = sorted((finished / "samples").iterdir())[2]
    before = path.read_bytes()
    damage(path)
    computed, warned = again(finished)
    assert len(computed) == 1
    assert [f"{path} is damaged or missing" in text for text in warned] == [True]
    assert path.read_bytes() == before
    assert figures(finished) == figures(undisturbed)


def test_a_removed_cell_is_made_again_without_a_word(finished: Path, undisturbed: Path) -> None:
    cell_files(finished)[0].unlink()
    computed, warned = again(finished)
    assert (len(computed), warned) == (1, [])
    assert figures(finished) == figures(undisturbed)


def test_another_cells_file_is_not_taken(finished: Path, undisturbed: Path) -> None:
    """A whole file with the wrong cell in it, as a careless copy leaves behind."""
    first, second, *_ = cell_files(finished)
    shutil.copy(first, second)
    computed, warned = again(finished)
    assert (len(computed), len(warned)) == (1, 1)
    assert str(second) in warned[0]
    assert figures(finished) == figures(undisturbed)


@pytest.mark.parametrize("damage", [emptied, halved, removed])
def test_damaged_results_are_written_again(
    finished: Path, undisturbed: Path, damage: Damage
) -> None:
    damage(finished / "results.json")
    assert again(finished) == ([], [])
    assert figures(finished) == figures(undisturbed)


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "[1]", "3", '{"grid": 3}', "[" * 100_000], ids=range(8)
)
def test_a_damaged_description_is_refused_and_kept(finished: Path, text: str | None) -> None:
    """Without it nothing says what the cells are of: they are dropped only when asked to."""
    if text is None:
        (finished / "bench.json").unlink()
    else:
        (finished / "bench.json").write_text(text)
    before = [path.read_bytes() for path in cell_files(finished)]
    with pytest.raises(FileExistsError, match=r"bench.json is damaged.*--overwrite"):
        measured(planar(), finished)
    assert [path.read_bytes() for path in cell_files(finished)] == before
    computed, _ = again(finished, overwrite=True)
    assert len(computed) == 4


def test_results_of_the_old_grid_do_not_outlive_it(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced and ended before the first new cell: nothing old is there under the new name."""

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_run, "SampledModel", stop)
    grid = small(block(model="mixture:dim=2,modes=3", nfe=7), controls=["one"])
    with pytest.raises(KeyboardInterrupt):
        measured(grid, finished, overwrite=True)
    assert cell_files(finished) == []
    assert not (finished / "results.json").exists()


def test_a_long_list_of_seeds(tmp_path: Path) -> None:
    """File names have 255 bytes at most; two lists that begin alike stay apart."""
    seeds = ",".join(str(1000 + 2 * k) for k in range(70))
    grid = small(
        block(model="mixture:dim=2,modes=3", seeds=[seeds, f"{seeds},5000"]), controls=["one"]
    )
    cells = measured(grid, tmp_path / "out")
    assert [cell.samples for cell in cells] == [70, 71]
    assert len(cell_files(tmp_path / "out")) == 2
    assert again(tmp_path / "out", grid) == ([], [])


def test_a_result_that_is_no_number_is_not_saved(tmp_path: Path, undisturbed: Path) -> None:
    grid = planar()
    store = Store(tmp_path / "out", grid, {}, overwrite=False)
    (result, *_) = read_results(undisturbed).cells
    with pytest.raises(ValueError, match="JSON"):
        store.save(grid.cells[0], replace(result, fine_to_exact=float("nan")), None)
    assert list((tmp_path / "out" / "cells").iterdir()) == []
    assert store.load(grid.cells[0]) == (None, "")


def test_cells_and_samples_are_written_whole(
    finished: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C inside any write leaves no part of a file, and the next run goes on."""
    for path in cell_files(finished)[:2]:
        path.unlink()
    original, written = files.write_whole, []

    def interrupted(path: Path, write: Callable[[Any], object]) -> None:
        def half(file: Any) -> None:
            write(file)
            file.flush()
            raise KeyboardInterrupt

        written.append(path)
        original(path, half if path.parent.name == place else write)

    monkeypatch.setattr(bench_store, "write_whole", interrupted)
    for place in ("samples", "cells"):
        with pytest.raises(KeyboardInterrupt):
            measured(planar(), finished)
        assert written[-1].parent.name == place
        assert len(cell_files(finished)) == 2
        assert not [path for path in finished.rglob(".*") if path.name not in (".locks", MARKER)]
    monkeypatch.undo()
    computed, warned = again(finished)
    assert (len(computed), warned) == (2, [])
    assert figures(finished) == figures(undisturbed)


# -- what is not ours -----------------------------------------------------------------------------


def test_foreign_entries_are_left_alone_and_named_once(finished: Path, undisturbed: Path) -> None:
    """A folder of checkpoints, notes, samples of somebody else; overwritten or not."""
    for place in ("cells", "samples"):
        (finished / place / ".ipynb_checkpoints").mkdir()
        (finished / place / ".hidden").write_text("a")
        (finished / place / "notes.txt").write_text("b")
    np.savez(finished / "samples" / "mine.npz", x=np.zeros(3))
    for k in range(7):
        (finished / "cells" / f"z{k}").mkdir()
    options: dict[str, Any]
    for options in ({}, {"overwrite": True}):
        computed, warned = again(finished, **options)
        assert len(computed) == (4 if options else 0)
        assert len(warned) == 2
        assert (
            f"{finished / 'cells'} holds what is not of this bench, and is left alone" in warned[0]
        )
        assert ".hidden, .ipynb_checkpoints, notes.txt, z0, z1 and 5 more" in warned[0]
        assert ".hidden, .ipynb_checkpoints, mine.npz, notes.txt" in warned[1]
    assert {path.name for path in (finished / "samples").iterdir()} >= {"mine.npz", ".hidden"}
    assert figures(finished) == figures(undisturbed)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("in the way")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("bench.json", a_folder, r"bench.json is no file; choose another folder, or remove it"),
        ("results.json", a_folder, r"results.json is no file; choose another folder"),
        ("cells", a_file, "cells is no folder; choose another folder, or remove it"),
        ("samples", a_file, "samples is no folder; choose another folder, or remove it"),
        ("CELL", a_folder, "json is a folder, and a bench needs a file there"),
        ("PICTURES", a_folder, "npz is a folder, and a bench needs a file there"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_for_a_file_is_said_in_words(
    finished: Path, name: str, change: Callable[[Path], None], said: str, overwrite: bool
) -> None:
    path = finished / name
    if name == "CELL":
        path = cell_files(finished)[1]
    elif name == "PICTURES":
        path = sorted((finished / "samples").iterdir())[1]
    change(path)
    with pytest.raises((FileExistsError, ValueError), match=said) as caught:
        measured(planar(), finished, overwrite=overwrite)
    assert str(path) in str(caught.value)
    assert "Errno" not in str(caught.value)


def test_a_file_in_the_place_of_the_output(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for out in (file, file / "out"):
        with pytest.raises(NotADirectoryError, match=r"file is a file; the path of a folder"):
            measured(planar(), out)
    assert file.read_text() == "in the way"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / ".hidden").write_text("mine")
    (tmp_path / "thesis.tex").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"but no run of `steindiff bench`"):
        measured(planar(), tmp_path, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["cells", "samples", "figures", ".locks", "report.html"])
def test_no_link_is_followed_out_of_the_folder(
    finished: Path, tmp_path: Path, name: str, overwrite: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    if (finished / name).is_dir():
        shutil.rmtree(finished / name)
    (finished / name).symlink_to(elsewhere / "mine" if "." in name[1:] else elsewhere)
    with pytest.raises(ValueError, match=f"{name} is a symbolic link; choose another folder"):
        measured(planar(), finished, overwrite=overwrite)
    assert {path.name: path.read_text() for path in elsewhere.iterdir()} == {"mine": "mine"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_in_the_place_of_a_file_is_replaced(
    finished: Path, tmp_path: Path, overwrite: bool
) -> None:
    """The cell and its pictures; what the links lead to is left as it is."""
    (tmp_path / "mine").write_text("mine")
    cell, pictures = cell_files(finished)[1], sorted((finished / "samples").iterdir())[1]
    for path in (cell, pictures):
        path.unlink()
        path.symlink_to(tmp_path / "mine")
    again(finished, overwrite=overwrite)
    assert (tmp_path / "mine").read_text() == "mine"
    assert not cell.is_symlink()
    assert not pictures.is_symlink()


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


def not_a_number(path: Path) -> None:
    path.write_text(path.read_text().replace('"seconds": ', '"seconds": NaN, "old": ', 1))


def without_a_field(path: Path) -> None:
    """A whole file, checksum and all, of a cell that lacks something."""
    content = json.loads(path.read_text())
    del content["cell"]["reference"]
    path.write_text(json.dumps({**content, "sha256": files.digest(content["cell"])}))


@pytest.mark.parametrize("damage", [nested, not_a_number, without_a_field])
def test_a_cell_that_does_not_fit_is_made_again(
    finished: Path, undisturbed: Path, damage: Damage
) -> None:
    path = cell_files(finished)[1]
    damage(path)
    computed, (warned,) = again(finished)
    assert len(computed) == 1
    assert f"{path} is damaged" in warned
    assert figures(finished) == figures(undisturbed)


def test_an_overwritten_bench_leaves_no_cell_of_the_old_grid(finished: Path) -> None:
    """Not even one whose description was lost, nor a damaged one that it named."""
    emptied(cell_files(finished)[0])
    grid = small(block(model="mixture:dim=2,modes=3", nfe=7), controls=["one"])
    again(finished, grid, overwrite=True)
    assert len(cell_files(finished)) == len(list((finished / "samples").iterdir())) == 1
    (finished / "bench.json").unlink()
    again(finished, planar(), overwrite=True)
    assert len(cell_files(finished)) == 4


# -- two at once ----------------------------------------------------------------------------------


def test_two_runs_at_once(
    finished: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "WAIT", 0.2)
    cell_files(finished)[0].unlink()
    inside, go_on = threading.Event(), threading.Event()

    def hold(text: str) -> None:
        inside.set()
        assert go_on.wait(BOUND)

    first = threading.Thread(target=lambda: measured(planar(), finished, tell=hold))
    first.start()
    try:
        assert inside.wait(BOUND)
        with pytest.raises(BlockingIOError, match=f"{finished} is in use by another run .process"):
            measured(planar(), finished)
    finally:
        go_on.set()
        first.join()
    assert figures(finished) == figures(undisturbed)
    assert again(finished) == ([], [])  # the lock is free again


# -- processes that are killed, and a full disk ---------------------------------------------------

CELLS = 12
GRID = """
resamples = 20
controls = ["one"]
[[cells]]
model = "mixture:dim=2,modes=3"
nfe = [3, 4]
solver = ["euler", "ipndm", "dpmpp_2m", "unipc", "deis", "heun"]
seeds = "0-31"
"""

CHILDREN = '''
"""Forks benches, and kills them: at random moments, and inside every kind of write."""
import json, os, random, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from steindiff import _files as files
from steindiff.lab.bench import run, store
from steindiff.lab.bench.grid import load_grid

grid, folder = load_grid(Path(sys.argv[1])), Path(sys.argv[2])

def child(name, prepare=lambda: None):
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    prepare()
    run.run_bench(grid, folder / name, warn=lambda text: print("damaged", name, text, flush=True))
    os._exit(0)

def whole(name, prepare=lambda: None):
    _, status, used = os.wait4(child(name, prepare), 0)
    return status, used.ru_utime + used.ru_stime

def killed_after(name, seconds):
    """By the timer's own signal, after so much CPU time, however busy the machine is."""
    status, _ = whole(name, lambda: signal.setitimer(signal.ITIMER_PROF, seconds))
    return os.WIFSIGNALED(status)

def die_in_write(number, moment):
    """SIGKILL at the write with that number: before it, half way, before its name, or after."""
    def prepare():
        done = [0]
        def write_whole(path, write):
            done[0] += 1
            last = done[0] == number
            def die():
                os.kill(os.getpid(), signal.SIGKILL)
            if last and moment == "before":
                die()
            def half(file):
                write(file)
                file.flush()
                if moment == "half":
                    os.truncate(file.fileno(), file.tell() // 2)
                die()
            files.write_whole(path, half if last and moment in ("half", "unnamed") else write)
            if last:
                die()
        store.write_whole = write_whole
    return prepare

status, seconds = whole("undisturbed")
found = {"undisturbed": status, "random": 0, "writes": 0}
rng = random.Random(0)
for name in ("random0", "random1"):
    for _ in range(6):
        found["random"] += killed_after(name, rng.uniform(0.02, 0.3) * seconds)
    status, _ = whole(name)
    found[name] = status
# Writes of a bench: its description; then samples, cell and results of each cell.
for number in (1, 2, 3, 4):
    for moment in ("before", "half", "unnamed", "after"):
        status, _ = whole("writes", die_in_write(number, moment))
        found["writes"] += os.WIFSIGNALED(status)
found["end"], _ = whole("writes")
print(json.dumps(found))
'''


def python(*arguments: object, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def grid_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grid") / "grid.toml"
    path.write_text(GRID)
    return path


@pytest.mark.slow
def test_killed_benches_go_on_where_they_were(tmp_path: Path, grid_file: Path) -> None:
    """Killed at random moments, and by -9 amid writes: nothing lost, nothing half."""
    ended = python(grid_file, tmp_path, code=CHILDREN)
    assert ended.returncode == 0, ended.stderr
    assert "damaged" not in ended.stdout  # what was killed left nothing that had to be mended
    found = json.loads(ended.stdout)
    assert found.pop("random") >= 6  # kills that met a living bench
    assert found.pop("writes") == 16
    assert set(found.values()) == {0}
    wanted = figures(tmp_path / "undisturbed")
    assert len(wanted.cells) == CELLS
    for name in ("random0", "random1", "writes"):
        assert figures(tmp_path / name) == wanted
        for part in ("cells", "samples"):
            names = {path.name for path in (tmp_path / name / part).glob("[!.]*")}
            assert names == {path.name for path in (tmp_path / "undisturbed" / part).iterdir()}


def test_partial_files_of_killed_benches_are_swept_up(finished: Path) -> None:
    for part in ("cells", "samples"):
        (finished / part / ".a.json.x1y2z3").write_text("half")
    cell_files(finished)[-1].unlink()
    again(finished)
    assert not [path for path in finished.rglob(".*") if path.name not in (".locks", MARKER)]


@pytest.fixture
def room() -> Iterator[Callable[[int], None]]:
    """Limits how large the files may be that this process writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(100, id="nothing", marks=pytest.mark.slow),
        pytest.param(1500, id="samples", marks=pytest.mark.slow),
        pytest.param(20000, id="results"),
    ],
)
def test_a_full_disk(
    steindiff: Command, room: Callable[..., None], tmp_path: Path, grid_file: Path, limit: int
) -> None:
    """A limit on the size of files, met by one kind of file after the other."""
    out = tmp_path / "out"
    unlimited, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    room(limit)
    ended = steindiff("bench", "--grid", grid_file, "--out", out)
    room(unlimited)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    (line,) = ended.err.strip().splitlines()
    assert line.startswith("Error: ")
    assert "File too large" in line
    assert str(out) in line  # says where there is no room
    leftovers = [path for path in out.rglob("*") if path.is_file() and ".locks" not in str(path)]
    assert all(path.name[0] != "." or path.name == MARKER for path in leftovers)
    begun = len(cell_files(out)) if (out / "cells").is_dir() else 0
    assert begun < CELLS
    grid = load_grid(grid_file)
    computed, warned = again(out, grid)
    assert (len(computed), warned) == (CELLS - begun, [])
    assert read_results(out).complete is True
