"""Trains the shipped class-conditional denoiser on Fashion-MNIST.

    python research/train_shipped.py --out runs/fashion-mnist

Started again with the same command it goes on from its last checkpoint. Every batch is a function
of (seed, step) alone, so an interrupted run sees the same data as an undisturbed one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from shipped.data import DEFAULT_FOLDER, fashion_mnist
from steindiff.models import NetworkConfig, UNetDenoiser
from training import Plan, cosine, curve_of, denoising_loss, noise_levels, train

LEARNING_RATE = 1.5e-3
AVERAGE_DECAY = 0.9992
NOISE_RANGE = (0.005, 100.0)


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

    def loss(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        batch = torch.randint(len(images), (options.batch,), generator=generator)
        sigma = noise_levels(options.batch, NOISE_RANGE, generator)
        sigma_data = net.config.sigma_data
        weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        return denoising_loss(
            net, images[batch], labels[batch], sigma, weight, generator,
            null_label=net.null_label, half=True,
        )  # fmt: skip

    plan = Plan(
        options.steps,
        rate=lambda step: cosine(LEARNING_RATE, step, options.steps),
        decay=lambda step: AVERAGE_DECAY,
    )
    train(net, loss, plan, checkpoint)
    (options.out / "curve.json").write_text(json.dumps(curve_of(checkpoint)["curve"]))


if __name__ == "__main__":
    main()
