"""The solvers as k-diffusion's samplers: eleven functions of one protocol."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Literal, Protocol

from torch import Tensor

from ..._errors import check_callable, check_mapping
from ...composition import AUTO, choose
from ...sampling import Progress, sample
from ...solvers import SOLVERS, Solver, resolve_solver
from ...solvers.adams import EvenSteps
from ...stein import Coefficient, Constant
from .flow import FlowRelaxed, check_levels, without_repeats

Model = Callable[..., Tensor]
"""model(x, sigma (B,), **extra_args) -> denoised (B, *shape), the estimate of x0."""

Callback = Callable[[dict[str, Any]], object]


class Sampler(Protocol):
    """What the functions of this module are."""

    __name__: str

    def __call__(
        self,
        model: Model,
        x: Tensor,
        sigmas: Tensor | Sequence[float],
        extra_args: Mapping[str, Any] | None = None,
        callback: Callback | None = None,
        disable: bool | None = None,
        *,
        coefficient: str | Coefficient | None = AUTO,
        end: str = AUTO,
        coefficient_options: Mapping[str, Any] | None = None,
        coordinates: Literal["ve", "flow"] = "ve",
        **options: Any,
    ) -> Tensor: ...


_DOC = """k-diffusion sampler: {cls}, its steps relaxed by a Stein coefficient.

With coefficient=None it is the plain solver. The levels are the caller's: they are kept as given.

Args:
    model: model(x, sigma, **extra_args) -> denoised, sigma (B,) in the dtype of x.
    x: (B, *shape), the start at sigmas[0]. It is not changed.
    sigmas: decreasing levels; only the last may be 0. One level alone is no step, nor is one that
        repeats the level before it: such steps are left out.
    extra_args: keyword arguments for the model.
    callback: called once a step is made, with a dict of x (the state that the step departed from),
        i, sigma and sigma_hat (sigmas[i] both), denoised (D of x) and gamma (B,), 1 where the step
        was left as it is.
    disable: as tqdm's: True for no bar, None for none where there is no terminal.
    coefficient: a name of `steindiff.stein.COEFFICIENTS`, a `Coefficient`, "auto" for
        `steindiff.recipes.COEFFICIENT`, or None.
    end: the step into 0, one of `steindiff.stein.ENDS`; "auto" is `steindiff.recipes.END`, and
        "none" where there is no coefficient.
    coefficient_options: of a coefficient that is named, or to replace some of "auto", such as
        {{"trust": 0.2}}.
    coordinates: "ve", x = x0 + sigma eps; or "flow", x = (1 - sigma) x0 + sigma eps, sigma from 1
        (pure noise) to 0, where the model returns x0 all the same.
    **options: of the solver: {options}. See `steindiff.solvers.{cls}`. With coordinates="flow" the
        `variable` of a solver that has one is "flow".

Returns:
    (B, *shape), in the dtype of x, whatever the dtype of what the model returns.

Raises:
    ValueError: bad sigmas, an unknown name or option, a model's output of another shape.
    TypeError: an argument, or the model's output, of the wrong type.
    NonFiniteError: a NaN or an infinity in all samples, with its step; at once on the CPU, else at
        the end. In some of them it is a RuntimeWarning that names them, and the others go on.
    ImportError: a bar is wanted and tqdm is missing.
