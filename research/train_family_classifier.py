"""Trains the classifier of a family on its noise-free images, and writes its weights.

python research/train_family_classifier.py digits-mixer
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from families.augmentation import AUGMENTATIONS
from families.build import RECIPES
from families.classifier import FamilyClassifier
from families.data import Split, load_data
from families.weights import part_path, save_weights
from training import accuracy

EPOCHS = {"digits-mixer": 12, "emoji-transformer": 30, "photos-resnet": 6}


def train(name: str, data: Split, epochs: int, batch: int, seed: int) -> FamilyClassifier:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = FamilyClassifier(RECIPES[name].shape[0], len(RECIPES[name].classes))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    epoch_steps = len(data.images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5e-3, total_steps=epochs * epoch_steps
    )
    for _ in range(epochs):
        order = torch.randperm(len(data.images), generator=generator)[: epoch_steps * batch]
        for part in order.split(batch):
            images = AUGMENTATIONS[name](data.images[part], generator)
            loss = F.cross_entropy(net(images), data.labels[part], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=EPOCHS)
    parser.add_argument("--data", type=Path, help="default: runs/data/FAMILY.npz")
    parser.add_argument("--epochs", type=int, help="default: the family's own number")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    name = options.family
    path = options.data or Path("runs/data") / f"{name}.npz"
    began = time.monotonic()
    epochs = options.epochs or EPOCHS[name]
    net = train(name, load_data(path, "train"), epochs, options.batch, options.seed)
    score = accuracy(net, *load_data(path, "test"))
    print(f"{name}: test accuracy {score:.4f}, {time.monotonic() - began:.0f} s")
    save_weights(part_path(name, "classifier"), net.eval())


if __name__ == "__main__":
    main()
