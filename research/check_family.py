"""Health figures of a family, and a picture of its samples (one class a column).

    python research/check_family.py digits-mixer --picture out/digits-mixer.png

kappa = <x, x - D> / (d sigma^2), on images with noise x = x0 + sigma eps: one on average for the
exact posterior mean, whose E<x, x - D> is d sigma^2 (Tweedie's formula and Stein's identity).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor

import steindiff as sd
from families import FAMILIES, Family, load_family
from families.data import Split, load_data
from steindiff.lab.cli.picture import image_grid
from steindiff.lab.images import to_uint8

LEVELS = (80.0, 20.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05)
SAMPLED = 200
FINE_STEPS = 16  # of Heun's method


def kappa(family: Family, data: Split, sigma: float) -> float:
    """The mean over the data, less the part <x, sigma eps> - d sigma^2 whose mean is known: zero.

    Without that the figure at sigma = 0.05 would be noise: images are so much larger than it.
    """
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for images, labels in zip(data.images.split(500), data.labels.split(500), strict=True):
        noise = sigma * torch.randn(images.shape, generator=generator)
        x = images + noise
        denoised = family.denoiser(x, sigma, labels)
        total += (x * (images - denoised)).sum(dtype=torch.float64).item()
    return 1 + total / (data.images.numel() * sigma**2)


def samples(family: Family, labels: Tensor, guidance: float | None = None) -> Tensor:
    """Fine samples of these classes, from the seeds 0, 1, 2, ..."""
    net = family.denoiser
    denoiser: sd.denoisers.Denoiser = net
    if guidance is not None:
        null = {"class_labels": net.null_label}
        denoiser = sd.denoisers.ClassifierFreeGuidance(net, guidance, null)
    levels = sd.schedules.karras(FINE_STEPS, final="zero")
    parts = []
    for part in torch.arange(len(labels)).split(100):
        x = sd.noise(family.shape, net.sigma_max, part.tolist())
        conditioning = {"class_labels": labels[part]}
        parts.append(sd.sample(denoiser, x, levels, "heun", None, conditioning=conditioning).x)
    return torch.cat(parts)


def agreement(family: Family, images: Tensor, labels: Tensor) -> float:
    """Share of the images that the classifier takes for their label."""
    return (family.classifier(images).argmax(dim=1) == labels).float().mean().item()


def speed(family: Family, batch: int = 100, repeats: int = 10) -> float:
    """Evaluations of the denoiser (of one sample each) a second."""
    x, labels = torch.randn(batch, *family.shape), torch.zeros(batch, dtype=torch.int64)
    for _ in range(2):
        family.denoiser(x, 1.0, labels)
    began = time.monotonic()
    for _ in range(repeats):
        family.denoiser(x, 1.0, labels)
    return batch * repeats / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--data", type=Path, help="default: runs/data/FAMILY.npz")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    family = load_family(options.family)
    path = options.data or Path("runs/data") / f"{options.family}.npz"
    test, train = load_data(path, "test"), load_data(path, "train")
    order = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(0))
    # As frequent as in the test set, which the Fréchet distances are to.
    labels = test.labels.sort().values[torch.linspace(0, len(test.labels) - 1, SAMPLED).long()]
    images, guided = samples(family, labels), samples(family, labels, guidance=2.0)
    judged = {
        "test": test.images,
        "train": train.images[order[: len(test.images)]],
        "sampled": images,
        "guided": guided,
    }
    features = {name: family.classifier.features(value) for name, value in judged.items()}
    figures = {
        "evaluations_per_second": round(speed(family)),
        "threads": torch.get_num_threads(),
        "kappa": {sigma: round(kappa(family, test, sigma), 4) for sigma in LEVELS},
        "test_accuracy": agreement(family, test.images, test.labels),
        "agreement": agreement(family, images, labels),
        "agreement_guided_2": agreement(family, guided, labels),
        "frechet_to_test": {
            name: round(sd.lab.metrics.frechet_distance(value, features["test"]), 2)
            for name, value in features.items()
            if name != "test"
        },
    }
    if options.picture is not None:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        count = len(family.classes)
        shown = samples(family, torch.arange(10 * count) % count)
        image_grid(to_uint8(shown), columns=count).save(options.picture)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
