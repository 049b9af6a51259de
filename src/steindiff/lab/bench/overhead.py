"""What relaxing costs: time, operations, waits for the device, memory; and what would pay more.

A step of a sampling has three parts, each measured by itself:

    model       a call of the denoiser, times the calls of a step
    solver      a sampling whose denoiser hands out the stored outputs of an earlier one, so that
                what is left is the solver's arithmetic and the checks of the sampling loop
    relaxation  the same with relaxation, less the part before

so that the cost of relaxing is no difference of two long and noisy times. Everything that is
compared is run in turn, in an order that reverses from round to round: a machine whose speed drifts
slows both. Figures of a step are those of a whole sampling over its number of steps, the last one,
which is never relaxed, included.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import os
import statistics
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ... import sampling, schedules
from ..._provenance import machine, versions
from ...denoisers import Denoiser
from ...solvers import SOLVERS, Solver, resolve_solver
from ...stein import Coefficient, Decision, Proposal, Relaxed, resolve_coefficient

WAITING = frozenset({"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal"})
"""ATen operations that make the host wait for the device (or would, were there one)."""

REPLAYS = 10
"""Rounds of the samplings without a model for each one with it: they are short, hence noisy."""

Call = Callable[[], object]


# --- time --------------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def interleaved(
    cases: Mapping[str, Call], runs: int, device: torch.device | str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of each of `runs` runs of every case, run in turn; one round before warms up.

    The order reverses from round to round: no case is always the one after the longest.
    On CUDA a time goes from an idle device to an idle device.

    Raises:
        ValueError: runs < 1.
    """
    if runs < 1:
        raise ValueError(f"runs is {runs}; at least 1 is needed")
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    for run in range(runs + 1):
        names = list(cases) if run % 2 else list(cases)[::-1]
        for name in names:
            wait()
            began = time.perf_counter()
            cases[name]()
            wait()
            if run:
                seconds[name].append(time.perf_counter() - began)
    return seconds


# --- operations and memory -----------------------------------------------------------------------


@dataclass(frozen=True)
class Usage:
    """What `metered` saw.

    Attributes:
        operations: dispatched ATen operations that compute, which is those that launch a kernel on
            a device (some launch several). Views are not among them.
        views: operations that only look at memory another way.
        waits: operations that read a value back to the host, `WAITING`.
        peak_bytes: most bytes of tensors alive at once, above those alive at the start. Memory
            inside of an operation is not seen.
    """

    operations: int
    views: int
    waits: int
    peak_bytes: int


class _Meter(TorchDispatchMode):
    """Counts operations and follows the storages that they make, from birth to death."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.views = self.waits = self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        aliases = [argument.alias_info for argument in func._schema.arguments]
        if any(alias is not None and not alias.is_write for alias in aliases):
            self.views += 1
            return out
        self.operations += 1
        self.waits += func.overloadpacket.__name__ in WAITING
        if not func._schema.is_mutable:
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    self._born(leaf.untyped_storage())
        return out

    def _born(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._died, key, size).atexit = False

    def _died(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def metered(call: Call) -> Usage:
    """Runs `call` and counts. The counts depend on the code alone: they repeat exactly."""
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle would move the peak
    try:
        with _Meter() as meter:
            call()
    finally:
        if collecting:
            gc.enable()
    return Usage(meter.operations, meter.views, meter.waits, meter.peak)


def cuda_usage(call: Call) -> dict[str, int]:
    """Kernels launched by `call`, and the peak of the allocator above its level at the start."""
    from torch.profiler import ProfilerActivity, profile

    call()  # what is loaded or tuned at the first call is no part of it
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        call()
        torch.cuda.synchronize()
    kernels = sum(
        event.device_type.name == "CUDA" and not event.name.startswith(("Memcpy", "Memset"))
        for event in profiler.events() or ()
    )
    return {"kernels": kernels, "peak_bytes": peak}


def tensors_of(value: object) -> Iterator[Tensor]:
    """All tensors in a state: tuples, lists, mappings and dataclasses are looked into."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_of(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_of(getattr(value, field.name))


def state_bytes(relaxed: Relaxed, denoiser: Any, x: Tensor, sigmas: Sequence[float]) -> int:
    """Most bytes that the state of `relaxed` holds between two steps beyond its solver's state."""
    most = 0
    for state in _states(relaxed, denoiser, x, sigmas):
        own = {t.untyped_storage()._cdata: t.nbytes for t in tensors_of(state)}
        for tensor in tensors_of(state.solver):
            own.pop(tensor.untyped_storage()._cdata, None)
        most = max(most, sum(own.values()))
    return most


