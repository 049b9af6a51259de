"""Saved pipelines as denoisers, held to what diffusers' own schedulers make of the same networks.

With the network's output handed to it, a scheduler says which clean sample it takes it to mean:
`pred_original_sample`, or, of a flow, where a step down to 0 ends. That is D.
"""

from __future__ import annotations

import copy
import importlib
import json
import socket
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff._jacobian import Jacobian

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import tiny_pipelines as tiny
from tiny_prompted import BETAS, ddim, stable_diffusion, stable_diffusion_3, stable_diffusion_xl

from shipped_pipeline import FashionMNISTPipeline
from steindiff.adapters.diffusers import SteinScheduler, relax
from steindiff.adapters.diffusers.folder import (
    FolderModel,
    denoiser_of,
    load_folder,
    open_pipeline,
)

diffusers: Any = importlib.import_module("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

PROMPT = "a b"
PIXELS = {"sample_size": 8, "layers_per_block": 1, "norm_num_groups": 4}
BLOCKS: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
}


def unet(**options: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return diffusers.UNet2DModel(**{**PIXELS, **BLOCKS, **options})


def ddpm(scheduler: Any = None, **options: Any) -> Any:
    return diffusers.DDPMPipeline(unet(**options), scheduler or diffusers.DDPMScheduler(**BETAS))


def dit(**options: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        transformer = diffusers.DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=4,
            in_channels=4,
            out_channels=8,
            num_layers=1,
            sample_size=8,
            num_embeds_ada_norm=5,
            **options,
        )
        vae = tiny.stable_diffusion().vae
    return diffusers.DiTPipeline(transformer.eval(), vae, ddim())


# What diffusers says


def states(model: FolderModel, sigmas: Tensor, seed: int = 0) -> Tensor:
    """Something with structure, noised to each of the levels; in VE coordinates."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(sigmas), *model.sample_shape)
    clean = torch.randn(shape, generator=generator).cumsum(-1) / 4
    noise = torch.randn(shape, generator=generator)
    return clean + sigmas.reshape(-1, 1, 1, 1) * noise


def assert_same(found: Tensor, expected: Tensor, sigmas: Tensor) -> None:
    """To 1e-5 of the size of what D is a difference of: x and sigma eps."""
    size = sigmas.clamp(min=1).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(found / size, expected / size, rtol=0, atol=1e-5)


def by_ddim(
    scheduler: Any, x: Tensor, times: list[int], output: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """D at training timesteps, one a row of `x` in VE coordinates."""
    kept = scheduler.alphas_cumprod[times]
    native = x * kept.sqrt().reshape(-1, 1, 1, 1)
    predicted = output(native, torch.tensor(times))
    scheduler.set_timesteps(len(scheduler.alphas_cumprod))
    return torch.cat(
        [
            scheduler.step(predicted[i : i + 1], t, native[i : i + 1]).pred_original_sample
            for i, t in enumerate(times)
        ]
    )


def levels_of(scheduler: Any, times: list[int]) -> Tensor:
    kept = scheduler.alphas_cumprod.double()[times]
    return ((1 - kept) / kept).sqrt().float()


SOME = [0, 1, 17, 400, 731, 998, 999]

# The shipped pipeline


@pytest.fixture
def shipped() -> FashionMNISTPipeline:
    return FashionMNISTPipeline.from_shipped()


def test_shipped_pipeline_has_the_bits_of_the_shipped_model(shipped: FashionMNISTPipeline) -> None:
    model, network = denoiser_of(shipped), sd.load_model("fashion-mnist")
    sigmas, labels = torch.tensor([0.01, 1.0, 80.0]), torch.tensor([0, 9, 10])
    x = states(model, sigmas)
    found = model.denoiser(x, sigmas, class_labels=labels)
    assert torch.equal(found, network(x, sigmas, labels))
    assert (model.sample_shape, model.classes, model.latent) == ((1, 28, 28), 10, False)
    assert (model.sigma_min, model.sigma_max) == (0.005, 100.0)
    assert model.kind == "FashionMNISTPipeline: UNetDenoiser, ve, sample"


def test_a_saved_shipped_pipeline_is_read_from_python_alone(
    shipped: FashionMNISTPipeline, tmp_path: Path
) -> None:
    """Its class stands outside of the libraries that a folder is trusted to name."""
    shipped.save_pretrained(tmp_path)
    said = r"FashionMNISTDenoiser of shipped_pipeline; .* denoiser_of\(pipeline\)"
    with pytest.raises(ValueError, match=said):
        load_folder(tmp_path)
    loaded = FashionMNISTPipeline.from_pretrained(tmp_path)
    assert denoiser_of(loaded).kind == denoiser_of(shipped).kind


# Variance preserving


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_every_training_level_is_that_of_ddim(prediction: str) -> None:
    scheduler = ddim(prediction_type=prediction)
    pipe = ddpm(scheduler)
    model, times = denoiser_of(pipe), list(range(1000))
    sigmas = levels_of(scheduler, times)
    x = states(model, sigmas)
    expected = by_ddim(scheduler, x, times, lambda native, t: pipe.unet(native, t).sample)
    assert_same(model.denoiser(x, sigmas), expected, sigmas)
    assert model.kind == f"DDPMPipeline: UNet2DModel, vp, {prediction}"


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.DDPMScheduler(**BETAS),
        diffusers.PNDMScheduler(**BETAS),
        diffusers.EulerDiscreteScheduler(**BETAS),
        diffusers.DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True),
        diffusers.UniPCMultistepScheduler(**BETAS),
        relax(diffusers.EulerDiscreteScheduler(**BETAS)),
        SteinScheduler(**BETAS),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_other_schedulers_of_the_same_betas_say_the_same(scheduler: Any) -> None:
    model, reference = denoiser_of(ddpm(scheduler)), denoiser_of(ddpm(ddim()))
    sigmas = torch.tensor([0.02, 0.9, 50.0])
    x = states(model, sigmas)
    assert_same(model.denoiser(x, sigmas), reference.denoiser(x, sigmas), sigmas)
    assert model.sigma_min == pytest.approx(0.01, rel=1e-3)  # a beta of 1e-4
    assert model.sigma_max == pytest.approx(157.4, rel=1e-3)


def told(pipe: Any, sigmas: Tensor) -> Tensor:
    """The times that the network is told."""
    heard: list[Tensor] = []
    pipe.unet.register_forward_pre_hook(
        lambda module, args, given: heard.append(given["timestep"]), with_kwargs=True
    )
    model = denoiser_of(pipe)
    model.denoiser(states(model, sigmas), sigmas)
    return heard[0]


def between(scheduler: Any) -> Tensor:
    """A level 0.3 of the way in ln sigma from timestep 400 to 401, and ones outside the table."""
    low, high = levels_of(scheduler, [400, 401])
    return torch.stack([low**0.7 * high**0.3, torch.tensor(1e-4), torch.tensor(1e4)])


def test_times_between_the_levels_are_fractions() -> None:
    times = told(ddpm(), between(ddim()))
    torch.testing.assert_close(times, torch.tensor([400.3, 0, 999]), rtol=0, atol=1e-3)


def test_network_that_knows_whole_times_only_is_told_the_nearest() -> None:
    pipe = ddpm(time_embedding_type="learned", num_train_timesteps=1000)
    assert told(pipe, between(ddim())).tolist() == [400, 0, 999]


def test_predicted_variances_are_left_away() -> None:
    model, pipe = denoiser_of(ddpm(ddim(), out_channels=6)), ddpm(ddim(), out_channels=6)
    sigmas = levels_of(pipe.scheduler, SOME)
    x = states(model, sigmas)
    expected = by_ddim(pipe.scheduler, x, SOME, lambda x, t: pipe.unet(x, t).sample[:, :3])
    assert_same(model.denoiser(x, sigmas), expected, sigmas)


@pytest.mark.parametrize(
    ("options", "highest"),
    [
        ({"beta_schedule": "squaredcos_cap_v2"}, 160.0),  # ends at 20 thousand
        ({**tiny.SD_SCHEDULE, "rescale_betas_zero_snr": True}, 160.0),
        ({"num_train_timesteps": 5, "beta_end": 0.9, "rescale_betas_zero_snr": True}, None),
    ],
    ids=["cosine", "zero SNR", "few levels, zero SNR"],
)
def test_highest_level_is_finite(options: dict[str, Any], highest: float | None) -> None:
    scheduler = ddim(**options)
    model = denoiser_of(ddpm(scheduler))
    before = levels_of(scheduler, [-2]).item()
    assert model.sigma_max == pytest.approx(before if highest is None else highest, rel=1e-4)
    assert before < 160 if highest is None else before > 160
    sigmas = torch.tensor([model.sigma_min, model.sigma_max])
    assert model.denoiser(states(model, sigmas), sigmas).isfinite().all()


# EDM and flow


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
def test_edm(name: str, prediction: str) -> None:
    options = {"sigma_data": 0.7, "sigma_min": 0.01, "sigma_max": 50.0}
    pipe = ddpm(getattr(diffusers, name)(**options, prediction_type=prediction))
    model = denoiser_of(pipe)
    assert (model.sigma_min, model.sigma_max) == (0.01, 50.0)
    assert model.kind == f"DDPMPipeline: UNet2DModel, edm, {prediction}"
    judge = diffusers.EDMEulerScheduler(**options, prediction_type=prediction)
    judge.set_timesteps(8)
    sigmas = judge.sigmas[:-1]
    x, expected = states(model, sigmas), []
    for i, t in enumerate(judge.timesteps):
        row = x[i : i + 1]
        output = pipe.unet(judge.scale_model_input(row, t), t).sample
        expected.append(judge.step(output, t, row).pred_original_sample)
    assert_same(model.denoiser(x, sigmas), torch.cat(expected), sigmas)


def by_flow(x: Tensor, sigmas: Tensor, output: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """D of each row: where the velocity leads in one step down to 0."""
    found = []
    for i, sigma in enumerate(sigmas):
        level = float(sigma / (1 + sigma))
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=[level])
        native = (1 - level) * x[i : i + 1]
        velocity = output(native, scheduler.timesteps)
        found.append(scheduler.step(velocity, scheduler.timesteps[0], native).prev_sample)
    return torch.cat(found)


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_flow(scheduler: Any) -> None:
    pipe = ddpm(scheduler)
    model, sigmas = denoiser_of(pipe), torch.tensor([0.05, 1.0, 20.0])
    x = states(model, sigmas)
    expected = by_flow(x, sigmas, lambda native, t: pipe.unet(native, t).sample)
    assert_same(model.denoiser(x, sigmas), expected, sigmas)
    assert model.kind == "DDPMPipeline: UNet2DModel, flow, flow_prediction"
    assert (model.sigma_min, model.sigma_max) == (pytest.approx(1 / 999), 80.0)


# Classes


@pytest.mark.parametrize("kind", [None, "timestep"])
def test_labels_reach_the_network(kind: str | None) -> None:
    pipe = ddpm(ddim(), num_class_embeds=4, class_embed_type=kind)
    model, labels = denoiser_of(pipe), torch.tensor([3, 1, 0, 2, 3, 3, 1])
    assert model.classes == 4
    sigmas = levels_of(pipe.scheduler, SOME)
    x = states(model, sigmas)
    expected = by_ddim(pipe.scheduler, x, SOME, lambda x, t: pipe.unet(x, t, labels).sample)
    found = model.denoiser(x, sigmas, class_labels=labels)
    assert_same(found, expected, sigmas)
    other = model.denoiser(x, sigmas, class_labels=labels.roll(1))
    assert not torch.allclose(found, other, atol=1e-4)


def test_dit() -> None:
    pipe = dit()
    network = copy.deepcopy(pipe.transformer)
    pipe.transformer.train()  # in which it would drop labels at random
    model, labels = denoiser_of(pipe), torch.tensor([4, 1, 0, 2, 5, 5, 1])
    sigmas = levels_of(pipe.scheduler, SOME)
    x = states(model, sigmas)
    expected = by_ddim(
        pipe.scheduler,
        x,
        SOME,
        lambda x, t: network(x, timestep=t, class_labels=labels).sample[:, :4],
    )
    assert_same(model.denoiser(x, sigmas, class_labels=labels), expected, sigmas)
    assert (model.sample_shape, model.classes, model.latent) == ((4, 8, 8), 5, True)
    assert getattr(model.denoiser, "null_label", None) == 5


def sampled(model: FolderModel, batch: int = 2, **conditioning: Any) -> Tensor:
    sigmas = sd.schedules.karras(4, max(model.sigma_min, 0.02), model.sigma_max)
    start = sd.noise(model.sample_shape, float(sigmas[0]), range(batch))
    return sd.sample(model.denoiser, start, sigmas, "dpmpp_2m", conditioning=conditioning).x


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (None, ValueError, "class_labels is missing"),
        ([0, 1], TypeError, "class_labels is a list"),
        (torch.tensor([0, 6]), ValueError, "from 0 to 6; .* 0 to 4, and 5 for 'no class'"),
        (torch.tensor([-1, 0]), ValueError, "from -1 to 0"),
        (torch.tensor([0.0, 1.0]), ValueError, "dtype torch.float32; an int64"),
        (torch.tensor([0]), ValueError, r"shape \(1,\)"),
    ],
)
def test_wrong_labels_are_refused(labels: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sampled(denoiser_of(dit()), class_labels=labels)


def test_label_after_the_last_means_nothing_to_a_network_without_dropout() -> None:
    model = denoiser_of(ddpm(num_class_embeds=4))
    with pytest.raises(ValueError, match=r"classes 0 to 3$"):
        sampled(model, class_labels=torch.tensor([0, 4]))


def test_unknown_conditioning_is_refused() -> None:
    model = denoiser_of(ddpm())
    with pytest.raises(ValueError, match="this model has no classes"):
        sampled(model, class_labels=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"\['prompt'\].*it takes none"):
        sampled(model, prompt="a")
    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"samples of shape \(3, 4, 4\); .* \(3, 8, 8\)"):
        sd.sample(model.denoiser, x, [1.0, 0.0], "euler")


# Prompts


def test_stable_diffusion() -> None:
    pipe = stable_diffusion()
    model, sigmas = denoiser_of(pipe, prompt=PROMPT), levels_of(pipe.scheduler, SOME)
    text = pipe.encode_prompt(PROMPT, "cpu", len(SOME), False)[0]
    x = states(model, sigmas)
    expected = by_ddim(
        pipe.scheduler, x, SOME, lambda x, t: pipe.unet(x, t, encoder_hidden_states=text).sample
    )
    found = model.denoiser(x, sigmas)
    assert_same(found, expected, sigmas)
    assert not torch.allclose(found, denoiser_of(pipe).denoiser(x, sigmas), atol=1e-4)
    assert (model.sample_shape, model.classes, model.latent) == ((4, 8, 8), 0, True)
    assert model.sigma_max == pytest.approx(14.6, rel=1e-2)
    assert model.kind == "StableDiffusionPipeline: UNet2DConditionModel, vp, epsilon"


def test_stable_diffusion_xl() -> None:
    """Held to what the pipeline itself gives its network."""
    pipe = stable_diffusion_xl()
    calls: list[dict[str, Any]] = []
    hook = pipe.unet.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True
    )
    pipe.set_progress_bar_config(disable=True)
    pipe(PROMPT, num_inference_steps=1, guidance_scale=1.0, output_type="latent")
    hook.remove()
    text, added = calls[0]["encoder_hidden_states"], calls[0]["added_cond_kwargs"]
    assert added["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]]
    model, sigmas = denoiser_of(pipe, prompt=PROMPT), levels_of(pipe.scheduler, SOME)
    x = states(model, sigmas)
    given = {name: value.repeat(len(x), 1) for name, value in added.items()}

    def output(native: Tensor, t: Tensor) -> Tensor:
        rows = text.repeat(len(x), 1, 1)
        return pipe.unet(native, t, encoder_hidden_states=rows, added_cond_kwargs=given).sample

    assert_same(model.denoiser(x, sigmas), by_ddim(pipe.scheduler, x, SOME, output), sigmas)


def test_stable_diffusion_3() -> None:
    pipe = stable_diffusion_3()
    model, sigmas = denoiser_of(pipe, prompt=PROMPT), torch.tensor([0.05, 1.0, 20.0])
    text, _, pooled, _ = pipe.encode_prompt(PROMPT, None, None, do_classifier_free_guidance=False)
    x = states(model, sigmas)
    expected = by_flow(
        x,
        sigmas,
        lambda native, t: pipe.transformer(native, text, pooled, t).sample,
    )
    assert_same(model.denoiser(x, sigmas), expected, sigmas)
    assert model.kind == "StableDiffusion3Pipeline: SD3Transformer2DModel, flow, flow_prediction"


@pytest.mark.parametrize("name", ["stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3"])
def test_prompts_are_classes(name: str) -> None:
    """Label k is prompt k to the last bit, and the last label is what the pipeline guides from."""
    pipe = globals()[name]()
    model, single = denoiser_of(pipe, prompts=[PROMPT, "b"]), denoiser_of(pipe, prompt="b")
    assert (model.classes, model.null_label, model.prompts) == (2, 2, (PROMPT, "b"))
    sigmas = torch.tensor([0.05, 1.0, 8.0])
    x, labels = states(model, sigmas), torch.tensor([1, 1, 1])
    found = model.denoiser(x, sigmas, class_labels=labels)
    assert torch.equal(found, single.denoiser(x, sigmas))
    mixed = model.denoiser(x, sigmas, class_labels=torch.tensor([1, 0, 2]))
    torch.testing.assert_close(mixed[:1], found[:1])
    assert not torch.allclose(mixed[1:], found[1:], atol=1e-4)
    assert model.null_label is not None
    guided = sd.ClassifierFreeGuidance(model.denoiser, 3.0, {"class_labels": model.null_label})
    none = model.denoiser(x, sigmas, class_labels=torch.tensor([2, 2, 2]))
    expected = none + 3 * (found - none)
    torch.testing.assert_close(guided(x, sigmas, class_labels=labels), expected)


@pytest.mark.parametrize("name", ["stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3"])
def test_latents_are_decoded_as_the_pipeline_does(name: str) -> None:
    pipe = globals()[name]()
    if name == "stable_diffusion_3":
        pipe.vae.register_to_config(shift_factor=0.3)
    pipe.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 1.0}
    latents, pictures = (
        pipe(PROMPT, generator=tiny.generator(), output_type=kind, **options).images
        for kind in ("latent", "pt")
    )
    decode = denoiser_of(pipe, prompt=PROMPT).decode
    assert decode is not None
    found = ((decode(latents) + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(found, pictures, rtol=0, atol=1e-5)
    assert denoiser_of(ddpm()).decode is None


def test_a_decoder_of_several_dtypes_keeps_them() -> None:
    pipe = stable_diffusion()
    pipe.vae.decoder.conv_out.to(torch.float64).register_forward_pre_hook(
        lambda part, given: tuple(one.double() for one in given)
    )
    before = [weight.dtype for weight in pipe.vae.parameters()]
    decode = denoiser_of(pipe, prompt=PROMPT).decode
    assert decode is not None
    decode(torch.zeros(1, *denoiser_of(pipe, prompt=PROMPT).sample_shape))
    assert [weight.dtype for weight in pipe.vae.parameters()] == before


# From folders


def ldm() -> Any:
    vqvae = diffusers.VQModel(block_out_channels=(8,), norm_num_groups=4, latent_channels=3)
    return diffusers.LDMPipeline(vqvae, unet(), ddim())


FOLDERS: dict[str, tuple[Callable[[], Any], str, bool]] = {
    "DDPM": (ddpm, "", False),
    "DDIM": (lambda: diffusers.DDIMPipeline(unet(), ddim()), "", False),
    "PNDM": (lambda: diffusers.PNDMPipeline(unet(), diffusers.PNDMScheduler()), "", False),
    "LDM": (ldm, "", True),
    "Stein": (lambda: ddpm(SteinScheduler("flow")), "", False),
    "relaxed": (lambda: ddpm(relax(tiny.euler())), "", False),
    "EDM": (lambda: ddpm(diffusers.EDMEulerScheduler()), "", False),
    "DiT": (dit, "", True),
    "SD": (stable_diffusion, PROMPT, True),
    "SDXL": (stable_diffusion_xl, PROMPT, True),
    "SD3": (stable_diffusion_3, PROMPT, True),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_is_the_pipeline_that_was_saved(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, prompt, latent = FOLDERS[name]
    pipe = build()
    pipe.save_pretrained(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked for something")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    loaded, kept = load_folder(tmp_path, prompt=prompt), denoiser_of(pipe, prompt=prompt)
    sigmas = torch.tensor([0.3, 5.0])
    x = states(loaded, sigmas)
    labels: dict[str, Any] = {"class_labels": torch.tensor([0, 1])} if loaded.classes else {}
    found = loaded.denoiser(x, sigmas, **labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, kept.denoiser(x, sigmas, **labels))
    assert loaded.latent == latent
    for field in ("sample_shape", "classes", "sigma_min", "sigma_max", "kind"):
        assert getattr(loaded, field) == getattr(kept, field)
    assert sampled(loaded, **labels).isfinite().all()


def test_folder_of_the_first_dit(tmp_path: Path) -> None:
    """Published before its network had a class of its own."""
    pipe = dit()
    pipe.save_pretrained(tmp_path)
    for file in ("model_index.json", "transformer/config.json"):
        text = (tmp_path / file).read_text()
        assert "DiTTransformer2DModel" in text
        (tmp_path / file).write_text(text.replace("DiTTransformer2DModel", "Transformer2DModel"))
    loaded, sigmas = load_folder(tmp_path), torch.tensor([0.3, 5.0])
    x, labels = states(loaded, sigmas), torch.tensor([5, 1])
    expected = denoiser_of(pipe).denoiser(x, sigmas, class_labels=labels)
    assert torch.equal(loaded.denoiser(x, sigmas, class_labels=labels), expected)


def test_network_is_put_where_it_is_wanted(tmp_path: Path) -> None:
    ddpm().save_pretrained(tmp_path)
    denoiser: Any = load_folder(tmp_path, device="meta").denoiser
    trained: Any = denoiser.function.f
    network = trained.module
    assert {weight.device.type for weight in network.parameters()} == {"meta"}


def test_jacobian(shipped: FashionMNISTPipeline) -> None:
    """J v and J' u belong together, and J v is a difference of two D."""
    labels = {"class_labels": torch.tensor([2, 1])}
    cases = [
        (denoiser_of(shipped), labels),
        (denoiser_of(ddpm()), {}),
        (denoiser_of(dit()), labels),
        (denoiser_of(stable_diffusion(), prompt=PROMPT), {}),
        (denoiser_of(stable_diffusion_xl()), {}),
        (denoiser_of(stable_diffusion_3()), {}),
    ]
    for model, conditioning in cases:
        sigmas = torch.tensor([0.5, 2.0])
        x, v, u = (states(model, sigmas, seed) for seed in range(3))

        def denoised(x: Tensor, model: Any = model, given: Any = conditioning) -> Tensor:
            return model.denoiser(x, torch.tensor([0.5, 2.0]), **given)

        jacobian = Jacobian(denoised, x)
        forward, backward = jacobian.times(v), jacobian.transposed_times(u)
        difference = (denoised(x + 1e-2 * v) - denoised(x - 1e-2 * v)) / 2e-2
        assert (forward - difference).norm() < 0.02 * forward.norm(), model.kind
        assert float((u * forward).sum()) == pytest.approx(float((backward * v).sum()), rel=1e-3)


@pytest.mark.parametrize("build", [stable_diffusion, stable_diffusion_xl, stable_diffusion_3])
def test_prompt_is_a_constant(build: Callable[[], Any]) -> None:
    """Else a graph through the text encoder would be kept."""
    model, sigmas = denoiser_of(build(), prompt=PROMPT), torch.tensor([1.0])
    assert not model.denoiser(states(model, sigmas), sigmas).requires_grad


@pytest.mark.parametrize("failing", [False, True])
def test_network_in_training_is_left_in_it(failing: bool) -> None:
    """It is asked in evaluation mode, and no graph to its weights is kept."""

    def fail(*ignored: Any) -> None:
        raise RuntimeError

    pipe = ddpm(dropout=0.5)
    x, sigmas = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 5.0])
    expected = denoiser_of(pipe).denoiser(x, sigmas)
    pipe.unet.train().conv_in.requires_grad_(False).eval()
    modes = [part.training for part in pipe.unet.modules()]
    trained = [weight.requires_grad for weight in pipe.unet.parameters()]
    assert len({*modes}) == len({*trained}) == 2
    model = denoiser_of(pipe)
    if failing:
        pipe.unet.register_forward_hook(fail)
    with pytest.raises(RuntimeError) if failing else nullcontext():
        found = model.denoiser(x, sigmas)
        assert torch.equal(found, expected)
        assert not found.requires_grad
    assert [part.training for part in pipe.unet.modules()] == modes
    assert [weight.requires_grad for weight in pipe.unet.parameters()] == trained


