"""`steindiff fid-stats` and `evaluate`: every way to store images, and what is refused."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import flip, shorten
from matrices import slow
from PIL import Image
from waiting import BOUND

from steindiff.lab import metrics
from steindiff.lab.generate.reading import PART, open_images


def pictures(seed: int, count: int = 60, shape: tuple[int, ...] = (28, 28, 1)) -> np.ndarray:
    """Noise with a brightness that differs from image to image."""
    generator = np.random.default_rng(seed)
    levels = generator.integers(0, 200, (count, 1, 1, 1))
    return (levels + generator.integers(0, 56, (count, *shape))).astype(np.uint8)


def encoded(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def as_folder(path: Path, images: np.ndarray) -> Path:
    for k, image in enumerate(images):
        place = path / f"{k // 25:02d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{k:05d}.PNG").write_bytes(encoded(image))
    (path / "readme.txt").write_text("not an image")
    return path


def as_npz(path: Path, images: np.ndarray, compressed: bool = False) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, images=images, other=np.zeros(3))
    return path


def as_tar(path: Path, images: np.ndarray, first: int = 0) -> Path:
    with tarfile.open(path, "w") as archive:
        for k, image in enumerate(images):
            for suffix, content in (("cls", b"3"), ("png", encoded(image))):
                member = tarfile.TarInfo(f"{first + k:06d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def as_tars(path: Path, images: np.ndarray) -> Path:
    path.mkdir()
    for k in range(0, len(images), 25):
        as_tar(path / f"{k:06d}.tar", images[k : k + 25], k)
    return path


STORES: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "folder": lambda path, images: as_folder(path / "folder", images),
    "npz": lambda path, images: as_npz(path / "images.npz", images),
    "compressed": lambda path, images: as_npz(path / "small.npz", images, compressed=True),
    "tar": lambda path, images: as_tar(path / "images.tar", images),
    "tars": lambda path, images: as_tars(path / "tars", images),
}


def loaded(path: Path) -> np.ndarray:
    return np.concatenate([load() for load in open_images(path).parts()])


@pytest.mark.parametrize("shape", [(6, 4, 1), (5, 7, 3)], ids=["grey", "rgb"])
@pytest.mark.parametrize("store", STORES)
def test_every_store_gives_the_images_in_order(
    tmp_path: Path, store: str, shape: tuple[int, ...]
) -> None:
    images = pictures(0, 2 * PART + 7, shape)
    assert np.array_equal(loaded(STORES[store](tmp_path, images)), images)


def test_jpeg_and_palette(tmp_path: Path) -> None:
    smooth = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(smooth).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "b.png")
    found = loaded(tmp_path).astype(int)
    assert found.shape == (2, 8, 8, 3)
    assert np.abs(found - smooth).max() <= 6


@pytest.mark.parametrize("store", STORES)
def test_statistics_against_numpy(
    steindiff: Callable[..., Any], tmp_path: Path, store: str
) -> None:
    images, out = pictures(0, 80, (4, 4, 1)), tmp_path / "r.npz"
    path = STORES[store](tmp_path, images)
    outcome = steindiff("fid-stats", path, "--out", out, "--features", "pixels")
    assert outcome.code == 0, outcome.err
    assert "80 images, features pixels" in outcome.out
    rows = images.reshape(80, -1) / 127.5 - 1
    with np.load(out) as arrays:
        np.testing.assert_allclose(arrays["mu"], rows.mean(axis=0), atol=1e-7)
        np.testing.assert_allclose(arrays["sigma"], np.cov(rows.T), atol=1e-7)
        assert int(arrays["count"]) == 80


def test_figures_against_the_library(steindiff: Callable[..., Any], tmp_path: Path) -> None:
    a, b = pictures(1), pictures(2, 70)
    here, there = as_folder(tmp_path / "a", a), as_npz(tmp_path / "b.npz", b)
    stats, file = tmp_path / "b-stats.npz", tmp_path / "figures.json"
    assert steindiff("fid-stats", there, "--out", stats).code == 0
    extractor = metrics.resolve_features("fashion-mnist")
    fake, real = (extractor.features(metrics.to_unit(torch.from_numpy(x))) for x in (a, b))
    distance = metrics.frechet_distance(fake, real)

    outcome = steindiff("evaluate", here, stats, "--json", file)
    assert outcome.code == 0, outcome.err
    figures = json.loads(file.read_text())
    assert figures["frechet_distance"] == pytest.approx(distance, rel=1e-6)
    assert f"{distance:.4f}" in outcome.out
    assert (figures["count"], figures["reference_count"]) == (60, 70)
    assert figures["features"] == extractor.name
    assert "kernel_distance" not in figures

    outcome = steindiff("evaluate", here, there, "--json", file, "--overwrite")
    assert outcome.code == 0, outcome.err
    figures = json.loads(file.read_text())
    assert figures["frechet_distance"] == pytest.approx(distance, rel=1e-6)
    kernel = metrics.kernel_distance(fake, real, block_size=60)
    assert figures["kernel_distance"]["mean"] == pytest.approx(kernel.mean, rel=1e-5)
    assert figures["kernel_block"] == 60
    for name, value in metrics.prdc(real, fake)._asdict().items():
        assert figures[name] == pytest.approx(value), name
        assert name in outcome.out
    assert figures["compared"] == [60, 70]


@pytest.mark.parametrize("several", [2, slow(3)])
def test_number_of_processes(
    steindiff: Callable[..., Any], start: Callable[..., Any], tmp_path: Path, several: int
) -> None:
    """The statistics' bytes and all figures are those of one process."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (3 * PART + 20, 4, 4, 1)).astype(np.uint8)
    path, other = (
        as_npz(tmp_path / "i.npz", images),
        as_tars(tmp_path / "t", pictures(0, 90)[:, :4, :4]),
    )
    for count in (1, several):
        for command in (
            ("fid-stats", path, "--out", tmp_path / f"{count}.npz"),
            ("evaluate", other, path, "--json", tmp_path / f"{count}.json", "--most", 50),
        ):
            if count == 1:
                assert steindiff(*command, "--features", "pixels").code == 0
                continue
            ranks = start(count, *command, "--features", "pixels")
            assert ranks.wait() == [0] * count, ranks.said
            assert ranks.said.count("images") <= 3
    for suffix in ("npz", "json"):
        one, more = ((tmp_path / f"{count}.{suffix}").read_bytes() for count in (1, several))
        assert more == one
    assert json.loads((tmp_path / "1.json").read_text())["compared"] == [50, 50]