"""


def _sampler(name: str) -> Sampler:
    """The sampler of the solver with that name."""

    def sample_stein(
        model: Model,
        x: Tensor,
        sigmas: Tensor | Sequence[float],
        extra_args: Mapping[str, Any] | None = None,
        callback: Callback | None = None,
        disable: bool | None = None,
        *,
        coefficient: str | Coefficient | None = AUTO,
        end: str = AUTO,
        coefficient_options: Mapping[str, Any] | None = None,
        coordinates: Literal["ve", "flow"] = "ve",
        **options: Any,
    ) -> Tensor:
        if coordinates == "flow" and issubclass(SOLVERS[name], EvenSteps):
            options = {"variable": "flow", **options}  # that in which a flow's steps are even
        solver = resolve_solver(name, **options)
        given = check_mapping("coefficient_options", coefficient_options)
        rule, end = choose(coefficient, end, **given)
        sigmas, values = without_repeats(sigmas)
        if len(sigmas) == 1:
            return x
        levels = check_levels(values, coordinates)
        return follow_levels(
            model, x, sigmas, levels, solver, rule, end, coordinates, extra_args, callback, disable
        )

    return _named(sample_stein, name)


def follow_levels(
    model: Model, x: Tensor, sigmas: Tensor | Sequence[float], levels: Sequence[float],
    solver: Solver, rule: Coefficient | None, end: str, coordinates: str,
    extra_args: Mapping[str, Any] | None, callback: Callback | None, disable: bool | None,
) -> Tensor:  # fmt: skip
    """Samples by k-diffusion's protocol, everything chosen and checked.

    Args:
        sigmas: what the callback is told of `levels`.
        levels: in these coordinates, as floats.

    The others are as the samplers take them.
    """
    check_callable("model", model)
    if callback is not None:
        check_callable("callback", callback)
    given = check_mapping("extra_args", extra_args)
    if coordinates == "flow":
        solver, rule = FlowRelaxed.of(solver, rule or Constant(1.0), end), None
        end = "none"  # it is in the solver
    with _bar(len(levels) - 1, disable) as advance:
        follow = _Follow(x, sigmas, callback, advance)
        denoiser = _denoiser(model, given)
        return sample(
            denoiser, x, levels, solver, rule, end=end, callback=follow,
            record=callback is not None, strict=False,
        ).x  # fmt: skip


def _named(function: Any, name: str) -> Sampler:
    """With the name, the documentation and the options of the solver."""
    cls = SOLVERS[name]
    function.__name__ = function.__qualname__ = f"sample_stein_{name}"
    signature = inspect.signature(function)
    options = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
        for field in fields(cls)
    ]
    shared = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    function.__signature__ = signature.replace(parameters=[*shared, *options])
    function.__doc__ = _DOC.format(
        cls=cls.__name__,
        options=", ".join(f"{option.name}={option.default!r}" for option in options) or "none",
    )
    function.relaxes_itself = True
    return function


def _denoiser(model: Model, extra_args: Mapping[str, Any]) -> Callable[[Tensor, Tensor], Any]:
    """The model as the core calls it, in the one dtype of x.

    The level goes in that dtype too: models multiply x by functions of it, and would hand a network
    in half precision float32 otherwise.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Any:
        denoised = model(x, sigma.to(x.dtype), **extra_args)
        return denoised.to(x.dtype) if isinstance(denoised, Tensor) else denoised

    return denoise


class _Follow:
    """Tells a k-diffusion callback of every step."""

    def __init__(
        self,
        x: Tensor,
        sigmas: Tensor | Sequence[float],
        callback: Callback | None,
        advance: Callable[[], object],
    ) -> None:
        self.x, self.sigmas, self.callback, self.advance = x, sigmas, callback, advance

    def __call__(self, progress: Progress) -> None:
        departed, self.x = self.x, progress.x
        if self.callback is not None and progress.record is not None:
            sigma = self.sigmas[progress.step]
            self.callback(
                {
                    "x": departed,
                    "i": progress.step,
                    "sigma": sigma,
                    "sigma_hat": sigma,
                    "denoised": progress.denoised,
                    "gamma": progress.record.gamma,
                }
            )
        self.advance()


@contextmanager
def _bar(steps: int, disable: bool | None) -> Iterator[Callable[[], object]]:
    """k-diffusion's progress bar; yields what moves it on."""
    if disable:
        yield lambda: None
        return
    try:
        from tqdm.auto import trange
    except ImportError as error:
        raise ImportError(
            "the progress bar needs tqdm: pip install 'steindiff[k-diffusion]', or disable=True"
        ) from error
    with trange(steps, disable=disable) as bar:
        yield bar.update


sample_stein_euler = _sampler("euler")
"""The solver `Euler`, relaxed; called as a `Sampler`."""
sample_stein_heun = _sampler("heun")
"""The solver `Heun`, relaxed; called as a `Sampler`."""
sample_stein_dpmpp_2m = _sampler("dpmpp_2m")
"""The solver `DPMpp2M`, relaxed; called as a `Sampler`."""
sample_stein_dpmpp_3m = _sampler("dpmpp_3m")
"""The solver `DPMpp3M`, relaxed; called as a `Sampler`."""
sample_stein_ipndm = _sampler("ipndm")
"""The solver `IPNDM`, relaxed; called as a `Sampler`."""
sample_stein_deis = _sampler("deis")
"""The solver `DEIS`, relaxed; called as a `Sampler`."""
sample_stein_unipc = _sampler("unipc")
"""The solver `UniPC`, relaxed; called as a `Sampler`."""
sample_stein_res_multistep = _sampler("res_multistep")
"""The solver `ResMultistep`, relaxed; called as a `Sampler`."""
sample_stein_res_2s = _sampler("res_2s")
"""The solver `Res2S`, relaxed; called as a `Sampler`."""
sample_stein_gradient_estimation = _sampler("gradient_estimation")
"""The solver `GradientEstimation`, relaxed; called as a `Sampler`."""
sample_stein_power = _sampler("power")
"""The solver `PowerMultistep`, relaxed; called as a `Sampler`."""

SAMPLERS: dict[str, Sampler] = {
    sampler.__name__: sampler
    for sampler in (
        sample_stein_euler,
        sample_stein_heun,
        sample_stein_dpmpp_2m,
        sample_stein_dpmpp_3m,
        sample_stein_ipndm,
        sample_stein_deis,
        sample_stein_unipc,
        sample_stein_res_multistep,
        sample_stein_res_2s,
        sample_stein_gradient_estimation,
        sample_stein_power,
    )
}
"""The samplers by their names."""
