"""The shipped network as a pipeline of diffusers.

Each convention is written out here once more, from its definition, and the network's own D is what
must come out. Whole samplings are held to `steindiff.sample`: first-order schedulers take the very
same steps in VE coordinates, the others meet it on a fine schedule.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matrices import quick
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import ClassifierFreeGuidance
from steindiff.models.network import UNetDenoiser

diffusers = pytest.importorskip("diffusers")
yaml = pytest.importorskip("yaml")

from diffusers.configuration_utils import register_to_config  # noqa: E402

from shipped_pipeline import (  # noqa: E402
    FashionMNISTDenoiser,
    FashionMNISTPipeline,
    convention_of,
)
from steindiff.adapters.diffusers import SteinScheduler, relax  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy's, in diffusers

BETAS: dict[str, Any] = {"beta_start": 1e-4, "beta_end": 0.0175}
LABELS = [0, 5, 9]
SHAPE = (len(LABELS), 1, 28, 28)
PACKAGE = "steindiff.adapters.diffusers"


@pytest.fixture(scope="module")
def network() -> UNetDenoiser:
    return sd.load_model("fashion-mnist")


@pytest.fixture(scope="module")
def denoiser(network: UNetDenoiser) -> FashionMNISTDenoiser:
    return FashionMNISTDenoiser.from_network(network)


@pytest.fixture
def pipe(denoiser: FashionMNISTDenoiser) -> FashionMNISTPipeline:
    return pipeline(denoiser, diffusers.DPMSolverMultistepScheduler(**BETAS))


def pipeline(denoiser: FashionMNISTDenoiser, scheduler: Any) -> FashionMNISTPipeline:
    made = FashionMNISTPipeline(denoiser, scheduler)
    made.set_progress_bar_config(disable=True)
    return made


def noise(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(7)).to(dtype)


def clothes() -> Tensor:
    """Something with structure in [-1, 1]: diagonal bands."""
    ramp = torch.arange(28) / 27
    return torch.sin(6 * (ramp[:, None] + ramp[None, :])).expand(SHAPE).clone()


def rmse(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().square().mean().sqrt())


# Conventions: (scheduler, timestep, alpha, sigma, input from x, D from output and x)


def answer(denoiser: FashionMNISTDenoiser, scheduler: Any, sample: Tensor, t: Any) -> Tensor:
    labels = torch.tensor(LABELS)
    return denoiser(sample, t, labels, convention_of(scheduler), return_dict=False)[0]


def wanted(network: UNetDenoiser, x: Tensor, sigma: float) -> Tensor:
    """D, for x in VE coordinates."""
    return network(x, torch.full((len(x),), sigma, dtype=x.dtype), torch.tensor(LABELS))


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


CLEAN_FROM: dict[str, Callable[[Tensor, Tensor, float, float], Tensor]] = {
    "epsilon": lambda output, x, alpha, sigma: (x - sigma * output) / alpha,
    "v_prediction": lambda output, x, alpha, sigma: alpha * x - sigma * output,
    "sample": lambda output, x, alpha, sigma: output,
}


@pytest.mark.parametrize("t", [0, 1, 300, 300.25, 731.9, 999])
@pytest.mark.parametrize("prediction", CLEAN_FROM)
def test_variance_preserving(
    network: UNetDenoiser, denoiser: FashionMNISTDenoiser, prediction: str, t: float
) -> None:
    scheduler = diffusers.DDIMScheduler(**BETAS, prediction_type=prediction)
    kept = scheduler.alphas_cumprod.double().numpy()
    sigma_ve = math.exp(np.interp(t, np.arange(1000), np.log((1 - kept) / kept) / 2))
    alpha = 1 / math.sqrt(1 + sigma_ve**2)
    sigma = alpha * sigma_ve
    x = alpha * clothes().double() + sigma * noise(torch.float64)
    output = answer(denoiser, scheduler, x, torch.tensor(t))
    found = CLEAN_FROM[prediction](output, x, alpha, sigma)
    assert_same(found, wanted(network, x / alpha, sigma_ve))


@pytest.mark.parametrize("sigma", [0.01, 0.5, 80.0])
@pytest.mark.parametrize("sigma_data", [0.7, 0.5])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_edm(
    network: UNetDenoiser,
    denoiser: FashionMNISTDenoiser,
    prediction: str,
    sigma_data: float,
    sigma: float,
) -> None:
    scheduler = diffusers.EDMEulerScheduler(sigma_data=sigma_data, prediction_type=prediction)
    x = clothes().double() + sigma * noise(torch.float64)
    total = sigma**2 + sigma_data**2
    output = answer(denoiser, scheduler, x / math.sqrt(total), math.log(sigma) / 4)
    c_out = sigma * sigma_data / math.sqrt(total) * (1 if prediction == "epsilon" else -1)
    found = sigma_data**2 / total * x + c_out * output
    assert_same(found, wanted(network, x, sigma))
    theirs = scheduler.precondition_outputs(x, output, sigma)
    assert_same(found, theirs)


@pytest.mark.parametrize("s", [0.01, 0.5, 0.98])
@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        diffusers.FlowMatchHeunDiscreteScheduler(),
        diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_flow(
    network: UNetDenoiser, denoiser: FashionMNISTDenoiser, scheduler: Any, s: float
) -> None:
    x = (1 - s) * clothes().double() + s * noise(torch.float64)
    velocity = answer(denoiser, scheduler, x, torch.tensor(1000 * s, dtype=torch.float64))
    assert_same(x - s * velocity, wanted(network, x / (1 - s), s / (1 - s)))


@pytest.mark.parametrize("t", [0.02, 0.5, 0.99])
def test_ipndm(network: UNetDenoiser, denoiser: FashionMNISTDenoiser, t: float) -> None:
    alpha, sigma = math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)
    x = alpha * clothes().double() + sigma * noise(torch.float64)
    v = answer(denoiser, diffusers.IPNDMScheduler(), x, t)
    assert_same(alpha * x - sigma * v, wanted(network, x / alpha, sigma / alpha))


def test_continuous_euler(network: UNetDenoiser, denoiser: FashionMNISTDenoiser) -> None:
    """Its network is fed ln(sigma)/4 as in EDM, but a variance-preserving input."""
    scheduler = diffusers.EulerDiscreteScheduler(
        timestep_type="continuous", prediction_type="v_prediction"
    )
    alpha = 1 / math.sqrt(1 + 2.5**2)
    x = alpha * (clothes().double() + 2.5 * noise(torch.float64))
    v = answer(denoiser, scheduler, x, math.log(2.5) / 4)
    assert_same(alpha * x - 2.5 * alpha * v, wanted(network, x / alpha, 2.5))


def test_levels_outside_of_the_trained_ones(
    network: UNetDenoiser, denoiser: FashionMNISTDenoiser
) -> None:
    x, edm = noise(torch.float64), diffusers.EDMEulerScheduler(sigma_data=0.7)
    velocity = answer(denoiser, diffusers.FlowMatchEulerDiscreteScheduler(), x, 1000.0)
    assert_same(x - velocity, wanted(network, 100 * x, 100.0))  # alpha = 0: pure noise
    clean = clothes().double()
    total = 0.001**2 + 0.7**2
    output = answer(denoiser, edm, clean / math.sqrt(total), math.log(0.001) / 4)
    denoised = 0.7**2 / total * clean + 0.001 * 0.7 / math.sqrt(total) * output
    assert_same(denoised, wanted(network, clean, 0.005))


def test_timesteps_may_differ_in_a_batch(denoiser: FashionMNISTDenoiser) -> None:
    scheduler, times = diffusers.DDIMScheduler(**BETAS), [3, 500, 990]
    together = answer(denoiser, scheduler, noise(), torch.tensor(times))
    for i, t in enumerate(times):
        assert_same(together[i], answer(denoiser, scheduler, noise(), t)[i])


class KarrasVeScheduler(diffusers.SchedulerMixin, diffusers.ConfigMixin):
    @register_to_config
    def __init__(self, sigma_max: float = 80.0) -> None:
        pass


def test_schedulers_of_another_kind_are_refused(denoiser: FashionMNISTDenoiser) -> None:
    with pytest.raises(ValueError, match="scheduler is a KarrasVeScheduler"):
        convention_of(KarrasVeScheduler())
    with pytest.raises(ValueError, match="prediction_type 'learned' is unknown"):
        convention_of(diffusers.DDIMScheduler(prediction_type="learned"))


# Whole samplings

START = 83.58  # of all samplings: where the solution begins from the same noise moves its end
STEPS = 50  # divides 1000: DDIM and PNDM step by the whole part of 1000 / steps


@pytest.fixture(scope="module")
def solution(network: UNetDenoiser) -> Tensor:
    labels = {"class_labels": torch.tensor(LABELS)}
    sigmas = sd.schedules.karras(80, 0.01, START)
    return sd.sample(network, START * noise(), sigmas, "dpmpp_2m", None, conditioning=labels).x


def angles() -> list[float]:
    """The sines that IPNDM calls betas, at Karras' levels."""
    levels = sd.schedules.karras(STEPS, 0.01, START).tolist()
    return [math.sin(math.atan(level)) for level in levels]