@pytest.mark.slow
def test_under_torchrun(steindiff: Callable[..., Any], tmp_path: Path) -> None:
    path = as_tars(tmp_path / "t", pictures(0, 60))
    assert steindiff("fid-stats", path, "--out", tmp_path / "1.npz").code == 0
    command = (
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "steindiff", "fid-stats", str(path), "--out", str(tmp_path / "2.npz"),
    )  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=BOUND)
    assert run.returncode == 0, run.stderr
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "2.npz") as two:
        assert int(two["count"]) == 60
        np.testing.assert_allclose(two["mu"], one["mu"], atol=1e-6)
        np.testing.assert_allclose(two["sigma"], one["sigma"], atol=1e-6)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [shorten, flip], ids=["short", "bit"])
@pytest.mark.parametrize("store", STORES)
def test_damaged_images_are_named(
    steindiff: Callable[..., Any], tmp_path: Path, store: str, damage: Callable[[Path], object]
) -> None:
    path = STORES[store](tmp_path, pictures(0))
    inside = {"folder": "01/00030.PNG", "tars": "000025.tar"}
    victim = path / inside.get(store, "")
    damage(victim)
    for command in (("fid-stats", path, "--out", tmp_path / "r.npz"), ("evaluate", path, path)):
        steindiff(*command).refused(str(victim.name), "is damaged")
    assert not (tmp_path / "r.npz").exists()


def test_a_tar_that_was_cut_between_two_members(
    steindiff: Callable[..., Any], tmp_path: Path
) -> None:
    path = as_tar(tmp_path / "a.tar", pictures(0))
    with tarfile.open(path) as archive:
        offset = archive.getmembers()[40].offset
    os.truncate(path, offset)
    steindiff("evaluate", path, path).refused(f"{path} is damaged", "truncated")


@pytest.mark.parametrize("bit", [0, 1, 4, 7])
def test_every_part_of_a_tar_is_guarded(tmp_path: Path, bit: int) -> None:
    """A flipped bit in a name, a checksum or a picture: nothing goes missing in silence."""
    path = as_tar(tmp_path / "a.tar", pictures(0, 3))
    intact = path.read_bytes()
    with tarfile.open(path) as archive:
        member = archive.getmembers()[3]
    assert member.name == "000001.png"
    for place in (member.offset, member.offset + 124, member.offset + 150, member.offset_data + 40):
        data = bytearray(intact)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.tar is damaged"):
            loaded(path)