def test_calls_that_overlap_are_all_in_evaluation_mode() -> None:
    """The call that began first ends while the other is under way; the last puts things back."""
    pipe = ddpm()
    unet, model = pipe.unet.train(), denoiser_of(pipe)
    begun, first_is_over = threading.Event(), threading.Event()
    inside, modes = threading.Barrier(2, timeout=60), []

    def wait(*ignored: Any) -> None:
        inside.wait()
        if threading.current_thread() is not first:
            assert first_is_over.wait(60)
            modes.append((unet.training, unet.conv_in.weight.requires_grad))

    def call() -> None:
        model.denoiser(torch.randn(1, 3, 8, 8), torch.tensor([1.0]))

    unet.register_forward_pre_hook(lambda *ignored: begun.set())
    unet.register_forward_hook(wait)
    first, second = threading.Thread(target=call), threading.Thread(target=call)
    first.start()
    assert begun.wait(60)
    second.start()
    first.join()
    first_is_over.set()
    second.join()
    assert modes == [(False, False)]
    assert unet.training
    assert unet.conv_in.weight.requires_grad


def test_weights_of_a_folder_need_no_gradients(tmp_path: Path) -> None:
    ddpm().save_pretrained(tmp_path)
    assert not any(weight.requires_grad for weight in open_pipeline(tmp_path).unet.parameters())


