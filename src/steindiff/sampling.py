"""The one sampling loop."""

from __future__ import annotations

import contextlib
import html
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._errors import (
    A_FLOAT,
    COMPUTED,
    Watch,
    check_batch,
    check_callable,
    check_mapping,
    check_number,
    check_shape,
    shown,
)
from .composition import AUTO, choose, compose
from .denoisers import ClassifierFreeGuidance, Denoiser
from .denoisers.base import highest_known
from .recipes import Recipe, recipe
from .schedules import check_sigmas
from .solvers import Solver, resolve_solver
from .stein import Coefficient, Ended, Record, Relaxed, StepRecord, stack_records

_ROUNDING = 1e-3
"""Relative, of levels that are the same."""


class Progress(NamedTuple):
    """What a callback is told after each step.

    Attributes:
        step: index of the step, from 0.
        steps: how many steps there are.
        sigma: VE level that the step departed from.
        sigma_next: VE level that it arrived at.
        x: (B, *shape), the state at `sigma_next`.
        denoised: (B, *shape), the denoiser's output at `sigma`.
        record: the step's measurements when `record=True`.
    """

    step: int
    steps: int
    sigma: float
    sigma_next: float
    x: Tensor
    denoised: Tensor
    record: StepRecord | None


@dataclass(frozen=True)
class SampleResult:
    """What `sample` returns.

    Attributes:
        x: (B, *shape), the samples at the last level.
        nfe: how often the denoiser was called; a guided denoiser counts as one.
        trajectory: the states at every level, start and end included, when asked for.
        record: measurements of every step, when asked for.
        method: what made the steps: the solver, relaxed and ended as it was.
        sigmas: the levels that it visited.
    """

    x: Tensor
    nfe: int
    trajectory: tuple[Tensor, ...] | None = None
    record: Record | None = None
    method: Solver | None = None
    sigmas: tuple[float, ...] = ()

    def __repr__(self) -> str:
        x = self.x
        kept = [name for name in ("trajectory", "record") if getattr(self, name) is not None]
        return (
            f"SampleResult(x: {tuple(x.shape)} {x.dtype} on {x.device}, nfe={self.nfe}, "
            f"method={self.method}{''.join(f', {name}' for name in kept)})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the images, if they are some, and gamma where it was recorded."""
        from ._notebook import gamma_plot, image_grid

        plot = "" if self.record is None else gamma_plot(self.record.gamma)
        return f"<div><pre>{html.escape(repr(self))}</pre>{image_grid(self.x)}{plot}</div>"


def noise(
    shape: Sequence[int],
    sigma: float = 80.0,
    seeds: Iterable[int] = (0,),
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Starting states at noise level `sigma`, one generator a seed.

    Image k depends on seed k alone: neither on the other seeds nor on the device, nor on what
    dtype or device PyTorch is told to use by default.

    Args:
        shape: of one sample, without the batch dimension.
        sigma: standard deviation of the noise.
        seeds: one a sample.

    Returns:
        (len(seeds), *shape).

    Raises:
        ValueError: no seeds, one that is no integer of 64 bits, or a sigma that is not positive and
            finite, or too large for the dtype.
        TypeError: `dtype` is not a floating-point one of 16 bits or more.
    """
    if not isinstance(dtype, torch.dtype) or dtype not in COMPUTED:
        raise TypeError(f"dtype is {shown(dtype)}; {A_FLOAT}")
    if not 0 < check_number("sigma", sigma) < float("inf"):
        raise ValueError(f"sigma is {sigma!r}; a positive number is needed")
    sizes = check_shape("shape", shape)
    try:
        each = iter(seeds)
    except TypeError:
        raise TypeError(f"seeds is {shown(seeds)}; one integer a sample is needed") from None
    draws = [_drawn(sizes, seed) for seed in each]
    if not draws:
        raise ValueError("seeds is empty; one seed a sample is needed")
    made = (torch.stack(draws) * sigma).to(dtype)
    if not bool(made.isfinite().all()):
        raise ValueError(f"sigma is {sigma!r}; noise of that size is not finite in {dtype}")
    return made.to(device)


def _drawn(sizes: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal numbers, the same whatever the default dtype and device are."""
    try:
        generator = torch.Generator().manual_seed(operator.index(seed))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"seeds holds {seed!r}; integers from -2**63 to 2**64 - 1 are needed"
        ) from error
    return torch.randn(sizes, generator=generator, dtype=torch.float32, device="cpu")


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float] | None = None,
    solver: str | Solver = AUTO,
    coefficient: str | Coefficient | None = AUTO,
    *,
    end: str = AUTO,
    steps: int | Recipe | None = None,
    guidance: float | None = None,
    sigma_max: float = 80.0,
    conditioning: Mapping[str, Any] | None = None,
    return_trajectory: bool = False,
    record: bool = False,
    callback: Callable[[Progress], object] | None = None,
    progress: bool = False,
    grad: bool = False,
    strict: bool = True,
) -> SampleResult:
    """Integrates the probability-flow ODE from `sigmas[0]` to `sigmas[-1]`, relaxed or not.

    `sample(denoiser, x, steps=5)` chooses levels, solver, coefficient and end by itself, by
    `recipe`; whatever is given beside replaces that part of it.

    Args:
        denoiser: D(x, sigma, **conditioning), in VE coordinates. One that says its `sigma_max`, and
            not that it knows `pure_noise`, is not asked above it.
        x: (B, *shape), floating point: the start at `sigmas[0]`; see `noise`.
        sigmas: decreasing levels; there are len(sigmas) - 1 steps. Only the last may be 0.
        solver: a name of `SOLVERS`, a `Solver`, or "auto" for the recipe's.
        coefficient: a name of `COEFFICIENTS`, a `Coefficient`, "auto" for the recipe's, None or
            "none" for the plain solver.
        end: the step into sigma = 0, one of `ENDS`; "auto" is the recipe's where the steps are
            relaxed, and "none" where they are not.
        steps: how many model calls the recipe has, in place of `sigmas`; or the recipe itself,
            as `tune` gives it.
        guidance: the guidance scale that the recipe is for; left out, it is that of a
            `ClassifierFreeGuidance`, and 1 for any other denoiser.
        sigma_max: the level of `x` where `steps` is given.
        conditioning: keyword arguments for the denoiser, such as {"class_labels": labels}.
        return_trajectory: whether to keep the state at every level.
        record: whether to measure gamma, energies, kappa and j at every step.
        callback: called after every step with a `Progress`.
        progress: whether to show a progress bar on standard error.
        grad: whether to record gradients.
        strict: whether a NaN or an infinity in one sample ends them all. Else a warning names the
            sample and the others go on, as no sample depends on another.

    Returns:
        A `SampleResult`.

    Raises:
        ValueError: bad sigmas, names, shapes or conditioning, a start above what the denoiser
            knows, both or neither of `sigmas` and `steps`; each names the argument and value.
        TypeError: an argument, or the denoiser's output, of the wrong type or dtype.
        NonFiniteError: a NaN or an infinity, with the step where it appeared; unless `strict`, in
            all samples. On an accelerator it is raised at the end, so that no step waits for the
            device.
    """
    check_callable("denoiser", denoiser)
    if callback is not None:
        check_callable("callback", callback)
    given = check_mapping("conditioning", conditioning)
    check_batch(x, "x")
    levels, plan = _levels(denoiser, x, sigmas, steps, guidance, sigma_max)
    _check_reach(denoiser, x, levels[0])
    method = _method(solver, coefficient, end, record, plan, levels)
    bound = Bound(denoiser, x, given)
    watch = Watch(strict)
    watch.look("x", x, 0, levels[0])
    count = len(levels) - 1
    trajectory, records = [x], []
    with torch.set_grad_enabled(bool(grad)), _bar(progress, count) as advance:
        state = method.init(x, levels)
        for i, (sigma, sigma_next) in enumerate(itertools.pairwise(levels)):
            bound.step = i
            step = method.step(bound, x, sigma, sigma_next, state)
            # Into 0 a solver hands out D itself, which is the denoiser's.
            x, state = step.x.clone() if step.x is step.denoised else step.x, step.state
            watch.look("the denoiser's output", step.denoised, i, sigma)
            watch.look("the state after the step", x, i, sigma)
            measured = state.record if isinstance(method, Relaxed) else None
            if measured is not None:
                records.append(measured)
            if return_trajectory:
                trajectory.append(x)
            if callback is not None:
                callback(Progress(i, count, sigma, sigma_next, x, step.denoised, measured))
            advance()
    watch.report()
    return SampleResult(
        x,
        bound.calls,
        tuple(trajectory) if return_trajectory else None,
        stack_records(levels, records) if record else None,
        method,
        levels,
    )


