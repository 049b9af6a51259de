"""What a bench runs: cells of model x guidance x schedule x solver x NFE x seeds, from a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import UNSET, Meta, UnsetType

from ..._errors import unknown_name
from ..._files import sha256
from ...recipes import Recipe, recipe
from ...schedules.checks import check_final
from ...solvers import Solver
from ...stein import Coefficient, check_end
from ..specs import (
    calibration_path,
    check_calibration,
    make_schedule,
    parse_coefficient,
    parse_range,
    parse_solver,
)
from ..subjects import Subject, check_subject, hashes_of
from ..typed import convert, read_toml
from .controls import CONTROLS

PRESETS = Path(__file__).parent / "presets"

USUAL_SCHEDULE = {
    "euler": "karras",
    "heun": "karras",
    "ipndm": "karras",
    "dpmpp_2m": "log_snr",
    "dpmpp_3m": "log_snr",
    "unipc": "log_snr",
    "deis": "vp_time",
    "res_multistep": "log_snr",
    "res_2s": "log_snr",
    "gradient_estimation": "log_snr",
    "power": "log_snr",
}
"""What each solver's authors and comparisons run it on: Zhou et al. 2023, "Fast ODE-based Sampling
for Diffusion Models in Around 5 Steps" and their toolbox; DEIS on quadratic VP time; Zhang & Zhao
2023 and Permenter & Yuan 2024 on levels even in log sigma."""

LEAST = 16
"""Samples of a cell: fewer have no neighbours and no blocks to measure with."""
MOST_SAMPLES = 100_000
"""Samples of a cell: the features of this many, of each coefficient, are held in memory."""
MOST_CELLS = 10_000
"""Cells of a grid: at a second a cell, three hours; most cells take many times that."""

RECIPE = "recipe"
"""The solver, and the schedule, of a cell that is what `steindiff.recipe` asks for."""

Nfe = Annotated[int, Meta(ge=1, le=1_000)]


class CellAxes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a cell is in its grid, as files hold it; the texts are those of `steindiff info`."""

    model: str
    guidance: float
    schedule: str
    nfe: Nfe
    solver: str
    seeds: str


