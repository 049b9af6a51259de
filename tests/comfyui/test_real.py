"""ComfyUI's own nodes, guider and model around ours, where there is one (STEINDIFF_COMFYUI)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import Any

import comfyui_standin as standin
import pytest
import torch
from torch import Tensor

import steindiff as sd
from steindiff.denoisers import GaussianMixture
from steindiff.stein import Energy

pytestmark = pytest.mark.skipif(
    "STEINDIFF_COMFYUI" not in os.environ, reason="needs a ComfyUI (STEINDIFF_COMFYUI=its path)"
)
SHAPE = (4, 8, 8)
MEANS = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
SAMPLER = {"coefficient": "energy", "trust": 0.1, "value": 0.98, "record": True}


def denoise(x: Tensor, sigma: Tensor, prompt: Tensor) -> Tensor:
    """D(x, sigma) in VE coordinates; a prompt moves the images."""
    moved = prompt.reshape(-1, 1, 1, 1)
    return GaussianMixture(MEANS, 0.2)(x - moved, sigma) + moved


class Network(torch.nn.Module):
    """A network of ComfyUI's calling that is `denoise`: it predicts noise, or a flow's velocity."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.sampling: Any = None

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor, **_: Any) -> Tensor:
        prompt, wide = context[:, 0, 0].double(), x.double()
        if hasattr(self.sampling, "multiplier"):  # a flow, which is told its time
            sigma = timestep.double() / self.sampling.multiplier
            level = sigma.reshape(-1, 1, 1, 1)
            alpha = (1 - level).clamp_min(1e-6)
            ve = (sigma / (1 - sigma).clamp_min(1e-6)).float()
            clean = denoise((wide / alpha).float(), ve, prompt.float())
            return ((wide - clean) / level).float()
        sigma = self.sampling.sigma(timestep).double()
        level = sigma.reshape(-1, 1, 1, 1)
        ve = wide * (1 + level**2).sqrt()
        return ((ve - denoise(ve.float(), sigma.float(), prompt.float())) / level).float()


@pytest.fixture(scope="module")
def comfy() -> Iterator[Any]:
    with standin.installed() as module:
        yield module


@pytest.fixture(scope="module")
def nodes(comfy: Any) -> Any:
    return standin.load_package().NODE_CLASS_MAPPINGS


@pytest.fixture
def theirs(comfy: Any) -> Any:
    """ComfyUI's nodes of custom sampling."""
    return importlib.import_module("comfy_extras.nodes_custom_sampler")


def model(kind: str) -> Any:
    """A MODEL of ComfyUI around the network: SD1.5's levels, or SD3's."""
    base = importlib.import_module("comfy.model_base")
    supported = importlib.import_module("comfy.supported_models")
    patcher = importlib.import_module("comfy.model_patcher")
    config_class = supported.SD3 if kind == "FLOW" else supported.SD15
    config = config_class({"disable_unet_model_creation": True})
    config.latent_format = importlib.import_module("comfy.latent_formats").LatentFormat()
    made = base.BaseModel(config, getattr(base.ModelType, kind), device="cpu")
    made.diffusion_model = Network()
    made.diffusion_model.sampling = made.model_sampling
    cpu = torch.device("cpu")
    return patcher.ModelPatcher(made, load_device=cpu, offload_device=cpu)


def prompt(value: float) -> Any:
    return [[torch.full((1, 4, 8), value), {}]]


def guider(theirs: Any, kind: str, cfg: float) -> Any:
    return theirs.CFGGuider.execute(model(kind), prompt(0.5), prompt(-0.5), cfg)[0]


def guided(cfg: float) -> Any:
    def both(x: Tensor, sigma: Tensor) -> Tensor:
        sides = [denoise(x, sigma, torch.full((len(x),), side)) for side in (0.5, -0.5)]
        return sides[1] + cfg * (sides[0] - sides[1])

    return both