def _levels(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float] | None,
    steps: int | Recipe | None,
    guidance: float | None,
    sigma_max: float,
) -> tuple[tuple[float, ...], Recipe | None]:
    """The levels to visit, and the recipe that they come from if they were not given."""
    if (sigmas is None) == (steps is None):
        given = "neither is" if sigmas is None else "both are"
        raise ValueError(f"one of sigmas and steps is needed; {given} given")
    if sigmas is not None:
        return check_sigmas(sigmas), None
    if not isinstance(steps, Recipe):
        if guidance is None:
            guidance = denoiser.scale if isinstance(denoiser, ClassifierFreeGuidance) else 1.0
        steps = recipe(steps, guidance, sigma_max)  # type: ignore[arg-type]
    else:
        _check_use(denoiser, steps, guidance)
    _check_start(x, steps.sigmas[0])
    return steps.sigmas, steps


def _check_reach(denoiser: Denoiser, x: Tensor, start: float) -> None:
    """Refuses a start that the dtype cannot hold, and one that the network was not made for, where
    it says so: it would answer as for its own highest level.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    if start > torch.finfo(dtype).max:
        raise ValueError(f"the sampling starts at sigma = {start:g}, which is infinite in {dtype}")
    known = highest_known(denoiser)
    if start > known * (1 + _ROUNDING):
        raise ValueError(
            f"the sampling starts at sigma = {start:g}, and the denoiser knows levels up to "
            f"{known:.6g}: pass sigma_max={known:.6g}, or such sigmas, and "
            f"noise(shape, sigma={known:.6g})"
        )


def _check_use(denoiser: Denoiser, plan: Recipe, guidance: float | None) -> None:
    """Refuses a recipe that was tuned for another guidance or network, where that can be seen."""
    if guidance is None and isinstance(denoiser, ClassifierFreeGuidance):
        guidance = denoiser.scale
    plan.check_guidance(guidance)
    plan.check_network(denoiser)


def _check_start(x: Tensor, sigma_max: float) -> None:
    """Refuses a start that can't be noise of `sigma_max`; taken on trust where looking waits."""
    if x.device.type != "cpu" or x.numel() < 16:
        return
    size = float(x.double().square().mean().sqrt())
    if math.isfinite(size) and not sigma_max / 4 < size < sigma_max * 4:
        raise ValueError(
            f"x has a root mean square of {size:.4g}, while a sampling by steps starts from noise "
            f"of sigma_max = {sigma_max:g}; tell the level of x as sigma_max, or make x with "
            f"noise(shape, sigma={sigma_max:g})"
        )