TIMES = np.linspace(START / (1 + START), 0.01, STEPS)  # of a flow that starts where the others do
VP = {**BETAS, "timestep_spacing": "trailing"}
FINE: dict[str, tuple[Any, dict[str, Any]]] = {
    "DDIM": (diffusers.DDIMScheduler(**VP, clip_sample=False), {}),
    "PNDM": (diffusers.PNDMScheduler(**VP), {}),
    "Euler": (diffusers.EulerDiscreteScheduler(**VP), {}),
    "DPM++ 2M Karras": (diffusers.DPMSolverMultistepScheduler(**VP, use_karras_sigmas=True), {}),
    "UniPC": (diffusers.UniPCMultistepScheduler(**VP), {}),
    "EDM Euler": (diffusers.EDMEulerScheduler(sigma_max=START), {}),
    "EDM DPM++": (diffusers.EDMDPMSolverMultistepScheduler(sigma_max=START), {}),
    "flow Euler": (
        diffusers.FlowMatchEulerDiscreteScheduler(),
        {"sigmas": TIMES},
    ),
    "IPNDM": (diffusers.IPNDMScheduler(trained_betas=angles()), {}),
    "MiniMax Euler": (diffusers.MiniMaxH3Scheduler(), {"sigmas": [*TIMES.tolist(), 0.0]}),
    "Stein vp": (SteinScheduler(**BETAS, coefficient=None), {}),
    "Stein edm": (SteinScheduler("edm", sigma_max=START, sigma_data=0.7, coefficient=None), {}),
    "Stein flow": (SteinScheduler("flow", coefficient=None), {"sigmas": TIMES}),
}


