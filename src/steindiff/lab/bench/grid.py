"""What a bench runs: cells of model x guidance x schedule x solver x NFE x seeds, from a file."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from ..._errors import unknown_name
from ..specs import check_calibration, make_schedule, parse_coefficient, parse_range, parse_solver
from .rules import CONTROLS
from .subjects import check_subject, hashes_of

PRESETS = Path(__file__).parent / "presets"

USUAL_SCHEDULE = {
    "euler": "karras",
    "heun": "karras",
    "ipndm": "karras",
    "dpmpp_2m": "log_snr",
    "dpmpp_3m": "log_snr",
    "unipc": "log_snr",
    "deis": "vp_time",
}
"""What each solver's authors and comparisons run it on: Zhou et al. 2023, "Fast ODE-based Sampling
for Diffusion Models in Around 5 Steps" and their toolbox; DEIS on quadratic VP time."""

LEAST = 16
"""Samples of a cell: fewer have no neighbours and no blocks to measure with."""

_AXES = ("model", "guidance", "schedule", "nfe", "solver", "seeds")
_DEFAULT_AXES: dict[str, Any] = {"guidance": 1.0, "schedule": "usual", "seeds": "0-1999"}


@dataclass(frozen=True)
class Cell:
    """One solver, on one schedule at one NFE, from one model: measured with every rule.

    `seeds` is a range such as "0-1999": one sample each. `schedule` is a name of `SCHEDULES`.
    """

    model: str
    guidance: float
    schedule: str
    nfe: int
    solver: str
    seeds: str

    @property
    def id(self) -> str:
        """Name of the cell, unique in its grid."""
        return (
            f"{self.model}-g{str(self.guidance).removesuffix('.0')}/{self.schedule}/{self.nfe}/{self.solver}/"
            f"s{self.seeds}"
        )

    @property
    def source(self) -> tuple[str, float, str]:
        """What cells with the same noises and fine solution have in common."""
        return self.model, self.guidance, self.seeds

    @property
    def usual(self) -> bool:
        """Whether the schedule is the one that the solver is usually run on."""
        return USUAL_SCHEDULE.get(self.solver.partition(":")[0]) == self.schedule


