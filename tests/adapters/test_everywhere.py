"""The newer bases through every door: core, diffusers, k-diffusion and ComfyUI's nodes, to 1e-5.

One denoiser, the same levels and the same start, held in VE coordinates and in a flow's, with and
without relaxation, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import comfyui_standin as standin
import pytest
import torch
from k_diffusion_runs import denoise, denoise_flow, start
from torch import Tensor

import steindiff as sd
from steindiff.adapters.k_diffusion import SAMPLERS
from steindiff.solvers import resolve_solver

TOLERANCE = 1e-5
VE = (49.0, 20.0, 9.0, 4.0, 1.8, 0.8, 0.3, 0.0)
FLOW = tuple(sigma / (1 + sigma) for sigma in VE)
SIGMA_DATA = 0.5

BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "res_multistep": ("res_multistep", {}),
    "res_2s": ("res_2s", {}),
    "gradient_estimation": ("gradient_estimation", {}),
    "gradient_estimation in a flow's time": ("gradient_estimation", {"variable": "flow"}),
    "ipndm": ("ipndm", {"order": 3}),
    "ipndm in a flow's time": ("ipndm", {"order": 3, "variable": "flow"}),
    "deis": ("deis", {"order": 3}),
}


@pytest.fixture(scope="module")
def comfy() -> Iterator[Any]:
    with standin.installed() as module:
        yield module


def in_diffusers(name: str, options: dict[str, Any], rule: str, kind: str, x: Tensor) -> Tensor:
    """The scheduler is driven as a pipeline does, with a network that says what D says."""
    diffusers = pytest.importorskip("steindiff.adapters.diffusers")
    scheduler = diffusers.SteinScheduler(
        model="edm" if kind == "ve" else "flow", solver=name, solver_options=options,
        coefficient=rule, end="none", sigma_max=60.0,
    )  # fmt: skip
    scheduler.set_timesteps(sigmas=list(VE if kind == "ve" else FLOW[:-1]))  # a flow adds its 0
    for call, timestep in enumerate(scheduler.timesteps):
        level = float(scheduler.sigmas[call])
        told = torch.full((len(x),), level, dtype=x.dtype)
        if kind == "flow":
            output = (x - denoise_flow(x, told)) / level
        else:
            total = level**2 + SIGMA_DATA**2
            kept = SIGMA_DATA**2 / total * x
            output = (denoise(x, told) - kept) * math.sqrt(total) / (level * SIGMA_DATA)
        x = scheduler.step(output, timestep, x, return_dict=False)[0]
    return x


def in_k_diffusion(name: str, options: dict[str, Any], rule: str, kind: str, x: Tensor) -> Tensor:
    sampler: Any = SAMPLERS[f"sample_stein_{name}"]
    if name in ("ipndm", "gradient_estimation"):  # which takes a flow's time on a flow by itself
        options = {"variable": "sigma", **options}
    sigmas = torch.tensor(VE if kind == "ve" else FLOW, dtype=x.dtype)
    return sampler(
        denoise if kind == "ve" else denoise_flow, x, sigmas, disable=True, coefficient=rule,
        end="none", coordinates=kind, **options,
    )  # fmt: skip


def in_comfyui(
    comfy: Any, name: str, options: dict[str, Any], rule: str, kind: str, x: Tensor
) -> Tensor:
    """Stein Sampler; a SAMPLER of ComfyUI starts from noise, not from a state."""
    nodes = standin.load_package().NODE_CLASS_MAPPINGS
    inputs = {"coefficient": rule, "trust": 0.1, "value": 0.98, "record": False, "end": "none"}
    (sampler,) = nodes["SteinSampler"]().make(name, options.get("order", 0), **inputs)
    top = VE[0] if kind == "ve" else FLOW[0]
    highest = VE[0] if kind == "ve" else 1.0  # from where a start is noise * sqrt(1 + sigma^2)
    sampling = standin.model_sampling(comfy, "EPS" if kind == "ve" else "CONST", highest)
    model = denoise if kind == "ve" else denoise_flow
    guide = standin.Guider(standin.Model(sampling, model))
    noise = x / (math.sqrt(1 + top**2) if kind == "ve" else top)
    sigmas = torch.tensor(VE if kind == "ve" else FLOW, dtype=x.dtype)
    extra = {"model_options": {}, "seed": 0}
    return sampler.sample(guide, sigmas, extra, None, noise, torch.zeros_like(noise), None, True)


@pytest.mark.parametrize("rule", ["none", "energy"])
@pytest.mark.parametrize("kind", ["ve", "flow"])
@pytest.mark.parametrize("base", BASES)
def test_the_same_samples_through_every_door(comfy: Any, base: str, kind: str, rule: str) -> None:
    name, options = BASES[base]
    x = start(VE[0])
    core = sd.sample(denoise, x, VE, resolve_solver(name, **options), rule, end="none").x
    native = x if kind == "ve" else x / (1 + VE[0])
    doors: dict[str, Callable[[], Tensor]] = {
        "diffusers": lambda: in_diffusers(name, options, rule, kind, native),
        "k-diffusion": lambda: in_k_diffusion(name, options, rule, kind, native),
    }
    # The node offers no variable: it is a flow's time for flows, sigma for the others.
    own = resolve_solver(name)
    natural = "flow" if kind == "flow" and hasattr(own, "variable") else "sigma"
    if options.get("variable", "sigma") == natural:
        doors["ComfyUI"] = lambda: in_comfyui(comfy, name, options, rule, kind, native)
    scale = float(core.abs().max())
    for door, run in doors.items():
        error = float((run().double() - core).abs().max()) / scale
        assert error < TOLERANCE, f"{door}: {error}"


def test_the_bases_are_not_alike() -> None:
    """Or the agreement above would say nothing."""
    x = start(VE[0])
    found = [
        sd.sample(denoise, x, VE, resolve_solver(name, **options), rule, end="none").x
        for name, options in BASES.values()
        for rule in ("none", "energy")
    ]
    for k, one in enumerate(found):
        for other in found[k + 1 :]:
            assert float((one - other).abs().max()) > 100 * TOLERANCE
