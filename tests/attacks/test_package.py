"""The package where not all of it is at hand, and work that may not hold everything at once."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Command
from torch import Tensor
from waiting import BOUND

import steindiff
from steindiff.lab.generate import Processes
from steindiff.lab.generate.measure import measure
from steindiff.lab.generate.reading import Images, open_images
from steindiff.lab.metrics import to_unit

pytestmark = pytest.mark.slow

SOURCE = Path(steindiff.__file__).parent

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""
CORE = """
import torch, steindiff as sd
net = sd.load_model("fashion-mnist")
x = sd.noise(net.sample_shape, seeds=range(2))
labels = {"class_labels": torch.arange(2)}
assert sd.sample(net, x, steps=3, conditioning=labels).nfe == 3
"""
LAB = ("typer", "rich", "PIL", "matplotlib", "jinja2", "markupsafe", "filelock", "msgspec")
POSIX = ("fcntl", "resource", "pwd", "grp", "termios")


def python(code: str, *arguments: str, path: Path = SOURCE.parent) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONWARNINGS": "error::ImportWarning"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, env=environment, timeout=BOUND, cwd="/",
    )  # fmt: skip


@pytest.mark.parametrize(
    "blocked", [LAB, POSIX, ("diffusers", "transformers", "k_diffusion", "hatchling")], ids=str
)
def test_the_core_without(blocked: tuple[str, ...]) -> None:
    done = python(BLOCKED.format(blocked=blocked) + CORE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("missing", LAB[:2] + LAB[6:])
def test_a_command_without_one_of_its_packages(missing: str) -> None:
    code = BLOCKED.format(blocked=(missing,)) + (
        "sys.argv = ['steindiff', 'generate', '--out', '/nonexistent/out']\n"
        "from steindiff.lab.cli import main\nmain()"
    )
    done = python(code)
    assert done.returncode == 2
    assert f"Error: {missing} is missing, which the commands need: pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_archive_of_the_wheels_files(tmp_path: Path) -> None:
    """What the wheel takes, `src/steindiff` whole, runs from elsewhere and without metadata."""
    for path in SOURCE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = tmp_path / "steindiff" / path.relative_to(SOURCE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    hidden = (
        "import importlib.metadata as m\n"
        "def none(name): raise m.PackageNotFoundError(name)\nm.version = none\n"
    )
    done = python(f"{hidden}{CORE}print(sd.__version__, sd.__file__)", path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(str(tmp_path / "steindiff/__init__.py"))


# -- memory ---------------------------------------------------------------------------------------


class Means:
    """Features of one number an image."""

    name, dim = "means", 2

    def features(self, images: Tensor) -> Tensor:
        flat = images.flatten(1).double()
        return torch.stack([flat.mean(1), flat.std(1)], dim=1)


def test_evaluate_holds_one_part_at_a_time() -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most, rng = [0], np.random.default_rng(0)

    class Part(np.ndarray):
        """One that can be counted."""

        __hash__ = object.__hash__  # type: ignore[assignment]

    def load() -> np.ndarray:
        part = rng.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8).view(Part)
        alive.add(part)
        most[0] = max(most[0], len(alive))
        return part

    def parts() -> Iterator[Any]:
        return iter([load] * 100)

    found = measure(Images(Path("many"), parts), Means(), Processes())
    assert found.statistics.count == 2000
    assert most[0] <= 2  # the one at work, and the one that is loaded after it


@pytest.mark.parametrize("stored", ["npz", "png"])
def test_evaluate_reads_a_set_as_a_stream(tmp_path: Path, stored: str) -> None:
    """Whatever the number of images, the peak is that of a part of 500."""
    count, size = 3000, 32
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 1), dtype=np.uint8)
    if stored == "npz":
        np.savez(tmp_path / "set.npz", images=images)
    else:
        from steindiff.lab.generate.formats import encode_png

        (tmp_path / "set").mkdir()
        for k, image in enumerate(images):
            (tmp_path / "set" / f"{k:05d}.png").write_bytes(encode_png(image))
    path, whole = next(iter(tmp_path.iterdir())), images.nbytes
    del images
    source = open_images(path)
    measure(Images(path, lambda: iter([next(iter(source.parts()))])), Means(), Processes())
    tracemalloc.start()
    found = measure(source, Means(), Processes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.statistics.count == count
    assert peak < 0.8 * whole, (peak, whole)


class Wide:
    """Many features an image, told apart by its first pixel: (N, 400)."""

    name, dim = "wide", 400

    def features(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :1] + torch.linspace(0, 1, self.dim)


def streamed(parts: int) -> Images:
    """Parts of 50 images, whose pixels are their number in the set, modulo 256."""

    def load(number: int) -> np.ndarray:
        values = np.arange(50 * number, 50 * number + 50) % 256
        return np.broadcast_to(values[:, None, None, None], (50, 2, 2, 1)).astype(np.uint8)

    return Images(Path("many"), lambda: iter([lambda k=k: load(k) for k in range(parts)]))


def test_evaluate_keeps_a_sample_of_bounded_size() -> None:
    """However many images there are, the features of `most` of them stay."""
    measure(streamed(1), Wide(), Processes(), 100)  # what is imported on the way
    peaks = {}
    for parts in (20, 200):
        tracemalloc.start()
        found = measure(streamed(parts), Wide(), Processes(), 100)
        peaks[parts] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.statistics.count == 50 * parts
        assert found.sample is not None
        assert found.sample.shape == (100, 400)
    whole = 4 * 400 * 50 * 200
    assert peaks[200] < 1.2 * peaks[20] < 0.3 * whole, peaks


def test_the_sample_is_drawn_from_the_whole_set_in_its_order() -> None:
    found = measure(streamed(5), Wide(), Processes(), 60).sample
    assert found is not None
    numbers = ((found[:, 0].double() + 1) * 127.5).round().long()
    assert bool((numbers.diff() > 0).all())
    assert numbers.min() < 50
    assert numbers.max() >= 200
    whole = measure(streamed(5), Wide(), Processes(), 250).sample
    assert whole is not None
    assert torch.equal(
        whole, Wide().features(to_unit(torch.arange(250).byte()[:, None, None, None]))
    )


def test_a_sample_without_bound_is_refused_before_an_image_is_read(tmp_path: Path) -> None:
    def none() -> Iterator[Any]:
        raise AssertionError("read")

    with pytest.raises(ValueError, match=r"most is 10000000: .* take 14\.9 GiB; at most 1342177"):
        measure(Images(tmp_path, none), Wide(), Processes(), 10_000_000)


def test_more_features_than_can_be_summed_up(steindiff: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "large.npz", images=np.zeros((2, 128, 129, 1), np.uint8))
    said = ("dim is 16512", "10 GiB", "at most 16384")
    command = ("fid-stats", tmp_path / "large.npz", "--out", tmp_path / "r.npz")
    steindiff(*command, "--features", "pixels").refused(*said)
