"""The results of a bench, as its files hold them: typed, and refused where they do not fit."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import field

from ..typed import read_json
from .grid import CellAxes, GridRecord

FORMAT = 1
BASE = "base"
PRODUCT = "energy"


class _Record(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Fields that have a default are left out of the file where they have it."""


class Interval(_Record, frozen=True, kw_only=True):
    """A value, with its 95% interval."""

    value: float
    low: float
    high: float


class MeanAndDeviation(_Record, frozen=True, kw_only=True):
    """A value, and its standard deviation over subsets of the samples."""

    value: float
    std: float


class Modes(_Record, frozen=True, kw_only=True):
    """Modes that the samples reach, and the divergence of their shares from the right ones."""

    modes: int
    covered: int
    kl: float


class Metrics(_Record, frozen=True, kw_only=True):
    """The figures of one coefficient's samples: `glossary.METRICS` says what they mean."""

    fd: Interval | None = None
    fd_infinity: float | None = None
    kid: MeanAndDeviation | None = None
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    sliced_wasserstein: float | None = None
    rmse: float | None = None
    relative_error: Interval | None = None
    variance_ratio: float | None = None
    modes: Modes | None = None
    as_label: float | None = None
    fd_to_exact: float | None = None


class Band(_Record, frozen=True, kw_only=True):
    """Mean, and 5th and 95th percentile over the samples, one a step."""

    mean: list[float]
    low: list[float]
    high: list[float]


class Steps(_Record, frozen=True, kw_only=True):
    """gamma, and energy |x|^2/d after each step, also over the fine solution's."""

    gamma: Band
    energy: Band
    energy_over_fine: Band


class Measured(_Record, frozen=True, kw_only=True, tag_field="status", tag="ok"):
    """What a coefficient gave.

    Attributes:
        nfe: evaluations that a sample cost.
        metrics: its figures.
        steps: gamma and energy of every step.
        ratio: its Fréchet distance over the base's, paired over noises.
        value: gamma of the best constant.
        swept: distance of each constant that was tried; None where it diverged.
        equals_base: of the control gamma = 1, which has no more than this.
    """

    nfe: int | None = None
    metrics: Metrics | None = None
    steps: Steps | None = None
    ratio: Interval | None = None
    value: float | None = None
    swept: dict[str, float | None] | None = None
    equals_base: bool | None = None


class Diverged(_Record, frozen=True, kw_only=True, tag_field="status", tag="diverged"):
    """The first step, from 0, after which samples were not finite, and how many were not."""

    step: int
    sigma: float
    samples: int


CoefficientResult = Measured | Diverged


class CellRecord(CellAxes, frozen=True, kw_only=True, omit_defaults=True):
    """What a table shows of a cell of any bench; base and controls are coefficients too."""

    id: str
    samples: int
    coefficients: dict[str, CoefficientResult] = field(name="rules")
    seconds: float


class CellResult(CellRecord, frozen=True, kw_only=True):
    """A cell of a bench, measured.

    Attributes:
        usual: whether the solver is on its usual schedule.
        first_seed: of the samples.
        sigmas: the levels.
        features: what distances are measured in.
        reference: what samples are held against.
        fine_to_exact: Fréchet distance of the fine solution to the exact denoiser's.
        samples_sha256: of the file with its pictures.
    """

    usual: bool
    first_seed: int
    sigmas: list[float]
    features: str
    reference: str
    fine_to_exact: float | None = None
    samples_sha256: str | None = None


class Machine(_Record, frozen=True, kw_only=True):
    """Where it ran."""

    cpu: str
    threads: int
    gpu: str | None


class Results(_Record, frozen=True, kw_only=True):
    """All of `results.json`, cells in the order of the grid.

    Attributes:
        complete: whether all cells of the grid are there.
        hashes: SHA-256 of the files behind models and calibrations.
        interval: how intervals were made, in words.
    """

    format: int
    complete: bool
    command: str
    preset: str | None
    grid: GridRecord
    hashes: dict[str, dict[str, str]]
    versions: dict[str, str]
    machine: Machine
    interval: str
    seconds: float
    cells: list[CellResult]


class _Format(msgspec.Struct):
    format: Any = None


def read_results(folder: Path) -> Results:
    """The results in `folder`, or in a file of results.

    Raises:
        FileNotFoundError: there are none.
        ValueError: they are damaged, or of another format.
    """
    path = folder / "results.json" if folder.is_dir() else folder
    try:
        head: Any = read_json(path, _Format | list[Any])  # type: ignore[arg-type]
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{folder} holds no results.json; a folder that `steindiff bench` wrote is needed"
        ) from None
    found = head.format if isinstance(head, _Format) else None
    if found != FORMAT:
        raise ValueError(f"{path} has format {found!r}; format {FORMAT} is needed")
    return read_json(path, Results)


_REGULAR = re.compile(r"[a-z0-9.+=-]+([_/:,][a-z0-9.+=-]+)*")


def cell_file_name(cell_id: str) -> str:
    """A cell's name in the file system, any file system, but for the suffix.

    No two cells share one, be it in upper or lower case: where the signs that a name may have do
    not say which cell it is (the path of a calibration may hold any) there is a hash in it.
    """
    name = re.sub(r"[^\w.+=-]", "_", cell_id.replace("/", "__"), flags=re.ASCII)
    path = cell_id.partition(":file=")[2].rpartition("/s")[0]
    if len(name) <= 200 and _REGULAR.fullmatch(cell_id) and not re.search("[:,]", path):
        return name
    return f"{name[:80]}-{hashlib.sha256(cell_id.encode()).hexdigest()[:16]}"
