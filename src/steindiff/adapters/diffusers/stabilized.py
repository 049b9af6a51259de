"""Subclasses of diffusers' schedulers whose steps are relaxed."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar

from diffusers.configuration_utils import FrozenDict
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

from ...levels import NoiseLevel
from ...solvers.base import Step
from ...stein import COEFFICIENTS, Coefficient, Record, resolve_coefficient
from ..relaxation import Move, Relaxation
from .readers import Call, Reader
from .support import reader_for

PREFIX = "Stein"
PACKAGE = __name__.rpartition(".")[0]
KEY = "_stein"
"""Where the config holds the coefficient: diffusers hands on keys with an underscore."""

_GENERATED: dict[str, type] = {}


class Stabilized:
    """What the generated classes have in common, before their scheduler class.

    Attributes:
        stein_record: measurements of every step of the sampling, when asked for.
    """

    _stein_base: ClassVar[type[Any]]
    _stein_reader: ClassVar[Reader]
    _stein_coefficient: Coefficient | None = None
    _stein_relaxation: Relaxation | None = None
    _stein_opening: tuple[Step, NoiseLevel] | None = None
    config: Any

    @property
    def stein_record(self) -> Record:
        """Measurements (steps, B) of the last sampling.

        Raises:
            ValueError: not asked for with record=True, or no step made yet. NonFiniteError: a NaN
                or an infinity appeared, with its step.
        """
        return self._stein_relaxing().record()

    @classmethod
    def _get_compatibles(cls) -> Any:
        return cls._stein_base._get_compatibles()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restore, (self._stein_base, dict(self.__dict__))

    def _stein_relaxing(self) -> Relaxation:
        if self._stein_relaxation is None:
            kept: dict[str, Any] = self.config.get(KEY) or {"coefficient": "energy"}
            rule = self._stein_coefficient
            if rule is None:  # loaded
                options: dict[str, Any] = kept.get("options", {})
                rule = resolve_coefficient(kept["coefficient"], **options)
            assert rule is not None
            self._stein_relaxation = Relaxation(rule, bool(kept.get("record")))
        return self._stein_relaxation

    def _stein_step(self, call: Call) -> Any:
        """Upstream's result, relaxed where it completes a step."""
        reader, candidate = self._stein_reader, call.result[0]
        place = reader.place(self, call)
        if place.opens:
            assert place.level is not None
            start, denoised = reader.start(self, call), reader.denoised(self, call, place.level)
            self._stein_opening = Step(candidate, denoised, None, start), place.level
        if not place.closes:
            return call.result
        if self._stein_opening is None or place.level_next is None:
            raise ValueError("step: the solver's step did not begin here; call set_timesteps first")
        opening, level = self._stein_opening
        self._stein_opening = None
        step = opening._replace(x=candidate, predictor=opening.x if place.predicted else None)
        move = Move(step, level, place.level_next, place.steps_left)
        relaxed = self._stein_relaxing()(move)
        reader.replace(self, move, relaxed)
        return _with_sample(call.result, relaxed)


def stabilize(
    scheduler: Any,
    coefficient: str | Coefficient = "energy",
    *,
    record: bool = False,
    **options: Any,
) -> Any:
    """A copy of a diffusers scheduler whose steps are relaxed: `pipe.scheduler = stabilize(...)`.

    The copy's class is a generated subclass of the scheduler's own, so that pipelines take it for
    what it was; saved with a pipeline it is loaded again as it is. It makes no model call and does
    not wait for the device.

    Args:
        scheduler: any deterministic scheduler (`SUPPORTED`), or a subclass of one; one that is
            stabilised already gets the new coefficient.
        coefficient: a name of `steindiff.stein.COEFFICIENTS`, or a `Coefficient`.
        record: whether to measure every step, for `stein_record`.
        **options: of a coefficient that is named, such as trust=0.2.

    Returns:
        The stabilised copy; `scheduler` is left as it is.

    Raises:
        TypeError: not a scheduler, or not a coefficient.
        ValueError: a class or a setting whose steps cannot be relaxed, with the reason; an unknown
            name or option; a coefficient that would have to call the model.
    """
    rule = resolve_coefficient(coefficient, **options)
    if rule is None:
        raise TypeError("coefficient is None; unstabilize gives the plain scheduler back")
    Relaxation(rule, record)  # refuses what cannot be used here, before anything is made
    base = _plain_class(scheduler)
    cls = stabilized_class(base)
    cls._stein_reader.check_config(scheduler.config)
    copied = _plain_copy(scheduler)
    copied.__class__ = cls
    copied.register_to_config(**{KEY: _described(rule, record)})
    copied._stein_coefficient = rule
    return copied