def sample(theirs: Any, guide: Any, sampler: Any, sigmas: Tensor, **latent: Any) -> Tensor:
    """Out of SamplerCustomAdvanced, with the noise of RandomNoise."""
    noise = theirs.RandomNoise.execute(3)[0]
    latent = {"samples": torch.zeros(2, *SHAPE), **latent}
    return theirs.SamplerCustomAdvanced.execute(noise, guide, sampler, sigmas, latent)[0]["samples"]


def start(theirs: Any) -> Tensor:
    latent = {"samples": torch.zeros(2, *SHAPE)}
    return theirs.RandomNoise.execute(3)[0].generate_noise(latent)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    assert float((found - expected).abs().max()) < tolerance * float(expected.abs().max())


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("solver", ["dpmpp_2m", "res_multistep", "gradient_estimation", "unipc"])
def test_sampler_custom_advanced_gives_the_core_s_samples(
    theirs: Any, nodes: Any, solver: str, cfg: float
) -> None:
    guide = guider(theirs, "EPS", cfg)
    sigmas = theirs.BasicScheduler.execute(guide.model_patcher, "simple", 8, 1.0)[0]
    (sampler,) = nodes["SteinSampler"]().make(solver, 0, **SAMPLER)
    found = sample(theirs, guide, sampler, sigmas)
    x = start(theirs) * (1 + sigmas[0] ** 2).sqrt()
    close(found, sd.sample(guided(cfg), x, sigmas, solver, Energy(), end="steady").x)
    assert sampler.sampler_function.journal.guided == (cfg != 1)


@pytest.mark.parametrize(
    "name", ["euler", "er_sde", "ipndm", "lms", "res_multistep", "gradient_estimation"]
)
@pytest.mark.parametrize("kind", ["EPS", "FLOW"])
def test_without_relaxing_it_is_ksamplerselect_s(
    theirs: Any, nodes: Any, kind: str, name: str
) -> None:
    if kind == "FLOW" and name in ("lms", "res_multistep"):
        pytest.skip("ComfyUI's is in sigma of the flow, ours in VE coordinates")
    guide = guider(theirs, kind, 4.0)
    sigmas = theirs.BasicScheduler.execute(guide.model_patcher, "simple", 6, 1.0)[0]
    plain = theirs.KSamplerSelect.execute(name)[0]
    if name == "er_sde":
        plain = theirs.SamplerER_SDE.execute("ODE", 3, 1.0, 1.0)[0]
    ours = {**SAMPLER, "coefficient": "none", "record": False}
    (relaxed,) = nodes["SteinRelaxation"]().relax(plain, **ours)
    close(sample(theirs, guide, relaxed, sigmas), sample(theirs, guide, plain, sigmas))
    (relaxed,) = nodes["SteinRelaxation"]().relax(plain, **SAMPLER)
    assert bool(sample(theirs, guide, relaxed, sigmas).isfinite().all())


def test_a_flow_from_pure_noise(theirs: Any, nodes: Any) -> None:
    guide = guider(theirs, "FLOW", 4.0)
    sigmas = theirs.BasicScheduler.execute(guide.model_patcher, "simple", 8, 1.0)[0]
    assert sigmas[0] == 1
    (sampler,) = nodes["SteinSampler"]().make("dpmpp_2m", 0, **SAMPLER)
    found = sample(theirs, guide, sampler, sigmas)
    # From a level so high that it is pure noise, in float64.
    ve = [1e6, *(sigmas[1:].double() / (1 - sigmas[1:].double())).tolist()]
    x = start(theirs).double() * 1e6
    both = guided(4.0)
    core = sd.sample(
        lambda z, s: both(z.float(), s.float()).double(), x, ve, "dpmpp_2m", Energy(), end="steady"
    ).x
    close(found, core.float(), 2e-3)


