"""Tuning a pipeline: what is refused, what the file says of the prompts."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import steindiff as sd

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import tiny_pipelines as tiny
from tiny_prompted import ddim, stable_diffusion

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
                       sigma_max=14.0, calls=1100, **FEW)  # fmt: skip

    one, other = tuned("a", "b"), tuned("a", "c")
    assert one.guidance == 2.0
    assert len(one.conditioning_hash) == 64
    assert one.conditioning_hash != other.conditioning_hash
