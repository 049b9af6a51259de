"""`steindiff generate`: the same images whatever the format, the batches and the processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import contents
from matrices import slow
from waiting import BOUND

import steindiff as sd
from steindiff import sampling
from steindiff._errors import NonFiniteError
from steindiff._files import sha256
from steindiff.lab.cli.commands import app
from steindiff.lab.generate.reading import open_images
from steindiff.models import save_model
from steindiff.models.network import NetworkConfig, UNetDenoiser

COUNT, SHARD = 70, 20
SMALL = ("--count", COUNT, "--shard-size", SHARD, "--steps", 2, "--device", "cpu")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
ACCELERATE = (
    sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
    "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
    "--main_process_port", "0", "--module",
)  # fmt: skip


def pixels(folder: Path) -> list[str]:
    """Hash of every image, as the records say."""
    records = sorted((folder / "shards").iterdir())
    return [entry for record in records for entry in json.loads(record.read_text())["pixels"]]


def read(folder: Path) -> np.ndarray:
    return np.concatenate([load() for load in open_images(folder).parts()])


@pytest.fixture(scope="module")
def undisturbed(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PNG images of one process; not to be written to."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    command = ("generate", "--out", out, "--model", weights, *SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["steindiff", *map(str, command)])
        app(list(map(str, command)), standalone_mode=False)
    return out


def test_images_are_those_of_the_library(undisturbed: Path, weights: Path) -> None:
    net = sd.load_model(weights)
    x = sd.noise((1, 8, 8), 80.0, range(COUNT))
    labels = {"class_labels": torch.arange(COUNT) % 3}
    result = sd.sample(net, x, steps=2, conditioning=labels)
    grey = ((result.x.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    found = read(undisturbed)
    assert found.shape == (COUNT, 8, 8, 1)
    assert np.abs(found - grey).max() <= 1
    assert (found != grey).mean() < 0.01
    assert len(set(pixels(undisturbed))) == COUNT


def test_layout(undisturbed: Path, weights: Path) -> None:
    names = {path.name for path in undisturbed.iterdir()}
    assert names == {f"{k:06d}" for k in range(4)} | {
        "generate.json", "shards", ".locks", ".steindiff",
    }  # fmt: skip
    found = sorted(path.name for path in undisturbed.glob("0*/*"))
    assert found == [f"img{k:09d}.png" for k in range(COUNT)]
    assert len(list((undisturbed / "000003").iterdir())) == COUNT - 3 * SHARD
    about = json.loads((undisturbed / "generate.json").read_text())
    assert about["setting"]["model_sha256"] == sha256(weights)
    assert about["setting"]["classes"] == [0, 1, 2]
    assert about["versions"].keys() >= {"steindiff", "torch", "python", "numpy", "pillow"}
    assert about["command"].startswith("steindiff generate --out ")


@pytest.mark.parametrize("kind", ["npz", "wds"])
def test_formats_hold_the_same_pixels(
    steindiff: Callable[..., Any], undisturbed: Path, weights: Path, tmp_path: Path, kind: str
) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        command = ("generate", "--out", folder, "--model", weights, "--format", kind, *SMALL)
        outcome = steindiff(*command)
        assert outcome.code == 0, outcome.err
        assert f"{COUNT} images in {folder}; {COUNT} made now" in outcome.out
    assert np.array_equal(read(folders[0]), read(undisturbed))
    assert pixels(folders[0]) == pixels(undisturbed)
    a, b = map(contents, folders)
    assert a == b
    if kind == "npz":
        with np.load(folders[0] / "shard-000001.npz") as arrays:
            assert arrays["seeds"].tolist() == list(range(20, 40))
            assert arrays["labels"].tolist() == [k % 3 for k in range(20, 40)]
        return
    with tarfile.open(folders[0] / "shard-000001.tar") as archive:
        members = archive.getmembers()
        assert [m.name for m in members[:3]] == [
            "000000020.cls", "000000020.json", "000000020.png"
        ]  # fmt: skip
        assert [m.name for m in members] == sorted(m.name for m in members)
        assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {(0, 0, 0, "")}
        label, about, _ = (archive.extractfile(member) for member in members[:3])
        assert label is not None
        assert about is not None
        assert label.read() == b"2"
        assert json.load(about) == {"seed": 20}


def test_first_seed_and_classes(
    steindiff: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("generate", "--out", out, "--model", weights, *SMALL, "--format", "npz")
    assert steindiff(*command, "--first-seed", 1000, "--classes", "2,0").code == 0
    with np.load(out / "shard-000003.npz") as arrays:
        assert arrays["seeds"].tolist() == list(range(1060, 1070))
        assert arrays["labels"].tolist() == [2, 0] * 5


AT_THE_END = """
import glob
import torch.distributed as dist
kept = dist.destroy_process_group
def destroy_process_group():
    kept()
    names = [open(task).read().strip() for task in glob.glob("/proc/self/task/*/comm")]
    os.write(1, " ".join(["threads:", *(name for name in names if "gloo" in name), "end"]).encode())
