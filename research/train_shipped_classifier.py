"""Trains the shipped Fashion-MNIST classifier (a few minutes on two cores).

python research/train_shipped_classifier.py --out runs/classifier.safetensors
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from shipped.data import DEFAULT_FOLDER, fashion_mnist
from steindiff.models import Classifier, save_model
from training import accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    images, labels = fashion_mnist("train", options.data)
    test_images, test_labels = fashion_mnist("t10k", options.data)
    net = Classifier()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    steps = options.epochs * (len(images) // options.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    began = time.monotonic()
    for epoch in range(options.epochs):
        order = torch.randperm(len(images))[: steps // options.epochs * options.batch]
        for batch in order.split(options.batch):
            loss = F.cross_entropy(net(images[batch]), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        score = accuracy(net, test_images, test_labels)
        print(f"epoch {epoch + 1}: test accuracy {score:.4f}, {time.monotonic() - began:.0f} s")
    print("sha256", save_model(options.out, net.eval()))


if __name__ == "__main__":
    main()
