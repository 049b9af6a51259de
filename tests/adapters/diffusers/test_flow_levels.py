"""Flow levels as the pipelines of 2026 make them: the relaxed scheduler reads each of them right.

Every case is a scheduler with the configuration that a model is published with, and the arguments
that its pipeline calls `set_timesteps` with. What diffusers' own scheduler then holds in `sigmas`
is what the rule has to be shown, in VE coordinates, together with the state and the clean image.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steindiff.adapters.coordinates import PURE_NOISE
from steindiff.adapters.diffusers import relax
from steindiff.stein import Coefficient, Decision, Proposal

diffusers: Any = importlib.import_module("diffusers")

STEPS = 8
TOKENS = 4096
"""Latent tokens of an image of 1024 x 1024."""


@dataclass(frozen=True)
class Spy(Coefficient):
    """Leaves every step as it is, and notes what it was shown."""

    shown: tuple[list[Proposal]] = ([],)

    def init(self, x: Tensor) -> None:
        self.shown[0].clear()

    def __call__(self, proposal: Proposal, state: None) -> Decision:
        self.shown[0].append(proposal)
        return Decision(torch.ones(len(proposal.x)), None)


def even(steps: int) -> dict[str, Any]:
    """What most pipelines of flow models pass."""
    return {"sigmas": np.linspace(1.0, 1 / steps, steps)}


def shift_of(family: str, **options: float) -> float:
    """mu, by the pipeline's own function of the image's size."""
    module = importlib.import_module(f"diffusers.pipelines.{family}")
    return module.calculate_shift(TOKENS, **options)


def z_image() -> Any:
    return importlib.import_module("diffusers.pipelines.z_image.pipeline_z_image")


def flux_2(steps: int) -> float:
    module = importlib.import_module("diffusers.pipelines.flux2.pipeline_flux2")
    return module.compute_empirical_mu(image_seq_len=TOKENS, num_steps=steps)


def euler(**config: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**config)


def wan(shift: float) -> Any:
    return diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )


def sana() -> Any:
    return diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )


def qwen() -> Any:
    return euler(
        use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, base_image_seq_len=256,
        max_image_seq_len=8192, shift_terminal=0.02, shift=1.0, time_shift_type="exponential",
    )  # fmt: skip


def ltx() -> Any:
    return euler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024,
        max_image_seq_len=4096, shift_terminal=0.1, shift=1.0,
    )  # fmt: skip


FLUX_MU = {"base_seq_len": 256, "max_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
CASES: dict[str, Any] = {
    "SD3": lambda: (euler(shift=3.0), {"num_inference_steps": STEPS}),
    "Flux": lambda: (
        euler(shift=3.0, use_dynamic_shifting=True),
        {**even(STEPS), "mu": shift_of("flux.pipeline_flux", **FLUX_MU)},
    ),
    "Flux.2": lambda: (
        euler(shift=3.0, use_dynamic_shifting=True),
        {**even(STEPS), "mu": flux_2(STEPS)},
    ),
    "Qwen-Image": lambda: (
        qwen(),
        {
            **even(STEPS),
            "mu": shift_of(
                "qwenimage.pipeline_qwenimage", base_seq_len=256, max_seq_len=8192,
                base_shift=0.5, max_shift=0.9,
            ),
        },
    ),
    "Wan, 480p": lambda: (wan(3.0), {"num_inference_steps": STEPS}),
    "Wan, 720p": lambda: (wan(5.0), {"num_inference_steps": STEPS}),
    "Wan, shift 12": lambda: (wan(12.0), {"num_inference_steps": STEPS}),
    "Z-Image": lambda: (
        euler(shift=3.0),
        {
            "sigmas": z_image().get_default_z_image_sigmas(STEPS),
            "mu": shift_of("z_image.pipeline_z_image", **FLUX_MU),
        },
    ),
    "Z-Image, older pipelines": lambda: (
        _with_sigma_min(euler(shift=3.0), 0.0),
        {"num_inference_steps": STEPS, "mu": 1.0},
    ),
    "Sana": lambda: (sana(), {"num_inference_steps": STEPS}),
    "LTX": lambda: (
        ltx(),
        {
            **even(STEPS),
            "mu": shift_of(
                "ltx.pipeline_ltx", base_seq_len=1024, max_seq_len=4096, base_shift=0.95,
                max_shift=2.05,
            ),
        },
    ),
    "Chroma": lambda: (
        euler(shift=1.0, use_beta_sigmas=True),
        {**even(STEPS), "mu": shift_of("chroma.pipeline_chroma", **FLUX_MU)},
    ),
    "Chroma, Karras": lambda: (euler(use_karras_sigmas=True), even(STEPS)),
    "Chroma, exponential": lambda: (euler(use_exponential_sigmas=True), even(STEPS)),
    "Lumina 2": lambda: (
        euler(shift=6.0),
        {**even(STEPS), "mu": shift_of("lumina2.pipeline_lumina2", **FLUX_MU)},
    ),
    "own sigmas": lambda: (euler(shift=3.0), {"sigmas": [1.0, 0.9, 0.7, 0.4, 0.15]}),
    "linear mu": lambda: (
        euler(use_dynamic_shifting=True, time_shift_type="linear"),
        {**even(STEPS), "mu": 2.02},
    ),
    "inverted": lambda: (euler(invert_sigmas=True, shift=6.93), {"num_inference_steps": STEPS}),
    "UniPC with Flux's mu": lambda: (
        diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, use_dynamic_shifting=True,
            time_shift_type="exponential",
        ),
        {"num_inference_steps": STEPS, "mu": shift_of("flux.pipeline_flux", **FLUX_MU)},
    ),
    "UniPC with sigmas given": lambda: (wan(1.0), even(STEPS)),
    "Heun": lambda: (
        diffusers.FlowMatchHeunDiscreteScheduler(shift=3.0),
        {"num_inference_steps": STEPS},
    ),
}  # fmt: skip


def _with_sigma_min(scheduler: Any, value: float) -> Any:
    scheduler.sigma_min = value  # as the pipelines of diffusers 0.36 do
    return scheduler


def clean(batch: int = 2) -> tuple[Tensor, Tensor]:
    """The image that the network always sees, and the noise."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, batch, 4, 8, 8, generator=generator, dtype=torch.float64)
    return x0, noise