@pytest.mark.parametrize("name", quick(FINE, ["DDIM", "DPM++ 2M Karras", "flow Euler"]))
def test_fine_schedules_meet(denoiser: FashionMNISTDenoiser, solution: Tensor, name: str) -> None:
    """Images of other noise are 0.8 apart, an even grey is 0.6 away."""
    scheduler, schedule = FINE[name]
    pipe = pipeline(denoiser, scheduler)
    images = pipe(LABELS, STEPS, latents=noise(), output_type="latent", **schedule).images
    assert rmse(images, solution) < (0.06 if "Euler" in name or name == "DDIM" else 0.025)


def first_order(network: Any, start: Tensor, sigmas: list[float]) -> Tensor:
    """Euler in VE coordinates, which is what all first-order schedulers do."""

    def clipped(x: Tensor, sigma: Tensor, /, **conditioning: Any) -> Tensor:
        return network(x, sigma.clamp(min=0.005), **conditioning)  # the least level trained on

    labels = {"class_labels": torch.tensor(LABELS)}
    return sd.sample(clipped, start, sigmas, "euler", None, conditioning=labels).x


def sigmas_of_ddim(scheduler: Any, steps: int) -> list[float]:
    scheduler.set_timesteps(steps)
    kept = scheduler.alphas_cumprod.double()[scheduler.timesteps]
    return [*((1 / kept - 1).sqrt().tolist()), 0.0]


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_ddim_takes_the_steps_of_euler_guided_or_not(
    network: UNetDenoiser, denoiser: FashionMNISTDenoiser, prediction: str, scale: float
) -> None:
    scheduler = diffusers.DDIMScheduler(**BETAS, clip_sample=False, prediction_type=prediction)
    sigmas = sigmas_of_ddim(scheduler, 5)
    guided = ClassifierFreeGuidance(network, scale, {"class_labels": 10})
    start = noise() * math.sqrt(1 + sigmas[0] ** 2)
    expected = first_order(guided, start, sigmas)
    pipe = pipeline(denoiser, scheduler)
    found = pipe(LABELS, 5, scale, latents=noise(), output_type="latent").images
    assert rmse(found, expected) < 2e-4


