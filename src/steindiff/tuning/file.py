"""Tunings in JSON files: numbers and names only, safe to share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from .._files import write_text
from ..calibrated import Calibrated
from ..calibrated.reading import number, numbers, read_json, rows
from ..recipes import Recipe
from ..schedules import check_sigmas
from ..solvers import SOLVERS, Solver, resolve_solver
from ..stein import COEFFICIENTS, Coefficient, check_end, resolve_coefficient
from .candidates import KINDS
from .judge import Figures, Ratio
from .record import Choice, Tried, Tuned

FORMAT = "steindiff tuning"
VERSION = 1
FITTED = "calibrated"
RATIOS = ("against_plain", "against_recipe", "recipe_against_plain")
COUNTS = ("noises", "held_out", "fresh", "seed", "fine_steps", "calls")
TEXTS = ("model", "model_hash", "conditioning_hash", "command")


def save_tuned(path: str | Path, found: Tuned) -> None:
    """Writes a tuning, whole or not at all."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(found, name) for name in ("guidance", "sigma_max", *COUNTS, *TEXTS)},
        "motion": {"sigmas": found.motion[0], "speeds": found.motion[1]},
        "choices": [_choice(one) for _, one in sorted(found.choices.items())],
        "versions": dict(found.versions),
    }
    write_text(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")


def load_tuned(path: str | Path) -> Tuned:
    """The tuning of a file of `save_tuned`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not a tuning, of another version, or with impossible contents; each
            names the file.
    """
    path = Path(path)
    content = read_json(path, FORMAT, VERSION, "tuning")
    try:
        return _tuned(content)
    except KeyError as error:
        raise ValueError(f"{path} is damaged: {error.args[0]!r} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _choice(one: Choice) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "recipe": write_recipe(one.recipe),
        "plain": write_recipe(one.plain),
        "figures": {name: _finite(figures) for name, figures in one.figures.items()},
        **{name: _finite(getattr(one, name)) for name in RATIOS},
        "passed": list(one.passed),
        "tried": [[each.kind, each.words, *each.figures, each.score] for each in one.tried],
    }


def _finite(values: tuple[float, ...]) -> list[float | None]:
    """JSON has no infinity: null stands for it."""
    return [value if value < float("inf") else None for value in values]


def write_recipe(plan: Recipe) -> dict[str, Any]:
    """A recipe as JSON can hold it; `read_recipe` reads it."""
    solver = plan.solver
    if isinstance(solver, Calibrated):
        named = {"name": FITTED, "scalars": [list(row) for row in solver.scalars]}
    else:
        named = _named(solver, SOLVERS)
    return {
        "sigmas": list(plan.sigmas),
        "solver": named,
        "coefficient": plan.coefficient and _named(plan.coefficient, COEFFICIENTS),
        "end": plan.end,
        "why": plan.why,
    }


def _named(thing: Solver | Coefficient, registry: Mapping[str, Any]) -> dict[str, Any]:
    name = next(name for name, kind in registry.items() if kind is type(thing))
    return {"name": name, **{one.name: getattr(thing, one.name) for one in fields(thing)}}


def _tuned(content: dict[str, Any]) -> Tuned:
    choices = [_read_choice(one) for one in content["choices"]]
    if not choices:
        raise ValueError("choices is empty; one number of steps or more is needed")
    moved = content["motion"]
    rest: dict[str, Any] = {name: int(number(content[name], name)) for name in COUNTS}
    rest |= {name: str(content[name]) for name in TEXTS}
    return Tuned(
        choices={len(one.recipe.sigmas) - 1: one for one in choices},
        guidance=number(content["guidance"], "guidance"),
        sigma_max=number(content["sigma_max"], "sigma_max"),
        motion=(
            numbers(moved["sigmas"], "motion.sigmas"),
            numbers(moved["speeds"], "motion.speeds"),
        ),
        versions=dict(content["versions"]),
        **rest,
    )


def _read_choice(one: dict[str, Any]) -> Choice:
    if one["kind"] not in KINDS:
        raise ValueError(f"kind is {one['kind']!r}; one of {', '.join(KINDS)} is needed")
    return Choice(
        kind=one["kind"],
        recipe=read_recipe(one["recipe"]),
        plain=read_recipe(one["plain"]),
        figures={
            name: Figures(*_infinite(one["figures"][name], 2, name))
            for name in ("tuned", "recipe", "plain")
        },
        tried=tuple(
            Tried(str(kind), str(words), Figures(*numbers([error, distance], "tried")),
                  number(score, "tried"))
            for kind, words, error, distance, score in one["tried"]
        ),
        passed=tuple(map(str, one["passed"])),
        **{name: Ratio(*_infinite(one[name], 3, name)) for name in RATIOS},
    )  # fmt: skip


def _infinite(values: Any, count: int, name: str) -> tuple[float, ...]:
    """Numbers, null among them for an infinity."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{name} is {values!r}; {count} numbers are needed")
    return numbers([float("inf") if value is None else value for value in values], name)


def read_recipe(one: dict[str, Any]) -> Recipe:
    """The recipe of a file, checked.

    Raises:
        KeyError, TypeError, ValueError: something is missing, or can't be.
    """
    sigmas = check_sigmas(numbers(one["sigmas"], "sigmas"))
    options, rule = dict(one["solver"]), one["coefficient"]
    name = options.pop("name")
    if name == FITTED:
        solver: Solver = Calibrated(sigmas, rows(options["scalars"], "scalars"))
    else:
        solver = resolve_solver(name, **options)
    return Recipe(
        sigmas,
        solver,
        None if rule is None else _coefficient(dict(rule)),
        check_end(one["end"]),
        str(one["why"]),
    )


def _coefficient(options: dict[str, Any]) -> Coefficient | None:
    return resolve_coefficient(options.pop("name"), **options)