def test_half_precision_is_left_to_the_network() -> None:
    model, half = denoiser_of(ddpm()), denoiser_of(ddpm().to(torch.bfloat16))
    sigmas = torch.tensor([0.3, 5.0])
    x = states(model, sigmas)
    found, expected = half.denoiser(x, sigmas), model.denoiser(x, sigmas)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() < 0.02 * expected.norm()
    wide = model.denoiser(x.double(), sigmas.double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), expected, rtol=0, atol=1e-4)


# What is refused


def test_path_that_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="'google/ddpm-cat-256', which is no folder"):
        load_folder("google/ddpm-cat-256")
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json"):
        load_folder(tmp_path)
    for text in ("{", "[]", "\udcff"):
        (tmp_path / "model_index.json").write_text(text, "utf-8", "surrogateescape")
        with pytest.raises(ValueError, match=r"model_index.json is damaged"):
            load_folder(tmp_path)


@pytest.mark.parametrize("name", ["LTXPipeline", ["pipeline", "Own"], None])
def test_unknown_pipeline(name: Any, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "pipeline.py").write_text(f"open({str(marker)!r}, 'w')")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(ValueError, match=r"which is not read here.*DiTPipeline.*from_function"):
        load_folder(tmp_path)
    assert not marker.exists()


def test_unknown_pipeline_that_is_loaded() -> None:
    with pytest.raises(ValueError, match=r"pipeline is a Other.*relax its scheduler.*--function"):
        denoiser_of(type("Other", (), {})())
    with pytest.raises(ValueError, match="text_encoder of the FluxPipeline is None"):
        denoiser_of(tiny.flux())