def unstabilize(scheduler: Any) -> Any:
    """A copy of the scheduler with its plain class; a plain one is copied as it is.

    Raises:
        TypeError: not a scheduler of diffusers.
    """
    _plain_class(scheduler)
    return _plain_copy(scheduler)


@functools.cache
def stabilized_class(cls: type) -> type[Any]:
    """The subclass `Stein<Name>` of a scheduler class. Raises as `stabilize` does."""
    if isinstance(cls, type) and issubclass(cls, Stabilized):
        return cls
    reader = reader_for(cls)
    name = PREFIX + cls.__name__
    body = {
        "__module__": PACKAGE,
        "__qualname__": name,
        "__doc__": f"{cls.__name__}, its steps relaxed by a Stein coefficient.",
        "_stein_base": cls,
        "_stein_reader": reader,
        "step": _relaxed_step(cls, reader),
        "set_timesteps": _fresh_timesteps(cls, reader),
    }
    if hasattr(cls, "batch_step_no_noise"):
        body["batch_step_no_noise"] = _refuse_batch_step
    _GENERATED[name] = type(name, (Stabilized, cls), body)
    return _GENERATED[name]


def generated_class(name: str) -> type:
    """The generated class of that name, for who imports it by name (pickles, saved pipelines).

    Raises:
        AttributeError: not the name of one.
    """
    if name in _GENERATED:
        return _GENERATED[name]
    import diffusers

    base = getattr(diffusers, name.removeprefix(PREFIX), None) if name.startswith(PREFIX) else None
    if not (isinstance(base, type) and issubclass(base, SchedulerMixin)):
        raise AttributeError(
            f"module {PACKAGE!r} has no attribute {name!r}; a scheduler class of your own is found "
            "here by name once stabilized_class(YourScheduler) was called"
        )
    try:
        return stabilized_class(base)
    except ValueError as error:
        raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}: {error}") from error


def _relaxed_step(cls: Any, reader: Reader) -> Callable[..., Any]:
    upstream = cls.step
    signature = inspect.signature(upstream)

    @functools.wraps(upstream)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        reader.check_arguments(bound.arguments)
        before = reader.before(self)
        result = upstream(self, *args, **kwargs)
        return self._stein_step(Call(bound.arguments, result, before))

    return step


def _fresh_timesteps(cls: Any, reader: Reader) -> Callable[..., Any]:
    upstream = cls.set_timesteps

    @functools.wraps(upstream)
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
        reader.check_config(self.config)
        self._stein_relaxation = self._stein_opening = None
        return upstream(self, *args, **kwargs)

    return set_timesteps


def _refuse_batch_step(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise ValueError(
        "batch_step_no_noise makes all steps of a trajectory at once; a relaxation follows one "
        "step after the other: use the plain scheduler, or `step`"
    )


def _with_sample(result: Any, sample: Tensor) -> Any:
    if isinstance(result, tuple):
        return (sample, *result[1:])
    result.prev_sample = sample
    return result


def _plain_class(scheduler: Any) -> type:
    cls = type(scheduler)
    if not issubclass(cls, SchedulerMixin):
        raise TypeError(f"scheduler is a {cls.__name__}; a diffusers scheduler is needed")
    return cls._stein_base if issubclass(cls, Stabilized) else cls


def _plain_copy(scheduler: Any) -> Any:
    copied = copy.deepcopy(scheduler)
    copied.__class__ = _plain_class(scheduler)
    for name in [name for name in copied.__dict__ if name.startswith(KEY)]:
        del copied.__dict__[name]
    kept = {key: value for key, value in copied.config.items() if key != KEY}
    copied._internal_dict = FrozenDict(kept)
    return copied


def _restore(base: type, state: dict[str, Any]) -> Any:
    """What pickle and deepcopy rebuild: they need to find the plain class only."""
    cls = stabilized_class(base)
    restored = object.__new__(cls)
    restored.__dict__.update(state)
    return restored


def _described(rule: Coefficient, record: bool) -> dict[str, Any]:
    """As JSON holds it. A rule that is not registered is saved by a name that loading refuses."""
    names = {cls: name for name, cls in COEFFICIENTS.items()}
    name = names.get(type(rule), type(rule).__name__)
    return {"coefficient": name, "options": asdict(rule), "record": record}
