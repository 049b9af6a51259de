"""Tunings in JSON files: numbers and names only, safe to share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from .._errors import check_options, shown, unknown_name
from .._files import write_text
from ..calibrated import Calibrated, reading
from ..calibrated.reading import field, inside, integer, naming, number, numbers, rows, tables, text
from ..recipes import Recipe
from ..schedules import check_sigmas
from ..solvers import SOLVERS, Solver
from ..stein import COEFFICIENTS, Coefficient, check_end
from .candidates import KINDS
from .judge import Figures, Ratio
from .motion import Motion
from .network import Weights
from .record import Choice, Tried, Tuned

FORMAT = "steindiff tuning"
VERSION = 1
FITTED = "calibrated"
RATIOS = ("against_plain", "against_recipe", "recipe_against_plain")
COUNTS = {"noises": 1, "held_out": 1, "fresh": 1, "fine_steps": 1, "calls": 0}
"""What they are at the least."""
TEXTS = ("model", "model_hash", "conditioning_hash", "command")

SAVED = ("guidance", "sigma_max", "seed", *COUNTS, *TEXTS)

T = TypeVar("T")


def save_tuned(path: str | Path, found: Tuned) -> None:
    """Writes a tuning, whole or not at all."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(found, name) for name in SAVED},
        "weights": found.weights,
        "motion": {"sigmas": found.motion[0], "speeds": found.motion[1]},
        "choices": [write_choice(one) for _, one in sorted(found.choices.items())],
        "versions": dict(found.versions),
    }
    write_text(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")


def load_tuned(path: str | Path) -> Tuned:
    """The tuning of a file of `save_tuned`.

    Raises:
        TypeError: no path.
        FileNotFoundError: no such file.
        ValueError: truncated, not a tuning, of another version, or with impossible contents; each
            names the file.
    """
    if not isinstance(path, (str, Path)):
        raise TypeError(f"path is {shown(path)}; the path of a file of steindiff tune is needed")
    path = Path(path)
    content = reading.read_json(path, FORMAT, VERSION, "tuning")
    with naming(path):
        return _tuned(content)


def write_choice(one: Choice) -> dict[str, Any]:
    """A choice as JSON can hold it."""
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
    choices = {}
    for i, one in enumerate(tables(field(content, "", "choices"), "choices")):
        with inside(f"choices[{i}]"):
            choice = _read_choice(one)
            steps = len(choice.recipe.sigmas) - 1
            if steps in choices:
                raise ValueError(f"recipe.sigmas is the second with {steps} steps")
        choices[steps] = choice
    if not choices:
        raise ValueError("choices is empty; one number of steps or more is needed")
    rest: dict[str, Any] = {
        **{name: integer(field(content, "", name), name, low) for name, low in COUNTS.items()},
        **{name: text(field(content, "", name), name) for name in TEXTS},
    }
    return Tuned(
        choices=choices,
        seed=integer(field(content, "", "seed"), "seed"),
        guidance=number(field(content, "", "guidance"), "guidance"),
        sigma_max=number(field(content, "", "sigma_max"), "sigma_max", 0.0),
        weights=_weights(field(content, "", "weights")),
        motion=_motion(field(content, "", "motion")),
        versions=reading.texts(field(content, "", "versions"), "versions"),
        **rest,
    )


def _weights(value: Any) -> Weights | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"weights is {shown(value)}; a count and two numbers, or null, is needed")
    return Weights(integer(value[0], "weights", 1), *numbers(value[1:], "weights", 0.0))


def _motion(content: Any) -> Motion:
    with inside("motion"):
        sigmas = check_sigmas(numbers(field(content, "", "sigmas"), "sigmas"))
        speeds = numbers(field(content, "", "speeds"), "speeds", 0.0)
        if len(sigmas) != len(speeds):
            raise ValueError(f"sigmas has {len(sigmas)} levels and speeds {len(speeds)} numbers")
    return sigmas, speeds


def _read_choice(one: dict[str, Any]) -> Choice:
    figures = field(one, "", "figures")
    rest: dict[str, Any] = {n: Ratio(*_infinite(field(one, "", n), 3, n)) for n in RATIOS}
    for name in ("recipe", "plain"):
        with inside(name):
            rest[name] = read_recipe(field(one, "", name))
    tried, passed = (reading.items(field(one, "", name), name) for name in ("tried", "passed"))
    return Choice(
        kind=_kind(field(one, "", "kind")),
        figures={
            name: Figures(*_infinite(field(figures, "figures", name), 2, f"figures.{name}"))
            for name in ("tuned", "recipe", "plain")
        },
        tried=tuple(map(_read_tried, tried)),
        passed=tuple(text(each, "passed") for each in passed),
        **rest,
    )


def _kind(value: Any) -> str:
    if value not in KINDS:
        raise ValueError(f"kind is {shown(value)}; one of {', '.join(KINDS)} is needed")
    return value


def _read_tried(row: Any) -> Tried:
    if not isinstance(row, list) or len(row) != 5:
        raise ValueError(f"tried holds {shown(row)}; kind, words and three numbers are needed")
    error, distance, score = numbers(row[2:], "tried", 0.0)
    return Tried(_kind(row[0]), text(row[1], "tried"), Figures(error, distance), score)


def _infinite(values: Any, count: int, name: str) -> list[float]:
    """Numbers of 0 or more, null among them for an infinity."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{name} is {shown(values)}; {count} numbers are needed")
    return [float("inf") if value is None else number(value, name, 0.0) for value in values]


def read_recipe(one: Any) -> Recipe:
    """The recipe of a file, checked.

    Raises:
        ValueError: something is missing, or can't be; names it.
    """
    sigmas = check_sigmas(numbers(field(one, "", "sigmas"), "sigmas"))
    solver, rule = field(one, "", "solver"), field(one, "", "coefficient")
    if field(solver, "solver", "name") == FITTED:
        scalars = rows(field(solver, "solver", "scalars"), "solver.scalars")
        with inside("solver"):
            base: Solver = Calibrated(sigmas, scalars)
    else:
        base = _made(SOLVERS, solver, "solver")
    return Recipe(
        sigmas,
        base,
        None if rule is None else _made(COEFFICIENTS, rule, "coefficient"),
        check_end(field(one, "", "end")),
        text(field(one, "", "why"), "why"),
    )


def _made(registry: Mapping[str, type[T]], content: Any, what: str) -> T:
    """What `_named` wrote: every option is there, and of the type that it has by default."""
    name = text(field(content, what, "name"), f"{what}.name")
    if name not in registry:
        raise unknown_name(what, name, registry)
    kind: Any = registry[name]
    check_options(what, name, kind, content.keys() - {"name"})
    options = {
        one.name: _option(field(content, what, one.name), one.default, f"{what}.{one.name}")
        for one in fields(kind)
    }
    with inside(what):
        return kind(**options)


def _option(value: Any, default: Any, name: str) -> Any:
    if default is None and value is None:
        return None
    kinds = {bool: reading.flag, int: integer, str: text}
    return kinds.get(type(default), number)(value, name)