def _method(
    solver: str | Solver,
    coefficient: str | Coefficient | None,
    end: str,
    record: bool,
    plan: Recipe | None,
    levels: Sequence[float],
) -> Solver:
    """The solver that makes the steps: the base, its end, and the relaxation around both."""
    if solver == AUTO:
        solver = plan.solver if plan else recipe(len(levels) - 1).solver
    base = resolve_solver(solver)
    if isinstance(base, Relaxed):
        if coefficient not in (None, AUTO) or end not in (AUTO, "none"):
            raise ValueError("solver is relaxed already; coefficient and end belong to it")
        return replace(base, record=base.record or record)
    if isinstance(base, Ended) and end == AUTO:
        end = "none"
    rule, end = choose(coefficient, end, plan)
    return compose(base, rule, end if levels[-1] == 0 else "none", record)


class Bound:
    """The denoiser with its conditioning; counts its calls and checks what it returns.

    Nothing that a solver remembers may be written over: neither the state nor an earlier output.

    Attributes:
        calls: how often it was called.
        step: index of the step that errors name.
    """

    def __init__(self, denoiser: Denoiser, x: Tensor, conditioning: dict[str, Any]) -> None:
        self.denoiser, self.conditioning = denoiser, conditioning
        self.calls = self.step = 0
        self._last: Tensor | None = None
        self._written = 0
        check = getattr(denoiser, "check", None)
        if check is not None:
            check(x, **conditioning)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.calls += 1
        dtype = torch.promote_types(x.dtype, torch.float32)
        level = torch.full((len(x),), sigma, dtype=dtype, device=x.device)
        before = _version(x)
        denoised = self.denoiser(x, level, **self.conditioning)
        if _version(x) != before:
            raise ValueError(
                f"the denoiser changed its input at step {self.step}; a copy is needed"
            )
        if self._last is not None and _version(self._last) != self._written:
            raise ValueError(
                f"what the denoiser had returned was written over before step {self.step}; a new "
                "tensor is needed, into which nobody writes, a callback neither"
            )
        if not isinstance(denoised, Tensor):
            raise TypeError(
                f"the denoiser returned a {type(denoised).__name__} at step {self.step}; "
                "a tensor is needed"
            )
        for what in ("shape", "dtype", "device", "layout"):
            if getattr(denoised, what) != getattr(x, what):
                error = ValueError if what == "shape" else TypeError
                raise error(
                    f"the denoiser's output at step {self.step} has {what} "
                    f"{getattr(denoised, what)}; {getattr(x, what)}, that of x, is needed"
                )
        self._last, self._written = denoised, _version(denoised)
        return denoised


def _version(x: Tensor) -> int:
    """Counts what was written into `x`; not told of tensors made under `inference_mode`."""
    return 0 if x.is_inference() else x._version


@contextlib.contextmanager
def _bar(show: bool, steps: int) -> Any:
    """Yields a function to call after every step."""
    if not show:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task("sampling", total=steps)
        yield lambda: bar.advance(task)
