"""The result folder: one checked file a cell, so that a run can end anywhere and go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..._files import digest, sha256, write_whole
from ..._provenance import machine, versions
from .grid import Cell, Grid
from .verdicts import FORMAT, cell_file_name


class Store:
    """Cells of a bench on disk.

        bench.json            what was asked for
        cells/<id>.json       a cell's figures, with a checksum
        samples/<id>.npz      pictures of its first samples, where samples are images
        results.json          all cells, in the order of the grid

    Args:
        folder: made if it is not there.
        grid: what is asked for now.
        header: what else a result must agree in: hashes of models and calibrations.
        overwrite: whether cells of another grid may be dropped.

    Raises:
        FileExistsError: the folder holds the results of another grid; what differs is named.
    """

    def __init__(self, folder: Path, grid: Grid, header: dict[str, Any], overwrite: bool) -> None:
        self.folder, self.grid = folder, grid
        wanted = json.loads(json.dumps({"grid": grid.to_dict(), **header}))
        found = self._asked()
        if found == {} and not overwrite:
            raise FileExistsError(
                f"{folder / 'bench.json'} is damaged or missing; choose another --out or pass "
                "--overwrite"
            )
        if found is not None and found != wanted and not overwrite:
            raise FileExistsError(
                f"{folder} holds the results of another grid ({_difference(found, wanted)}); "
                "choose another --out or pass --overwrite"
            )
        if found != wanted or overwrite:
            old = ("cells/*.json", "samples/*.npz", "results.json")
            for path in (path for pattern in old for path in folder.glob(pattern)):
                path.unlink()
        for name in ("cells", "samples"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for path in (folder / name).glob(".*"):  # what a killed run was writing
                path.unlink()
        for path in folder.glob(".*.json.*"):
            path.unlink()
        self.header = header
        self._write(folder / "bench.json", wanted)

    def load(self, cell: Cell) -> tuple[dict[str, Any] | None, str]:
        """The cell's result, or None and why it is not to be had ("" if it was never there)."""
        path = self._cell(cell)
        if not path.exists():
            return None, ""
        try:
            found = json.loads(path.read_text())
            content, expected = found["cell"], found["sha256"]
        except (ValueError, LookupError, TypeError) as error:
            return None, f"{path} is damaged ({type(error).__name__}: {error})"
        if digest(content) != expected:
            return None, f"{path} is damaged (its checksum does not fit)"
        if content.get("id") != cell.id:
            return None, f"{path} is damaged (it holds another cell)"
        if "samples_sha256" in content:
            pictures = self._samples(cell)
            if not pictures.exists() or sha256(pictures) != content["samples_sha256"]:
                return None, f"{pictures} is damaged or missing"
        return content, ""

    def save(
        self, cell: Cell, content: dict[str, Any], pictures: Mapping[str, np.ndarray] | None
    ) -> None:
        """Writes a cell whole; its pictures first, since its record vouches for them."""
        if pictures:
            path = self._samples(cell)
            arrays: dict[str, Any] = dict(pictures)
            write_whole(path, lambda file: np.savez_compressed(file, **arrays))
            content["samples_sha256"] = sha256(path)
        content = json.loads(json.dumps(content, allow_nan=False))
        self._write(self._cell(cell), {"sha256": digest(content), "cell": content})

    def publish(
        self, cells: list[dict[str, Any]], command: str, preset: str | None, seconds: float
    ) -> None:
        """Writes results.json from the cells that there are."""
        self._write(
            self.folder / "results.json",
            {
                "format": FORMAT,
                "complete": len(cells) == len(self.grid.cells),
                "command": command,
                "preset": preset,
                "grid": self.grid.to_dict(),
                **self.header,
                "versions": versions("steindiff", "torch", "numpy"),
                "machine": machine(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
                "interval": f"95%, paired bootstrap over noises, {self.grid.resamples} resamples",
                "seconds": round(seconds, 1),
                "cells": cells,
            },
        )

    def _asked(self) -> dict[str, Any] | None:
        path = self.folder / "bench.json"
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            return {} if any(self.folder.glob("cells/*.json")) else None
        except ValueError:
            return {}  # damaged: nothing it says can be relied on
        whole = isinstance(found, dict) and isinstance(found.get("grid"), dict)
        return found if whole else {}

    def _cell(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell_file_name(cell.id)}.json"

    def _samples(self, cell: Cell) -> Path:
        return self.folder / "samples" / f"{cell_file_name(cell.id)}.npz"

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_whole(path, lambda file: file.write(text.encode()))


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Names of the settings in which two grids differ."""
    a, b = ({**x.pop("grid", {}), **x} for x in (dict(found), dict(wanted)))
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return "other " + ", ".join(names)