def _states(solver: Solver, denoiser: Any, x: Tensor, sigmas: Sequence[float]) -> Iterator[Any]:
    """The solver's states, without the checks of the sampling loop, which read values back."""
    state = solver.init(x, sigmas)
    yield state
    for sigma, sigma_next in itertools.pairwise(sigmas):
        step = solver.step(denoiser, x, sigma, sigma_next, state)
        x, state = step.x, step.state
        yield state


def waits(solver: Solver, denoiser: Any, x: Tensor, sigmas: Sequence[float]) -> int:
    """How often the steps of a solver read a value back to the host.

    On CUDA the first time is an error of torch's own check (`torch.cuda.set_sync_debug_mode`),
    which is given as 1; elsewhere the operations that would wait are counted.
    """

    def run() -> None:
        with torch.no_grad():
            for _ in _states(solver, denoiser, x, sigmas):
                pass

    if x.device.type != "cuda":
        return metered(run).waits
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    except RuntimeError as error:
        if "synchronizing" not in str(error):
            raise
        return 1
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    return 0


# --- one solver ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bench:
    """What all measurements share."""

    denoiser: Denoiser
    x: Tensor
    sigmas: tuple[float, ...]
    conditioning: dict[str, Any]
    coefficient: Coefficient
    runs: int

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def model(self, denoiser: Denoiser | None = None) -> Call:
        """One call of the model, or of another in its place."""
        called = self.denoiser if denoiser is None else denoiser
        level = torch.full((len(self.x),), self.sigmas[0], device=self.x.device)

        def call() -> Tensor:
            with torch.no_grad():
                return called(self.x, level, **self.conditioning)

        return call

    def whole(self, denoiser: Denoiser, solver: Solver, conditioning: dict[str, Any]) -> Call:
        """A whole sampling."""
        return lambda: sampling.sample(
            denoiser, self.x, self.sigmas, solver, None, conditioning=conditioning
        )

    def replay(self, solver: Solver) -> Denoiser:
        """A denoiser that hands out, over and over, what the model gave in one sampling."""
        stored: list[Tensor] = []

        def remember(x: Tensor, sigma: Tensor, **conditioning: Any) -> Tensor:
            stored.append(self.denoiser(x, sigma, **conditioning))
            return stored[-1]

        self.whole(remember, solver, self.conditioning)()
        endless = itertools.cycle(stored)
        return lambda x, sigma, **conditioning: next(endless)


def _measure_solver(bench: _Bench, base: Solver, model_seconds: Sequence[float]) -> dict[str, Any]:
    relaxed = Relaxed(base, bench.coefficient)
    replays = {"solver": (bench.replay(base), base), "with": (bench.replay(relaxed), relaxed)}
    parts = {name: bench.whole(replay, solver, {}) for name, (replay, solver) in replays.items()}
    samplings = {
        "base": bench.whole(bench.denoiser, base, bench.conditioning),
        "relaxed": bench.whole(bench.denoiser, relaxed, bench.conditioning),
    }
    seconds = {
        **interleaved({"model": bench.model(), **samplings}, bench.runs, bench.x.device),
        **interleaved(parts, REPLAYS * bench.runs, bench.x.device),
    }
    calls = _calls_per_step(bench, base)
    per_step = _per_step(seconds, calls, bench.steps)
    beside = {
        f"{given:g}": _shares({**per_step, "model": {"median": calls * given}})["relaxation"]
        for given in model_seconds
    }
    replay, _ = replays["with"]
    return {
        "calls_per_step": calls,
        "seconds_per_step": per_step,
        "share": _shares(per_step),
        "relaxation_share_beside_model_of_seconds": beside,
        "sampling": {
            "base_seconds": spread(seconds["base"]),
            "relaxed_seconds": spread(seconds["relaxed"]),
            "ratio": spread(_pairs(seconds, "relaxed", "base", lambda a, b: a / b)),
        },
        **_usage(bench, calls, {**samplings, **parts}),
        "relaxation_waits": waits(relaxed, replay, bench.x, bench.sigmas),
        "state_bytes_per_sample": state_bytes(relaxed, replay, bench.x, bench.sigmas)
        / len(bench.x),
    }


