"""Finds out, on a few numbers and without the model, whether a sampler's steps can be relaxed.

Who relaxes through the model calls writes into the tensor that the model is called on, and relies
on the sampler to go on from there. A sampler that passes a copy, or keeps one, does not; one that
adds noise has no step to relax. Both show on states of which nothing else is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .calls import ModelCalls, refusal


def check_sampler(
    sampler: Callable[..., Tensor],
    name: str,
    model: Any,
    x: Tensor,
    sigmas: Any,
    levels: Sequence[float],
    arguments: Mapping[str, Any],
) -> None:
    """Raises ValueError, with the reason, unless the sampler's steps can be told and relaxed.

    The sampler runs twice, with the levels and the arguments of the run to come, from x = 0: once
    with a model that says D = 0, as suits solvers that remember D, once with D = x, which is noise
    x - D = 0, as suits those that remember the noise. In one of them all samples have to follow the
    exact flow:

    - the first stays 0, unless noise is added;
    - sample k is moved to 1 before call k: if it goes on from there, at all later levels, then what
      is written is what the sampler goes on from;
    - the last is told D = 1, or noise of 1: if it follows, steps end at the levels they should.

    Args:
        sampler: a k-diffusion sampler; `name` is for errors.
        model: whose attributes the sampler may ask for; it is not called.
        x: a batch like that of the run to come.
        sigmas: the levels as the sampler gets them.
        levels: the same as numbers.
        arguments: of the sampler, `extra_args` included.
    """
    fits = []
    with _random_numbers_kept(x.device):
        for noise in (False, True):
            start = x.new_zeros(len(levels), *[1] * (x.ndim - 1))
            probe = _Probe(name, model, levels, start.shape, noise, x.device.type == "cpu")
            end = sampler(probe, start, sigmas, **arguments)
            probe.finish(end)
            states = torch.stack([*probe.states, end]).flatten(1).cpu().double()
            if bool(states[:, 0].any()):
                raise refusal(name, "adds noise in its steps, which a relaxation takes for error")
            fits.append(torch.allclose(states, probe.expected(), *_tolerance(x)))
    if not any(fits):
        raise refusal(
            name,
            "does not go on, to the next level, from the state that it calls the model on: it "
            "passes a copy, keeps one for a correction, or steps elsewhere, and what is relaxed "
            "would be lost",
        )


def ends_in_denoised(
    sampler: Callable[..., Tensor],
    name: str,
    model: Any,
    x: Tensor,
    sigmas: Any,
    levels: Sequence[float],
    arguments: Mapping[str, Any],
) -> bool:
    """Whether what the sampler ends with is its last D: a last step of first order, into 0.

    Found as `check_sampler` does, on one number, with a D that turns at every call; the arguments
    are the same.
    """
    start = x.new_zeros(1, *[1] * (x.ndim - 1))
    turning = _Turning(name, model, start.shape, levels, wait=x.device.type == "cpu")
    with _random_numbers_kept(x.device):
        end = sampler(turning, start, sigmas, **arguments)
    turning.finish(end)
    last = torch.full_like(end, turning.told())
    return torch.allclose(end, last, *_tolerance(x))


class _Draws(TorchDispatchMode):
    """Sees whether this thread draws random numbers."""

    drawn = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.drawn = self.drawn or torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


@contextmanager
def _random_numbers_kept(device: torch.device) -> Iterator[None]:
    """The random numbers that are drawn inside come again outside.

    torch's generators are the process's, not a thread's: they are put back only where this thread
    drew, or another one, which drew meanwhile, would get the same numbers twice.
    """
    cuda = device.type == "cuda"
    cpu_state, state = torch.get_rng_state(), torch.cuda.get_rng_state(device) if cuda else None
    draws = _Draws()
    try:
        with draws:
            yield
    finally:
        if draws.drawn:
            torch.set_rng_state(cpu_state)
            if state is not None:
                torch.cuda.set_rng_state(state, device)


class _Turning(ModelCalls):
    """A model of D = 1, -1, 1, ..., whatever it is called on."""

    def respond(self, x: Tensor, sigma: Any, kwargs: dict[str, Any]) -> Tensor:
        return torch.full_like(x, self.told())

    def told(self) -> float:
        """D of the latest call."""
        return 1.0 if self.calls % 2 else -1.0


class _Probe(ModelCalls):
    """A model of constant D, or of constant noise; it moves sample k before call k."""

    def __init__(
        self,
        name: str,
        model: Any,
        levels: Sequence[float],
        shape: torch.Size,
        noise: bool,
        wait: bool,
    ) -> None:
        super().__init__(name, model, shape, levels, wait=wait)
        self.noise = noise
        self.states: list[Tensor] = []

    def respond(self, x: Tensor, sigma: Any, kwargs: dict[str, Any]) -> Tensor:
        self.states.append(x.clone())
        index = self.calls - 1
        if index:
            x[index] = 1
        denoised = x.clone() if self.noise else torch.zeros_like(x)
        denoised[-1] += -self.levels[index] if self.noise else 1
        return denoised

    def expected(self) -> Tensor:
        """(steps + 1, steps + 1): the states on arrival at every level, of all samples."""
        levels = torch.tensor(self.levels, dtype=torch.float64, device="cpu")
        ratios = levels[:, None] / levels[None, :-1]
        moved = (torch.ones_like(ratios) if self.noise else ratios).tril(-1)
        moved[:, 0] = 0
        told = levels - levels[0] if self.noise else 1 - levels / levels[0]
        return torch.cat([moved, told[:, None]], dim=1)


def _tolerance(x: Tensor) -> tuple[float, float]:
    """Relative and absolute: what rounding may do over many steps, far below any other cause."""
    relative = max(1e-3, 16 * torch.finfo(x.dtype).eps)
    return relative, relative * 1e-3
