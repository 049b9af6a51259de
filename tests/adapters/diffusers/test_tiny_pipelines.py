"""Relaxed schedulers inside the pipelines of diffusers, on tiny networks of random weights.

With gamma = 1 a pipeline has to give the bits that it gives with the plain scheduler; with the
energy coefficient it has to give others, near by. What is compared are latents, before the decoder
and its clamping can hide a difference.
"""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from matrices import quick, slow
from torch import Tensor

import steindiff as sd

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import tiny_pipelines as tiny  # noqa: E402  (it needs both)
from tiny_pipelines import generators, pooled_prompts, prompts  # noqa: E402

from steindiff.adapters.diffusers import relax, relaxed_class, unrelax  # noqa: E402
from steindiff.stein import Coefficient, Decision, Proposal  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

STEPS = 4
BATCH = 2


class Family(NamedTuple):
    """A kind of pipeline: its builder, and what a call of it is given for a batch of prompts."""

    build: Callable[..., Any]
    arguments: Callable[[int], dict[str, Any]]


def flux_arguments(batch: int) -> dict[str, Any]:
    return {**pooled_prompts(batch, negative=False), "height": tiny.SIZE, "width": tiny.SIZE}


FAMILIES = {
    "sd": Family(tiny.stable_diffusion, prompts),
    "sdxl": Family(tiny.stable_diffusion_xl, pooled_prompts),
    "sd3": Family(tiny.stable_diffusion_3, pooled_prompts),
    "flux": Family(tiny.flux, flux_arguments),
}

SCHEDULERS: dict[str, Callable[[], Any]] = {
    "pndm": tiny.pndm,
    "ddim": lambda: diffusers.DDIMScheduler(**tiny.SD_OFFSET, clip_sample=False),
    "euler": tiny.euler,
    "heun": lambda: diffusers.HeunDiscreteScheduler(**tiny.SD_OFFSET, timestep_spacing="leading"),
    "lms": lambda: diffusers.LMSDiscreteScheduler(**tiny.SD_OFFSET),
    "kdpm2": lambda: diffusers.KDPM2DiscreteScheduler(**tiny.SD_OFFSET),
    "dpm++ karras": lambda: diffusers.DPMSolverMultistepScheduler(
        **tiny.SD_OFFSET, use_karras_sigmas=True
    ),
    "dpm++ singlestep": lambda: diffusers.DPMSolverSinglestepScheduler(**tiny.SD_SCHEDULE),
    "deis": lambda: diffusers.DEISMultistepScheduler(**tiny.SD_OFFSET),
    "unipc": lambda: diffusers.UniPCMultistepScheduler(**tiny.SD_OFFSET),
    "flow euler": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow heun": lambda: diffusers.FlowMatchHeunDiscreteScheduler(shift=3.0),
    "flow euler mu": lambda: diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    "flow unipc": lambda: diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ),
    "flow dpm++": lambda: diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ),
}
DIFFUSION = [name for name in SCHEDULERS if not name.startswith("flow")]
CASES = [
    *(("sd", name) for name in DIFFUSION),
    *(("sdxl", name) for name in ("euler", "dpm++ karras", "heun")),
    *(("sd3", name) for name in ("flow euler", "flow heun", "flow unipc", "flow dpm++")),
    *(("flux", name) for name in ("flow euler mu", "flow unipc")),
]


FEW = quick(
    CASES,
    [
        *(("sd", name) for name in ("pndm", "euler", "heun", "dpm++ karras", "unipc")),
        ("sdxl", "euler"),
        ("sd3", "flow euler"),
        ("flux", "flow euler mu"),
    ],
)
"""Each kind of pipeline; every class of scheduler is run without one in `test_bit_identity`."""


def build(family: str, scheduler: Any = None) -> Any:
    return quiet(FAMILIES[family].build(scheduler))


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe: Any, scheduler: Any = None, **arguments: Any) -> Tensor:
    """The latents of a short sampling; the noise of image k is that of seed k."""
    if scheduler is not None:
        pipe.scheduler = scheduler
    batch = len(arguments["prompt_embeds"]) * arguments.get("num_images_per_prompt", 1)
    defaults = {
        "num_inference_steps": STEPS,
        "generator": generators(batch),
        "output_type": "latent",
        "return_dict": False,
    }
    return pipe(**{**defaults, **arguments})[0]


