"""What else changes the time of a model: the memory format of its weights, and `torch.compile`."""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from metering import Call, tensors_of
from steindiff.solvers import Solver
from steindiff.stein import Coefficient, Decision, Proposal, Relaxed
from timing import Setup, interleaved, paired, spread


def compare_memory_formats(setup: Setup, net: nn.Module) -> dict[str, Any]:
    """The model's call with contiguous weights and with weights in channels-last order."""
    calls: dict[str, Call] = {}
    kinds = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    for name, kind in kinds.items():
        copied: Any = copy.deepcopy(net)
        calls[name] = setup.model(copied.to(memory_format=kind))
    return _versus(setup, calls, "contiguous", "channels_last")


def _versus(setup: Setup, calls: Mapping[str, Call], old: str, new: str) -> dict[str, Any]:
    """Two calls that should give the same, in turn: seconds, speed-up and difference."""
    seconds = interleaved(calls, setup.runs)
    outputs = [list(tensors_of(calls[name]())) for name in (old, new)]
    difference = max(
        float((a.double() - b.double()).abs().max()) for a, b in zip(*outputs, strict=True)
    )
    return {
        f"{old}_seconds": spread(seconds[old]),
        f"{new}_seconds": spread(seconds[new]),
        "speedup": spread(paired(seconds, old, new, lambda a, b: a / b)),
        "largest_difference": difference,
    }


def compare_compiled(setup: Setup, solver: Solver) -> dict[str, Any]:
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

    proposals = _proposals(setup, solver)

    def decide(coefficient: Callable[[Proposal, Any], Decision]) -> Call:
        def run() -> list[Tensor]:
            with torch.no_grad():
                return [coefficient(*seen).gamma for seen in proposals]

        return run

    eager = decide(setup.coefficient)
    with tempfile.TemporaryDirectory() as cache, contextlib.ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {"TORCHINDUCTOR_CACHE_DIR": cache}))
        # One compilation for every noise level; above this limit torch goes on without compiling.
        stack.enter_context(torch._dynamo.config.patch(cache_size_limit=8 + setup.steps))
        stack.callback(torch._dynamo.reset)
        torch._dynamo.reset()
        try:
            torch.compile(torch.sin)(setup.x)  # starts the machinery, which is no cost of ours
            model = setup.model(torch.compile(setup.denoiser))
            found = {"model": _compiled(setup, setup.model(), model, setup.steps)}
            for name, dynamic in (("coefficient", None), ("coefficient_static", False)):
                torch._dynamo.reset()
                compiled = torch.compile(setup.coefficient, dynamic=dynamic)
                found[name] = _compiled(setup, eager, decide(compiled), 1)
        except TorchDynamoException as error:  # whatever it lacks, the other figures stand
            reason = " ".join(str(error).split())
            return {"available": False, "why": f"{type(error).__name__}: {reason}"[:300]}
    return {"available": True, **found}


def _compile_seconds(call: Call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _compiled(setup: Setup, eager: Call, compiled: Call, calls: int) -> dict[str, Any]:
    """`calls`: how many of these a sampling makes."""
    # The second run too: what is compiled again for other noise levels is compiled there.
    first = _compile_seconds(compiled) + _compile_seconds(compiled)
    found = _versus(setup, {"eager": eager, "compiled": compiled}, "eager", "compiled")
    was, now = (found[f"{name}_seconds"]["median"] for name in ("eager", "compiled"))
    compiling = first - 2 * now
    batches = compiling / (calls * (was - now)) if was > now else None
    return {
        "compile_seconds": compiling,
        **found,
        "pays_after_images": None if batches is None else round(batches * len(setup.x)),
    }


def _proposals(setup: Setup, solver: Solver) -> list[tuple[Proposal, Any]]:
    """What the coefficient is asked in one sampling."""
    seen: list[tuple[Proposal, Any]] = []

    @dataclass(frozen=True)
    class Spy(Coefficient):
        def init(self, x: Tensor) -> Any:
            return setup.coefficient.init(x)

        def __call__(self, proposal: Proposal, state: Any) -> Decision:
            seen.append((proposal._replace(residual=_no_residual), state))
            return setup.coefficient(proposal, state)

    setup.whole(setup.denoiser, Relaxed(solver, Spy()), setup.conditioning)()
    return seen


def _no_residual(z: Tensor) -> Tensor:
    raise RuntimeError("a coefficient without model calls asked for the residual")
