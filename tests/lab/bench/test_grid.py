"""Grids: from a TOML file to cells, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from small import MIXTURE, block
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import Gaussian
from steindiff.lab.bench import grid as grids
from steindiff.lab.bench.grid import (
    MOST_CELLS,
    USUAL_SCHEDULE,
    CellAxes,
    Settings,
    load_grid,
    load_preset,
    make_grid,
    presets,
)
from steindiff.lab.specs import parse_solver
from steindiff.schedules import SCHEDULES
from steindiff.solvers import SOLVERS

TOML = f"""
sweep = [0.9, 0.99]
sweep_samples = 32
[[cells]]
model = "{MIXTURE}"
nfe = [3, 5]
solver = ["euler", "unipc:order=2"]
seeds = ["0-15", "16-31,99"]

[[cells]]
model = "{MIXTURE}"
schedule = ["linear", "usual"]
nfe = 5
solver = "euler"
seeds = "0-15"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path


def axes(**changed: Any) -> CellAxes:
    return CellAxes(model=MIXTURE, guidance=1.0, **changed)


def test_a_file_becomes_cells(tmp_path: Path) -> None:
    grid = load_grid(write(tmp_path, TOML))
    product = [
        axes(schedule=USUAL_SCHEDULE[solver.partition(":")[0]], nfe=nfe, solver=solver, seeds=seeds)
        for nfe in (3, 5)
        for solver in ("euler", "unipc:order=2")
        for seeds in ("0-15", "16-31,99")
    ]
    # The second block's "usual" is a cell of the first, and is dropped.
    linear = axes(schedule="linear", nfe=5, solver="euler", seeds="0-15")
    assert [cell.axes for cell in grid.cells] == [*product, linear]
    assert len({cell.id for cell in grid.cells}) == 9
    assert (grid.sweep, grid.sweep_samples) == ((0.9, 0.99), 32)
    assert grid.resamples == Settings().resamples  # what is not given has its default
    assert grid.cells[1].seed_list == (*range(16, 32), 99)
    assert [cell.usual for cell in grid.cells] == [True] * 8 + [False]


def test_defaults_and_plain_data() -> None:
    grid = make_grid({"cells": [{"model": MIXTURE, "nfe": 2, "solver": "deis:2"}]})
    (cell,) = grid.cells
    assert cell.axes == axes(schedule="vp_time", nfe=2, solver="deis:2", seeds="0-1999")
    content = msgspec.to_builtins(grid.record())
    assert content["cells"][0]["solver"] == "deis:2"
    assert make_grid(content) == grid


def test_what_a_cells_texts_stand_for_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def watched(text: str) -> Any:
        parsed.append(text)
        return parse_solver(text)

    monkeypatch.setattr(grids, "parse_solver", watched)
    grid = make_grid({"cells": [block(nfe=[3, 4, 5], solver=["euler", "heun"])]})
    assert parsed == ["euler", "heun"]
    assert len({id(cell.method) for cell in grid.cells}) == 2
    assert len({id(cell.seed_list) for cell in grid.cells}) == 1


def test_cells_are_added_in_the_same_way() -> None:
    grid = make_grid({"cells": [block(nfe=3)]})
    more = [msgspec.structs.replace(grid.cells[0].axes, solver=name) for name in ("heun", "euler")]
    both = grid.with_cells(more)
    assert [cell.solver for cell in both.cells] == ["euler", "heun"]
    assert both.resamples == grid.resamples


def test_usual_schedules() -> None:
    assert USUAL_SCHEDULE.keys() == SOLVERS.keys()
    assert set(USUAL_SCHEDULE.values()) <= SCHEDULES.keys()


def test_presets_load() -> None:
    assert "smoke" in presets()
    for name in presets():
        grid = load_preset(name)
        assert grid.cells
        assert len({cell.id for cell in grid.cells}) == len(grid.cells)
    with pytest.raises(ValueError, match=r"preset 'smok' is unknown\. Did you mean 'smoke'"):
        load_preset("smok")


class Counted:
    """An exact denoiser that counts its calls."""

    def __init__(self) -> None:
        self.denoiser, self.calls = Gaussian(0.0, 0.25), 0

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        self.calls += 1
        return self.denoiser(x, sigma)