def test_damage_seen_by_one_process_ends_all(start: Callable[..., Any], tmp_path: Path) -> None:
    path = as_tars(tmp_path / "t", pictures(0, 75))
    shorten(path / "000025.tar")
    ranks = start(3, "fid-stats", path, "--out", tmp_path / "r.npz", "--features", "pixels")
    assert ranks.wait() == [2, 2, 2]
    assert ranks.said.count("Error: ") == 1, ranks.said
    assert "000025.tar is damaged" in ranks.said


def test_statistics_of_other_features(steindiff: Callable[..., Any], tmp_path: Path) -> None:
    path, stats = as_npz(tmp_path / "a.npz", pictures(0)), tmp_path / "stats.npz"
    assert steindiff("fid-stats", path, "--out", stats, "--features", "pixels").code == 0
    steindiff("evaluate", path, stats).refused(str(stats), "'pixels'", "fashion-mnist-classifier")


def test_references_that_are_none(steindiff: Callable[..., Any], tmp_path: Path) -> None:
    path = as_npz(tmp_path / "a.npz", pictures(0))
    other = tmp_path / "other.npz"
    np.savez(other, mu=np.zeros(3))
    steindiff("evaluate", path, other).refused(f"{other} lacks sigma")
    other.write_bytes(b"PK")
    steindiff("evaluate", path, other).refused(str(other))
    steindiff("evaluate", path, tmp_path / "none.npz").refused("none.npz")
    steindiff("evaluate", path, tmp_path / "none").refused("none does not exist")


def test_images_that_are_none(steindiff: Callable[..., Any], tmp_path: Path) -> None:
    def refused(path: Path, *said: str) -> None:
        steindiff("fid-stats", path, "--out", tmp_path / "r.npz").refused(str(path), *said)

    refused(tmp_path / "missing", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no such files")
    as_npz(as_folder(tmp_path / "both", pictures(0, 3)) / "x.npz", pictures(0, 3))
    refused(tmp_path / "both", ".npz and picture")
    (tmp_path / "a.txt").write_text("text")
    refused(tmp_path / "a.txt", "neither")
    refused(as_npz(tmp_path / "one.npz", pictures(0, 1)), "1 image", "two or more")
    refused(as_npz(tmp_path / "none.npz", pictures(0, 0)), "no images")
    refused(as_npz(tmp_path / "float.npz", np.zeros((4, 28, 28, 1))), "float64", "uint8")
    np.savez(tmp_path / "names.npz", pictures=pictures(0))
    refused(tmp_path / "names.npz", "'images'")
    sizes = as_folder(tmp_path / "sizes", pictures(0, 3))
    (sizes / "00" / "x.png").write_bytes(encoded(pictures(0, 1, (9, 9, 1))[0]))
    refused(sizes, "(9, 9, 1)", "(28, 28, 1)")
    alpha = as_folder(tmp_path / "alpha", pictures(0, 3))
    Image.new("RGBA", (28, 28)).save(alpha / "x.png")
    refused(alpha, "x.png", "'RGBA'")


def test_arguments(steindiff: Callable[..., Any], tmp_path: Path) -> None:
    path = as_npz(tmp_path / "a.npz", pictures(0))
    (tmp_path / "mine").write_text("precious")
    mine = tmp_path / "mine"
    steindiff("fid-stats", path, "--out", mine).refused(f"{mine} exists", "--overwrite")
    steindiff("evaluate", path, path, "--json", mine).refused(f"{mine} exists", "--overwrite")
    assert mine.read_text() == "precious"
    out = tmp_path / "r.npz"
    steindiff("fid-stats", path, "--out", out, "--features", "inceptoin").refused("'inceptoin'")
    steindiff("evaluate", path, path, "--features", "inception").refused("inception:PATH")
    steindiff("evaluate", path, as_npz(tmp_path / "b.npz", pictures(0, 4))).refused("real")


def test_generated_folder_that_is_not_complete(
    steindiff: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("--model", weights, "--count", 9, "--shard-size", 3, "--steps", 1)
    assert steindiff("generate", "--out", out, *command).code == 0
    (out / "shards" / "000001.json").unlink()
    steindiff("evaluate", out, out).refused(f"{out} is incomplete: shard 000001 of 3 is missing")
