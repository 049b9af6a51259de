"""Reads Fashion-MNIST as Debian's package `dataset-fashion-mnist` installs it (MIT licence)."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def _idx(path: Path) -> np.ndarray:
    """One IDX file: a magic number that tells the rank, the sizes, then bytes."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    sizes = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(sizes)


def fashion_mnist(split: str, folder: Path = DEFAULT_FOLDER) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) float32 in [-1, 1] and labels (N,) int64 of "train" or "t10k"."""
    if not folder.is_dir():
        raise SystemExit(
            f"{folder} is missing: install the Debian package dataset-fashion-mnist, "
            "or name the folder of the four IDX files with --data"
        )
    images = torch.from_numpy(_idx(folder / f"{split}-images-idx3-ubyte.gz").copy())
    labels = torch.from_numpy(_idx(folder / f"{split}-labels-idx1-ubyte.gz").copy())
    return images[:, None].float() / 127.5 - 1, labels.long()