def _calls_per_step(bench: _Bench, solver: Solver) -> float:
    """Model calls of a whole sampling over its steps."""
    shape = bench.x[:1]
    result = sampling.sample(lambda x, sigma, **_: 0.5 * x, shape, bench.sigmas, solver, None)
    return result.nfe / bench.steps


def _pairs(
    seconds: Mapping[str, list[float]], a: str, b: str, combine: Callable[[float, float], float]
) -> list[float]:
    return [combine(*pair) for pair in zip(seconds[a], seconds[b], strict=True)]


def _per_step(
    seconds: Mapping[str, list[float]], calls: float, steps: int
) -> dict[str, dict[str, float]]:
    return {
        "model": spread([calls * value for value in seconds["model"]]),
        "solver": spread([value / steps for value in seconds["solver"]]),
        "relaxation": spread(_pairs(seconds, "with", "solver", lambda a, b: (a - b) / steps)),
    }


def _shares(per_step: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each part's share of a relaxed step, by the medians; they add up to 1."""
    total = sum(part["median"] for part in per_step.values())
    return {name: part["median"] / total for name, part in per_step.items()}


def _usage(bench: _Bench, calls: float, cases: Mapping[str, Call]) -> dict[str, Any]:
    """Operations a step and peaks of memory; on CUDA also kernels and the allocator's peaks."""
    model, used = metered(bench.model()), {name: metered(case) for name, case in cases.items()}
    found: dict[str, Any] = {}
    for kind in ("operations", "views"):
        base, relaxed = (getattr(used[name], kind) for name in ("solver", "with"))
        found[f"{kind}_per_step"] = _split(calls * getattr(model, kind), base, relaxed, bench.steps)
    found["peak_bytes_per_sample"] = _peaks(
        {name: usage.peak_bytes for name, usage in used.items()}, len(bench.x)
    )
    if bench.x.device.type == "cuda":
        here = {name: cuda_usage(case) for name, case in cases.items()}
        found["cuda_kernels_per_step"] = _split(
            calls * cuda_usage(bench.model())["kernels"],
            here["solver"]["kernels"],
            here["with"]["kernels"],
            bench.steps,
        )
        found["cuda_peak_bytes_per_sample"] = _peaks(
            {name: usage["peak_bytes"] for name, usage in here.items()}, len(bench.x)
        )
    return found


def _split(model: float, base: int, relaxed: int, steps: int) -> dict[str, float]:
    return {"model": model, "solver": base / steps, "relaxation": (relaxed - base) / steps}


def _peaks(peak: Mapping[str, int], batch: int) -> dict[str, float]:
    """Of whole samplings, and what relaxing adds to the peak where no model hides it."""
    return {
        "base": peak["base"] / batch,
        "relaxed": peak["relaxed"] / batch,
        "relaxation": (peak["with"] - peak["solver"]) / batch,
    }


# --- memory formats and torch.compile ------------------------------------------------------------


def compare_memory_formats(bench: _Bench, net: nn.Module) -> dict[str, Any]:
    """The model's call with contiguous weights and with weights in channels-last order."""
    calls: dict[str, Call] = {}
    kinds = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    for name, kind in kinds.items():
        copied: Any = copy.deepcopy(net)
        calls[name] = bench.model(copied.to(memory_format=kind))
    return _versus(bench, calls, "contiguous", "channels_last")


def _versus(bench: _Bench, calls: Mapping[str, Call], old: str, new: str) -> dict[str, Any]:
    """Two calls that should give the same, in turn: seconds, speed-up and difference."""
    seconds = interleaved(calls, bench.runs, bench.x.device)
    outputs = [list(tensors_of(calls[name]())) for name in (old, new)]
    difference = max(
        float((a.double() - b.double()).abs().max()) for a, b in zip(*outputs, strict=True)
    )
    return {
        f"{old}_seconds": spread(seconds[old]),
        f"{new}_seconds": spread(seconds[new]),
        "speedup": spread(_pairs(seconds, old, new, lambda a, b: a / b)),
        "largest_difference": difference,
    }


def compare_compiled(bench: _Bench, solver: Solver) -> dict[str, Any]:
    """The model's call and the coefficient's arithmetic, eager and by `torch.compile`.

    Compiled into an empty cache, so that the seconds of compiling are those of the first time.
    The coefficient runs over the steps of a sampling, all of their noise levels: whatever it is
    compiled anew for is part of the cost.

    Returns:
        `available` and, where it is false (inductor needs a C++ compiler), `why`; else `model`,
        `coefficient` and `coefficient_static` (`dynamic=False`, one compilation a noise level),
        each with `largest_difference` of the outputs (of gamma, for a coefficient) and
        `pays_after_images`: how many images, at this batch and number of steps, win back the
        seconds of compiling; None if they never do. The default mode makes the noise levels
        variables after the second one and, in torch 2.13, then keeps a stale bound of the clamp of
        gamma (pytorch issue 194976): `largest_difference` tells whether it does here.
    """
    from torch._dynamo.exc import TorchDynamoException  # a second to import

    proposals = _proposals(bench, solver)

    def decide(rule: Callable[[Proposal, Any], Decision]) -> Call:
        def run() -> list[Tensor]:
            with torch.no_grad():
                return [rule(*seen).gamma for seen in proposals]

        return run

    eager = decide(bench.coefficient)
    with tempfile.TemporaryDirectory() as cache, contextlib.ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {"TORCHINDUCTOR_CACHE_DIR": cache}))
        # One compilation for every noise level; above this limit torch goes on without compiling.
        stack.enter_context(torch._dynamo.config.patch(cache_size_limit=8 + bench.steps))
        stack.callback(torch._dynamo.reset)
        torch._dynamo.reset()
        try:
            torch.compile(torch.sin)(bench.x)  # starts the machinery, which is no cost of ours
            model = bench.model(torch.compile(bench.denoiser))
            found = {"model": _compiled(bench, bench.model(), model, bench.steps)}
            for name, dynamic in (("coefficient", None), ("coefficient_static", False)):
                torch._dynamo.reset()
                rule = torch.compile(bench.coefficient, dynamic=dynamic)
                found[name] = _compiled(bench, eager, decide(rule), 1)
        except TorchDynamoException as error:  # whatever it lacks, the other figures stand
            reason = " ".join(str(error).split())
            return {"available": False, "why": f"{type(error).__name__}: {reason}"[:300]}
    return {"available": True, **found}


