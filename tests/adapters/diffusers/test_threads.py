"""Two threads with one scheduler: each its own sampling, or a clear error; never a mixture."""

from __future__ import annotations

import copy
import importlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from diffusers_runs import call, go_on, initial, network, run, same_bits
from torch import Tensor

pytest.importorskip("diffusers")

from steindiff.adapters.diffusers import SteinScheduler, relax

diffusers: Any = importlib.import_module("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

MAKERS: Mapping[str, Callable[[], Any]] = {
    name: (lambda name=name: relax(getattr(diffusers, name)()))
    for name in (
        "EulerDiscreteScheduler", "HeunDiscreteScheduler", "DDIMScheduler", "PNDMScheduler",
        "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler",
    )
} | {"SteinScheduler": SteinScheduler}  # fmt: skip
TWO = "two threads sample with one scheduler"
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


class Other:
    """A second thread, in which one thing after the other is done."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.pool.submit(function, *arguments).result()


@pytest.fixture
def other() -> Iterator[Other]:
    thread = Other()
    yield thread
    thread.pool.shutdown()


def here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def stepped(scheduler: Any, timestep: Any, state: Tensor) -> Tensor:
    return call(scheduler, network(), timestep, state).prev_sample


@every
def test_a_sampling_may_move_between_threads(make: Callable[[], Any], other: Other) -> None:
    """As where a web server draws the next state of a generator in whatever thread is free."""
    scheduler = make()
    expected = run(scheduler)
    for _ in range(2):
        other(scheduler.set_timesteps, 7)
        state, threads = initial(scheduler), itertools.cycle((here, other))
        for timestep, after in zip(scheduler.timesteps, expected, strict=True):
            state = next(threads)(stepped, scheduler, timestep, state)
            assert same_bits(state, after)


@every
@pytest.mark.parametrize("begun", [1, 3], ids=str)
def test_a_second_sampling_says_so(make: Callable[[], Any], other: Other, begun: int) -> None:
    """The first is some steps ahead when the second begins; the second is as if alone."""
    scheduler = make()
    expected = run(scheduler)
    scheduler.set_timesteps(7)
    times, state = scheduler.timesteps, initial(scheduler)
    for timestep in times[:begun]:
        state = stepped(scheduler, timestep, state)
    other(scheduler.set_timesteps, 7)
    found = other(go_on, scheduler, scheduler.timesteps[:2], initial(scheduler))
    with pytest.raises(ValueError, match=TWO):
        stepped(scheduler, times[begun], state)
    found += other(go_on, scheduler, scheduler.timesteps[2:], found[-1])
    assert all(map(same_bits, found, expected))


@every
def test_threads_that_begin_together(make: Callable[[], Any], other: Other) -> None:
    """Both have set the timesteps before either steps: the second to step is told."""
    scheduler = make()
    expected = run(scheduler)
    scheduler.set_timesteps(7)
    mine = scheduler.timesteps
    other(scheduler.set_timesteps, 7)
    theirs, states = scheduler.timesteps, [initial(scheduler)]
    for i in range(3):
        states.append(stepped(scheduler, mine[i], states[-1]))
        with pytest.raises(ValueError, match=TWO):
            other(stepped, scheduler, theirs[0], states[0])
    states += go_on(scheduler, mine[3:], states[-1])
    assert all(map(same_bits, states[1:], expected))


@every
def test_many_threads_at_once(make: Callable[[], Any]) -> None:
    """Whoever is not told of it has the very sampling of a scheduler alone."""
    scheduler = make()
    expected, gate = run(scheduler), threading.Barrier(4)

    def sampled() -> list[Tensor] | str:
        gate.wait()
        try:
            return run(scheduler)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        for found in [future.result() for future in [pool.submit(sampled) for _ in range(4)]]:
            if isinstance(found, str):
                assert found.startswith(TWO)
            else:
                assert all(map(same_bits, found, expected))


@every
def test_copies_do_not_know_of_each_other(make: Callable[[], Any]) -> None:
    scheduler = make()
    expected = run(scheduler)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(run, [copy.deepcopy(scheduler) for _ in range(8)]):
            assert all(map(same_bits, found, expected))
