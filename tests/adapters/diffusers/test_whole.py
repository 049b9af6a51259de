"""Flow pipelines read as a denoiser by calls of the pipelines themselves, and compared so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from tiny_pipelines import diffusers, generator
from tiny_whole import PIPELINES, embedded
from torch import Tensor

import steindiff as sd
from steindiff.adapters.diffusers.folder import denoiser_of, takes_prompt
from steindiff.adapters.diffusers.folder.whole import WHOLE
from steindiff.lab import compare

every = pytest.mark.parametrize("name", PIPELINES)
PROMPTS = ("a", "bc")


@pytest.fixture(autouse=True)
def small_wan(monkeypatch: pytest.MonkeyPatch) -> None:
    given = MappingProxyType({**WHOLE["WanPipeline"], "height": 32, "width": 32})
    monkeypatch.setitem(WHOLE, "WanPipeline", given)


@every
def test_a_denoiser_is_one_euler_step_of_the_pipeline(name: str) -> None:
    """From a state at t all the way to 0, for each prompt, and for none."""
    pipe = PIPELINES[name]()
    own = pipe.scheduler
    model = denoiser_of(pipe, prompts=PROMPTS)
    assert (model.classes, model.null_label, model.prompts) == (2, 2, PROMPTS)
    assert pipe.scheduler is own
    x = 3.0 * torch.randn(3, *model.sample_shape, generator=generator(5))
    found = model.denoiser(x, torch.full((3,), 3.0), class_labels=torch.tensor([1, 0, 2]))
    pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0)
    pipe.set_progress_bar_config(disable=True)
    time = 3.0 / 4.0
    if name == "WanPipeline":  # which takes no sigmas
        velocity = pipe.transformer(
            x / 4, torch.full((3,), 1000 * time), embedded(["bc", "a", ""]), return_dict=False
        )[0]
        expected = x / 4 - time * velocity
    else:
        expected = pipe(
            ["bc", "a", ""], latents=x / 4, sigmas=[time], num_inference_steps=1,
            output_type="latent", return_dict=False,
        )[0]  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    others = model.denoiser(x, torch.full((3,), 3.0), class_labels=torch.tensor([0, 0, 2]))
    assert float((others[0] - found[0]).abs().max()) > 1e-3
    assert torch.equal(others[1:], found[1:])


@every
def test_calls_that_overlap_do_not_mix(name: str) -> None:
    """Another thread's call, at another level and of another prompt, is made within this one."""
    pipe, meanwhile = PIPELINES[name](), []
    encode = pipe.encode_prompt

    def encode_prompt(*args: Any, **options: Any) -> Any:
        if meanwhile:
            meanwhile.pop()()
        return encode(*args, **options)

    pipe.encode_prompt = encode_prompt
    model = denoiser_of(pipe, prompts=PROMPTS)
    x = torch.randn(1, *model.sample_shape, generator=generator(5))

    def call(sigma: float, label: int) -> Tensor:
        return model.denoiser(x, torch.tensor([sigma]), class_labels=torch.tensor([label]))

    expected = [call(3.0, 0), call(0.5, 1)]
    with ThreadPoolExecutor(1) as pool:
        found: list[Tensor] = []
        meanwhile.append(lambda: found.append(pool.submit(call, 0.5, 1).result()))
        found.insert(0, call(3.0, 0))
    assert all(map(torch.equal, found, expected))
    assert len(found) == 2


@every
def test_it_is_compared(name: str, tmp_path: Path) -> None:
    """Guided against the empty prompt; base, relaxed and fine."""
    pipe = PIPELINES[name]()
    assert takes_prompt(pipe)
    pipe.transformer.train()
    found = compare(
        pipe, PROMPTS, steps=[3], guidance=2.0, solvers=["recipe"], samples=16, out=tmp_path
    )
    assert all(part.training for part in pipe.transformer.modules())  # left as it was
    assert all(weight.requires_grad for weight in pipe.transformer.parameters())
    assert found.report.is_file()
    base, relaxed = (row[2] for row in found.rows)
    assert base != relaxed
    assert (found.picture is not None) == (name == "FluxPipeline")  # the others have no VAE here


def test_latents_are_decoded_by_the_pipeline_s_own_last_lines() -> None:
    pipe = PIPELINES["FluxPipeline"]()
    model = denoiser_of(pipe, prompts=PROMPTS)
    latents = sd.noise(model.sample_shape, 1.0, range(2))
    assert model.decode is not None
    images = model.decode(latents)
    unpacked = pipe._unpack_latents(
        latents, *[pipe.default_sample_size * pipe.vae_scale_factor] * 2, pipe.vae_scale_factor
    )
    config: Any = pipe.vae.config
    with torch.no_grad():
        raw = pipe.vae.decode(unpacked / config.scaling_factor + config.shift_factor)[0]
    torch.testing.assert_close(images, raw.clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_one_level_for_the_whole_batch() -> None:
    model = denoiser_of(PIPELINES["FluxPipeline"](), prompts=PROMPTS)
    x, labels = sd.noise(model.sample_shape, 1.0, range(2)), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="takes one for the whole batch"):
        model.denoiser(x, torch.tensor([1.0, 2.0]), class_labels=labels)
