"""Output folders: each belongs to one kind of run, and nothing of anyone else's is written over.

A folder that a run writes into holds the file `.steindiff`, which says the kind of the run. A
folder from before that file is known by what its results file holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from .._errors import unknown_name
from .._files import make_folder, write_text

MARKER = ".steindiff"


@dataclass(frozen=True)
class Kind:
    """What a kind of run keeps in its folder.

    Attributes:
        signs: keys that its JSON files hold at the top, by the name of the file; one file with all
            of its keys is enough to know the kind.
        files: names of the files that it writes, besides those of `signs`.
        folders: names of the folders that it writes.
        command: what makes it, for messages.
    """

    signs: dict[str, tuple[str, ...]]
    files: tuple[str, ...]
    folders: tuple[str, ...]
    command: str

    def is_known(self, folder: Path) -> bool:
        """Whether a file in `folder` says that it is of this kind."""
        return any(_holds(folder / name, keys) for name, keys in self.signs.items())


KINDS = {
    "diagnosis": Kind(
        {"results.json": ("format", "setting", "chapters")}, ("report.html",), ("figures",),
        "steindiff diagnose",
    ),
    "bench": Kind(
        {"bench.json": ("grid",), "results.json": ("grid", "cells")},
        ("report.html", "compare.png"),
        ("cells", "samples", "figures", ".locks"), "steindiff bench",
    ),
    "images": Kind(
        {"generate.json": ("setting", "sha256")}, (), ("shards", ".partial", ".locks"),
        "steindiff generate",
    ),
    "tuning": Kind(
        {"settings.json": ("digest", "probe")},
        ("tried.json", *(f"fine-{part}.pt" for part in ("fit", "screen", "held-out", "fresh"))),
        (), "steindiff tune",
    ),
}  # fmt: skip


def claim(folder: Path, kind: str, overwrite: bool) -> None:
    """Makes `folder` one of this kind: it is new, empty, or of the kind already.

    Nothing is removed. A link where the run would write is refused: it may lead out of the folder.

    Args:
        folder: made if it is not there.
        kind: of `KINDS`.
        overwrite: take also a folder without a marker whose files all bear names that this kind
            writes, such as one with a damaged results file.

    Raises:
        ValueError: an unknown kind; a folder of another kind, or of something else; a link, or a
            file in place of a folder, under a name that the run writes.
        OSError: it cannot be made or written to.
    """
    if kind not in KINDS:
        raise unknown_name("kind of folder", kind, KINDS)
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(f"{place} is a file; the path of a folder is needed")
    make_folder(folder)
    found = _kind_of(folder)
    if found is not None and found != kind:
        command = KINDS[found].command if found in KINDS else found
        raise ValueError(f"{folder} holds a run of `{command}`; choose another folder")
    _check_entries(folder, KINDS[kind], ours=found == kind, overwrite=overwrite)
    if not (folder / MARKER).exists():
        write_text(folder / MARKER, f"{kind}\n")


def _kind_of(folder: Path) -> str | None:
    """The kind that the marker says, or that a results file shows; None for neither."""
    marker = folder / MARKER
    if marker.is_symlink() or (marker.exists() and not marker.is_file()):
        raise ValueError(f"{marker} is no file of ours; choose another folder")
    if marker.exists():
        with marker.open("rb") as file:
            return file.read(80).decode(errors="replace").strip() or None
    known = [name for name, kind in KINDS.items() if kind.is_known(folder)]
    return known[0] if known else None


def _check_entries(folder: Path, kind: Kind, *, ours: bool, overwrite: bool) -> None:
    """Refuses links and wrong entries under the kind's names, and foreign entries if not `ours`."""
    files = {*kind.signs, *kind.files}
    for entry in sorted(folder.iterdir()):
        if entry.name in files | {*kind.folders}:
            if entry.is_symlink():
                raise ValueError(f"{entry} is a symbolic link; choose another folder, or remove it")
            if entry.is_dir() != (entry.name in kind.folders):
                wanted = "folder" if entry.name in kind.folders else "file"
                raise ValueError(f"{entry} is no {wanted}; choose another folder, or remove it")
        elif entry.name == MARKER or _is_leftover(entry, files):
            continue
        if not ours and not (overwrite and entry.name in files | {*kind.folders}):
            raise ValueError(
                f"{folder} holds {entry.name}, but no run of `{kind.command}`; a new or empty "
                "folder is needed"
            )


def _is_leftover(entry: Path, files: set[str]) -> bool:
    """Whether a run that was killed left it half written (`write_whole`)."""
    return entry.name.startswith(tuple(f".{name}." for name in {*files, MARKER}))


def _holds(path: Path, keys: tuple[str, ...]) -> bool:
    """Whether a file is a JSON object with all of these keys."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError, OSError):
        return False
    return found.keys() >= {*keys}