def neutral(scheduler: Any, **options: Any) -> Any:
    """The scheduler relaxed with gamma = 1."""
    return relax(scheduler, "constant", "none", value=1.0, **options)


def assert_same_bits(found: Tensor, expected: Tensor) -> None:
    assert expected.isfinite().all()
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def assert_close(found: Tensor, expected: Tensor) -> None:
    """As far as a network in float32 repeats itself."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def assert_near_but_different(found: Tensor, plain: Tensor) -> None:
    """Every image is nearer to the plain one of its noise than that one is to any of another."""
    assert found.isfinite().all()
    assert found.dtype == plain.dtype
    assert not torch.equal(found, plain)
    moved = (found - plain).flatten(1).norm(dim=1)
    apart = torch.cdist(plain.flatten(1).float(), plain.flatten(1).float())
    apart.fill_diagonal_(float("inf"))
    assert (moved < apart.amin(dim=1)).all()


# Text to image


@pytest.mark.parametrize(("family", "name"), FEW)
def test_gamma_of_one_keeps_the_bits(family: str, name: str) -> None:
    scheduler = SCHEDULERS[name]()
    pipe, arguments = build(family, scheduler), FAMILIES[family].arguments(BATCH)
    plain = run(pipe, **arguments)
    assert_same_bits(run(pipe, neutral(scheduler), **arguments), plain)


@pytest.mark.parametrize(("family", "name"), FEW)
def test_energy_moves_the_image_a_little(family: str, name: str) -> None:
    """The second call gives the bits of the first: nothing is left of the one before."""
    scheduler = SCHEDULERS[name]()
    pipe, arguments = build(family, scheduler), FAMILIES[family].arguments(BATCH)
    arguments["num_inference_steps"] = 6
    plain = run(pipe, **arguments)
    first = run(pipe, relax(scheduler), **arguments)
    assert_near_but_different(first, plain)
    run(pipe, **{**arguments, **FAMILIES[family].arguments(BATCH + 1)})  # another batch size
    assert_same_bits(run(pipe, **arguments), first)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_come_out_as_asked(family: str) -> None:
    pipe, arguments = build(family), FAMILIES[family].arguments(BATCH)
    pipe.scheduler = relax(pipe.scheduler)
    shared = {**arguments, "num_inference_steps": STEPS}
    named = pipe(**shared, generator=generators(BATCH), output_type="pt")
    (unnamed, *_) = pipe(**shared, generator=generators(BATCH), output_type="pt", return_dict=False)
    assert named.images.shape == (BATCH, 3, tiny.SIZE, tiny.SIZE)
    assert_same_bits(unnamed, named.images)


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("euler", sd.solvers.Euler()),
        ("dpm++ karras", sd.solvers.DPMpp2M()),
        ("unipc", sd.solvers.UniPC(2)),
        ("heun", sd.solvers.Heun()),
    ],
)
@pytest.mark.parametrize(("scale", "rescale"), [slow(1.0, 0.0), slow(5.0, 0.0), (5.0, 0.7)])
def test_guided_pipeline_is_sample_on_the_guided_network(
    name: str, solver: Any, scale: float, rescale: float
) -> None:
    """By the library's own solver, in variance-exploding coordinates."""
    pipe, given = build("sd", relax(SCHEDULERS[name](), "energy", record=True)), prompts(3)
    latents = sd.noise((4, 8, 8), sigma=1.0, seeds=range(3))
    found = run(
        pipe, **given, latents=latents, guidance_scale=scale, guidance_rescale=rescale,
        num_inference_steps=8,
    )  # fmt: skip
    record = pipe.scheduler.stein_record
    sigmas = record.sigmas
    expected = sd.sample(
        sd_denoiser(pipe, given, scale, rescale), latents * (1 + sigmas[0] ** 2) ** 0.5,
        sigmas, solver, "energy", record=True,
    )  # fmt: skip
    assert expected.record is not None
    assert (expected.record.gamma < 1).any()
    assert_close(record.gamma, expected.record.gamma)
    assert_close(found, expected.x)


