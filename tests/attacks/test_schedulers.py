"""Schedulers of diffusers, relaxed or ours, given what a step cannot use, and odd layouts."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers_runs import call, initial, network, run
from torch import Tensor

pytest.importorskip("diffusers")

import steindiff as sd
from steindiff.adapters.diffusers import SteinScheduler, relax
from steindiff.stein import ENDS

diffusers: Any = importlib.import_module("diffusers")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

NAMES = (
    "DDIMScheduler", "DEISMultistepScheduler", "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "HeunDiscreteScheduler",
    "PNDMScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
MAKERS: dict[str, Callable[[], Any]] = {"SteinScheduler": SteinScheduler}
for _name in NAMES:
    MAKERS[_name] = lambda name=_name: relax(getattr(diffusers, name)(), "energy")
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "strided": lambda x: torch.stack([x, x], dim=-1)[..., 0],
    "transposed": lambda x: x.transpose(2, 3).clone().transpose(2, 3),
    "part of another": lambda x: torch.cat([x, x], dim=1)[:, : x.shape[1]],
}


@every
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout(make: Callable[[], Any], layout: str) -> None:
    scheduler = make()
    start = initial(scheduler)
    odd = LAYOUTS[layout](start)
    expected, found = run(scheduler, state=start), run(scheduler, state=odd)
    for a, b in zip(expected, found, strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-6)
    assert torch.equal(odd, start)


@every
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [0, 3])
def test_a_prediction_that_is_not_finite(make: Callable[[], Any], value: float, at: int) -> None:
    scheduler, net = make(), network()
    calls = []

    def spoilt(x: Tensor, t: Any) -> Tensor:
        calls.append(t)
        output = net(x, t)
        if len(calls) > at:
            output[1, 0, 0, 0] = value
        return output

    def sampled() -> None:
        scheduler.set_timesteps(7)
        state = initial(scheduler)
        for timestep in scheduler.timesteps:
            state = call(scheduler, spoilt, timestep, state).prev_sample

    with pytest.raises(sd.NonFiniteError, match="in samples 1"):
        sampled()
    # It is made whole by the next sampling.
    assert all(torch.isfinite(after).all() for after in run(scheduler))


@every
def test_an_error_between_two_steps(make: Callable[[], Any]) -> None:
    """A network that fails once: what comes after `set_timesteps` is as if it never had."""
    scheduler = make()
    expected = run(scheduler)
    scheduler.set_timesteps(7)
    state = initial(scheduler)
    for timestep in scheduler.timesteps[:3]:
        state = call(scheduler, network(), timestep, state).prev_sample
    assert all(map(torch.equal, run(scheduler), expected))


@every
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_any_number_of_steps(make: Callable[[], Any], steps: int) -> None:
    scheduler = make()
    if steps < 4 and "PNDM" in type(scheduler).__name__:
        pytest.skip("its Runge-Kutta steps need four time steps upstream")
    assert torch.isfinite(run(scheduler, steps)[-1]).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("end", [*ENDS, "nan", "", None, 0])
def test_an_end(name: str, end: Any) -> None:
    plain = getattr(diffusers, name)()
    if end in ENDS:
        assert torch.isfinite(run(relax(plain, end=end))[-1]).all()
        return
    with pytest.raises(ValueError, match=r"end .* is unknown"):
        relax(plain, end=end)


@pytest.mark.parametrize("thing", [None, 3, "euler", object(), [], diffusers.DDIMScheduler])
def test_what_is_no_scheduler(thing: Any) -> None:
    with pytest.raises(TypeError, match="a pipeline or a scheduler of diffusers is needed"):
        relax(thing)


@pytest.mark.parametrize("name", NAMES[:5])
def test_latents_without_a_batch_get_a_gamma_a_channel(name: str) -> None:
    """A step cannot tell (C, H, W) from packed tokens (B, L, C): the first dimension is the batch.

    So each channel is relaxed as a sample of its own; `latents[None]` is one sample.
    """
    shape = (4, 6, 6)
    alone, batched = (relax(getattr(diffusers, name)(), "energy", record=True) for _ in range(2))
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(shape, generator=generator) * float(getattr(alone, "init_noise_sigma", 1.0))
    ends = []
    for scheduler, state in ((alone, start), (batched, start[:, None])):
        scheduler.set_timesteps(6)
        for timestep in scheduler.timesteps:
            scaled = getattr(scheduler, "scale_model_input", lambda x, t: x)(state, timestep)
            state = scheduler.step(torch.tanh(scaled), timestep, state).prev_sample
        ends.append(state.reshape(shape))
    assert torch.equal(*ends)
    assert torch.equal(alone.stein_record.gamma, batched.stein_record.gamma)
    assert alone.stein_record.gamma.shape[1] == 4
