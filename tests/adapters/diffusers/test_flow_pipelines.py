"""The pipelines of today's flow models, whole, with tiny networks: relaxed by one line."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from tiny_flow_pipelines import PIPELINES
from tiny_pipelines import diffusers, generator
from torch import Tensor

from steindiff.adapters.coordinates import PURE_NOISE
from steindiff.adapters.diffusers import SteinScheduler, relax, unrelax

pytestmark = [pytest.mark.slow, pytest.mark.upstream]
STEPS = 6

every = pytest.mark.parametrize("name", PIPELINES)


@functools.cache
def made(name: str) -> Any:
    pipe, arguments = PIPELINES[name]()
    pipe.set_progress_bar_config(disable=True)
    return pipe, arguments


def latents(name: str, pipe: Any) -> Tensor:
    """Of one image or video; the text is embeddings, nothing is decoded."""
    arguments: dict[str, Any] = dict(made(name)[1])
    for key in ("prompt_embeds", "negative_prompt_embeds"):  # Z-Image hands its lists on
        if isinstance(arguments.get(key), list):
            arguments[key] = list(arguments[key])
    return pipe(
        num_inference_steps=STEPS,
        generator=generator(),
        output_type="latent",
        return_dict=False,
        **arguments,
    )[0]


@every
def test_gamma_of_one_keeps_the_bits(name: str) -> None:
    pipe = unrelax(made(name)[0])
    plain = latents(name, pipe)
    assert torch.equal(latents(name, relax(pipe, "constant", "none", value=1.0)), plain)
    assert torch.equal(latents(name, unrelax(pipe)), plain)


@every
def test_one_line_relaxes_it_on_its_own_levels(name: str) -> None:
    pipe = unrelax(made(name)[0])
    plain = latents(name, pipe)
    times = torch.as_tensor(pipe.scheduler.sigmas).double().tolist()
    # Predictions of untrained networks turn from step to step: the default would give them nothing.
    relaxed = latents(name, relax(pipe, law="one", steady=False, record=True))
    record = pipe.scheduler.stein_record
    unrelax(pipe)
    ve = [min(t / max(1 - t, 1e-9), PURE_NOISE) for t in times]
    assert list(record.sigmas) == pytest.approx(ve, rel=1e-4)
    assert bool(relaxed.isfinite().all())
    assert relaxed.shape == plain.shape
    assert float((relaxed - plain).abs().max()) > 1e-3
    assert float(record.gamma.max()) <= 1
    assert len(record.gamma) == len(times) - 1


@pytest.mark.parametrize(
    "guider",
    ["AdaptiveProjectedGuidance", "ClassifierFreeZeroStarGuidance", "ClassifierFreeGuidance"],
)
def test_a_guider_goes_beside_relaxation(guider: str) -> None:
    """It mixes predictions before the scheduler sees them: any mixture is relaxed as it is."""
    mix = getattr(diffusers, guider)(guidance_scale=4.0)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    found = []
    for each in (scheduler, relax(scheduler, "constant", "none", value=1.0), relax(scheduler)):
        each.set_timesteps(8)
        x = torch.randn(2, 4, 8, 8, generator=generator())
        mean = torch.randn(2, 4, 8, 8, generator=generator(1))
        for step, timestep in enumerate(each.timesteps):
            t = float(timestep) / 1000
            spread = t / ((1 - t) ** 2 * 0.25 + t**2)
            sides = [spread * (x - (1 - t) * sign * mean) - sign * mean for sign in (1.0, -0.2)]
            mix.set_state(step, 8, timestep)
            x = each.step(mix.forward(*sides).pred, timestep, x, return_dict=False)[0]
        found.append(x)
    plain, one, relaxed = found
    assert torch.equal(plain, one)
    assert bool(relaxed.isfinite().all())
    assert float((relaxed - plain).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["Qwen-Image", "Z-Image", "LTX", "Lumina 2", "Flux.2"])
def test_one_line_picks_the_solver_too(name: str) -> None:
    """On the levels of the pipeline, and back."""
    pipe = unrelax(made(name)[0])
    plain, own = latents(name, pipe), type(pipe.scheduler)
    times = torch.as_tensor(pipe.scheduler.sigmas).double().tolist()
    found = latents(name, relax(pipe, solver="auto", record=True))
    assert isinstance(pipe.scheduler, SteinScheduler)
    config: Any = pipe.scheduler.config
    assert (config["solver"], config["solver_options"]["order"]) == ("unipc", 2)
    assert torch.as_tensor(pipe.scheduler.sigmas).tolist() == pytest.approx(times, abs=1e-5)
    assert bool(found.isfinite().all())
    assert float((found - plain).abs().max()) > 1e-3
    assert float(pipe.scheduler.stein_record.gamma.min()) <= 1
    latents(name, relax(pipe))
    assert type(pipe.scheduler).__name__ == f"Stein{own.__name__}"
    assert torch.equal(latents(name, unrelax(pipe)), plain)
    assert type(pipe.scheduler) is own


def test_wan_s_unipc_is_kept() -> None:
    pipe = relax(unrelax(made("Wan")[0]), solver="auto")
    assert type(pipe.scheduler).__name__ == "SteinUniPCMultistepScheduler"
    pipe = relax(pipe, solver="ipndm")
    assert isinstance(pipe.scheduler, SteinScheduler)
    assert bool(latents("Wan", pipe).isfinite().all())
    unrelax(pipe)
