"""Tuning a pipeline: what is refused, what the file says of the prompts."""

from __future__ import annotations

import copy
import importlib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import steindiff as sd

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import tiny_pipelines as tiny
from tiny_prompted import ddim, stable_diffusion, stable_diffusion_xl

from steindiff.adapters.diffusers import SteinScheduler, tune
from steindiff.adapters.diffusers import tuning as door
from steindiff.adapters.diffusers.folder import denoiser_of, load_folder

diffusers: Any = importlib.import_module("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

FEW: dict[str, Any] = {"noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 4, "fit": False}


def of(scheduler: Any) -> Any:
    """DDIM's pipeline with another scheduler, which its own maker would replace."""
    pipe = diffusers.DDIMPipeline(tiny.unconditional_unet(), ddim())
    pipe.scheduler = scheduler
    return pipe


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DDPMScheduler", {}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("KDPM2AncestralDiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
    ],
)
def test_schedulers_that_add_noise_are_refused(name: str, options: dict[str, Any]) -> None:
    model = denoiser_of(of(getattr(diffusers, name)(**options)))
    with pytest.raises(ValueError, match=f"whose {name} adds noise at every step.*DDIMScheduler"):
        sd.tune(model.denoiser, 4, **FEW)


@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
def test_schedulers_of_distilled_models_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: the model is distilled.*distilled from"):
        denoiser_of(of(getattr(diffusers, name)()))


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("stabilityai/sdxl-turbo", "turbo"),
        ("ByteDance/SDXL-Lightning", "lightning"),
        ("/home/me/models/FLUX.1-schnell", "schnell"),
        ("/cache/models--tianweiy--DMD2/snapshots/1234", "dmd2"),
        ("Hyper-SD", "hyper"),
        ("black-forest-labs/FLUX.1-dev", ""),
        ("/turbo/lcm/sd15", ""),
        ("me/turbots", ""),
    ],
)
def test_models_of_few_steps_are_known_by_their_names(name: str, word: str) -> None:
    pipe = stable_diffusion()
    pipe.unet.register_to_config(_name_or_path=name)
    denoiser: Any = denoiser_of(pipe, prompts=["a", "b"]).denoiser
    if not word:
        assert denoiser.untunable == ""
        return
    guided = sd.ClassifierFreeGuidance(denoiser, 4.0, {"class_labels": denoiser.null_label})
    with pytest.raises(ValueError, match=rf"by its name \('{word}'\) is distilled to few steps"):
        sd.tune(guided, 4, **FEW)
    assert replace(denoiser, untunable="").untunable == ""  # where a name misleads


def test_an_adapter_of_few_steps_is_known_too(tmp_path: Path) -> None:
    pipe = stable_diffusion()
    pipe.unet.peft_config = {"lcm-lora-sdv1-5": None}
    assert "lcm" in denoiser_of(pipe).denoiser.untunable  # type: ignore[attr-defined]
    pipe = diffusers.DDIMPipeline(tiny.unconditional_unet(), ddim())
    pipe.save_pretrained(tmp_path / "my-turbo")
    found: Any = load_folder(tmp_path / "my-turbo").denoiser
    assert "'my-turbo'" in found.untunable


def test_the_prompts_hash_is_that_of_the_texts() -> None:
    """Labels are their numbers only."""
    labels = {"class_labels": torch.arange(2)}

    def tuned(*prompts: str) -> sd.Tuned:
        denoiser: Any = denoiser_of(stable_diffusion(), prompts=prompts).denoiser
        guided = sd.ClassifierFreeGuidance(denoiser, 2.0, {"class_labels": denoiser.null_label})
        return sd.tune(guided, 3, conditioning=labels, shape=denoiser.sample_shape,
                       sigma_max=14.0, calls=990, **FEW)  # fmt: skip

    one, other = tuned("a", "b"), tuned("a", "c")
    assert one.guidance == 2.0
    assert len(one.conditioning_hash) == 64
    assert one.conditioning_hash != other.conditioning_hash


PROMPTS = ["a red circle", "two blue squares"]
SMALL: dict[str, Any] = {"noises": 4, "held_out": 16, "fresh": 16, "fine_steps": 4, "calls": 1130}


@pytest.fixture(scope="module")
def pipe() -> Any:
    return stable_diffusion_xl()


@pytest.fixture(scope="module")
def found(pipe: Any) -> sd.Tuned:
    return tune(pipe, 4, prompts=PROMPTS, guidance=3.0, **SMALL)


