"""Relaxes a k-diffusion sampler of someone else's, through its calls of the model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..._errors import check_batch, check_callable, check_mapping, check_values
from ...composition import AUTO, choose
from ...levels import NoiseLevel
from ...solvers import Step
from ...stein import Ahead, Coefficient, Constant, Record
from ..coordinates import finite_ve
from ..relaxation import Relaxation, WholeStep
from .calls import ModelCalls, refusal
from .check import check_sampler, ends_in_denoised
from .flow import check_levels, level_of, without_repeats

_PROTOCOL = ("sigmas", "extra_args", "callback", "disable")


def relax(
    sampler: Callable[..., Tensor],
    coefficient: str | Coefficient | None = AUTO,
    end: str = AUTO,
    coordinates: Literal["ve", "flow"] = "ve",
    report: Callable[[Record], object] | None = None,
    **options: Any,
) -> Callable[..., Tensor]:
    """`sampler` with its steps relaxed: a k-diffusion sampler that takes what `sampler` takes.

    At each call of the model but the first, the state that the sampler passes is what its last step
    proposes. It is relaxed in place before the model sees it, and the sampler goes on from there.
    The last step is not relaxed; where it goes into 0 and gives D itself, `end` takes its place.
    The levels are the caller's. It makes no further model call.

    This needs a sampler that calls the model once at each level and goes on from the very tensor
    that it passes. Before every run, each sampler is put to the test, with the levels and arguments
    of the run but on a few numbers and without the model (`check.check_sampler`): nothing is
    assumed from a name. The sampler's own callback is left as it is.

    Args:
        sampler: (model, x, sigmas, extra_args=None, callback=None, disable=None, **its options).
        coefficient: a name of `steindiff.stein.COEFFICIENTS`, a `Coefficient` that does not call
            the model, or "auto" for `steindiff.recipes.COEFFICIENT`; with "none" (None) and no end
            the sampler is given back as it is.
        end: the step into 0, one of `steindiff.stein.ENDS`; "auto" is `steindiff.recipes.END`, and
            "none" where there is no coefficient.
        coordinates: those of the state, "ve" or "flow", as for `sample_stein_euler`.
        report: called after each run with what was measured of its steps.
        **options: of a coefficient that is named, or to replace some of "auto", such as trust=0.2.

    Returns:
        The relaxed sampler. It raises ValueError, before the model is called, for a sampler that
        calls the model several times a step (Heun), beside its levels (DPM-Solver-2), adds noise
        (ancestral, SDE, s_churn > 0) or corrects from a state of its own (UniPC), and names what to
        use instead. On the CPU it warns of a sample that is not finite, by its number and step, and
        goes on with the others; it raises NonFiniteError where none is left.

    Raises:
        TypeError: not a function, or not a coefficient.
        ValueError: a sampler of another protocol, or one that is relaxed already; an unknown name
            or option; a coefficient that calls the model.
    """
    rule, end = choose(coefficient, end, **options)
    check_levels((1.0, 0.0), coordinates)
    name = _check_protocol(sampler)
    if rule is None and end == "none" and report is None:
        return sampler
    rule = rule or Constant(1.0)
    Relaxation(rule, end)  # refuses what cannot be used here

    @functools.wraps(sampler)
    def sample(
        model: Any,
        x: Tensor,
        sigmas: Tensor | Sequence[float],
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        disable: bool | None = None,
        **kwargs: Any,
    ) -> Tensor:
        check_callable("model", model)
        check_values("x", check_batch(x))
        check_mapping("extra_args", extra_args)
        sigmas, values = without_repeats(sigmas)
        if len(sigmas) == 1:
            return x
        levels = check_levels(values, coordinates)
        kwargs["extra_args"] = extra_args
        with torch.no_grad():
            quiet = {**kwargs, "callback": None, "disable": True}
            run = (sampler, name, model, x, sigmas, levels, quiet)
            check_sampler(*run)
            plainly = end != "none" and levels[-1] == 0 and ends_in_denoised(*run)
            places = [level_of(sigma, coordinates) for sigma in levels]
            relaxation = Relaxation(rule, end, record=report is not None, strict=False)
            calls = _RelaxingCalls(name, model, x, levels, places, relaxation, plainly)
            final = sampler(calls, x.clone(), sigmas, callback=callback, disable=disable, **kwargs)
            result = calls.close(final)
        if report is not None:
            report(relaxation.record())
        return result

    vars(sample)["relaxes_itself"] = True
    return sample


class _RelaxingCalls(ModelCalls):
    """The model, called on relaxed states."""

    def __init__(
        self,
        name: str,
        model: Any,
        x: Tensor,
        levels: Sequence[float],
        places: Sequence[NoiseLevel],
        relaxation: Relaxation,
        first_order: bool = True,
    ) -> None:
        super().__init__(name, model, x.shape, levels, wait=x.device.type == "cpu")
        self.places, self.relaxation, self.first_order = places, relaxation, first_order
        self.opening: tuple[Tensor, Tensor] | None = None

    def respond(self, x: Tensor, sigma: Any, kwargs: dict[str, Any]) -> Tensor:
        if self.opening is not None:
            x.copy_(self._relaxed(x, self.calls - 2))
        denoised = _checked(self.model(x, sigma, **kwargs), x)
        # Copies: what the sampler does with its own tensors later is its own matter.
        self.opening = x.clone(), denoised.clone()
        return denoised

    def close(self, end: Tensor) -> Tensor:
        """The sampler's result, when all calls were as they have to be."""
        self.finish(end)
        return self._relaxed(end, self.steps - 1)

    def _relaxed(self, candidate: Tensor, index: int) -> Tensor:
        """What takes the place of the candidate that step `index` arrived at."""
        assert self.opening is not None
        # A sampler may go on in a wider dtype than it began in, that of its levels.
        start, denoised = (tensor.to(candidate.dtype) for tensor in self.opening)
        step = Step(candidate, denoised, None, start)
        level, after = self.places[index : index + 2]
        last, end = map(finite_ve, self.places[-2:])
        ahead = Ahead(self.steps - index, end, last)
        return self.relaxation(WholeStep(step, level, after, ahead, self.first_order))


def _check_protocol(sampler: Any) -> str:
    """The sampler's name, if it takes what a k-diffusion sampler takes and is plain."""
    if not callable(sampler):
        raise TypeError(f"sampler is {sampler!r}; a k-diffusion sampler function is needed")
    plain = getattr(sampler, "func", sampler)  # of a functools.partial
    name = getattr(plain, "__name__", type(plain).__name__)
    if getattr(plain, "relaxes_itself", False):
        raise ValueError(f"{name} relaxes its own steps; set its coefficient instead")
    parameters = inspect.signature(sampler).parameters
    missing = [argument for argument in _PROTOCOL if argument not in parameters]
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        missing = [argument for argument in missing if argument == "sigmas"]
    if missing:
        raise refusal(name, f"has no argument {missing[0]!r}, which a sampler relaxed here needs")
    return name


def _checked(denoised: Any, x: Tensor) -> Tensor:
    """The model's output in the dtype of `x`, if it is of its shape."""
    if not isinstance(denoised, Tensor):
        raise TypeError(f"the model returned a {type(denoised).__name__}; a tensor is needed")
    if denoised.shape != x.shape:
        raise ValueError(
            f"the model's output has shape {tuple(denoised.shape)}; {tuple(x.shape)}, that of x, "
            "is needed"
        )
    return denoised.to(x.dtype)