def sd_denoiser(pipe: Any, given: dict[str, Tensor], scale: float, rescale: float) -> Any:
    """D(x, sigma) of a noise-predicting network with guidance."""
    sigmas, embeddings = pipe.scheduler.sigmas, torch.cat([*given.values()])

    @torch.no_grad()
    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        level = float(sigma[0])
        timestep = pipe.scheduler.timesteps[(sigmas[:-1] - level).abs().argmin()]
        scaled = (x / (1 + level**2) ** 0.5).repeat(2, 1, 1, 1)
        text, none = pipe.unet(scaled, timestep, encoder_hidden_states=embeddings).sample.chunk(2)
        if scale == 1:
            return x - level * text
        guided = none + scale * (text - none)
        ratio = deviation(text) / deviation(guided)
        return x - level * guided * (rescale * ratio + 1 - rescale)

    return denoiser


def deviation(x: Tensor) -> Tensor:
    return x.std(dim=(1, 2, 3), keepdim=True)


def test_guided_flow_pipeline_is_sample_on_the_guided_network() -> None:
    """From t < 1, for at pure noise there are no variance-exploding coordinates."""
    scheduler = relax(diffusers.FlowMatchEulerDiscreteScheduler(), record=True)
    pipe, given, scale = build("sd3", scheduler), pooled_prompts(3), 6.0
    latents = sd.noise((4, 8, 8), sigma=1.0, seeds=range(3))
    found = run(
        pipe, **given, latents=latents, guidance_scale=scale, sigmas=[0.95, 0.8, 0.6, 0.4, 0.2]
    )
    times = pipe.scheduler.sigmas.tolist()
    expected = sd.sample(
        flow_denoiser(pipe, given, scale), latents / (1 - times[0]),
        [t / (1 - t) for t in times], "euler", "auto", record=True,
    )  # fmt: skip
    assert expected.record is not None
    assert (expected.record.gamma < 1).any()
    assert_close(pipe.scheduler.stein_record.gamma, expected.record.gamma)
    assert_close(found, expected.x)


def flow_denoiser(pipe: Any, given: dict[str, Tensor], scale: float) -> Any:
    """D(x, sigma) of a velocity-predicting network with guidance; x = native/(1 - t)."""
    text, none, pooled, pooled_none = given.values()

    @torch.no_grad()
    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        t = float(sigma[0] / (1 + sigma[0]))
        native = x * (1 - t)
        velocity, unguided = pipe.transformer(
            native.repeat(2, 1, 1, 1),
            timestep=torch.full((2 * len(x),), 1000 * t),
            encoder_hidden_states=torch.cat([text, none]),
            pooled_projections=torch.cat([pooled, pooled_none]),
        ).sample.chunk(2)
        return native - t * (unguided + scale * (velocity - unguided))

    return denoiser


# Batches


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_image_depends_neither_on_the_other_prompts_nor_on_their_images(family: str) -> None:
    """Up to what the network does; three prompts, two images of each."""
    pipe, arguments = build(family), FAMILIES[family].arguments(3)
    # By the law of two levels, for which these networks lack enough of it.
    pipe.scheduler = relax(pipe.scheduler, "energy", law="two", record=True)
    together = run(pipe, **arguments, num_images_per_prompt=2, num_inference_steps=8)
    gamma = pipe.scheduler.stein_record.gamma
    assert together.shape[0] == gamma.shape[1] == 6
    assert any(len(row.unique()) > 1 for row in gamma)  # else pooling over the batch would pass
    for k in range(3):
        alone = {name: value[k : k + 1] for name, value in arguments.items()}
        images = slice(2 * k, 2 * k + 2)
        found = run(
            pipe, **alone, num_images_per_prompt=2, num_inference_steps=8,
            generator=generators(2, seed=2 * k),
        )  # fmt: skip
        assert_close(found, together[images])
        assert_close(pipe.scheduler.stein_record.gamma, gamma[:, images])


# Images to images


def image_of(batch: int = BATCH) -> Tensor:
    """Images in [0, 1], as the pipelines take them."""
    return torch.rand(batch, 3, tiny.SIZE, tiny.SIZE, generator=tiny.generator(7))


IMG2IMG = ["pndm", "ddim", "euler", "dpm++ karras", "heun", "unipc", "deis"]


