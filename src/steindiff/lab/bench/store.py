"""The result folder: one checked file a cell, so that a run can end anywhere and go on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from ..._files import digest, sha256, write_whole
from ..._provenance import machine, versions
from ..typed import convert, read_json
from .grid import Cell, Grid, GridRecord, cell_id
from .results import FORMAT, CellResult, Machine, Results, cell_file_name

_PARTIAL = re.compile(r"\..+\.(json|npz)\.\w{6,8}")
"""What `write_whole` calls a file before it has its name."""
_NAMED = 5  # foreign entries that are named


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bench.json` says of the results beside it."""

    grid: GridRecord
    hashes: dict[str, dict[str, str]]


class _CellFile(msgspec.Struct, forbid_unknown_fields=True):
    """A cell as its file holds it; the checksum is that of the plain data."""

    sha256: str
    cell: dict[str, Any]


class Store:
    """Cells of a bench on disk.

        bench.json            what was asked for
        cells/<id>.json       a cell's figures, with a checksum
        samples/<id>.npz      pictures of its first samples, where samples are images
        results.json          all cells, in the order of the grid

    What else is in the folder is left alone.

    Args:
        folder: that of a bench (`claim`).
        grid: what is asked for now.
        hashes: of the files behind models and calibrations, in which results must agree too.
        overwrite: whether cells of another grid may be dropped.

    Raises:
        FileExistsError: the folder holds the results of another grid, what differs is named; or a
            file stands where a folder is needed, or the other way round.
    """

    def __init__(
        self, folder: Path, grid: Grid, hashes: dict[str, dict[str, str]], overwrite: bool
    ) -> None:
        self.folder, self.wanted = folder, _Asked(grid.record(), hashes)
        self.names = {cell: cell_file_name(cell.id) for cell in grid.cells}
        found = self._check(overwrite)
        if found is None or overwrite:
            self._drop(found)
        for name in ("cells", "samples"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / "cells", folder / "samples"):
            for path in place.iterdir():
                if _PARTIAL.fullmatch(path.name) and path.is_file():  # a killed run was writing it
                    path.unlink()
        self._write(folder / "bench.json", self.wanted)

    def foreign(self) -> list[str]:
        """A sentence for each folder that holds what is not of this bench."""
        told = []
        for place, suffix in (("cells", "json"), ("samples", "npz")):
            own = {f"{name}.{suffix}" for name in self.names.values()}
            names = sorted(p.name for p in (self.folder / place).iterdir() if p.name not in own)
            if names:
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                told.append(
                    f"{self.folder / place} holds what is not of this bench, and is left alone: "
                    f"{', '.join(names[:_NAMED])}{more}"
                )
        return told

    def load(self, cell: Cell) -> tuple[CellResult | None, str]:
        """The cell's result, or None and why it is not to be had ("" if it was never there)."""
        path, pictures = self._paths(cell)
        for file in (path, pictures):
            check_file(file)
        if not path.exists():
            return None, ""
        try:
            found = read_json(path, _CellFile)
            result = convert(found.cell, CellResult, "the cell")
        except ValueError as error:
            text = str(error).removeprefix(f"{path} is damaged: ")
            return None, f"{path} is damaged ({text})"
        if digest(found.cell) != found.sha256:
            return None, f"{path} is damaged (its checksum does not fit)"
        if result.id != cell.id:
            return None, f"{path} is damaged (it holds another cell)"
        if result.samples_sha256 is not None and (
            not pictures.exists() or sha256(pictures) != result.samples_sha256
        ):
            return None, f"{pictures} is damaged or missing"
        return result, ""

    def save(
        self, cell: Cell, result: CellResult, pictures: Mapping[str, np.ndarray] | None
    ) -> CellResult:
        """Writes a cell whole; its pictures first, since its record vouches for them.

        Returns:
            The result, with the hash of the pictures.
        """
        path, file = self._paths(cell)
        if pictures:
            arrays: dict[str, Any] = dict(pictures)
            write_whole(file, lambda stream: np.savez_compressed(stream, **arrays))
            result = msgspec.structs.replace(result, samples_sha256=sha256(file))
        content = msgspec.to_builtins(result)
        json.dumps(content, allow_nan=False)  # raises where a figure is no number
        self._write(path, _CellFile(digest(content), content))
        return result

    def publish(
        self, cells: list[CellResult], command: str, preset: str | None, seconds: float
    ) -> None:
        """Writes results.json from the cells that there are."""
        grid = self.wanted.grid
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        results = Results(
            format=FORMAT,
            complete=len(cells) == len(grid.cells),
            command=command,
            preset=preset,
            grid=grid,
            hashes=self.wanted.hashes,
            versions=versions("steindiff", "torch", "numpy"),
            machine=Machine(**machine(device)),
            interval=f"95%, paired bootstrap over noises, {grid.resamples} resamples",
            seconds=round(seconds, 1),
            cells=cells,
        )
        self._write(self.folder / "results.json", results)

    def _check(self, overwrite: bool) -> _Asked | None:
        """What was asked for before; None where that is not known, or nothing was."""
        path = self.folder / "bench.json"
        try:
            found = read_json(path, _Asked)
        except (FileNotFoundError, ValueError):
            if overwrite or not (path.exists() or any(self.folder.glob("cells/*.json"))):
                return None
            raise FileExistsError(
                f"{path} is damaged or missing; choose another --out or pass --overwrite"
            ) from None
        if found != self.wanted and not overwrite:
            raise FileExistsError(
                f"{self.folder} holds the results of another grid "
                f"({_difference(found, self.wanted)}); choose another --out or pass --overwrite"
            )
        return found

    def _drop(self, found: _Asked | None) -> None:
        """Removes the cells of this grid, of the one before, and of whatever is a cell's file."""
        names = set(self.names.values())
        names |= {cell_file_name(cell_id(cell)) for cell in found.grid.cells} if found else set()
        for path in self.folder.glob("cells/*.json"):
            if path.is_file() and _is_cell(path):
                names.add(path.stem)
        cells, samples = self.folder / "cells", self.folder / "samples"
        own = [path for n in names for path in (cells / f"{n}.json", samples / f"{n}.npz")]
        for path in (*own, self.folder / "results.json"):
            check_file(path)
            path.unlink(missing_ok=True)

    def _paths(self, cell: Cell) -> tuple[Path, Path]:
        """The files of a cell's figures and of its pictures."""
        name = self.names[cell]
        return self.folder / "cells" / f"{name}.json", self.folder / "samples" / f"{name}.npz"

    def _write(self, path: Path, content: msgspec.Struct) -> None:
        plain = msgspec.to_builtins(content)
        text = json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
        write_whole(path, lambda file: file.write(text.encode()))


def check_file(path: Path) -> None:
    """Refuses a folder where a bench has a file.

    Raises:
        FileExistsError: names it.
    """
    if path.is_dir():
        raise FileExistsError(
            f"{path} is a folder, and a bench needs a file there: move it away, or choose another "
            "--out"
        )


def _is_cell(path: Path) -> bool:
    try:
        read_json(path, _CellFile)
    except ValueError:
        return False
    return True


def _difference(found: _Asked, wanted: _Asked) -> str:
    """Names of the settings in which two grids differ."""
    names = [n for n in GridRecord.__struct_fields__
             if getattr(found.grid, n) != getattr(wanted.grid, n)]  # fmt: skip
    if found.hashes != wanted.hashes:
        names.append("hashes")
    return "other " + ", ".join(names)
