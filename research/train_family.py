"""Trains the denoiser of a family and writes its weights.

    python research/train_family.py digits-mixer --out runs/digits-mixer

Started again with the same command it goes on from its last checkpoint. Every batch is a function
of (seed, step) alone, so an interrupted run sees the same data as an undisturbed one. With
--export-only it writes the weights of the last checkpoint, finished or not.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from families.augmentation import AUGMENTATIONS
from families.build import RECIPES
from families.data import Split, load_data
from families.denoiser import ConditionalDenoiser
from families.weights import denoiser_path, save_weights
from steindiff._files import write_text, write_whole

LABEL_DROPOUT = 0.1
WARM_UP = 300
AVERAGE_DECAY = 0.9985
FINISHING_RATE = 0.03  # of the learning rate, falling to zero
FINISHING_DECAY = 0.995
# ln sigma ~ N(-1, 1.4^2); a tenth of the batch log-uniform, so that the ends are trained as well.
NOISE_MEAN, NOISE_STD = -1.0, 1.4
NOISE_RANGE = (0.002, 80.0)
UNIFORM_SHARE = 0.1


@dataclass(frozen=True)
class Training:
    """What differs between the families.

    `steps` steps in bfloat16 are followed by `finishing` ones in float32, the precision of use.
    They matter at low noise: a relative error of 5e-4 in the size of D, which bfloat16 does not
    see, moves <x, x - D> / (d sigma^2) by over a tenth at sigma = 0.05. The transformer has none:
    its weights were taken before them, and results rest on those weights.
    """

    steps: int
    finishing: int
    batch: int
    learning_rate: float

    @property
    def total(self) -> int:
        return self.steps + self.finishing


TRAININGS = {
    "digits-mixer": Training(12000, 1000, 64, 2e-3),
    "emoji-transformer": Training(10000, 0, 64, 1.2e-3),
    "photos-resnet": Training(3000, 600, 64, 2e-3),
}


def noise_levels(count: int, generator: torch.Generator) -> Tensor:
    """Stratified noise levels (count,): less variance between batches than independent draws."""
    quantile = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    quantile = quantile.clamp(1e-6, 1 - 1e-6)[torch.randperm(count, generator=generator)]
    normal = NOISE_MEAN + NOISE_STD * torch.special.ndtri(quantile)
    low, high = map(math.log, NOISE_RANGE)
    uniform = low + (high - low) * quantile
    pick = torch.rand(count, generator=generator) < UNIFORM_SHARE
    return torch.where(pick, uniform, normal).exp()


def learning_rate(training: Training, step: int) -> float:
    if step >= training.steps:
        return (
            training.learning_rate * FINISHING_RATE * (training.total - step) / training.finishing
        )
    warm = min(1.0, (step + 1) / WARM_UP)
    return training.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / training.steps))


def loss_of(
    net: ConditionalDenoiser,
    x0: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    half: bool = False,
) -> Tensor:
    """Denoising loss of weight 1 / out(sigma)^2: unit weight on what the network itself predicts.

    That is EDM's choice (Karras et al. 2022, equation 8), for each parameterisation its own.
    """
    sigma = noise_levels(len(x0), generator)
    noisy = x0 + sigma[:, None, None, None] * torch.randn(x0.shape, generator=generator)
    dropped = torch.rand(len(x0), generator=generator) < LABEL_DROPOUT
    with torch.autocast("cpu", torch.bfloat16, enabled=half):  # faster, by 1.3 to 2.6
        denoised = net(noisy, sigma, torch.where(dropped, net.null_label, labels))
    weight = net.parameterisation(sigma).out.square().reciprocal()
    return (weight * (denoised - x0).square().mean(dim=(1, 2, 3))).mean()


@torch.no_grad()
def held_out_loss(net: ConditionalDenoiser, data: Split) -> float:
    """The loss on the test images, ten draws of the noise."""
    losses = []
    for draw in range(10):
        generator = torch.Generator().manual_seed(draw)
        losses.append(loss_of(net, data.images, data.labels, generator).item())
    return sum(losses) / len(losses)


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, step: int, longest: float) -> None:
    """Exponential moving average that forgets quickly at first."""
    decay = min(longest, (1 + step) / (10 + step))
    for a, p in zip(average.parameters(), net.parameters(), strict=True):
        a.lerp_(p, 1 - decay)


def train(name: str, training: Training, data: Split, seed: int, checkpoint: Path) -> None:
    """Trains from `checkpoint`, or from the start where there is none, to the last step."""
    torch.manual_seed(seed)
    net, average = (RECIPES[name].build(RECIPES[name]) for _ in range(2))
    average.load_state_dict(net.state_dict())
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    first, seconds, curve = 0, 0.0, []
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        first, seconds, curve = saved["step"], saved["seconds"], saved["curve"]
    began, running = time.monotonic() - seconds, 0.0
    for step in range(first, training.total):
        half = step < training.steps
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, step)
        batch_seed = seed * 1_000_003 + step
        running += _step(name, net, optimizer, data, training.batch, batch_seed, half)
        update_average(average, net, step, AVERAGE_DECAY if half else FINISHING_DECAY)
        done = step + 1
        if done % 100 == 0 or done == training.total:
            seconds = time.monotonic() - began
            curve.append((done, round(running / ((done - 1) % 100 + 1), 5)))
            running = 0.0
            print(f"step {done} loss {curve[-1][1]:.4f} {seconds:.0f} s", flush=True)
        if done % 200 == 0 or done == training.total:
            state: dict[str, Any] = {
                "net": net.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": done,
                "seconds": seconds,
                "curve": curve,
            }
            write_whole(checkpoint, partial(torch.save, state))


def _step(
    name: str,
    net: ConditionalDenoiser,
    optimizer: torch.optim.Optimizer,
    data: Split,
    batch: int,
    seed: int,
    half: bool,
) -> float:
    generator = torch.Generator().manual_seed(seed)
    picked = torch.randint(len(data.images), (batch,), generator=generator)
    images = AUGMENTATIONS[name](data.images[picked], generator)
    loss = loss_of(net, images, data.labels[picked], generator, half)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def export(name: str, checkpoint: Path, data: Path) -> None:
    """Writes the averaged weights, and prints the figures of the training."""
    saved = torch.load(checkpoint)
    net = RECIPES[name].build(RECIPES[name])
    net.load_state_dict(saved["average"])
    save_weights(denoiser_path(name), net.eval())
    figures = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "steps": saved["step"],
        "seconds": round(saved["seconds"]),
        "loss": saved["curve"][-1][1],
        "held_out_loss": round(held_out_loss(net, load_data(data, "test")), 5),
    }
    write_text(checkpoint.parent / "curve.json", json.dumps(saved["curve"]))
    print(json.dumps(figures, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=RECIPES)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--data", type=Path, help="default: runs/data/FAMILY.npz")
    parser.add_argument("--steps", type=int, help="default: the family's own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export-only", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = options.data or Path("runs/data") / f"{options.family}.npz"
    checkpoint = options.out / "checkpoint.pt"
    if not options.export_only:
        own = TRAININGS[options.family]
        training = replace(own, steps=options.steps or own.steps)
        train(options.family, training, load_data(data, "train"), options.seed, checkpoint)
    export(options.family, checkpoint, data)


if __name__ == "__main__":
    main()
