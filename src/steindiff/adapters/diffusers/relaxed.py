"""Subclasses of diffusers' schedulers whose steps are relaxed."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar

from diffusers.configuration_utils import FrozenDict
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

from ...composition import AUTO, choose
from ...levels import NoiseLevel
from ...solvers.base import Step
from ...stein import COEFFICIENTS, Coefficient, Constant, Record
from ..relaxation import Relaxation, WholeStep
from .readers import Reader, StepCall
from .stein_scheduler import SteinScheduler
from .support import reader_for
from .turns import LOCK, Turns

PREFIX = "Stein"
PACKAGE = __name__.rpartition(".")[0]
KEY = "_stein"
"""Where the config holds coefficient and end: diffusers hands on keys with an underscore."""

_REPLACED = "replaced_scheduler"
"""Where a `SteinScheduler` that was put in another's place keeps that one."""

_GENERATED: dict[str, type] = {}


class RelaxedScheduler:
    """What the generated classes have in common, before their scheduler class.

    Attributes:
        stein_record: measurements of every step of the sampling, when asked for.
    """

    _stein_base: ClassVar[type[Any]]
    _stein_reader: ClassVar[Reader]
    _stein_coefficient: Coefficient | None = None
    _stein_relaxation: Relaxation | None = None
    _stein_opening: tuple[Step, NoiseLevel] | None = None
    _stein_turns: Turns | None = None
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

    def __copy__(self) -> Any:
        """Shares tensors with the original, but nothing that either writes down while sampling."""
        # Upstream writes past outputs into lists.
        lists = {name: [*kept] for name, kept in self.__dict__.items() if isinstance(kept, list)}
        copied = _restore(self._stein_base, {**self.__dict__, **lists})
        copied.__dict__.pop("_stein_numbers", None)
        copied._stein_relaxation = copy.deepcopy(self._stein_relaxation)
        copied._stein_turns = copy.copy(self._stein_turns)
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restore, (self._stein_base, dict(self.__dict__))

    def _stein_relaxing(self) -> Relaxation:
        if self._stein_relaxation is None:
            kept: dict[str, Any] = self.config.get(KEY) or {}
            rule, end = self._stein_coefficient, kept.get("end", AUTO)
            options: dict[str, Any] = kept.get("options", {}) if rule is None else {}  # if loaded
            rule, end = choose(rule or kept.get("coefficient", AUTO), end, **options)
            assert rule is not None
            self._stein_relaxation = Relaxation(rule, end, bool(kept.get("record")))
        return self._stein_relaxation

    def _stein_turn(self, timestep: Any, sample: Tensor) -> Turns:
        """Raises ValueError where it is another sampling's."""
        if self._stein_turns is None:
            self._stein_turns = Turns()
        self._stein_turns.check(self, timestep, sample)
        return self._stein_turns

    def _stein_step(self, call: StepCall) -> Any:
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
        move = WholeStep(
            step,
            level,
            place.level_next,
            place.ahead,
            reader.first_order(self),
        )
        relaxed = self._stein_relaxing()(move)
        reader.replace(self, move, relaxed)
        return _with_sample(call.result, relaxed)


def relax(
    thing: Any,
    coefficient: str | Coefficient | None = AUTO,
    end: str = AUTO,
    *,
    solver: str | None = None,
    record: bool = False,
    **options: Any,
) -> Any:
    """A pipeline of diffusers, or a scheduler, with relaxed steps: `relax(pipe)`.

    Its steps and levels stay the scheduler's own, unless a `solver` is chosen.

    The relaxed scheduler's class is a generated subclass of the scheduler's own, so that pipelines
    take it for what it was; saved with a pipeline it is loaded again as it is. It makes no model
    call and does not wait for the device.

    Args:
        thing: a pipeline, or any deterministic scheduler (`SUPPORTED`), or a subclass of one; one
            that is relaxed already gets the new coefficient.
        coefficient: a name of `steindiff.stein.COEFFICIENTS`, a `Coefficient`, "auto" for
            `steindiff.recipes.COEFFICIENT`, or "none" (None) for the plain scheduler, which is
            relaxed no longer.
        end: the step into sigma = 0, one of `steindiff.stein.ENDS`; "auto" is
            `steindiff.recipes.END`, and "none" where there is no coefficient. It acts where the
            scheduler ends at 0 by a step of first order.
        solver: None for the scheduler's own steps. A name of `steindiff.solvers.SOLVERS` puts a
            `SteinScheduler` in the scheduler's place, with its levels; "auto" does so with UniPC of
            order 2, for a VP model on levels that are uniform in log-SNR; a UniPC on flow levels
            (Wan's) is kept.
        record: whether to measure every step, for `stein_record`.
        **options: of a coefficient that is named, or to replace some of "auto", such as trust=0.2.

    Returns:
        The pipeline, its scheduler replaced by the relaxed one; or a relaxed copy of the scheduler,
        which is itself left as it is.

    Raises:
        TypeError: neither a pipeline nor a scheduler; not a coefficient.
        ValueError: a class or a setting whose steps cannot be relaxed, with the reason; an unknown
            name or option; a coefficient that would have to call the model.
    """
    rule, end = choose(coefficient, end, **options)
    if rule is None and (record or end != "none"):
        rule = Constant(1.0)  # the plain steps, measured or ended
    if rule is not None:
        Relaxation(rule, end, record)  # refuses what cannot be used here, before anything is made
    if solver is not None:
        return _exchange(thing, lambda scheduler: _solved(scheduler, solver, rule, end, record))
    return _exchange(thing, lambda scheduler: _relaxed(scheduler, rule, end, record))


