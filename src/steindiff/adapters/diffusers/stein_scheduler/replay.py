"""How a solver that calls its denoiser runs where the model's outputs are handed in one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from ....calibrated import Calibrated
from ....calibrated.file import FORMAT, VERSION
from ....calibrated.reading import field, numbers, rows, table
from ....composition import choose, compose
from ....solvers import Solver, resolve_solver
from ....stein import Record, Relaxed, StepRecord, stack_records
from .base import ModelCall


class _Asked(Exception):  # noqa: N818  (a request, not an error)
    """The solver needs the model once more, at `x`."""

    def __init__(self, x: Tensor) -> None:
        self.x = x


class Replay:
    """A sampling that is told the denoiser's answers one by one.

    The step is run anew with each answer, on all answers since it opened. Where the solver asks for
    one more, the run ends, and the state that it asks at is what the model has to see next. A step
    costs arithmetic only, and solvers have two calls in a step at most.

    Args:
        method: the solver, relaxed or not.
        sigmas: the VE levels of the whole sampling; it may begin at any but the last.
    """

    def __init__(self, method: Solver, sigmas: Sequence[float]) -> None:
        self.method, self.sigmas = method, tuple(sigmas)
        self._state: Any = None
        self._start: Tensor | None = None
        self._answers: list[Tensor] = []
        self._records: list[StepRecord] = []
        self._first = 0

    def __copy__(self) -> Replay:
        """Shares tensors with the original, but nothing that either writes down while sampling."""
        copied = object.__new__(Replay)
        written = {"_answers": [*self._answers], "_records": [*self._records]}
        copied.__dict__.update(self.__dict__, **written)
        return copied

    def answer(self, call: ModelCall, x: Tensor, denoised: Tensor) -> Tensor:
        """The VE state (B, *shape) of the next model call, or of the end.

        Args:
            call: the call that is answered.
            x: (B, *shape), the VE state that the model saw.
            denoised: (B, *shape), D there.

        Raises:
            ValueError: the first call answered does not open a step, or the solver's fitted scalars
                are not for the levels from here on.
        """
        if self._start is None:
            self._open(call, x)
        self._answers.append(denoised)
        try:
            return self._advance(call.step)
        except _Asked as asked:
            return asked.x

    def _open(self, call: ModelCall, x: Tensor) -> None:
        if not call.opens:
            raise ValueError(
                f"the sampling begins inside step {call.step}, at sigma = {call.sigma:g}; "
                "begin_index is to be that of a model call which opens a step"
            )
        if self._state is None:
            self._first = call.step
            self._state = self.method.init(x, self.sigmas[call.step :])
        self._start = x

    def _advance(self, index: int) -> Tensor:
        answers = iter(self._answers)
        assert self._start is not None
        step = self.method.step(
            lambda x, sigma: _next(answers, x),
            self._start, self.sigmas[index], self.sigmas[index + 1], self._state,
        )  # fmt: skip
        self._state, self._start, self._answers = step.state, None, []
        if isinstance(self.method, Relaxed) and self.method.record:
            self._records.append(step.state.record)
        return step.x

    def record(self) -> Record:
        """The measurements so far. Raises ValueError before the first step is done."""
        if not self._records:
            raise ValueError("stein_record is empty: no step is done since set_timesteps")
        end = self._first + len(self._records) + 1
        return stack_records(self.sigmas[self._first : end], self._records)


def _next(answers: Iterator[Tensor], x: Tensor) -> Tensor:
    for answer in answers:
        return answer
    raise _Asked(x)


def make_solver(name: Any, options: Mapping[str, Any], calibration: Any) -> Solver:
    """The solver of a config. Raises TypeError or ValueError naming what is wrong."""
    if not isinstance(name, str):
        raise TypeError(f"solver is {name!r}; a name is needed, so that it can be saved")
    if (name == "calibrated") != (calibration is not None):
        raise ValueError(
            f"solver is {name!r} and calibration is {'' if calibration is None else 'not '}None; "
            "solver='calibrated' and a calibration belong together"
        )
    if calibration is None:
        return resolve_solver(name, **options)
    if options:
        raise ValueError(f"solver_options is {dict(options)}; solver 'calibrated' has none")
    return _calibrated(calibration)


def _calibrated(content: Any) -> Calibrated:
    found = table(content, "calibration")
    form, version = found.get("format"), found.get("version")
    if (form, version) != (FORMAT, VERSION):
        raise ValueError(
            f"calibration is of format {form!r}, version {version!r}; "
            f"{FORMAT!r}, version {VERSION} is needed"
        )
    try:
        return Calibrated(
            numbers(field(content, "", "sigmas"), "sigmas"),
            rows(field(content, "", "scalars"), "scalars"),
        )
    except ValueError as error:
        raise ValueError(f"calibration is damaged: {error}") from error


def relaxed_solver(
    solver: Solver, name: Any, options: Mapping[str, Any], end: Any, record: bool
) -> Solver:
    """The solver with the coefficient and the end of a config. Raises as `make_solver`."""
    if not (name is None or isinstance(name, str)):
        raise TypeError(f"coefficient is {name!r}; a name or None is needed, so it can be saved")
    rule, end = choose(name, end, **options)
    if rule is not None and rule.extra_calls:
        raise ValueError(
            f"coefficient {name!r} needs {rule.extra_calls} model calls of its own; a scheduler "
            "cannot call the model. Take 'energy', or estimator='ratio'"
        )
    return compose(solver, rule, end, record)
