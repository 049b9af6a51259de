"""What relaxing adds to a step of diffusers: no wait for the device, next to no time."""
# pyright: reportPrivateImportUsage=false

import statistics
import time
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from steindiff.adapters.diffusers import SUPPORTED, relax

STABLE_DIFFUSION = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}
"""The published configuration of the U-Net of Stable Diffusion 1.5: 860 million parameters."""


def latents(device: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 4, 64, 64, generator=generator).to(device)


def sampling(scheduler: Any, device: str) -> None:
    """All steps from the same latents, with a stand-in for the network that costs nothing."""
    scheduler.set_timesteps(4)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # as pipelines do: looking the index up would wait
    x = latents(device)
    for timestep in scheduler.timesteps:
        x = scheduler.step(x * 0.1, timestep, x, return_dict=False)[0]


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_step_reads_nothing_back(name: str) -> None:
    """A tensor on the meta device has no values: reading one is an error there."""
    scheduler = getattr(diffusers, name)(
        **({"skip_prk_steps": True} if name == "PNDMScheduler" else {})
    )
    relaxed = relax(scheduler, record=True)
    sampling(relaxed, "meta")
    with pytest.raises(Exception, match=r"(?i)meta"):
        _ = relaxed.stein_record  # the one place that looks at values


def seconds(call: Callable[[], object], rounds: int) -> float:
    """Of the processor, so that it does not matter who else is busy on it."""
    call()
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def unet(device: str, **config: Any) -> Any:
    with torch.device(device):
        return diffusers.UNet2DConditionModel(**config).eval()


def flops(model: Any, device: str, size: int, width: int) -> tuple[Callable[[], object], int]:
    """A call with classifier-free guidance, and its floating-point operations."""
    arguments = (
        torch.zeros(2, 4, size, size, device=device),
        torch.zeros((), device=device),
        torch.zeros(2, 77, width, device=device),
    )

    def call() -> None:
        with torch.no_grad():
            model(*arguments)

    with FlopCounterMode(display=False) as counter:
        call()
    return call, counter.get_total_flops()


def test_a_step_costs_less_than_a_hundredth_of_stable_diffusion() -> None:
    """The U-Net's time: its operations over the speed of a smaller one of its kind, here."""
    _, wanted = flops(unet("meta", **STABLE_DIFFUSION), "meta", 64, 768)
    assert 1.3e12 < wanted < 1.8e12  # about 0.8 Tflop an image, as is known of it
    small = {
        "sample_size": 32,
        "block_out_channels": (64, 128),
        "layers_per_block": 1,
        "cross_attention_dim": 64,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "norm_num_groups": 32,
    }
    call, done = flops(unet("cpu", **small), "cpu", 32, 64)
    step_of_network = wanted * seconds(call, 5) / done
    plain = diffusers.DPMSolverMultistepScheduler(use_karras_sigmas=True)
    relaxed = relax(plain)
    added = seconds(lambda: sampling(relaxed, "cpu"), 20) - seconds(
        lambda: sampling(plain, "cpu"), 20
    )
    assert added / 4 < 0.01 * step_of_network
