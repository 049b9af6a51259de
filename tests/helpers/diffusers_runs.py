"""Schedulers of diffusers at work on a small made-up network: what the adapter's tests share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

IMAGE = (3, 4, 8)
VIDEO = (3, 2, 4, 4)

Network = Callable[[Tensor, Any], Tensor]
Denoiser = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Case:
    """One sampling.

    Attributes:
        scheduler: name of the class.
        config: keyword arguments of its constructor.
        steps: of the whole schedule; None where `schedule` says it.
        schedule: further arguments of `set_timesteps`.
        arguments: further arguments of `step`.
        dtype: of the state and of the network.
        skip: steps left out at the start, as image-to-image does.
        indexed: whether the begin index is set, as most pipelines do.
        return_dict: what `step` is asked for.
    """

    scheduler: str
    config: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = 7
    schedule: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    skip: int = 0
    indexed: bool = False
    return_dict: bool = True

    def __str__(self) -> str:
        name = self.scheduler.removesuffix("Scheduler")
        short = {
            key: len(value) if isinstance(value, list | np.ndarray | Tensor) else value
            for key, value in {**self.config, **self.schedule, **self.arguments}.items()
        }
        options = [f"{key}={value}" for key, value in short.items()]
        more = [str(self.dtype).removeprefix("torch."), f"steps={self.steps}"]
        if self.skip:
            more.append(f"skip={self.skip}{'-indexed' if self.indexed else ''}")
        if not self.return_dict:
            more.append("tuple")
        return "-".join([name, *options, *more])


def network(shape: Sequence[int] = IMAGE, channels: int = 1) -> Network:
    """A random tanh layer of a sample and its timestep, `channels` times as many channels out.

    Elementwise, so that its output for one sample does not depend on the batch to the last bit.
    """
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(3, *shape, generator=generator)

    def call(sample: Tensor, timestep: Any) -> Tensor:
        own, left, across = weights.to(sample.dtype)
        mixed = own * sample + left * sample.roll(1, -1) + across * sample.flip(1)
        output = torch.tanh(0.6 * mixed + math.sin(float(timestep) / 300))
        return torch.cat([output / (k + 1) for k in range(channels)], dim=1)

    return call


def noise(batch: int = 2, shape: Sequence[int] = IMAGE) -> Tensor:
    """Of variance 1."""
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(6))


def initial(scheduler: Any, batch: int = 2, shape: Sequence[int] = IMAGE) -> Tensor:
    """Noise of the variance that the scheduler starts with; flow matching does not say 1."""
    return noise(batch, shape) * float(getattr(scheduler, "init_noise_sigma", 1.0))


def ready(scheduler: Any, case: Case) -> Sequence[Tensor]:
    """Sets the timesteps; returns those that are to be done."""
    scheduler.set_timesteps(
        **({} if case.steps is None else {"num_inference_steps": case.steps}), **case.schedule
    )
    first = case.skip * scheduler.order
    if case.indexed:
        scheduler.set_begin_index(first)
    return scheduler.timesteps[first:]


def call(scheduler: Any, net: Network, timestep: Any, state: Tensor, **arguments: Any) -> Any:
    """One call of the network and of the scheduler, as pipelines write it."""
    scale = getattr(scheduler, "scale_model_input", None)  # flow matching has none
    scaled = state if scale is None else scale(state, timestep)
    return scheduler.step(net(scaled, timestep), timestep, state, **arguments)


def play(scheduler: Any, case: Case) -> list[tuple[Tensor, ...]]:
    """What every call of `step` returned."""
    shape = VIDEO if "CogVideoX" in case.scheduler else IMAGE
    net = network(shape, 2 if case.config.get("variance_type") else 1)
    timesteps = ready(scheduler, case)
    state = initial(scheduler, shape=shape).to(case.dtype)
    returned = []
    for timestep in timesteps:
        result = call(
            scheduler, net, timestep, state, return_dict=case.return_dict, **case.arguments
        )
        outputs = tuple(result.values()) if case.return_dict else result
        returned.append(outputs)
        state = outputs[0]
    return returned


def run(scheduler: Any, steps: int = 7, state: Tensor | None = None) -> list[Tensor]:
    """The state after every call of a sampling that starts with `state`, or with noise."""
    scheduler.set_timesteps(steps)
    start = initial(scheduler) if state is None else state
    return go_on(scheduler, scheduler.timesteps, start)


def go_on(scheduler: Any, timesteps: Sequence[Tensor], state: Tensor) -> list[Tensor]:
    """The state after each of the calls at `timesteps`."""
    net, states = network(tuple(state.shape[1:])), []
    for timestep in timesteps:
        state = call(scheduler, net, timestep, state).prev_sample
        states.append(state)
    return states


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal, NaNs in the same places included."""
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and torch.equal(a.isnan(), b.isnan())
        and (torch.equal(a.nan_to_num(), b.nan_to_num()))
    )