@dataclass(frozen=True)
class Grid:
    """A bench: its cells, and what they have in common.

    Attributes:
        coefficients: relaxations that are compared with the base, such as "energy".
        controls: names of `CONTROLS`.
        sweep: values of gamma that the control "constant" is the best of.
        sweep_samples: how many of the samples it is chosen on.
        sigma_min, sigma_max: ends of the schedules, in units of the data.
        fine_steps: Heun steps of the fine solution.
        resamples: of the bootstrap. shown: samples kept as pictures.
    """

    cells: tuple[Cell, ...]
    coefficients: tuple[str, ...] = ("energy",)
    controls: tuple[str, ...] = tuple(CONTROLS)
    sweep: tuple[float, ...] = (0.98, 0.99, 0.995, 0.998, 1.003)
    sweep_samples: int = 256
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    fine_steps: int = 20
    resamples: int = 200
    shown: int = 10

    def __post_init__(self) -> None:
        _check(bool(self.cells), "the grid has no cells; give [[cells]] with model, nfe, solver")
        for name in ("coefficients", "controls", "sweep"):
            value = getattr(self, name)
            kind, what = ((int, float), "numbers") if name == "sweep" else (str, "names")
            good = isinstance(value, tuple) and all(isinstance(item, kind) for item in value)
            shown = list(value) if isinstance(value, tuple) else value
            _check(good, f"{name} is {shown!r}; a list of {what} is needed")
        for name in ("sigma_min", "sigma_max"):
            value = getattr(self, name)
            _check(isinstance(value, (int, float)), f"{name} is {value!r}; a number is needed")
        for name, low in (
            ("sweep_samples", LEAST), ("fine_steps", 2), ("resamples", 20), ("shown", 1)
        ):  # fmt: skip
            value = getattr(self, name)
            _check(isinstance(value, int) and value >= low, f"{name} is {value!r}; >= {low} needed")
        _check(bool(self.coefficients), "coefficients is empty; 'energy' is the default")
        for name in self.coefficients:
            parse_coefficient(name)
            _check(name not in ("none", "base", *CONTROLS), f"coefficient {name!r} is a control")
        for name in self.controls:
            if name not in CONTROLS:
                raise unknown_name("control", name, CONTROLS)
        for value in self.sweep:
            parse_coefficient(f"constant:value={value}")
            _check(value != 1, "sweep holds 1, which is the base")
        _check(bool(self.sweep) or "constant" not in self.controls, "sweep is empty")
        for cell in self.cells:
            check_subject(cell.model, cell.guidance)
            many = len(seeds_of(cell)) >= LEAST
            _check(many, f"seeds is {cell.seeds!r}; {LEAST} at least are needed")
            hashed = hashes_of(cell.model).get("denoiser", "")
            check_calibration(
                parse_solver(cell.solver), cell.model, hashed, cell.guidance, sigmas_of(cell, self)
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain data, cells included."""
        return asdict(self)


def seeds_of(cell: Cell) -> list[int]:
    """The seeds, one a sample."""
    return parse_range(cell.seeds, "seeds")


def sigmas_of(cell: Cell, grid: Grid) -> Tensor:
    """Levels of the cell's schedule: as many steps as its NFE pays for.

    A solver of two calls a step makes an odd NFE whole with a last step into sigma = 0, which
    takes one.
    """
    solver = parse_solver(cell.solver)
    steps, final = cell.nfe, "sigma_min"
    if solver.calls_per_step == 2:
        steps, final = (cell.nfe + 1) // 2, "zero" if cell.nfe % 2 else "sigma_min"
    return make_schedule(cell.schedule, steps, grid.sigma_min, grid.sigma_max, final)


def load_grid(path: Path) -> Grid:
    """The grid of a TOML file: settings, and axes in `[[cells]]` (docs/evidence/bench.md).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not TOML, a name that is unknown, or a value that cannot be; each names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; a TOML grid or --preset is needed")
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    return make_grid(content)


def load_preset(name: str) -> Grid:
    """A grid that comes with the package: see `presets`."""
    if name not in presets():
        raise unknown_name("preset", name, presets())
    return load_grid(PRESETS / f"{name}.toml")


def presets() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def make_grid(content: Mapping[str, Any]) -> Grid:
    """The grid of plain data in the shape of the TOML file. Raises as `load_grid`."""
    settings = dict(content)
    blocks = settings.pop("cells", [])
    known = [field.name for field in fields(Grid) if field.name != "cells"]
    for name, value in settings.items():
        if name not in known:
            raise unknown_name("setting", name, [*known, "cells"])
        settings[name] = tuple(value) if isinstance(value, list) else value
    _check(isinstance(blocks, list), "cells is no list; write [[cells]] blocks")
    cells = dict.fromkeys(cell for block in blocks for cell in _expand(block))
    return Grid(tuple(cells), **settings)


def _expand(block: Mapping[str, Any]) -> Iterator[Cell]:
    """The product of a block's axes."""
    _check(isinstance(block, Mapping), f"cells holds {block!r}; write [[cells]] blocks")
    for name in block:
        if name not in _AXES:
            raise unknown_name("axis", name, _AXES)
    axes = {**_DEFAULT_AXES, **block}
    for name in _AXES:
        _check(name in axes, f"a [[cells]] block has no {name}")
    lists = [_as_list(axes[name]) for name in _AXES]
    for model, guidance, schedule, nfe, solver, seeds in itertools.product(*lists):
        for axis, text in (("model", model), ("solver", solver), ("seeds", seeds)):
            _check(isinstance(text, str), f"{axis} is {text!r}; a text is needed")
        _check(type(guidance) in (int, float), f"guidance is {guidance!r}; a number is needed")
        _check(type(nfe) is int and nfe >= 1, f"nfe is {nfe!r}; an integer >= 1 is needed")
        name = USUAL_SCHEDULE.get(solver.partition(":")[0]) if schedule == "usual" else None
        yield Cell(model, float(guidance), name or schedule, nfe, solver, seeds)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check(good: bool, message: str) -> None:
    if not good:
        raise ValueError(message)