@pytest.mark.parametrize("library", ["own", "diffusers"])
def test_code_in_a_folder_is_not_run(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddpm().save_pretrained(tmp_path)
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w')"
    for place in (tmp_path, tmp_path / "unet"):
        (place / f"{library}.py").write_text(code)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["unet"] = [library, "UNet2DModel"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    if library == "own":
        monkeypatch.syspath_prepend(tmp_path)
    message = {"own": "as UNet2DModel of own", "diffusers": "trust_remote_code"}[library]
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path)
    assert not marker.exists()


def test_prompt_where_none_is_taken(tmp_path: Path) -> None:
    """That is said before anything is loaded, of which nothing is there."""
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    with pytest.raises(ValueError, match="prompt is 'a b'; a DDPMPipeline takes none"):
        load_folder(tmp_path, prompt=PROMPT)
    with pytest.raises(ValueError, match="prompt is 'a b'; a DDPMPipeline takes none"):
        denoiser_of(ddpm(), prompt=PROMPT)
    with pytest.raises(TypeError, match="prompt is a list"):
        denoiser_of(stable_diffusion(), prompt=["a"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prompts is 'a'; a list"):
        denoiser_of(stable_diffusion(), prompts="a")
    with pytest.raises(ValueError, match="prompt is 'a' and prompts has 1; one is needed"):
        denoiser_of(stable_diffusion(), prompt="a", prompts=["a"])
    with pytest.raises(ValueError, match=r"prompts is \['a'\]; a DDPMPipeline takes none"):
        denoiser_of(ddpm(), prompts=["a"])


def distilled() -> Any:
    """As LCM makes it of Stable Diffusion."""
    pipe = stable_diffusion()
    pipe.unet.register_to_config(time_cond_proj_dim=8)
    return pipe


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (tiny.stable_diffusion, "tokenizer of the StableDiffusionPipeline is None"),
        (lambda: ddpm(in_channels=6), "takes 6 channels and predicts 3"),
        (lambda: ddpm(sample_size=None), "sample_size of the UNet2DModel is None"),
        (lambda: ddpm(class_embed_type="identity"), "class_embed_type .* 'identity'; None or"),
        (lambda: ddpm(class_embed_type="timestep"), "num_class_embeds of unet is None"),
        (lambda: ddpm(time_embedding_type="fourier"), "time_embedding_type .* 'fourier'"),
        (lambda: ddpm(diffusers.LCMScheduler()), "LCMScheduler: the model is distilled"),
        (distilled, "takes the guidance scale as an input .* it is distilled"),
        (lambda: diffusers.DDPMPipeline(tiny.stable_diffusion().unet, ddim()), "a UNet2DModel is"),
        (
            lambda: diffusers.StableDiffusionPipeline(
                **{**stable_diffusion().components, "unet": tiny.stable_diffusion_xl().unet},
                requires_safety_checker=False,
            ),
            "addition_embed_type .* 'text_time'; None is needed",
        ),
    ],
)
def test_refusals(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        denoiser_of(build())