def test_sampler_custom_is_the_same(theirs: Any, nodes: Any) -> None:
    guide = guider(theirs, "EPS", 4.0)
    sigmas = theirs.BasicScheduler.execute(guide.model_patcher, "karras", 6, 0.6)[0]
    (sampler,) = nodes["SteinSampler"]().make("euler", 0, **SAMPLER)
    latent = {"samples": torch.ones(2, *SHAPE)}
    found = theirs.SamplerCustom.execute(
        guide.model_patcher, True, 3, 4.0, prompt(0.5), prompt(-0.5), sampler, sigmas, latent
    )[0]["samples"]
    assert torch.equal(found, sample(theirs, guide, sampler, sigmas, **latent))


def test_a_mask_of_the_image_s_size_is_brought_to_the_latent_s(theirs: Any, nodes: Any) -> None:
    guide, latent = guider(theirs, "EPS", 4.0), torch.ones(2, *SHAPE)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    sigmas = theirs.BasicScheduler.execute(guide.model_patcher, "simple", 6, 1.0)[0]
    (sampler,) = nodes["SteinSampler"]().make("euler", 0, **SAMPLER)
    found = sample(theirs, guide, sampler, sigmas, samples=latent, noise_mask=mask)
    close(found[..., 6:], latent[..., 6:])
    assert float((found[..., :2] - latent[..., :2]).abs().max()) > 0.1


def test_base_and_refiner_split_a_sampling(theirs: Any, nodes: Any) -> None:
    guide = guider(theirs, "EPS", 2.0)
    sigmas = theirs.BasicScheduler.execute(guide.model_patcher, "simple", 8, 1.0)[0]
    high, low = theirs.SplitSigmas.execute(sigmas, 5)
    (sampler,) = nodes["SteinSampler"]().make("euler", 0, **{**SAMPLER, "coefficient": "none"})
    middle = sample(theirs, guide, sampler, high)
    silent = theirs.DisableNoise.execute()[0]
    latent = {"samples": middle}
    found = theirs.SamplerCustomAdvanced.execute(silent, guide, sampler, low, latent)[0]["samples"]
    close(found, sample(theirs, guide, sampler, sigmas))
    with pytest.raises(ValueError, match="the sigmas rise"):
        sample(theirs, guide, sampler, theirs.FlipSigmas.execute(sigmas)[0][1:])


@pytest.mark.parametrize("node", ["EpsilonScaling", "TemporalScoreRescaling"])
def test_tsr_and_epsilon_scaling_are_refused(theirs: Any, nodes: Any, node: str) -> None:
    eps = importlib.import_module("comfy_extras.nodes_eps")
    inputs = {"EpsilonScaling": (1.005,), "TemporalScoreRescaling": (0.95, 1.0)}[node]
    patched = getattr(eps, node).execute(model("EPS"), *inputs)[0]
    guide = theirs.CFGGuider.execute(patched, prompt(0.5), prompt(-0.5), 4.0)[0]
    sigmas = theirs.BasicScheduler.execute(patched, "simple", 6, 1.0)[0]
    (sampler,) = nodes["SteinSampler"]().make("euler", 0, **SAMPLER)
    with pytest.raises(ValueError, match="makes every step weaker"):
        sample(theirs, guide, sampler, sigmas)


def test_the_recipe_samples(theirs: Any, nodes: Any) -> None:
    for kind in ("EPS", "FLOW"):
        guide = guider(theirs, kind, 4.0)
        sampler, sigmas = nodes["SteinRecipe"]().choose(guide.model_patcher, 6, 4.0, True)
        assert bool(sample(theirs, guide, sampler, sigmas).isfinite().all())
        assert nodes["SteinReport"]().report(sampler, {})[0].ndim == 4


def test_an_interrupt_stops_it(comfy: Any, theirs: Any, nodes: Any) -> None:
    guide = guider(theirs, "EPS", 4.0)
    sigmas = theirs.BasicScheduler.execute(guide.model_patcher, "simple", 6, 1.0)[0]
    (sampler,) = nodes["SteinSampler"]().make("euler", 0, **SAMPLER)
    management = comfy.model_management
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        sample(theirs, guide, sampler, sigmas)
    sample(theirs, guide, sampler, sigmas)