dist.destroy_process_group = destroy_process_group
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the names of threads")
def test_no_thread_outlives_the_process_group(
    start: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    """One of gloo's that still held a tensor would abort the process as it ends."""
    command = ("generate", "--out", tmp_path / "out", "--model", weights, *SMALL)
    ranks = start(2, *command, before=AT_THE_END)
    assert ranks.wait() == [0, 0], ranks.said
    assert ranks.said.count("threads: end") == 2, ranks.said


@pytest.mark.parametrize("count", [slow(2), 3])
def test_number_of_processes(
    start: Callable[..., Any], undisturbed: Path, weights: Path, tmp_path: Path, count: int
) -> None:
    out = tmp_path / "out"
    ranks = start(count, "generate", "--out", out, "--model", weights, *SMALL)
    assert ranks.wait() == [0] * count, ranks.said
    assert f"on {count} processes" in ranks.said
    assert ranks.said.count(" made now") == 1
    assert contents(out) == contents(undisturbed)


@pytest.mark.parametrize(
    "launcher",
    [(*TORCHRUN, "2", "-m"), ACCELERATE],
    ids=["torch", "hf"],
)
@pytest.mark.slow
def test_launchers(
    undisturbed: Path, weights: Path, tmp_path: Path, launcher: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    arguments = ("generate", "--out", out, "--model", weights, *SMALL)
    run = subprocess.run(
        [*launcher, "steindiff", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=BOUND,
    )
    assert run.returncode == 0, run.stderr
    assert f"{COUNT} images in {out}; {COUNT} made now" in run.stdout
    assert "on 2 processes" in run.stdout
    assert contents(out) == contents(undisturbed)


def test_batches_of_the_shipped_model(
    steindiff: Callable[..., Any], start: Callable[..., Any], tmp_path: Path
) -> None:
    """Every batch is padded to where the shipped network's bits no longer depend on its size."""
    folders = [tmp_path / str(batch) for batch in (50, 64, 100)]
    common = ("--count", 105, "--shard-size", 53, "--steps", 2, "--device", "cpu")
    for count, (batch, out) in enumerate(zip((50, 64, 100), folders, strict=True), start=1):
        command = ("generate", "--out", out, "--batch", batch, *common)
        if count == 1:
            assert steindiff(*command).code == 0
        else:
            ranks = start(count, *command)
            assert ranks.wait() == [0] * count, ranks.said
    first, *others = map(pixels, folders)
    assert len(set(first)) == 105
    assert others == [first, first]


@pytest.mark.slow
def test_small_rests_of_a_shard(
    steindiff: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they are rounded to 8 bits, too, whatever the batch and the number of threads.

    Batches of one or two images, or that threads do not divide, have other last bits.
    """
    original = sampling.sample
    seen: dict[bytes, set[bytes]] = {}

    def spy(denoiser: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        result = original(denoiser, x, *args, **kwargs)
        for start, end in zip(x, result.x, strict=True):
            seen.setdefault(start.numpy().tobytes(), set()).add(end.numpy().tobytes())
        return result

    monkeypatch.setattr(sampling, "sample", spy)
    threads = torch.get_num_threads()
    try:
        for batch, count in ((1, 1), (16, 1), (17, 2), (100, 2), (17, 3), (100, 4)):
            torch.set_num_threads(count)
            out = tmp_path / f"{batch}-{count}"
            common = ("--count", 36, "--shard-size", 18, "--steps", 2, "--device", "cpu")
            assert steindiff("generate", "--out", out, "--batch", batch, *common).code == 0
    finally:
        torch.set_num_threads(threads)
    assert len(seen) == 36
    assert all(len(ends) == 1 for ends in seen.values())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    """2000 images of 48 KiB each are 94 MiB; a shard of 100 is 5 MiB."""
    weights = tmp_path / "large.safetensors"
    config = NetworkConfig(
        image_size=128, channels=3, num_classes=2, patch=16, widths=(32, 32), embedding=32
    )
    save_model(weights, UNetDenoiser(config).eval())
    peaks = []
    for count in (200, 2000):
        ranks = start(
            1, "generate", "--out", tmp_path / str(count), "--model", weights, "--count", count,
            "--format", "npz", "--shard-size", 100, "--batch", 20, "--steps", 1,
        )  # fmt: skip
        assert ranks.wait() == [0], ranks.said
        peaks.append(float(ranks.said.rpartition("peak memory ")[2].split()[0]))
    assert peaks[0] > 50
    assert peaks[1] < peaks[0] + 30, peaks


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "pgn"], ["format 'pgn' is unknown", "'png'"]),
        (["--solver", "eulr"], ["solver 'eulr' is unknown", "'euler'"]),
        (["--coefficient", "enrgy"], ["coefficient 'enrgy' is unknown", "'energy'"]),
        (["--schedule", "karas"], ["schedule 'karas' is unknown", "'karras'"]),
        (["--classes", "0-3"], ["classes is '0-3'", "0 to 2"]),
        (["--classes", "a"], ["classes is 'a'"]),
        (["--device", "gpu"], ["device is 'gpu'"]),
        (["--device", "cuda:99"], ["device is 'cuda:99'", "CUDA devices"]),
        (["--model", "missing.safetensors"], ["missing.safetensors is not a file"]),
        (["--steps", "0"], ["steps is 0"]),
        (["--guidance", "inf"], ["guidance is inf"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_bad_arguments(
    steindiff: Callable[..., Any],
    weights: Path,
    tmp_path: Path,
    options: list[str],
    said: list[str],
) -> None:
    out = tmp_path / "out"
    outcome = steindiff("generate", "--out", out, "--model", weights, *SMALL, *options)
    outcome.refused(*said)
    assert not out.exists()


def test_bad_arguments_are_said_once(
    start: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    ranks = start(2, "generate", "--out", tmp_path / "out", "--model", weights, "--steps", 0)
    assert ranks.wait() == [2, 2]
    assert ranks.said.count("Error: steps is 0") == 1, ranks.said


@pytest.mark.parametrize("option", ["--count", "--shard-size", "--batch"])
def test_too_few(steindiff: Callable[..., Any], tmp_path: Path, option: str) -> None:
    outcome = steindiff("generate", "--out", tmp_path / "out", option, 0)
    assert outcome.code == 2
    assert option in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_other_files_in_the_folder(
    steindiff: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("precious")
    outcome = steindiff("generate", "--out", tmp_path, "--model", weights, *SMALL)
    outcome.refused(f"{tmp_path} holds mine", "a new or empty folder is needed")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_in_place_of_the_folder(
    steindiff: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("precious")
    for out in (tmp_path / "mine", tmp_path / "mine" / "out"):
        assert steindiff("generate", "--out", out, "--model", weights, *SMALL).code == 2
    assert (tmp_path / "mine").read_text() == "precious"


def test_samples_that_are_not_finite(
    steindiff: Callable[..., Any], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = sampling.sample
    batches: list[int] = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        batches.append(1)
        if len(batches) == 3:
            raise NonFiniteError("the state", 1, 0.5, [2, 5, 19])
        return original(*args, **kwargs)

    out = tmp_path / "out"
    command = ("generate", "--out", out, "--model", weights, *SMALL, "--batch", 12)
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "sample", failing)
        # The second shard's first batch: seeds 20 to 31, padded to 16 rows.
        steindiff(*command).refused("shard 000001", "from step 1 on", "seeds 22, 25;")
    assert len(pixels(out)) == SHARD
    assert steindiff(*command).code == 0
    assert len(set(pixels(out))) == COUNT
