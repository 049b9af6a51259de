"""Trains the denoiser of a family and writes its weights.

    python research/train_family.py digits-mixer --out runs/digits-mixer

Started again with the same command it goes on from its last checkpoint. Every batch is a function
of (seed, step) alone, so an interrupted run sees the same data as an undisturbed one. With
--export-only it writes the weights of the last checkpoint, finished or not.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from families.augmentation import AUGMENTATIONS
from families.build import RECIPES
from families.data import Split, load_data
from families.denoiser import ConditionalDenoiser
from families.weights import denoiser_path, save_weights
from steindiff._files import write_text
from training import Plan, averaged, cosine, curve_of, denoising_loss, noise_levels, train

AVERAGE_DECAY = 0.9985
FINISHING_RATE = 0.03  # of the learning rate, falling to zero
FINISHING_DECAY = 0.995
NOISE_RANGE = (0.002, 80.0)


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


def learning_rate(training: Training, step: int) -> float:
    if step >= training.steps:
        return (
            training.learning_rate * FINISHING_RATE * (training.total - step) / training.finishing
        )
    return cosine(training.learning_rate, step, training.steps)


def loss_of(
    net: ConditionalDenoiser, data: Split, generator: torch.Generator, half: bool = False
) -> Tensor:
    """Denoising loss of unit weight on what the network itself predicts."""
    sigma = noise_levels(len(data.images), NOISE_RANGE, generator)
    weight = net.parameterisation(sigma).out.square().reciprocal()
    return denoising_loss(
        net, data.images, data.labels, sigma, weight, generator,
        null_label=net.null_label, half=half,
    )  # fmt: skip


@torch.no_grad()
def held_out_loss(net: ConditionalDenoiser, data: Split) -> float:
    """The loss on the test images, ten draws of the noise."""
    losses = []
    for draw in range(10):
        generator = torch.Generator().manual_seed(draw)
        losses.append(loss_of(net, data, generator).item())
    return sum(losses) / len(losses)


def train_family(name: str, training: Training, data: Split, seed: int, checkpoint: Path) -> None:
    """Trains from `checkpoint`, or from the start where there is none, to the last step."""
    torch.manual_seed(seed)
    net = RECIPES[name].build(RECIPES[name])
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        picked = torch.randint(len(data.images), (training.batch,), generator=generator)
        images = AUGMENTATIONS[name](data.images[picked], generator)
        half = step < training.steps  # faster, by 1.3 to 2.6
        return loss_of(net, Split(images, data.labels[picked]), generator, half)

    plan = Plan(
        training.total,
        rate=lambda step: learning_rate(training, step),
        decay=lambda step: AVERAGE_DECAY if step < training.steps else FINISHING_DECAY,
    )
    train(net, loss, plan, checkpoint)


def export(name: str, checkpoint: Path, data: Path) -> None:
    """Writes the averaged weights, and prints the figures of the training."""
    saved = curve_of(checkpoint)
    net = averaged(RECIPES[name].build(RECIPES[name]), checkpoint)
    save_weights(denoiser_path(name), net)
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
    parser.add_argument("family", choices=TRAININGS)
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
        train_family(options.family, training, load_data(data, "train"), options.seed, checkpoint)
    export(options.family, checkpoint, data)


if __name__ == "__main__":
    main()