def _compile_seconds(call: Call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _compiled(bench: _Bench, eager: Call, compiled: Call, calls: int) -> dict[str, Any]:
    """`calls`: how many of these a sampling makes."""
    # The second run too: what is compiled again for other noise levels is compiled there.
    first = _compile_seconds(compiled) + _compile_seconds(compiled)
    found = _versus(bench, {"eager": eager, "compiled": compiled}, "eager", "compiled")
    was, now = (found[f"{name}_seconds"]["median"] for name in ("eager", "compiled"))
    compiling = first - 2 * now
    batches = compiling / (calls * (was - now)) if was > now else None
    return {
        "compile_seconds": compiling,
        **found,
        "pays_after_images": None if batches is None else round(batches * len(bench.x)),
    }


def _proposals(bench: _Bench, solver: Solver) -> list[tuple[Proposal, Any]]:
    """What the coefficient is asked in one sampling."""
    seen: list[tuple[Proposal, Any]] = []

    @dataclass(frozen=True)
    class Spy(Coefficient):
        def init(self, x: Tensor) -> Any:
            return bench.coefficient.init(x)

        def __call__(self, proposal: Proposal, state: Any) -> Decision:
            seen.append((proposal._replace(residual=_no_residual), state))
            return bench.coefficient(proposal, state)

    bench.whole(bench.denoiser, Relaxed(solver, Spy()), bench.conditioning)()
    return seen


def _no_residual(z: Tensor) -> Tensor:
    raise RuntimeError("a coefficient without model calls asked for the residual")


# --- all of it -----------------------------------------------------------------------------------


def measure_overhead(
    denoiser: Denoiser,
    sample_shape: Sequence[int],
    *,
    conditioning: Mapping[str, Any] | None = None,
    solvers: Mapping[str, Solver] | None = None,
    coefficient: str | Coefficient = "energy",
    batch: int = 64,
    steps: int = 5,
    runs: int = 15,
    sigma_min: float = 0.01,
    sigma_max: float = 80.0,
    device: torch.device | str = "cpu",
    model_seconds: Sequence[float] = (),
    compiled: bool = False,
    started: Callable[[str], object] = lambda name: None,
) -> dict[str, Any]:
    """Measures what relaxing adds to a step beside the model and the solver.

    Args:
        denoiser: D(x, sigma, **conditioning), on `device`.
        sample_shape: of one sample.
        conditioning: for a whole batch.
        solvers: by the names they get in the result; None measures all of `SOLVERS`.
        coefficient: the rule; one that calls the model (`extra_calls`) cannot be told from it.
        batch, steps, runs: samples at a time, steps of a sampling, rounds of measurement.
        sigma_min, sigma_max: ends of the schedule, `schedules.karras`.
        device: "cpu", or "cuda" with or without an index.
        model_seconds: seconds of a call of other models, to give the relaxation's share beside
            them, at this batch and sample shape.
        compiled: also measure `torch.compile`, which takes a minute and a C++ compiler.
        started: told the name of each measurement as it starts.

    Returns:
        What json can hold: `setting`, `machine`, `versions`, `model` (a call), `solvers` (by name:
        seconds, operations and views a step of model, solver and relaxation, shares, whole
        samplings, waits, bytes), `memory_format` (of an `nn.Module`, else None), `compile` (None if
        not asked for). Seconds have min, median and max over the rounds.

    Raises:
        ValueError: batch or runs < 1, steps < 2, no solver, a time that is not positive, a device
            that is not there, or a coefficient that calls the model.
        TypeError: a solver that is no `Solver` or is relaxed already.
    """
    place = check_device(device)
    rule = _check(coefficient, batch, steps, runs, model_seconds)
    chosen = {name: resolve_solver(name) for name in SOLVERS} if solvers is None else dict(solvers)
    if not chosen:
        raise ValueError("solvers is empty; at least one is needed")
    for solver in chosen.values():
        Relaxed(solver, rule)  # refuses what it cannot relax before anything is measured
    sigmas = tuple(float(level) for level in schedules.karras(steps, sigma_min, sigma_max))
    x = sampling.noise(sample_shape, sigma_max, range(batch), device=place)
    bench = _Bench(denoiser, x, sigmas, dict(conditioning or {}), rule, runs)
    started("model")
    found: dict[str, Any] = {
        "setting": {
            "batch": batch,
            "steps": steps,
            "runs": runs,
            "sample_shape": list(sample_shape),
            "coefficient": coefficient if isinstance(coefficient, str) else repr(coefficient),
            "sigma_min": sigma_min,
            "sigma_max": sigma_max,
            "device": str(place),
        },
        "machine": {
            **machine(place),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
        "versions": versions("steindiff", "torch"),
        "model": _measure_model(bench),
        "solvers": {},
    }
    for name, solver in chosen.items():
        started(name)
        found["solvers"][name] = _measure_solver(bench, solver, model_seconds)
    found["memory_format"] = None
    if isinstance(denoiser, nn.Module):
        started("memory format")
        found["memory_format"] = compare_memory_formats(bench, denoiser)
    found["compile"] = None
    if compiled:
        started("torch.compile")
        found["compile"] = compare_compiled(bench, next(iter(chosen.values())))
    return found


def check_device(device: torch.device | str) -> torch.device:
    """The device, if it is one that can be measured here.

    Raises:
        ValueError: neither the CPU nor a CUDA device that is there.
    """
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {str(device)!r}; 'cpu' or 'cuda' is needed") from error
    if place.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {str(device)!r}; 'cpu' or 'cuda' is needed")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {str(device)!r}, and torch sees {torch.cuda.device_count()} CUDA devices; "
            "'cpu' or one that is there is needed"
        )
    return place


def _check(
    coefficient: str | Coefficient, batch: int, steps: int, runs: int, times: Sequence[float]
) -> Coefficient:
    for name, value, least in (("batch", batch, 1), ("steps", steps, 2), ("runs", runs, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}; an integer of at least {least} is needed")
    for value in times:
        if not 0 < value < float("inf"):
            raise ValueError(f"model_seconds holds {value!r}; positive numbers are needed")
    rule = resolve_coefficient(coefficient)
    if rule is None:
        raise ValueError("coefficient is None; a rule to measure is needed")
    if rule.extra_calls:
        raise ValueError(
            f"coefficient is {coefficient!r}, which calls the model itself; one without model "
            "calls is needed"
        )
    return rule


def _measure_model(bench: _Bench) -> dict[str, Any]:
    call = bench.model()
    seconds = interleaved({"model": call}, bench.runs, bench.x.device)["model"]
    used = metered(call)
    found = {
        "seconds_per_call": spread(seconds),
        "samples_per_second": spread([len(bench.x) / value for value in seconds]),
        "operations_per_call": used.operations,
        "views_per_call": used.views,
        "peak_bytes_per_sample": used.peak_bytes / len(bench.x),
    }
    if bench.x.device.type == "cuda":
        found["cuda_kernels_per_call"] = cuda_usage(call)["kernels"]
    return found
