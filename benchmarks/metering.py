"""Operations, waits for the device and bytes of a call, counted; they repeat exactly."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from steindiff.solvers import Solver
from steindiff.stein import Relaxed

WAITING = frozenset({"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal"})
"""ATen operations that make the host wait for the device (or would, were there one)."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Usage:
    """What `metered` saw.

    Attributes:
        operations: dispatched ATen operations that compute, which is those that launch a kernel on
            a device (some launch several). Views are not among them, nor what only looks at types.
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
        waits = func.overloadpacket.__name__ in WAITING
        if not (waits or any(isinstance(leaf, Tensor) for leaf in tree_leaves(out))):
            return out
        self.operations += 1
        self.waits += waits
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