@pytest.mark.parametrize("coefficient", [None, "energy"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_really_spends_the_cells_nfe(solver: str, coefficient: str | None) -> None:
    x = sd.noise((3,), 80.0, [0, 1])
    for nfe in (1, 2, 3, 4, 5, 8, 9, 16):
        grid = make_grid({"cells": [block(nfe=nfe, solver=solver)]})
        levels = grid.cells[0].levels
        denoiser = Counted()
        result = sd.sample(denoiser, x, levels, parse_solver(solver), coefficient)
        assert result.nfe == denoiser.calls == nfe
        assert levels[0] == 80
        odd_pair = parse_solver(solver).calls_per_step == 2 and nfe % 2
        assert levels[-1] == pytest.approx(0 if odd_pair else 0.002)


def test_levels_of_heun() -> None:
    """Two calls a step; an odd NFE has a last step into 0, which takes one."""
    for nfe, steps, end in ((1, 1, 0), (2, 1, 0.002), (5, 3, 0), (6, 3, 0.002)):
        grid = make_grid({"cells": [block(nfe=nfe, solver="heun")]})
        levels = grid.cells[0].levels
        wanted = sd.schedules.karras(steps, final="zero" if end == 0 else "sigma_min")
        assert levels == tuple(wanted.tolist())
        assert float(levels[-1]) == pytest.approx(end)


def test_ends_of_the_schedules() -> None:
    grid = make_grid({"sigma_min": 0.01, "sigma_max": 20.0, "cells": [block(nfe=5)]})
    levels = grid.cells[0].levels
    assert (float(levels[0]), float(levels[-1])) == (pytest.approx(20), pytest.approx(0.01))


def test_where_levels_end() -> None:
    """What a grid says, or else at 0 where there is an end; a pair of calls ends as its NFE can."""
    for said, end in (
        ({}, 0.002),
        ({"end": "steady"}, 0),
        ({"final": "zero"}, 0),
        ({"end": "steady", "final": "sigma_min"}, 0.002),
    ):
        grid = make_grid({**said, "cells": [block(nfe=5), block(nfe=6, solver="heun")]})
        assert [cell.levels[-1] for cell in grid.cells] == pytest.approx([end, 0.002])
        assert ("final" in msgspec.to_builtins(grid.record())) == ("final" in said)
    with pytest.raises(ValueError, match=r"final 'zreo' is unknown.*'zero'"):
        make_grid({"final": "zreo", "cells": [block(nfe=5, solver="heun")]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "fashion-mnits"}, "model 'fashion-mnits' is unknown.*'fashion-mnist'.*mixture"),
        ({"model": "mixture:dmi=4"}, "option 'dmi' does not exist for model 'mixture'"),
        ({"model": "mixture:dim=0"}, "mixture option dim is 0; an int >= 1"),
        ({"model": "mixture:modes=1.5"}, "mixture option modes is 1.5"),
        ({"model": "mixture:error=-1"}, "mixture option error is -1"),
        ({"model": "mixture:spectrum=nan"}, "mixture option spectrum is nan"),
        ({"model": "mixture:dim"}, "'mixture:dim' is not of the form"),
        ({"guidance": 2.0}, "guidance is 2 .*a mixture has none"),
        ({"model": "fashion-mnist", "guidance": float("nan")}, "guidance is nan"),
        ({"schedule": "karas"}, "schedule 'karas' is unknown.*'karras'"),
        ({"nfe": 0}, "nfe is 0"),
        ({"nfe": 2.5}, "nfe is 2.5"),
        ({"nfe": "five"}, "nfe is 'five'"),
        ({"nfe": True}, "nfe is True"),
        ({"solver": "eulr"}, "solver 'eulr' is unknown.*'euler'"),
        ({"solver": "ipndm:9"}, "order is 9"),
        ({"seeds": "0-9"}, "seeds is '0-9'; 16 at least"),
        ({"seeds": "a-b"}, "seeds is 'a-b'"),
        ({"seeds": 5}, "seeds is 5"),
        ({"solver": 5}, "solver is 5"),
        ({"model": 5}, "model is 5"),
        ({"guidance": "high"}, "guidance is 'high'"),
        ({"schedule": 5}, "schedule is 5"),
        ({"nfe": [3, 0]}, "nfe is 0"),
        ({"nfe": 10**9}, "nfe is 1000000000; .* <= 1000"),
        ({"nfe": 10**30}, "nfe is 10{30}; .* <= 1000"),
        ({"seeds": "0-99999999999"}, "seeds is '0-99999999999', which is more than 100,000"),
        ({"solvr": "euler"}, "axis 'solvr' is unknown.*'solver'"),
        ({"solver": []}, "the grid has no cells"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_wrong_axis_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        make_grid({"cells": [block(**change)]})


@pytest.mark.parametrize("axis", ["model", "nfe", "solver"])
def test_a_missing_axis_is_named(axis: str) -> None:
    axes = {name: value for name, value in block().items() if name != axis}
    with pytest.raises(ValueError, match=f"block has no {axis}"):
        make_grid({"cells": [axes]})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sweeep": [0.9]}, "setting 'sweeep' is unknown.*'sweep'"),
        ({"controls": ["oracel"]}, "control 'oracel' is unknown.*'oracle'"),
        ({"coefficients": ["enrgy"]}, "coefficient 'enrgy' is unknown.*'energy'"),
        ({"coefficients": []}, "coefficients is empty"),
        ({"coefficients": "energy"}, "coefficients is 'energy'"),
        ({"coefficients": ["none"]}, "coefficient 'none' is a control"),
        ({"coefficients": ["constant"]}, "coefficient 'constant' is a control"),
        ({"sweep": [0.9, 1]}, "sweep holds 1"),
        ({"sweep": []}, "sweep is empty"),
        ({"sweep": 0.9}, "sweep is 0.9"),
        ({"sweep": ["a"]}, "sweep is 'a'"),
        ({"sweep": [float("nan")]}, "nan"),
        ({"sweep": [0.5] * 1001}, "sweep"),
        ({"shown": 10**12}, "shown is 1000000000000; .* <= 1000"),
        ({"resamples": 10**6}, "resamples is 1000000"),
        ({"fine_steps": 10**6}, "fine_steps is 1000000"),
        ({"sweep_samples": 10**6}, "sweep_samples is 1000000"),
        ({"sweep_samples": 3}, "sweep_samples is 3"),
        ({"fine_steps": 1}, "fine_steps is 1"),
        ({"resamples": 2.5}, "resamples is 2.5"),
        ({"shown": -1}, "shown is -1"),
        ({"sigma_min": 90.0}, "sigma_min is 90.0 and sigma_max 80.0"),
        ({"sigma_max": float("nan")}, "sigma_max is nan"),
        ({"sigma_min": "low"}, "sigma_min is 'low'"),
        ({"cells": []}, "the grid has no cells"),
        ({"cells": {"model": MIXTURE}}, "cells is {"),
        ({"cells": ["euler"]}, r"a \[\[cells\]\] block is 'euler'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        make_grid({"cells": [block()], **settings})


def test_a_grid_of_too_many_cells_is_refused_before_it_is_made() -> None:
    """A product of a billion, with the number in the message; the largest that is allowed is."""
    values = list(range(1, 1001))
    seeds = [f"{k}-{k + 20}" for k in range(1000)]
    with pytest.raises(ValueError, match=r"1,000,000,000 cells; 10,000 at most"):
        make_grid({"cells": [block(nfe=values, guidance=[1.0] * 1000, seeds=seeds)]})
    many = [f"{k}-{k + 15}" for k in range(MOST_CELLS)]
    assert len(make_grid({"cells": [block(nfe=1, seeds=many)]}).cells) == MOST_CELLS
    with pytest.raises(ValueError, match="10,001 cells"):
        make_grid({"cells": [block(nfe=1, seeds=[*many, "0-20"])]})


def test_an_empty_sweep_is_no_matter_without_its_control() -> None:
    assert make_grid({"cells": [block()], "sweep": [], "controls": ["one"]}).sweep == ()


def no_toml(folder: Path) -> Path:
    return write(folder, "[[cells]\nmodel =")


def not_text(folder: Path) -> Path:
    path = folder / "grid.toml"
    path.write_bytes(b"\xff\xfe\x00")
    return path


@pytest.mark.parametrize(
    ("line", "said"),
    [("shwon = 3", "'shown'"), ("shown = 0", "shown is 0"), ("sweep = 3", "sweep is 3")],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path, TOML.replace("sweep = [0.9, 0.99]", line))
    with pytest.raises(ValueError, match=said) as caught:
        load_grid(path)
    assert str(caught.value).startswith(f"{path}: ")


def nested(folder: Path) -> Path:
    return write(folder, "cells = " + "[" * 100_000)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (no_toml, ValueError, "grid.toml is not TOML"),
        (not_text, ValueError, "grid.toml is not TOML"),
        (nested, ValueError, "grid.toml is not TOML"),
        (lambda folder: folder / "none.toml", FileNotFoundError, "none.toml is not a file"),
        (lambda folder: folder, FileNotFoundError, "is not a file"),
    ],
)
def test_files_that_are_none(
    tmp_path: Path, make: Callable[[Path], Path], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        load_grid(make(tmp_path))