def levels_of(scheduler: Any) -> list[float]:
    """Of the steps, as diffusers holds them; one twice is Heun's, or Z-Image's second 0."""
    times = torch.as_tensor(scheduler.sigmas).double().tolist()
    if scheduler.config.get("invert_sigmas"):
        times = [1 - t for t in times]
    return [t for i, t in enumerate(times) if not i or t != times[i - 1]]


@pytest.mark.parametrize("name", CASES)
def test_the_rule_is_shown_diffusers_own_levels(name: str) -> None:
    plain, arguments = CASES[name]()
    x0, noise = clean()
    spy = Spy()
    scheduler = relax(plain, spy, "none", record=True)
    if name == "Z-Image, older pipelines":
        scheduler.sigma_min = 0.0
    plain.set_timesteps(**arguments)
    scheduler.set_timesteps(**arguments)
    torch.testing.assert_close(torch.as_tensor(scheduler.sigmas), torch.as_tensor(plain.sigmas))
    times = levels_of(plain)
    x = (1 - times[0]) * x0 + times[0] * noise
    velocity = x0 - noise if plain.config.get("invert_sigmas") else noise - x0
    for timestep in scheduler.timesteps:
        x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
    ve = [min(t / (1 - t), PURE_NOISE) if t < 1 else PURE_NOISE for t in times]
    record = scheduler.stein_record
    assert list(record.sigmas) == pytest.approx(ve, rel=1e-5)
    assert len(spy.shown[0]) == len(times) - 2  # the last step is nobody's
    for proposal, t, t_next in zip(spy.shown[0], times, times[1:], strict=False):
        assert proposal.sigma == pytest.approx(min(t / max(1 - t, 1e-9), PURE_NOISE), rel=1e-5)
        assert proposal.sigma_next == pytest.approx(t_next / (1 - t_next), rel=1e-5)
        torch.testing.assert_close(proposal.denoised.double(), x0, atol=2e-5, rtol=0)
        if t < 1 - 1e-3:
            state = x0 + t / (1 - t) * noise
            torch.testing.assert_close(proposal.x.double(), state, rtol=1e-4, atol=1e-4)
    end = times[-1]
    torch.testing.assert_close(x, (1 - end) * x0 + end * noise, atol=1e-5, rtol=0)


def test_the_levels_of_the_table_are_unlike() -> None:
    """Shifts, terminals and options all reach `sigmas`: no two cases are the same by accident."""
    found = {}
    for name, make in CASES.items():
        scheduler, arguments = make()
        scheduler.set_timesteps(**arguments)
        found[name] = tuple(round(t, 4) for t in torch.as_tensor(scheduler.sigmas).tolist())
    assert len(set(found.values())) == len(CASES)


def test_a_second_zero_changes_nothing() -> None:
    """As the levels without it; with energy and the end."""
    _, noise = clean()
    found = []
    for sigmas in (None, torch.linspace(1.0, 0.0, STEPS)[:-1].tolist()):
        scheduler = relax(euler(shift=3.0), record=True)
        if sigmas is None:
            scheduler.sigma_min = 0.0
            scheduler.set_timesteps(STEPS)
        else:
            scheduler.set_timesteps(sigmas=sigmas)
        x = noise
        for timestep in scheduler.timesteps:
            velocity = (x - torch.tanh(x) * 0.9) / max(float(timestep) / 1000, 0.05)
            x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
        found.append((x, scheduler.stein_record.gamma))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    assert float(found[0][1].min()) < 0.99