@pytest.mark.parametrize("name", quick(IMG2IMG, ["euler", "heun"]))
def test_img2img_starts_in_the_middle(name: str) -> None:
    scheduler = SCHEDULERS[name]()
    pipe = quiet(diffusers.StableDiffusionImg2ImgPipeline.from_pipe(build("sd", scheduler)))
    arguments = {**prompts(BATCH), "image": image_of(), "strength": 0.5, "num_inference_steps": 12}
    plain = run(pipe, **arguments)
    assert_same_bits(run(pipe, neutral(scheduler), **arguments), plain)
    assert_near_but_different(run(pipe, relax(scheduler), **arguments), plain)
    run(pipe, relax(scheduler, "constant", value=0.875, record=True), **arguments)
    gamma = pipe.scheduler.stein_record.gamma
    assert gamma.tolist() == [[0.875] * BATCH] * 5 + [[1.0] * BATCH]


def test_img2img_of_a_flow_model() -> None:
    scheduler = SCHEDULERS["flow euler"]()
    pipe = quiet(diffusers.StableDiffusion3Img2ImgPipeline(**build("sd3", scheduler).components))
    arguments = {**pooled_prompts(BATCH), "image": image_of(), "strength": 0.5}
    arguments.update(num_inference_steps=8, height=tiny.SIZE, width=tiny.SIZE)
    plain = run(pipe, **arguments)
    assert_same_bits(run(pipe, neutral(scheduler), **arguments), plain)
    assert_near_but_different(run(pipe, relax(scheduler), **arguments), plain)


