"""How a command samples: what its options say, and what is chosen where they say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import typer
from torch import Tensor

from ...calibrated import Calibrated
from ...recipes import COEFFICIENT, END, Recipe, recipe
from ...solvers import Solver
from ...stein import Coefficient, Relaxed, check_end
from ...tuning import Tuned, load_tuned
from ..specs import (
    calibrated_text,
    check_calibration,
    make_schedule,
    parse_coefficient,
    parse_solver,
    spec_of,
)
from .options import STEPS, Sampling

T = TypeVar("T")

BY_RECIPE = "recipe"
"""The schedule that `steindiff.recipe` chooses."""

BY_TUNING = "tuning"
"""The schedule of a file of `steindiff tune`."""


@dataclass(frozen=True)
class Method:
    """A way to sample, in the texts that options and grids use.

    Attributes:
        solver: as `parse_solver` reads it.
        coefficient: as `parse_coefficient` reads it.
        schedule: a name of `SCHEDULES`, or `BY_RECIPE`, whose levels know no other option.
        sigma_min: lowest level above 0.
        final: where the levels end: "sigma_min" or "zero".
        end: the step into sigma = 0, one of `ENDS`.
    """

    solver: str
    coefficient: str
    schedule: str
    sigma_min: float
    final: str
    end: str


def _default_method(plan: Recipe, named: bool) -> Method:
    """The recipe, for where nothing is said; of it the solver alone if a schedule is `named`."""
    solver, coefficient = spec_of(plan.solver), spec_of(plan.coefficient)
    if named:
        return Method(solver, spec_of(COEFFICIENT), "karras", 0.002, "zero", END)
    return Method(solver, coefficient, BY_RECIPE, 0.002, "zero", plan.end)


@dataclass(frozen=True)
class Chosen:
    """A method with its steps and start, ready to run: its texts, and the objects they stand for.

    Attributes:
        guidance: that the levels of the recipe are for.
        plan: the recipe that its levels are from, if one was given.
        tuning: the tuning that it is from, if one was given.
        any_model: whether that may be used with another model.
    """

    method: Method
    steps: int
    sigma_max: float
    guidance: float
    solver: Solver
    coefficient: Coefficient | None
    plan: Recipe | None = None
    tuning: Tuned | None = None
    any_model: bool = False

    def check_use(self, model: str, model_hash: str, guidance: float, sigmas: Tensor) -> None:
        """Refuses what was fitted to another network, guidance or levels.

        Raises:
            ValueError: names what differs, and both values.
        """
        if self.tuning is None:
            check_calibration(self.solver, model, model_hash, guidance, sigmas)
            return
        self.tuning.check_use(model, model_hash, guidance, self.any_model)
        if self.any_model and model_hash != self.tuning.model_hash:
            typer.echo(f"Note: tuned for {self.tuning.model!r}, used with {model!r}.", err=True)

    def levels(self) -> Tensor:
        """(steps + 1,) float64: the noise levels."""
        method = self.method
        if self.plan is not None or method.schedule == BY_RECIPE:
            plan = self.plan or recipe(self.steps, self.guidance, self.sigma_max)
            return torch.tensor(plan.sigmas, dtype=torch.float64)
        return make_schedule(
            method.schedule, self.steps, method.sigma_min, self.sigma_max, method.final
        )

    def described(self, sigmas: Tensor) -> str:
        """Three lines: what sampled, and on which levels."""
        levels = " ".join(f"{sigma:.3g}" for sigma in sigmas.tolist())
        return (
            f"solver {self.method.solver}, coefficient {self.method.coefficient}\n"
            f"schedule {self.method.schedule}, end {self.method.end}, {self.steps} steps\n"
            f"levels {levels}"
        )


def choose(options: Sampling, guidance: float) -> Chosen:
    """The method of the options; what they leave open suits the steps and the guidance.

    Raises:
        ValueError: unknown names; --calibration without --solver calibrated; --steps and --nfe
            both, or --nfe where a step is more than one model call; --tuned with other parts.
    """
    if options.tuned is not None:
        return _tuned(options, options.tuned)
    if options.any_model:
        raise ValueError("--any-model is for --tuned FILE, which is missing")
    steps = one_of(options.steps, options.nfe)
    named = (options.schedule, options.sigma_min, options.final) != (None, None, None)
    default = _default_method(recipe(steps, guidance), named)
    method = Method(
        _with_calibration(_or(options.solver, default.solver), options.calibration),
        _or(options.coefficient, default.coefficient),
        _or(options.schedule, default.schedule),
        _or(options.sigma_min, default.sigma_min),
        _or(options.final, default.final),
        check_end(_or(options.end, "none" if options.coefficient == "none" else default.end)),
    )
    solver, coefficient = parse_solver(method.solver), parse_coefficient(method.coefficient)
    if options.nfe is not None:
        check_nfe_alias(options.nfe, method.solver, solver, coefficient)
    return Chosen(method, steps, options.sigma_max, guidance, solver, coefficient)


def _tuned(options: Sampling, path: Path) -> Chosen:
    """The sampler of --tuned.

    Raises:
        ValueError: a part of a method is asked for as well, or another number of steps or start
            than the file has.
    """
    for name in ("solver", "calibration", "coefficient", "schedule", "sigma_min", "final", "end"):
        if getattr(options, name) is not None:
            raise ValueError(f"--tuned {path} brings its own {name}; drop that option")
    found = load_tuned(path)
    asked = None if options.steps is options.nfe is None else one_of(options.steps, options.nfe)
    plan = found.recipe(asked, options.any_model)
    if options.sigma_max not in (80.0, found.sigma_max):
        raise ValueError(
            f"sigma_max is {options.sigma_max:g}; {path} is for sigma_max {found.sigma_max:g}"
        )
    fitted = isinstance(plan.solver, Calibrated)
    solver = f"fitted by {path}" if fitted else spec_of(plan.solver)
    method = Method(solver, spec_of(plan.coefficient), BY_TUNING, plan.sigmas[-2], "zero", plan.end)
    steps = len(plan.sigmas) - 1
    return Chosen(
        method, steps, found.sigma_max, found.guidance, plan.solver, plan.coefficient, plan, found,
        options.any_model,
    )  # fmt: skip


def _or(given: T | None, default: T) -> T:
    return default if given is None else given


def one_of(steps: int | None, nfe: int | None) -> int:
    """The number of steps from --steps and its alias --nfe, of which one may be given."""
    if steps is not None and nfe is not None:
        raise ValueError(f"--steps {steps} and --nfe {nfe} are both given; --steps is enough")
    if steps is not None:
        return steps
    return STEPS if nfe is None else nfe


def check_nfe_alias(
    nfe: int, text: str, solver: Solver, coefficient: Coefficient | None = None
) -> None:
    """Lets --nfe stand for --steps, with a hint, where a step is one model call.

    Raises:
        ValueError: a step of the solver, named by `text`, takes more calls.
    """
    calls = calls_per_step(solver, coefficient)
    if calls != 1:
        raise ValueError(
            f"--nfe is {nfe}, a number of model calls; {text} takes {calls} a step: pass "
            f"--steps {max(1, nfe // calls)} for {max(1, nfe // calls) * calls} calls"
        )
    note_alias("--steps", "--nfe", nfe)


def note_alias(name: str, alias: str, value: int) -> None:
    """Says on standard error what an option is called that was given by its other name."""
    typer.echo(f"Note: {alias} {value} is {name} {value} here.", err=True)


def calls_per_step(solver: Solver, coefficient: Coefficient | None) -> int:
    """Model calls of a step, those of the coefficient included."""
    method = solver if coefficient is None else Relaxed(solver, coefficient)
    return method.calls_per_step


def _with_calibration(solver: str, calibration: Path | None) -> str:
    """The solver's text with the file of its calibration in it."""
    if calibration is None:
        return solver
    if solver != "calibrated":
        raise ValueError(
            f"--calibration {calibration} is for --solver calibrated; the solver is {solver!r}"
        )
    return calibrated_text(calibration)