def test_custom_flow_sigmas(network: UNetDenoiser, denoiser: FashionMNISTDenoiser) -> None:
    levels = [0.98, 0.9, 0.6, 0.2]
    expected = first_order(network, noise() / 0.02, [*(s / (1 - s) for s in levels), 0.0])
    pipe = pipeline(denoiser, diffusers.FlowMatchEulerDiscreteScheduler())
    found = pipe(LABELS, sigmas=levels, latents=noise(), output_type="latent").images
    assert rmse(found, expected) < 2e-4


def test_custom_timesteps(pipe: FashionMNISTPipeline) -> None:
    seen = []

    def watch(pipeline: Any, step: int, t: Any, given: dict[str, Any]) -> dict[str, Any]:
        seen.append(int(t))
        return {}

    pipe(LABELS, timesteps=[999, 400, 90], callback_on_step_end=watch)
    assert seen == [999, 400, 90]


@pytest.mark.parametrize("kind", ["Euler", "EDM Euler", "flow Euler", "Stein"])
def test_image_to_image_starts_in_the_middle(
    network: UNetDenoiser, denoiser: FashionMNISTDenoiser, kind: str
) -> None:
    scheduler: Any = {
        "Euler": diffusers.EulerDiscreteScheduler(**BETAS),
        "EDM Euler": diffusers.EDMEulerScheduler(),
        "flow Euler": diffusers.FlowMatchEulerDiscreteScheduler(),
        "Stein": relax(diffusers.EulerDiscreteScheduler(**BETAS), "constant", value=1.0),
    }[kind]
    scheduler.set_timesteps(8)
    levels = [float(s) for s in scheduler.sigmas][5:]
    sigmas = [s / (1 - s) for s in levels] if kind == "flow Euler" else levels
    expected = first_order(network, clothes() + sigmas[0] * noise(), sigmas)
    images = (clothes() + 1) / 2
    found = pipeline(denoiser, scheduler)(
        LABELS, 8, image=images, strength=0.4, latents=noise(), output_type="latent"
    ).images
    assert rmse(found, expected) < 2e-4


def test_image_to_image_with_a_picture_for_all_and_two_calls_a_step(
    denoiser: FashionMNISTDenoiser,
) -> None:
    pipe = pipeline(denoiser, diffusers.HeunDiscreteScheduler(**BETAS))
    picture = pipe(9, 10, latents=noise()[:1]).images[0]
    near, far = (
        pipe([9, 9], 20, image=picture, strength=s, latents=noise()[:2], output_type="np").images
        for s in (0.1, 1.0)
    )
    original = np.asarray(picture)[..., None] / 255
    assert np.sqrt(np.mean((near - original) ** 2)) < 0.1
    assert np.sqrt(np.mean((far[1] - original) ** 2)) > 0.15


