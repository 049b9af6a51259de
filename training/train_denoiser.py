"""Trains the shipped class-conditional denoiser on Fashion-MNIST.

    python training/train_denoiser.py --out runs/fashion-mnist

Started again with the same command it goes on from its last checkpoint. Every batch is a function
of (seed, step) alone, so an interrupted run sees the same data as an undisturbed one.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from data import DEFAULT_FOLDER, fashion_mnist
from steindiff._files import write_whole
from steindiff.models.network import NetworkConfig, UNetDenoiser

LABEL_DROPOUT = 0.1
LEARNING_RATE = 1.5e-3
WARM_UP = 300
# ln sigma ~ N(-1, 1.4^2); a tenth of the batch log-uniform, so that the first steps of a
# sampling, from sigma = 80, are trained as well.
NOISE_MEAN, NOISE_STD = -1.0, 1.4
NOISE_RANGE = (0.005, 100.0)
UNIFORM_SHARE = 0.1


def noise_levels(count: int, generator: torch.Generator) -> Tensor:
    """Stratified noise levels (count,): less variance between batches than independent draws."""
    quantile = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    quantile = quantile.clamp(1e-6, 1 - 1e-6)[torch.randperm(count, generator=generator)]
    normal = NOISE_MEAN + NOISE_STD * torch.special.ndtri(quantile)
    low, high = map(math.log, NOISE_RANGE)
    uniform = low + (high - low) * quantile
    pick = torch.rand(count, generator=generator) < UNIFORM_SHARE
    return torch.where(pick, uniform, normal).exp()


def learning_rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARM_UP)
    return LEARNING_RATE * warm * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def loss_of(net: UNetDenoiser, x0: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """EDM's weighted denoising loss, weight (sigma^2 + sigma_d^2) / (sigma sigma_d)^2."""
    sigma = noise_levels(len(x0), generator)
    noisy = x0 + sigma[:, None, None, None] * torch.randn(x0.shape, generator=generator)
    dropped = torch.rand(len(x0), generator=generator) < LABEL_DROPOUT
    labels = torch.where(dropped, net.null_label, labels)
    with torch.autocast("cpu", torch.bfloat16):
        denoised = net(noisy, sigma, labels)
    sigma_data = net.config.sigma_data
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return (weight * (denoised.float() - x0).square().mean(dim=(1, 2, 3))).mean()


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, step: int) -> None:
    """Exponential moving average that forgets quickly at first."""
    decay = min(0.9992, (1 + step) / (10 + step))
    for a, p in zip(average.parameters(), net.parameters(), strict=True):
        a.lerp_(p, 1 - decay)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "checkpoint.pt"

    torch.manual_seed(options.seed)
    images, labels = fashion_mnist("train", options.data)
    net = UNetDenoiser(NetworkConfig()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = UNetDenoiser(NetworkConfig())
    average.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    first, seconds, curve = 0, 0.0, []
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        first, seconds, curve = saved["step"], saved["seconds"], saved["curve"]

    began, running = time.monotonic() - seconds, 0.0
    for step in range(first, options.steps):
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        batch = torch.randint(len(images), (options.batch,), generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps)
        loss = loss_of(net, images[batch], labels[batch], generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        update_average(average, net, step)
        running += loss.item()
        done = step + 1
        if done % 100 == 0 or done == options.steps:
            curve.append((done, round(running / ((done - 1) % 100 + 1), 5)))
            running, seconds = 0.0, time.monotonic() - began
            left = seconds / done * (options.steps - done)
            print(
                f"step {done} loss {curve[-1][1]:.4f} {seconds:.0f} s, {left:.0f} s left",
                flush=True,
            )
        if done % 250 == 0 or done == options.steps:
            state = {
                "net": net.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": done,
                "seconds": seconds,
                "curve": curve,
                "config": net.config.to_dict(),
            }
            write_whole(checkpoint, partial(torch.save, state))
    (options.out / "curve.json").write_text(json.dumps(curve))


if __name__ == "__main__":
    main()
