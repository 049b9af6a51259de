"""What relaxing costs a device is the number of its operations: counted."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from steindiff.composition import compose
from steindiff.recipes import COEFFICIENT, END, UNGUIDED_COEFFICIENT, recipe
from steindiff.solvers import SOLVERS, resolve_solver
from steindiff.stein import Coefficient, Energy

LEVELS = (80.0, 30.0, 12.0, 5.0, 2.0, 0.3, 0.0)
ONE_CALL = [name for name in SOLVERS if name not in ("heun", "res_2s")]
PLAIN_LAST = {"ipndm": 5, "deis": 5, "gradient_estimation": 5, "unipc": 10}
"""Operations of the plain solvers' step into 0 when they still computed 0 (x - D): 3 in others."""


class Count(TorchDispatchMode):
    """Operations that launch a kernel: no views, no bare allocations, nothing on types.

    Attributes:
        large: those that read or write as much as a batch of samples.
        small: the others.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.large, self.small = size, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        aliases = [argument.alias_info for argument in func._schema.arguments]
        view = any(alias is not None and not alias.is_write for alias in aliases)
        if isinstance(out, Tensor) and not view and "empty" not in func.overloadpacket.__name__:
            sizes = [leaf.numel() for leaf in (*args, out) if isinstance(leaf, Tensor)]
            for tensors in args:
                if isinstance(tensors, list):
                    sizes += [leaf.numel() for leaf in tensors if isinstance(leaf, Tensor)]
            large = max(sizes, default=0) >= self.size
            self.large, self.small = self.large + large, self.small + (not large)
        return out


def counted(
    solver: str, rule: Coefficient | None, end: str, shape: tuple[int, ...] = (2, 4, 64, 64)
) -> list[tuple[int, int]]:
    """Large and small operations of each step, without the denoiser's."""
    method, x, counts = compose(resolve_solver(solver), rule, end), torch.randn(shape), []
    state, outputs = method.init(x, LEVELS), itertools.repeat(torch.randn(shape))
    for sigma, sigma_next in itertools.pairwise(LEVELS):
        with Count(x.numel()) as count:
            step = method.step(lambda *_: next(outputs), x, sigma, sigma_next, state)
        x, state = step.x, step.state
        counts.append((count.large, count.small))
    return counts


def test_operations_are_counted_as_by_hand() -> None:
    x = torch.ones(4, 8)
    with Count(32) as count:
        y = (x + 1).reshape(8, 4).sum(1)
        _ = torch.stack([y, y]).flatten()[0] + torch.empty(1)
    assert (count.large, count.small) == (2, 2)


@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 4, 64, 64), (1, 16, 64, 64)])
@pytest.mark.parametrize("solver", [*ONE_CALL, "res_2s"])
@pytest.mark.parametrize(("rule", "most"), [(UNGUIDED_COEFFICIENT, 29), (COEFFICIENT, 44)])
def test_operations_that_relaxing_adds_to_a_step(
    solver: str, shape: tuple[int, ...], rule: Energy, most: int
) -> None:
    plain = counted(solver, None, "none", shape)[:-1]
    relaxed = counted(solver, rule, END, shape)[:-1]
    added = [sum(a) - sum(b) for a, b in zip(relaxed, plain, strict=True)]
    assert max(added[:-2] + added[-1:]) == most + (solver == "unipc")
    assert added[-2] <= most + 19 * rule.sooner + (solver == "unipc")  # may give sooner
    large = [a[0] - b[0] for a, b in zip(relaxed, plain, strict=True)]
    assert max(large) <= 9


@pytest.mark.parametrize(("rule", "most"), [(UNGUIDED_COEFFICIENT, 64), (COEFFICIENT, 77)])
def test_a_relaxed_heun_step_is_twice_as_many_for_its_two_calls(
    rule: Coefficient, most: int
) -> None:
    plain, relaxed = counted("heun", None, "none"), counted("heun", rule, END)
    assert max(sum(a) - sum(b) for a, b in zip(relaxed[:-1], plain, strict=False)) <= most


@pytest.mark.parametrize("end", sorted({END, recipe(5).end}))
@pytest.mark.parametrize("solver", ONE_CALL)
def test_the_step_into_zero_reads_the_samples_three_times_more(solver: str, end: str) -> None:
    large, small = counted(solver, COEFFICIENT, end)[-1]
    assert large <= PLAIN_LAST.get(solver, 3) + 3
    assert small <= 30