def test_a_pipeline_is_tuned_as_its_denoiser_is(
    pipe: Any, found: sd.Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its prompts and guidance, on its own levels; under guidance nothing is fitted."""
    told: list[Any] = []
    monkeypatch.setattr(
        door, "tune_denoiser", lambda *given, **options: told.append((given, options))
    )
    tune(pipe, 4, prompts=PROMPTS, guidance=3.0, seed=5)
    ((denoiser, steps), options) = told[0]
    model = denoiser_of(pipe, prompts=PROMPTS)
    labels = options.pop("conditioning")["class_labels"]
    assert labels.tolist() == [0, 1]
    assert steps == 4
    assert options == {
        "device": pipe.device, "shape": model.sample_shape, "sigma_max": model.sigma_max,
        "sigma_min": model.sigma_min, "model": found.model, "seed": 5,
    }  # fmt: skip
    guided = sd.ClassifierFreeGuidance(model.denoiser, 3.0, {"class_labels": model.null_label or 2})
    x = sd.noise(model.sample_shape, 2.0, range(2))
    sigma = torch.full((2,), 2.0)
    assert torch.equal(
        denoiser(x, sigma, class_labels=labels), guided(x, sigma, class_labels=labels)
    )
    assert found.guidance == 3.0
    assert found.sigma_max == pytest.approx(model.sigma_max)
    assert "StableDiffusionXLPipeline" in found.model
    assert found.weights is not None
    assert found.weights.count == sum(one.numel() for one in pipe.unet.parameters())
    assert "fitted" not in {one.kind for one in found.choices[4].tried}


@pytest.mark.parametrize("failing", [False, True])
def test_a_network_in_training_is_left_in_it(
    failing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*ignored: Any) -> None:
        assert not any(part.training for part in pipe.unet.modules())
        assert not any(weight.requires_grad for weight in pipe.unet.parameters())
        if failing:
            raise RuntimeError

    def within(denoiser: Any, steps: int, *, conditioning: Any, **options: Any) -> None:
        labels = conditioning["class_labels"]
        denoiser(torch.zeros(len(labels), *denoiser.sample_shape), 1.0, class_labels=labels)

    monkeypatch.setattr(door, "tune_denoiser", within)
    pipe = stable_diffusion()
    pipe.unet.register_forward_hook(called)
    pipe.unet.train().conv_in.requires_grad_(False).eval()
    modes = [part.training for part in pipe.unet.modules()]
    trained = [weight.requires_grad for weight in pipe.unet.parameters()]
    assert len({*modes}) == len({*trained}) == 2
    with pytest.raises(RuntimeError) if failing else nullcontext():
        tune(pipe, 4, prompts=PROMPTS)
    assert [part.training for part in pipe.unet.modules()] == modes
    assert [weight.requires_grad for weight in pipe.unet.parameters()] == trained


def test_its_file_knows_the_pipeline(pipe: Any, found: sd.Tuned, tmp_path: Path) -> None:
    """The network at once, the guidance when it samples; a bare scheduler shows neither."""
    path = tmp_path / "tuned.json"
    found.save(path)
    mine = copy.copy(pipe)
    mine.scheduler = SteinScheduler.from_tuned(path, pipe)
    asked: Any = {"prompt": PROMPTS[0], "num_inference_steps": 4, "output_type": "latent"}
    mine.scheduler = SteinScheduler.from_tuned(path, mine)
    assert mine(**asked, guidance_scale=3.0).images.isfinite().all()
    for scale, told in ((5.0, "5"), (1.0, "1")):
        with pytest.raises(ValueError, match=f"guidance is {told}; the recipe was tuned for 3"):
            mine(**asked, guidance_scale=scale)
    alone = SteinScheduler.from_tuned(path, pipe.scheduler)
    copied = copy.deepcopy(mine.scheduler)
    for scheduler in (alone, copied):
        mine.scheduler = scheduler
        assert mine(**asked, guidance_scale=5.0).images.isfinite().all()
    with pytest.raises(ValueError, match="guidance is 5; the recipe was tuned for 3"):
        SteinScheduler.from_tuned(path, pipe, guidance=5.0)

    other = copy.copy(pipe)
    other.unet = copy.deepcopy(pipe.unet)
    with torch.no_grad():
        for weight in other.unet.parameters():
            weight.mul_(1.01)
    with pytest.raises(ValueError, match=r"the network has .* it was tuned for .*any_model=True"):
        SteinScheduler.from_tuned(path, other)
    with pytest.warns(UserWarning, match="the network has"):
        SteinScheduler.from_tuned(path, other, any_model=True)
    half = copy.copy(pipe)
    half.unet = copy.deepcopy(pipe.unet).to(torch.bfloat16)
    SteinScheduler.from_tuned(path, half)


def test_what_is_no_pipeline_to_tune(pipe: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="pipeline is a function; a pipeline of diffusers"):
        tune(lambda x, sigma: x, 4)
    with pytest.raises(ValueError, match="guidance is 3; there is nothing to guide to"):
        tune(pipe, 4, guidance=3.0)
    with pytest.raises(FileNotFoundError, match="which is no folder"):
        tune(tmp_path / "none", 4)
    with pytest.raises(ValueError, match=r"a DDIMPipeline takes none"):
        tune(diffusers.DDIMPipeline(tiny.unconditional_unet(), ddim()), 4, prompts=["a"])
    with pytest.raises(TypeError, match=r"denoiser is a StableDiffusionXLPipeline.*diffusers.tune"):
        sd.tune(pipe, 4)