def test_image_to_image_with_several_of_each(pipe: FashionMNISTPipeline) -> None:
    images = (clothes()[:2] + 1) / 2
    images[1] = 1 - images[1]
    varied = pipe(
        [0, 9], 20, image=images, strength=0.1, num_images_per_class=2, output_type="pt"
    ).images
    for k in range(4):
        assert rmse(varied[k], images[k // 2]) < 0.5 * rmse(varied[k], images[1 - k // 2])


def test_image_to_image_where_timesteps_repeat(denoiser: FashionMNISTDenoiser) -> None:
    """Karras' lowest levels share a rounded timestep, which does not tell the step."""
    scheduler = diffusers.DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True)
    scheduler.set_timesteps(100)
    times = scheduler.timesteps.tolist()
    left = next(n for n in range(2, 100) if times[-n] == times[1 - n])
    pipe, done = pipeline(denoiser, scheduler), []
    for steps in (left, left - 1):
        pipe(LABELS, 100, image=(clothes() + 1) / 2, strength=(steps + 0.5) / 100)
        done.append(scheduler.step_index)
    assert done == [100, 100]


# What a caller of a pipeline expects


def test_outputs(pipe: FashionMNISTPipeline) -> None:
    def run(kind: str) -> Any:
        (images,) = pipe(LABELS, 4, latents=noise(), output_type=kind, return_dict=False)
        assert type(images) is type(pipe(LABELS, 4, latents=noise(), output_type=kind).images)
        return images

    latent, tensor, array, pictures = map(run, ("latent", "pt", "np", "pil"))
    torch.testing.assert_close(tensor, (latent / 2 + 0.5).clamp(0, 1))
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    assert [picture.size for picture in pictures] == [(28, 28)] * 3
    assert np.abs(np.asarray(pictures[2]) / 255 - array[2, ..., 0]).max() < 0.51 / 255


def test_callback_sees_every_step_and_replaces_latents(pipe: FashionMNISTPipeline) -> None:
    steps, seen = [], []

    def zero(pipeline: Any, step: int, t: Any, given: dict[str, Any]) -> dict[str, Any]:
        assert pipeline is pipe
        steps.append(step)
        seen.append(given["latents"].clone())
        return {"latents": torch.zeros_like(given["latents"])} if step == 3 else given

    arguments: Any = {"latents": noise(), "output_type": "latent"}
    images = pipe(LABELS, 4, **arguments, callback_on_step_end=zero).images
    assert steps == [0, 1, 2, 3]
    assert torch.equal(images, torch.zeros(SHAPE))
    assert torch.equal(seen[3], pipe(LABELS, 4, **arguments).images)


def test_a_callback_can_interrupt(pipe: FashionMNISTPipeline) -> None:
    steps = []

    def stop(pipeline: Any, step: int, t: Any, given: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        assert given == {}
        pipeline._interrupt = step == 1
        return {}

    arguments: Any = {"callback_on_step_end": stop, "callback_on_step_end_tensor_inputs": []}
    pipe(LABELS, 5, **arguments)
    assert steps == [0, 1]
    pipe(LABELS, 5)  # nothing of it is left
    assert not pipe.interrupt


@pytest.mark.parametrize("order", [1, 2])
def test_the_bar_counts_steps(
    denoiser: FashionMNISTDenoiser, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    kind = diffusers.HeunDiscreteScheduler if order == 2 else diffusers.EulerDiscreteScheduler
    pipe, bars = pipeline(denoiser, kind(**BETAS)), []
    monkeypatch.setattr(pipe, "progress_bar", lambda total: bars.append(Bar(total)) or bars[-1])
    pipe(LABELS, 4)
    pipe(LABELS, 4, image=(clothes() + 1) / 2, strength=0.5)
    assert [(bar.total, bar.count) for bar in bars] == [(4, 4), (2, 2)]


class Bar:
    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0

    def update(self) -> None:
        self.count += 1

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_an_image_depends_on_its_label_and_generator_alone(pipe: FashionMNISTPipeline) -> None:
    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def run(labels: Any, *seeds: int, repeats: int = 1) -> Tensor:
        return pipe(
            labels,
            4,
            2.0,
            generator=generators(*seeds),
            num_images_per_class=repeats,
            output_type="latent",
        ).images

    together = run([3, 8], 11, 12, 13, 14, repeats=2)
    assert rmse(together[1:2], run(3, 12)) < 1e-5
    assert rmse(together[2:3], run(torch.tensor([8]), 13)) < 1e-5
    assert rmse(together[:2], together[2:]) > 0.1


def test_eta_goes_to_schedulers_that_take_it(denoiser: FashionMNISTDenoiser) -> None:
    def run(kind: Any, eta: float, seed: int) -> Tensor:
        pipe = pipeline(denoiser, kind(**BETAS))
        generator = torch.Generator().manual_seed(seed)
        arguments: Any = {"latents": noise(), "eta": eta, "generator": generator}
        return pipe(LABELS, 4, **arguments, output_type="latent").images

    ddim, euler = diffusers.DDIMScheduler, diffusers.EulerDiscreteScheduler
    assert torch.equal(run(ddim, 1.0, 5), run(ddim, 1.0, 5))
    assert rmse(run(ddim, 1.0, 5), run(ddim, 1.0, 6)) > 0.05
    assert torch.equal(run(ddim, 0.0, 5), run(ddim, 0.0, 6))
    assert torch.equal(run(euler, 1.0, 5), run(euler, 0.0, 6))


def test_the_line_of_the_readme(pipe: FashionMNISTPipeline, solution: Tensor) -> None:
    """Relaxed, the few steps of this network's default scheduler come nearer to its solution."""
    plain = pipe(LABELS, 6, latents=noise(), output_type="latent").images
    relax(pipe)
    relaxed = pipe(LABELS, 6, latents=noise(), output_type="latent").images
    assert rmse(relaxed, solution) < rmse(plain, solution)


def test_shipped_and_its_default_scheduler(pipe: FashionMNISTPipeline) -> None:
    shipped = FashionMNISTPipeline.from_shipped()
    shipped.set_progress_bar_config(disable=True)
    assert torch.equal(
        shipped(LABELS, 4, latents=noise(), output_type="latent").images,
        pipe(LABELS, 4, latents=noise(), output_type="latent").images,
    )
    kept = math.prod(1 - beta for beta in np.linspace(1e-4, 0.0175, 1000))
    assert 80 < math.sqrt(1 / kept - 1) < 100
    assert float(shipped.scheduler.alphas_cumprod[-1]) == pytest.approx(kept, rel=1e-4)
    scheduler = diffusers.DDIMScheduler.from_config(shipped.scheduler.config)
    assert FashionMNISTPipeline.from_shipped(scheduler=scheduler).scheduler is scheduler
    with pytest.raises(ValueError, match="Did you mean 'fashion-mnist'"):
        FashionMNISTPipeline.from_shipped("fashion")


def test_half_precision(pipe: FashionMNISTPipeline) -> None:
    exact = pipe(LABELS, 6, latents=noise(), output_type="latent").images
    half = FashionMNISTPipeline.from_shipped().to(dtype=torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    images = half(LABELS, 6, latents=noise(), output_type="latent").images
    assert images.dtype == torch.bfloat16
    assert 0 < rmse(images, exact) < 0.02
    assert len(half(LABELS, 2).images) == 3


# Folders


@pytest.fixture(scope="module")
def folder(denoiser: FashionMNISTDenoiser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pipeline")
    scheduler = relax(diffusers.DPMSolverMultistepScheduler(**BETAS))
    pipeline(denoiser, scheduler).save_pretrained(path)
    return path


def test_saved_and_loaded_gives_the_same_bits(denoiser: FashionMNISTDenoiser, folder: Path) -> None:
    loaded = FashionMNISTPipeline.from_pretrained(folder)
    loaded.set_progress_bar_config(disable=True)
    saved = pipeline(denoiser, relax(diffusers.DPMSolverMultistepScheduler(**BETAS)))
    assert type(loaded.scheduler) is type(saved.scheduler)
    weight = loaded.denoiser.network.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    arguments: Any = {"latents": noise(), "output_type": "latent"}
    assert torch.equal(loaded(LABELS, 4, **arguments).images, saved(LABELS, 4, **arguments).images)


def test_loaded_in_half_precision_and_with_another_scheduler(folder: Path) -> None:
    scheduler = diffusers.IPNDMScheduler()
    loaded = FashionMNISTPipeline.from_pretrained(folder, scheduler=scheduler, dtype=torch.bfloat16)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.scheduler is scheduler
    assert loaded(LABELS, 3, output_type="latent").images.dtype == torch.bfloat16
    model, info = FashionMNISTDenoiser.from_pretrained(
        folder, subfolder="denoiser", output_loading_info=True
    )
    assert isinstance(model, FashionMNISTDenoiser)
    assert info["missing_keys"] == []


def test_the_index_names_what_can_be_imported(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    for part, home in (
        ("denoiser", "shipped_pipeline"),
        ("scheduler", "steindiff.adapters.diffusers"),
    ):
        module, name = index[part]
        assert module == home
        assert getattr(importlib.import_module(module), name).__name__ == name
    assert (folder / "denoiser" / "diffusion_pytorch_model.safetensors").is_file()


def test_the_card(folder: Path) -> None:
    _, header, body = (folder / "README.md").read_text().split("---\n", 2)
    fields = yaml.safe_load(header)
    assert fields["license"] == "apache-2.0"
    assert fields["library_name"] == "diffusers"
    assert fields["pipeline_tag"] == "unconditional-image-generation"
    assert all(isinstance(tag, str) for tag in fields["tags"])
    card = Path(sd.models.__file__).parent / "fashion-mnist" / "card.md"
    assert card.read_text() in body
    for picture in ("samples.png", "loss.png"):
        assert f"({picture})" in body
        assert (folder / picture).read_bytes() == (card.parent / picture).read_bytes()


def test_the_code_of_the_card_runs(folder: Path) -> None:
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(code.replace("FOLDER", str(folder)), scope)
    assert len(scope["images"]) == 10


def test_uploading_while_saving_is_refused(pipe: FashionMNISTPipeline, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="push_to_hub is True"):
        pipe.save_pretrained(tmp_path, push_to_hub=True)
    assert not list(tmp_path.iterdir())


# Bad input


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"class_labels": [0, 11]}, r"class_labels is \[0, 11\]; integers from 0 to 9"),
        ({"class_labels": -1}, "class_labels is -1"),
        ({"class_labels": [0.5]}, "class_labels is"),
        ({"class_labels": True}, "class_labels is True"),
        ({"class_labels": [[1]]}, "class_labels is"),
        ({"class_labels": []}, "class_labels is"),
        ({"num_images_per_class": 0}, "num_images_per_class is 0"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"num_inference_steps": 2.0}, "num_inference_steps is 2.0"),
        ({"guidance_scale": math.nan}, "guidance_scale is nan"),
        ({"output_type": "png"}, "output_type 'png' is unknown"),
        ({"latents": torch.zeros(2, 1, 28, 28)}, r"latents has shape \(2, 1, 28, 28\); \(3, 1"),
        ({"generator": [torch.Generator()]}, "generator has 1 entries for 3 images"),
        ({"callback_on_step_end_tensor_inputs": ["x"]}, "tensor_inputs 'x' is unknown"),
        ({"sigmas": [1.0], "timesteps": [1]}, "timesteps and sigmas are both given"),
        ({"image": torch.zeros(3, 1, 28, 28), "strength": 0.0}, "strength is 0.0 with 6 steps"),
        ({"image": torch.zeros(3, 1, 28, 28), "strength": 1.5}, "strength is 1.5"),
        ({"image": torch.zeros(3, 1, 28, 28), "strength": 0.1}, r"strength \* steps >= 1"),
        ({"image": torch.zeros(2, 1, 28, 28)}, r"image holds 2 of shape \(1, 28, 28\)"),
    ],
)
def test_bad_arguments(pipe: FashionMNISTPipeline, arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pipe(**{"class_labels": LABELS, **arguments})


def test_what_a_scheduler_cannot_do_is_said(denoiser: FashionMNISTDenoiser) -> None:
    pipe = pipeline(denoiser, diffusers.IPNDMScheduler())
    with pytest.raises(ValueError, match="IPNDMScheduler cannot noise images"):
        pipe(LABELS, image=clothes())
    with pytest.raises(ValueError, match=r"IPNDMScheduler\.set_timesteps does not take it"):
        pipe(LABELS, timesteps=[0.5])