class Block(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A [[cells]] block: the product of its axes. A list of one may be written without brackets."""

    model: str | list[str]
    guidance: float | list[float] = 1.0
    schedule: str | list[str] = "usual"
    nfe: Nfe | list[Nfe]
    solver: str | list[str]
    seeds: str | list[str] = "0-1999"

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The values of each axis."""
        return {
            name: value if isinstance(value, list) else [value]
            for name, value in msgspec.structs.asdict(self).items()
        }


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the cells of a grid have in common.

    Attributes:
        coefficients: relaxations that are compared with the base, such as "energy"; at most 100.
        controls: names of `CONTROLS`.
        sweep: values of gamma that the control "constant" is the best of; at most 1,000.
        sweep_samples: how many of the samples it is chosen on.
        end: how relaxed samplings step into sigma = 0, one of `ENDS`.
        final: where the levels of a schedule end, "sigma_min" or "zero"; "zero" if left out, as
            those of pipelines, but "sigma_min" with the end "none".
        sigma_min: lowest level of the schedules above 0, in units of the data.
        sigma_max: highest level.
        fine_steps: Heun steps of the fine solution; at most 10,000.
        resamples: of the bootstrap; at most 100,000.
        shown: samples kept as pictures; at most 1,000.
    """

    coefficients: Annotated[tuple[str, ...], Meta(max_length=100)] = ("energy",)
    controls: Annotated[tuple[str, ...], Meta(max_length=len(CONTROLS))] = tuple(CONTROLS)
    sweep: Annotated[tuple[float, ...], Meta(max_length=1_000)] = (0.98, 0.99, 0.995, 0.998, 1.003)
    sweep_samples: Annotated[int, Meta(ge=LEAST, le=MOST_SAMPLES)] = 256
    end: str = "none"
    final: str | UnsetType = UNSET
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    fine_steps: Annotated[int, Meta(ge=2, le=10_000)] = 20
    resamples: Annotated[int, Meta(ge=20, le=100_000)] = 200
    shown: Annotated[int, Meta(ge=1, le=1_000)] = 10


class GridRecord(Settings, frozen=True, kw_only=True):
    """A grid as the files of a bench hold it."""

    cells: list[CellAxes]


class _GridFile(Settings, frozen=True, kw_only=True):
    """A grid as its own file holds it: with blocks, which are read one by one."""

    cells: list[Any] = []


@dataclass(frozen=True)
class Cell:
    """One solver, on one schedule at one NFE, from one model: measured with every coefficient.

    The first six say which it is, as in `CellAxes`; the others are what the texts stand for.

    Attributes:
        seeds: a range such as "0-1999": one sample each.
        schedule: a name of `SCHEDULES`.
        method: the solver.
        levels: as many steps as the NFE pays for. A solver of two calls a step makes an odd NFE
            whole with a last step into sigma = 0, which takes one.
        seed_list: the seeds, one a sample.
        calibration: SHA-256 of the file of a calibrated solver.
        plan: of a cell of the recipe, which says with what its steps are relaxed and ended; its
            base is the recipe's solver on its levels, neither relaxed nor ended.
    """

    model: str
    guidance: float
    schedule: str
    nfe: int
    solver: str
    seeds: str
    method: Solver = field(compare=False, repr=False)
    levels: tuple[float, ...] = field(compare=False, repr=False)
    seed_list: tuple[int, ...] = field(compare=False, repr=False)
    calibration: str | None = field(default=None, compare=False, repr=False)
    plan: Recipe | None = field(default=None, compare=False, repr=False)

    @property
    def axes(self) -> CellAxes:
        """As files hold it."""
        return CellAxes(
            **{name: getattr(self, name) for name in CellAxes.__struct_fields__}  # type: ignore[arg-type]
        )

    @property
    def id(self) -> str:
        """Name of the cell, unique in its grid."""
        return cell_id(self)

    @property
    def source(self) -> tuple[str, float, str]:
        """What cells with the same noises and fine solution have in common."""
        return self.model, self.guidance, self.seeds

    @property
    def usual(self) -> bool:
        """Whether the schedule is the one that the solver is usually run on."""
        return _usual_schedule(self.solver) == self.schedule


class Grid(Settings, frozen=True, kw_only=True):
    """A bench: its cells, and what they have in common. `make_grid` makes and checks it.

    Attributes:
        cells: in the order in which results are listed.
        parsed: the coefficients by their texts.
        subjects: models that were given as objects, by the names that cells call them.
    """

    cells: tuple[Cell, ...]
    parsed: dict[str, Coefficient]
    subjects: dict[str, Subject] = {}

    def record(self) -> GridRecord:
        """As files hold it."""
        return GridRecord(**_settings(self), cells=[cell.axes for cell in self.cells])

    def with_cells(self, more: Iterable[CellAxes]) -> Grid:
        """The grid with these cells after its own. Raises as `make_grid`."""
        cells = dict.fromkeys([*self.cells, *_parse_cells(more, self, self.subjects)])
        return msgspec.structs.replace(self, cells=tuple(cells))


def cell_id(cell: Cell | CellAxes) -> str:
    """Name of a cell: "fashion-mnist-g1/karras/5/euler/s0-1999"."""
    guidance = str(cell.guidance).removesuffix(".0")
    where = f"{cell.model}-g{guidance}/{cell.schedule}/{cell.nfe}"
    return f"{where}/{cell.solver}/s{cell.seeds}"


def load_grid(path: Path) -> Grid:
    """The grid of a TOML file: settings, and axes in `[[cells]]` (docs/evidence/bench.md).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not TOML, a name that is unknown, a value that cannot be, or more cells than
            `MOST_CELLS`; each names the file and what is wrong.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; a TOML grid or --preset is needed")
    content = read_toml(path)
    try:
        return make_grid(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_preset(name: str) -> Grid:
    """A grid that comes with the package: see `presets`."""
    if name not in presets():
        raise unknown_name("preset", name, presets())
    return load_grid(PRESETS / f"{name}.toml")


def presets() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def make_grid(content: Mapping[str, Any], subjects: Mapping[str, Subject] = {}) -> Grid:
    """The grid of plain data in the shape of the TOML file.

    Args:
        content: the data.
        subjects: models that are given as objects, by the names that cells call them.

    Raises:
        ValueError: an unknown name, a value that cannot be, or too many cells; it is named.
    """
    file = convert(content, _GridFile, "the grid", "setting")
    blocks = [convert(block, Block, "a [[cells]] block", "axis").axes for block in file.cells]
    count = sum(math.prod(map(len, axes.values())) for axes in blocks)
    if not count:
        raise ValueError("the grid has no cells; give [[cells]] with model, nfe, solver")
    if count > MOST_CELLS:
        raise ValueError(f"the grid has {count:,} cells; {MOST_CELLS:,} at most are possible")
    parsed = _parse_coefficients(file)
    wanted = (
        CellAxes(**dict(zip(axes, values, strict=True)))
        for axes in blocks
        for values in product(*axes.values())
    )
    cells = dict.fromkeys(_parse_cells(wanted, file, subjects))
    return Grid(**_settings(file), cells=tuple(cells), parsed=parsed, subjects=dict(subjects))


def _settings(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in Settings.__struct_fields__}


def _parse_coefficients(settings: Settings) -> dict[str, Coefficient]:
    """The coefficients by their texts; checks the ends, the controls and the sweep too."""
    check_end(settings.end)
    check_final(settings.final or _usual_final(settings.end))
    if not settings.coefficients:
        raise ValueError("coefficients is empty; 'energy' is the default")
    parsed = {}
    for name in settings.coefficients:
        coefficient = parse_coefficient(name)
        if coefficient is None or name in ("base", *CONTROLS):
            raise ValueError(
                f"coefficient {name!r} is a control or the base; one that relaxes is needed, such "
                "as 'energy'"
            )
        parsed[name] = coefficient
    for name in settings.controls:
        if name not in CONTROLS:
            raise unknown_name("control", name, CONTROLS)
    for value in settings.sweep:
        parse_coefficient(f"constant:value={value}")
        if value == 1:
            raise ValueError("sweep holds 1, which is the base")
    if not settings.sweep and "constant" in settings.controls:
        raise ValueError("sweep is empty; values of gamma for the control 'constant' are needed")
    return parsed


def _parse_cells(
    wanted: Iterable[CellAxes], settings: Settings, given: Mapping[str, Subject]
) -> Iterable[Cell]:
    """The cells, every text of them parsed once, however many cells share it."""
    subjects: dict[tuple[str, float], str] = {(name, of.guidance): "" for name, of in given.items()}
    seeds: dict[str, tuple[int, ...]] = {}
    solvers: dict[str, tuple[Solver, str | None]] = {}
    for axes in wanted:
        where = axes.model, axes.guidance
        if where not in subjects:
            check_subject(*where)
            subjects[where] = hashes_of(axes.model).get("denoiser", "")
        if axes.seeds not in seeds:
            seeds[axes.seeds] = _parse_seeds(axes.seeds)
        if axes.solver == RECIPE:
            yield _recipe_cell(axes, settings, seeds[axes.seeds], given.get(axes.model))
            continue
        if axes.solver not in solvers:
            file = calibration_path(axes.solver)
            solvers[axes.solver] = parse_solver(axes.solver), file and sha256(file)
        method, calibration = solvers[axes.solver]
        schedule = axes.schedule
        if schedule == "usual":
            schedule = _usual_schedule(axes.solver) or schedule
        steps, final = axes.nfe, settings.final or _usual_final(settings.end)
        if method.calls_per_step == 2:
            steps, final = (axes.nfe + 1) // 2, "zero" if axes.nfe % 2 else "sigma_min"
        levels = make_schedule(schedule, steps, settings.sigma_min, settings.sigma_max, final)
        if axes.model in given:
            levels = given[axes.model].rounded(levels)
        check_calibration(method, axes.model, subjects[where], axes.guidance, levels)
        yield Cell(
            axes.model, axes.guidance, schedule, axes.nfe, axes.solver, axes.seeds,
            method, tuple(levels.tolist()), seeds[axes.seeds], calibration,
        )  # fmt: skip


def _recipe_cell(
    axes: CellAxes, settings: Settings, seeds: tuple[int, ...], given: Subject | None
) -> Cell:
    plan = recipe(axes.nfe, axes.guidance, settings.sigma_max)
    if given is not None:
        levels = given.rounded(torch.tensor(plan.sigmas, dtype=torch.float64))
        plan = replace(plan, sigmas=tuple(levels.tolist()))
    return Cell(
        axes.model, axes.guidance, RECIPE, axes.nfe, RECIPE, axes.seeds, plan.solver, plan.sigmas,
        seeds, plan=plan,
    )  # fmt: skip


def _parse_seeds(text: str) -> tuple[int, ...]:
    seeds = parse_range(text, "seeds", MOST_SAMPLES)
    if len(seeds) < LEAST:
        raise ValueError(f"seeds is {text!r}; {LEAST} at least are needed")
    return tuple(seeds)


def _usual_final(end: str) -> str:
    return "sigma_min" if end == "none" else "zero"


def _usual_schedule(solver: str) -> str | None:
    return USUAL_SCHEDULE.get(solver.partition(":")[0])