@pytest.mark.parametrize("name", ["pndm", "ddim", "euler", "dpm++ karras", "unipc"])
def test_inpainting_moves_only_what_is_painted(name: str) -> None:
    """The pipeline puts the known part back after every step."""
    scheduler = SCHEDULERS[name]()
    pipe = quiet(diffusers.StableDiffusionInpaintPipeline.from_pipe(build("sd", scheduler)))
    mask = torch.zeros(BATCH, 1, tiny.SIZE, tiny.SIZE)
    mask[..., : tiny.SIZE // 2] = 1
    arguments = {**prompts(BATCH), "image": image_of(), "mask_image": mask}
    arguments.update(num_inference_steps=8, height=tiny.SIZE, width=tiny.SIZE)
    plain = run(pipe, **arguments)
    assert_same_bits(run(pipe, neutral(scheduler), **arguments), plain)
    found = run(pipe, relax(scheduler), **arguments)
    half = plain.shape[-1] // 2
    assert_near_but_different(found[..., :half], plain[..., :half])
    assert torch.equal(found[..., half:], plain[..., half:])


def test_base_and_refiner_share_one_schedule() -> None:
    """The step that the base ends with is not the last one: the refiner goes on from there."""
    base = build("sdxl")
    refiner = refiner_of(base)
    plain = base_and_refiner(base, refiner)
    scheduler = base.scheduler
    base.scheduler, refiner.scheduler = neutral(scheduler), neutral(scheduler)
    assert_same_bits(base_and_refiner(base, refiner), plain)
    base.scheduler, refiner.scheduler = relax(scheduler), relax(scheduler)
    assert_near_but_different(base_and_refiner(base, refiner), plain)
    for pipe in (base, refiner):
        pipe.scheduler = relax(scheduler, "constant", value=0.875, record=True)
    base_and_refiner(base, refiner)
    by_base = int((base.scheduler.timesteps >= 500).sum())
    assert 0 < by_base < 6
    assert base.scheduler.stein_record.gamma[:, 0].tolist() == [0.875] * by_base
    rest = [0.875] * (5 - by_base) + [1.0]
    assert refiner.scheduler.stein_record.gamma[:, 0].tolist() == rest


@dataclass(frozen=True)
class Counting(Coefficient):
    """gamma = 1 - (steps so far)/16: what it remembers is what it does."""

    def init(self, x: Tensor) -> int:
        return 0

    def __call__(self, proposal: Proposal, state: int) -> Decision:
        return Decision(torch.full((len(proposal.x),), 1 - state / 16), state + 1)


def test_coefficient_forgets_between_base_and_refiner() -> None:
    """Though one scheduler serves both, and the refiner begins less noisy than the base ended."""
    base = build("sdxl", relax(tiny.euler(), Counting(), record=True))
    refiner = refiner_of(base)
    assert refiner.scheduler is base.scheduler
    base_and_refiner(base, refiner)
    after = base.scheduler.stein_record.gamma[:, 0].tolist()
    assert after == [*(1 - k / 16 for k in range(len(after) - 1)), 1.0]
    assert len(after) < 6


def refiner_of(base: Any) -> Any:
    parts = base.components
    return quiet(diffusers.StableDiffusionXLImg2ImgPipeline(**parts, add_watermarker=False))


def base_and_refiner(base: Any, refiner: Any) -> Tensor:
    shared = {**pooled_prompts(BATCH), "num_inference_steps": 6}
    half = run(base, **shared, denoising_end=0.5)
    return run(refiner, **shared, image=half, denoising_start=0.5)


# Schedules of one's own


@pytest.mark.parametrize(
    ("family", "name", "schedule"),
    [
        ("sd", "euler", {"timesteps": [901, 601, 301, 101, 1]}),
        ("sd", "dpm++ karras", {"timesteps": [901, 601, 301, 101, 1]}),
        ("sd", "heun", {"timesteps": [901, 601, 301, 101, 1]}),
        ("sd", "euler", {"sigmas": [14.0, 6.0, 2.5, 1.0, 0.3, 0.0]}),
        ("sd3", "flow euler", {"sigmas": [0.97, 0.8, 0.6, 0.4, 0.2]}),
        ("flux", "flow euler mu", {"sigmas": [0.97, 0.8, 0.6, 0.4, 0.2]}),
        ("sd3", "flow unipc", {"sigmas": np.array([0.97, 0.8, 0.6, 0.4, 0.2])}),
    ],
)
def test_own_timesteps_and_sigmas(family: str, name: str, schedule: dict[str, Any]) -> None:
    scheduler = SCHEDULERS[name]()
    if name == "dpm++ karras":  # upstream takes timesteps only without
        scheduler = type(scheduler).from_config(scheduler.config, use_karras_sigmas=False)
    pipe, arguments = build(family, scheduler), FAMILIES[family].arguments(BATCH)
    plain = run(pipe, **arguments, **schedule)
    assert not torch.equal(plain, run(pipe, **arguments, num_inference_steps=5))
    assert_same_bits(run(pipe, neutral(scheduler), **arguments, **schedule), plain)
    relaxed = relax(scheduler, law="one", steady=False)  # which needs no steps before
    assert_near_but_different(run(pipe, relaxed, **arguments, **schedule), plain)


def test_schedule_that_a_scheduler_does_not_take_is_refused_as_before() -> None:
    pipe = build("sd", relax(tiny.pndm()))
    with pytest.raises(ValueError, match="does not support custom"):
        run(pipe, **prompts(), timesteps=[901, 601, 301])


# Callbacks


def test_callback_sees_what_the_next_step_departs_from() -> None:
    """And what it puts in its place is what the next step measures."""
    pipe, given = build("sd", relax(tiny.euler(), record=True)), []

    def replace(pipe: Any, step: int, timestep: Any, held: dict[str, Tensor]) -> dict[str, Tensor]:
        latents = held["latents"] * 1.5 if step == 1 else held["latents"]
        given.append(latents)
        return {"latents": latents}

    found = run(pipe, **prompts(BATCH), callback_on_step_end=replace)
    record = pipe.scheduler.stein_record
    energies = torch.stack([x.double().square().flatten(1).mean(dim=1) for x in given])
    assert torch.equal(found, given[-1])
    torch.testing.assert_close(record.energy[1:], energies[:-1])
    left = torch.cat([energies[:1], energies[1:2] / 1.5**2, energies[2:]])
    torch.testing.assert_close(record.energy_next, left)


@pytest.mark.parametrize("name", ["pndm", "dpm++ karras", "heun", "unipc"])
def test_callback_that_replaces_latents_keeps_the_bits_at_gamma_one(name: str) -> None:
    scheduler = SCHEDULERS[name]()

    def shrink(pipe: Any, step: int, timestep: Any, held: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": held["latents"] * 0.9}

    pipe, arguments = build("sd"), {**prompts(BATCH), "callback_on_step_end": shrink}
    plain = run(pipe, scheduler, **arguments)
    assert_same_bits(run(pipe, neutral(scheduler), **arguments), plain)


@pytest.mark.parametrize("name", ["euler", "dpm++ karras", "unipc"])
def test_sampling_after_one_that_was_stopped_is_a_fresh_one(name: str) -> None:
    pipe, arguments = build("sd", relax(SCHEDULERS[name]())), prompts(BATCH)
    fresh = run(pipe, **arguments, num_inference_steps=6)

    def stop(pipe: Any, step: int, timestep: Any, held: dict[str, Tensor]) -> dict[str, Tensor]:
        pipe._interrupt = step == 3
        return held

    run(pipe, **prompts(BATCH, seed=5), num_inference_steps=6, callback_on_step_end=stop)
    assert_same_bits(run(pipe, **arguments, num_inference_steps=6), fresh)


def test_latents_that_are_not_finite_are_reported_with_their_sample() -> None:
    pipe = build("sd", relax(tiny.euler()))

    def spoil(pipe: Any, step: int, timestep: Any, held: dict[str, Tensor]) -> dict[str, Tensor]:
        if step == 1:
            held["latents"][1] = float("nan")
        return held

    with pytest.raises(sd.NonFiniteError) as caught:
        run(pipe, **prompts(BATCH), callback_on_step_end=spoil)
    assert (caught.value.step, caught.value.samples) == (2, [1])


# Precision, offloading, compilation


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("family", "name"),
    [("sd", "pndm"), ("sd", "euler"), ("sd", "unipc"), ("sd3", "flow euler"), ("sd", "heun")],
)
def test_half_precision(family: str, name: str, dtype: torch.dtype) -> None:
    scheduler = SCHEDULERS[name]()
    pipe, given = build(family, scheduler).to(dtype), FAMILIES[family].arguments(BATCH)
    arguments = {name: value.to(dtype) for name, value in given.items()}
    arguments["num_inference_steps"] = 6
    plain = run(pipe, **arguments)
    assert plain.dtype == dtype
    assert_same_bits(run(pipe, neutral(scheduler), **arguments), plain)
    found = run(pipe, relax(scheduler, record=True), **arguments)
    assert_near_but_different(found, plain)
    assert pipe.scheduler.stein_record.gamma.dtype == torch.float64


@pytest.mark.parametrize("family", ["sd", "sd3"])
def test_offloading(family: str) -> None:
    """Without an accelerator the networks move from the CPU to the CPU, by the same hooks."""
    pytest.importorskip("accelerate")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    arguments = {
        name: value.to(device) for name, value in FAMILIES[family].arguments(BATCH).items()
    }
    scheduler = relax(build(family).scheduler)
    expected = run(build(family, scheduler).to(device), **arguments)
    pipe = build(family, scheduler)
    pipe.enable_model_cpu_offload(device=device)
    assert hasattr(pipe.unet if family == "sd" else pipe.transformer, "_hf_hook")
    found = run(pipe, **arguments)
    assert found.device.type == device
    assert_same_bits(found, expected)


@pytest.mark.slow
def test_compiled_network() -> None:
    """By a backend that needs no compiler; the network is traced, the scheduler is not."""
    pipe, arguments = build("sd", relax(tiny.euler())), prompts(BATCH)
    expected = run(pipe, **arguments)
    traced = []

    def backend(graph: Any, inputs: Any) -> Any:
        traced.append(graph)
        return graph.forward

    pipe.unet = torch.compile(pipe.unet, backend=backend)
    assert_close(run(pipe, **arguments), expected)
    assert traced
    torch._dynamo.reset()


# Saving, loading, exchanging


def load(folder: Path, encoders: int) -> Any:
    """A saved pipeline; diffusers wants to be told which parts it was saved without."""
    missing = tiny.without_encoders(encoders)
    return quiet(diffusers.DiffusionPipeline.from_pretrained(folder, **missing))


def load_elsewhere(folder: Path) -> list[Any]:
    """Class and coefficient of a saved scheduler, in a process that has made no class before.

    It has to import the adapter: diffusers loads a part from a module of another library only if
    that was imported already.
    """
    code = (
        "import json, sys, diffusers, steindiff.adapters.diffusers\n"
        "pipe = diffusers.DiffusionPipeline.from_pretrained(\n"
        "    sys.argv[1], text_encoder=None, tokenizer=None\n"
        ")\n"
        "print(json.dumps([type(pipe.scheduler).__name__, pipe.scheduler.config['_stein']]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_saved_pipeline_keeps_its_scheduler(tmp_path: Path) -> None:
    options = {"trust": 0.25, "memory": False}
    scheduler = relax(tiny.pndm(), "energy", record=True, **options)
    pipe, arguments = build("sd", scheduler), {**prompts(BATCH), "num_inference_steps": 6}
    expected = run(pipe, **arguments)
    default = run(copy.deepcopy(pipe), relax(tiny.pndm()), **arguments)
    assert not torch.equal(expected, default)  # else lost options would not show
    pipe.save_pretrained(tmp_path)
    module, name = json.loads((tmp_path / "model_index.json").read_text())["scheduler"]
    assert name == "SteinPNDMScheduler"
    assert getattr(importlib.import_module(module), name) is type(scheduler)
    loaded = load(tmp_path, encoders=1)
    assert type(loaded.scheduler) is type(scheduler)
    assert isinstance(loaded.scheduler, diffusers.PNDMScheduler)
    kept = loaded.scheduler.config["_stein"]
    assert (kept["coefficient"], kept["record"]) == ("energy", True)
    assert options.items() <= kept["options"].items()
    assert_same_bits(run(loaded, **arguments), expected)
    assert loaded.scheduler.stein_record.gamma.shape[1] == BATCH
    other = diffusers.DDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    tiny.pndm().save_pretrained(tmp_path / "plain")
    same = diffusers.DDIMScheduler.from_pretrained(tmp_path / "plain")
    assert_same_bits(run(loaded, other, **arguments), run(loaded, same, **arguments))


@pytest.mark.slow
def test_another_process_loads_a_saved_pipeline(tmp_path: Path) -> None:
    scheduler = relax(tiny.pndm(), "energy", record=True, trust=0.25, memory=False)
    build("sd", scheduler).save_pretrained(tmp_path)
    assert load_elsewhere(tmp_path) == ["SteinPNDMScheduler", scheduler.config["_stein"]]


def test_plain_pipeline_is_relaxed_after_loading(tmp_path: Path) -> None:
    pipe, arguments = build("sd3"), pooled_prompts(BATCH)
    plain = run(pipe, **arguments)
    expected = run(pipe, relax(pipe.scheduler), **arguments)
    pipe.scheduler = unrelax(pipe.scheduler)
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    config = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text())
    assert config["_class_name"] == "FlowMatchEulerDiscreteScheduler"
    assert "_stein" not in config
    loaded = load(tmp_path, encoders=3)
    assert_same_bits(run(loaded, **arguments), plain)
    assert_same_bits(run(loaded, relax(loaded.scheduler), **arguments), expected)


@pytest.mark.parametrize("name", ["ddim", "dpm++ karras", "unipc"])
def test_plain_scheduler_from_the_configuration_of_a_relaxed_one(name: str) -> None:
    """The usual way to change a pipeline's scheduler; it leaves nothing relaxed."""
    source, target = tiny.euler(), type(SCHEDULERS[name]())
    pipe, arguments = build("sd", relax(source)), prompts(BATCH)
    run(pipe, **arguments)
    pipe.scheduler = target.from_config(pipe.scheduler.config)
    assert type(pipe.scheduler) is target
    found = run(pipe, **arguments)
    assert_same_bits(found, run(pipe, target.from_config(source.config), **arguments))
    again = relax(pipe.scheduler)
    assert isinstance(again, target)
    assert_near_but_different(
        run(pipe, again, **arguments, num_inference_steps=6),
        run(pipe, unrelax(again), **arguments, num_inference_steps=6),
    )


def test_relaxed_scheduler_from_the_configuration_of_another() -> None:
    """The coefficient goes along."""
    pipe, arguments = build("sd", relax(tiny.euler(), "constant", value=0.875)), prompts(BATCH)
    cls = relaxed_class(diffusers.DDIMScheduler)
    found = run(pipe, cls.from_config(pipe.scheduler.config), **arguments)
    plain = diffusers.DDIMScheduler.from_config(tiny.euler().config)
    assert type(pipe.scheduler) is cls
    assert_same_bits(found, run(pipe, relax(plain, "constant", value=0.875), **arguments))


def test_pipelines_that_share_components_share_the_scheduler() -> None:
    text = build("sd", relax(tiny.euler()))
    arguments = {**prompts(BATCH), "image": image_of(), "strength": 0.5, "num_inference_steps": 8}
    by_from_pipe = quiet(diffusers.StableDiffusionImg2ImgPipeline.from_pipe(text))
    by_components = quiet(
        diffusers.StableDiffusionImg2ImgPipeline(**text.components, requires_safety_checker=False)
    )
    assert by_components.scheduler is text.scheduler
    assert type(by_from_pipe.scheduler) is type(text.scheduler)
    found = run(by_from_pipe, **arguments)
    run(text, **prompts(BATCH))  # a sampling of the other in between
    assert_same_bits(run(by_components, **arguments), found)


# Pipelines that choose their scheduler


def in_pixels(pipe: Any, **arguments: Any) -> Tensor:
    arguments = {"generator": tiny.generator(), "batch_size": BATCH, **arguments}
    return pipe(num_inference_steps=6, output_type="pt", **arguments).images


def test_ddim_pipeline_is_relaxed_once_it_is_built() -> None:
    """It rebuilds its scheduler from the configuration, as a plain one.

    The network predicts v: from noise that is random the pixels would leave the range [0, 1],
    to which this pipeline clamps them.
    """
    unet = tiny.unconditional_unet()
    scheduler = diffusers.DDIMScheduler(clip_sample=False, prediction_type="v_prediction")
    plain = in_pixels(quiet(diffusers.DDIMPipeline(unet, scheduler)))
    pipe = quiet(diffusers.DDIMPipeline(unet, relax(scheduler)))
    assert type(pipe.scheduler) is diffusers.DDIMScheduler
    assert_same_bits(in_pixels(pipe), plain)
    pipe.scheduler = neutral(pipe.scheduler)
    assert_same_bits(in_pixels(pipe), plain)
    pipe.scheduler = relax(pipe.scheduler)
    assert_near_but_different(in_pixels(pipe), plain)


def test_noise_added_on_purpose_is_refused() -> None:
    ddim = SCHEDULERS["ddim"]()
    pipe = build("sd", relax(ddim))
    with pytest.raises(ValueError, match="eta"):
        run(pipe, **prompts(), eta=0.5)
    run(pipe, **prompts(), eta=0.0)
    ddpm = quiet(diffusers.DDPMPipeline(tiny.unconditional_unet(), diffusers.DDPMScheduler()))
    with pytest.raises(ValueError, match="DDPMScheduler"):
        relax(ddpm.scheduler)


# Records


@pytest.mark.parametrize(("family", "name"), FEW)
def test_record_of_a_sampling(family: str, name: str) -> None:
    """One row a whole step, however many calls of the network it takes."""
    pipe = build(family, relax(SCHEDULERS[name](), record=True))
    for batch in (BATCH, 3):
        run(pipe, **FAMILIES[family].arguments(batch))
        record = pipe.scheduler.stein_record
        steps = WHOLE_STEPS.get(name, STEPS)
        for field in ("gamma", "correction", "energy", "energy_next", "kappa", "stein_ratio"):
            values = getattr(record, field)
            assert values.shape == (steps, batch), field
            assert values.dtype == torch.float64, field
        assert (record.gamma[-1] == 1).all()
        assert ((record.gamma > 0) & (record.gamma <= 1)).all()
        assert len(record.sigmas) == steps + 1
        assert all(after < before for before, after in pairwise(record.sigmas))


WHOLE_STEPS = {"dpm++ singlestep": 3}
"""Where whole steps are not `num_inference_steps`: 4 calls are one step of two, and two of one."""


def test_record_that_was_not_asked_for() -> None:
    pipe = build("sd", relax(tiny.euler()))
    run(pipe, **prompts())
    with pytest.raises(ValueError, match="record=True"):
        _ = pipe.scheduler.stein_record
