"""Pilots in JSON files: numbers only, safe to share."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from .._files import write_text
from ..calibrated.reading import number, numbers, read_json
from ..recipes import Recipe
from ..schedules import check_sigmas
from ..solvers import SOLVERS, Solver, resolve_solver
from ..stein import COEFFICIENTS, Coefficient, check_end, resolve_coefficient
from .record import Finding, Pilot

FORMAT = "steindiff pilot"
VERSION = 1


def save_pilot(path: str | Path, found: Pilot) -> None:
    """Writes a pilot, whole or not at all."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "model": found.model,
        "guidance": found.guidance,
        "sigma_max": found.sigma_max,
        "noises": found.noises,
        "seed": found.seed,
        "fine_steps": found.fine_steps,
        "motion": {"sigmas": found.motion[0], "speeds": found.motion[1]},
        "findings": [_finding(one) for _, one in sorted(found.findings.items())],
        "versions": dict(found.versions),
    }
    write_text(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")


def load_pilot(path: str | Path) -> Pilot:
    """The pilot of a file of `save_pilot`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not a pilot, of another version, or with impossible contents; each
            names the file.
    """
    path = Path(path)
    content = read_json(path, FORMAT, VERSION, "pilot")
    try:
        return _pilot(content)
    except KeyError as error:
        raise ValueError(f"{path} is damaged: {error.args[0]!r} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _finding(one: Finding) -> dict[str, Any]:
    plan = one.recipe
    return {
        "sigmas": list(plan.sigmas),
        "solver": _named(plan.solver, SOLVERS),
        "coefficient": plan.coefficient and _named(plan.coefficient, COEFFICIENTS),
        "end": plan.end,
        "why": plan.why,
        "error": one.error,
        "fixed_error": one.fixed_error,
        "plain_error": one.plain_error,
        "tried": one.tried,
    }


def _named(thing: Solver | Coefficient, registry: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name, kind in registry.items() if kind is type(thing))
    return {"name": name, **{one.name: getattr(thing, one.name) for one in fields(thing)}}


def _pilot(content: dict[str, Any]) -> Pilot:
    findings = [_read_finding(one) for one in content["findings"]]
    moved = content["motion"]
    return Pilot(
        {len(one.recipe.sigmas) - 1: one for one in findings},
        number(content["guidance"], "guidance"),
        number(content["sigma_max"], "sigma_max"),
        int(number(content["noises"], "noises")),
        int(number(content["seed"], "seed")),
        int(number(content["fine_steps"], "fine_steps")),
        (numbers(moved["sigmas"], "motion.sigmas"), numbers(moved["speeds"], "motion.speeds")),
        str(content["model"]),
        dict(content["versions"]),
    )


def _read_finding(one: dict[str, Any]) -> Finding:
    rule = one["coefficient"]
    plan = Recipe(
        check_sigmas(numbers(one["sigmas"], "sigmas")),
        resolve_solver(**_options(one["solver"], "solver")),
        None if rule is None else resolve_coefficient(**_options(rule, "coefficient")),
        check_end(one["end"]),
        str(one["why"]),
    )
    return Finding(
        plan,
        error=number(one["error"], "error"),
        fixed_error=number(one["fixed_error"], "fixed_error"),
        plain_error=number(one["plain_error"], "plain_error"),
        tried=int(number(one["tried"], "tried")),
    )


def _options(content: dict[str, Any], kind: str) -> dict[str, Any]:
    options = dict(content)
    return {kind: options.pop("name"), **options}