def unrelax(thing: Any) -> Any:
    """A pipeline or a scheduler as it was before `relax`; a plain scheduler is copied as it is.

    Returns:
        The pipeline, its scheduler replaced by the plain one; or a copy of the scheduler with its
        plain class.

    Raises:
        TypeError: neither a pipeline nor a scheduler of diffusers.
    """
    return _exchange(thing, _plain_copy)


def _exchange(thing: Any, change: Callable[[Any], Any]) -> Any:
    """The changed scheduler, or the pipeline with its own changed."""
    if isinstance(thing, SchedulerMixin):
        return change(thing)
    if not isinstance(getattr(thing, "scheduler", None), SchedulerMixin):
        raise TypeError(
            f"a {type(thing).__name__} is given; a pipeline or a scheduler of diffusers is needed"
        )
    thing.scheduler = change(thing.scheduler)
    return thing


def _relaxed(scheduler: Any, rule: Coefficient | None, end: str, record: bool) -> Any:
    """A copy of the scheduler with that rule and end; no rule is the plain one."""
    copied = _plain_copy(scheduler)
    if rule is None:
        return copied
    cls = relaxed_class(type(copied))
    cls._stein_reader.check_config(copied.config)
    copied.__class__ = cls
    copied.register_to_config(**{KEY: _described(rule, end, record)})
    copied._stein_coefficient = rule
    return copied


def _solved(scheduler: Any, solver: str, rule: Coefficient | None, end: str, record: bool) -> Any:
    """A `SteinScheduler` for the scheduler's model, which remembers whose place it takes."""
    plain = _plain_copy(scheduler)
    config: Any = plain.config
    flow_unipc = isinstance(plain, UniPCMultistepScheduler) and config["use_flow_sigmas"]
    if solver == AUTO and flow_unipc and config["solver_order"] <= 2:
        return _relaxed(plain, rule, end, record)
    chosen: dict[str, Any] = {"solver": solver}
    if solver == AUTO:
        chosen = {"solver": "unipc", "solver_options": {"order": 2}}
        if SteinScheduler.from_scheduler(plain).config["model"] == "vp":
            chosen["schedule"] = "log_snr"
    told = {"coefficient": None, "options": {}} if rule is None else _described(rule, end, record)
    found = SteinScheduler.from_scheduler(
        plain,
        coefficient=told["coefficient"],
        coefficient_options=told["options"],
        end=end,
        record=record,
        **chosen,
    )
    setattr(found, _REPLACED, plain)
    return found


@functools.cache
def relaxed_class(cls: type) -> type[Any]:
    """The subclass `Stein<Name>` of a scheduler class. Raises as `relax` does."""
    if isinstance(cls, type) and issubclass(cls, RelaxedScheduler):
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
    scale = inspect.signature(getattr(cls, "scale_model_input", _no_scale)).parameters
    if "timestep" in scale and scale["timestep"].default is inspect.Parameter.empty:
        body["scale_model_input"] = _own_input(cls)
    if hasattr(cls, "batch_step_no_noise"):
        body["batch_step_no_noise"] = _refuse_batch_step
    _GENERATED[name] = type(name, (RelaxedScheduler, cls), body)
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
            "here by name once relaxed_class(YourScheduler) was called"
        )
    try:
        return relaxed_class(base)
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
        with LOCK:
            timestep, sample = bound.arguments["timestep"], bound.arguments["sample"]
            turns = self._stein_turn(timestep, sample)
            before = reader.before(self)
            result = upstream(self, *args, **kwargs)
            relaxed = self._stein_step(StepCall(bound.arguments, result, before))
            turns.made(timestep, relaxed[0])
        return relaxed

    return step


def _own_input(cls: Any) -> Callable[..., Any]:
    """`scale_model_input` where it goes by the timestep and so may set the step index."""
    upstream = cls.scale_model_input

    @functools.wraps(upstream)
    def scale_model_input(self: Any, sample: Tensor, timestep: Any) -> Tensor:
        with LOCK:
            self._stein_turn(timestep, sample)
            return upstream(self, sample, timestep)

    return scale_model_input


def _no_scale(sample: Tensor) -> Tensor:
    return sample


def _fresh_timesteps(cls: Any, reader: Reader) -> Callable[..., Any]:
    upstream = cls.set_timesteps

    @functools.wraps(upstream)
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
        reader.check_config(self.config)
        with LOCK:
            self._stein_relaxation, self._stein_opening, self._stein_turns = None, None, Turns()
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
    return cls._stein_base if issubclass(cls, RelaxedScheduler) else cls


def _plain_copy(scheduler: Any) -> Any:
    scheduler = getattr(scheduler, _REPLACED, scheduler)
    copied = copy.deepcopy(scheduler)
    copied.__class__ = _plain_class(scheduler)
    for name in [name for name in copied.__dict__ if name.startswith(KEY)]:
        del copied.__dict__[name]
    kept = {key: value for key, value in copied.config.items() if key != KEY}
    copied._internal_dict = FrozenDict(kept)
    return copied


def _restore(base: type, state: dict[str, Any]) -> Any:
    """What pickle and deepcopy rebuild: they need to find the plain class only."""
    cls = relaxed_class(base)
    restored = object.__new__(cls)
    restored.__dict__.update(state)
    return restored


def _described(rule: Coefficient, end: str, record: bool) -> dict[str, Any]:
    """As JSON holds it. A rule that is not registered is saved by a name that loading refuses."""
    names = {cls: name for name, cls in COEFFICIENTS.items()}
    name = names.get(type(rule), type(rule).__name__)
    return {"coefficient": name, "options": asdict(rule), "end": end, "record": record}
