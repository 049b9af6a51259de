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
from typing import Any

import torch
from torch import Tensor

import steindiff as sd
from families import FAMILIES, Family, load_family
from families.data import Split, load_data, load_pasted
from families.pasting import paste
from steindiff.lab.images import to_uint8
from steindiff.lab.picture import image_grid
from training import accuracy

LATENT = "latent-emoji"
LEVELS = (80.0, 20.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05)
SAMPLED = 200
DRAWN = 1000  # pasted emoji
ROWS = 3  # of the picture
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


def images_of(family: Family, samples: Tensor) -> Tensor:
    """`Family.decode`, a hundred at a time."""
    with torch.no_grad():
        return torch.cat([family.decode(part) for part in samples.split(100)])


def features(family: Family, part: str, images: Tensor) -> Tensor:
    """Features of a classifier, a hundred images at a time."""
    return torch.cat([family.classifiers[part].features(few) for few in images.split(100)])


def checked_images(name: str, path: Path) -> tuple[Split, Split]:
    """Images that a family is held to, and further ones.

    The test and as many training images; of the latent family, which has no test images, two
    random draws of pasted emoji.
    """
    generator = torch.Generator().manual_seed(0)
    if name == LATENT:
        data = load_pasted(path)
        picks = torch.randint(len(data.images), (2, DRAWN), generator=generator)
        first, second = (Split(paste(data, k, generator), data.labels[k]) for k in picks)
        return first, second
    test, train = load_data(path, "test"), load_data(path, "train")
    some = torch.randperm(len(train.images), generator=generator)[: len(test.images)]
    return test, Split(train.images[some], train.labels[some])


def samples_of(family: Family, images: Tensor) -> Tensor:
    """The samples that images are of: themselves, or latents that are drawn."""
    if family.autoencoder is None:
        return images
    generator = torch.Generator().manual_seed(1)  # not the noise that `kappa` adds
    with torch.no_grad():
        return torch.cat([family.autoencoder.encode(p, generator) for p in images.split(100)])


def psnr(images: Tensor, again: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1]."""
    return 10 * torch.log10(4 / (images - again).square().mean()).item()


def speed(family: Family, batch: int = 100, repeats: int = 10) -> float:
    """Evaluations of the denoiser (of one sample each) a second."""
    x, labels = torch.randn(batch, *family.shape), torch.zeros(batch, dtype=torch.int64)
    for _ in range(2):
        family.denoiser(x, 1.0, labels)
    began = time.monotonic()
    for _ in range(repeats):
        family.denoiser(x, 1.0, labels)
    return batch * repeats / (time.monotonic() - began)


def judge(
    family: Family, part: str, judged: dict[str, Tensor], test_labels: Tensor, labels: Tensor
) -> dict[str, Any]:
    """What one classifier says: how often it is right, and Fréchet distances to the test images."""
    asked = {"test": test_labels, "decoded": test_labels, "sampled": labels, "guided": labels}
    classifier = family.classifiers[part]
    found = {name: features(family, part, images) for name, images in judged.items()}
    return {
        "as_label": {
            name: accuracy(classifier, judged[name], asked[name])
            for name in asked
            if name in judged
        },
        "frechet_to_test": {
            name: round(sd.lab.metrics.frechet_distance(value, found["test"]), 2)
            for name, value in found.items()
            if name != "test"
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--data", type=Path, help="default: runs/data/FAMILY.npz")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    family = load_family(options.family)
    path = options.data or Path("runs/data") / f"{options.family}.npz"
    test, others = checked_images(options.family, path)
    # As frequent as in the test set, which the Fréchet distances are to.
    labels = test.labels.sort().values[torch.linspace(0, len(test.labels) - 1, SAMPLED).long()]
    latents = samples_of(family, test.images)
    judged = {
        "test": test.images,
        "train": others.images,
        "sampled": images_of(family, samples(family, labels)),
        "guided": images_of(family, samples(family, labels, guidance=2.0)),
    }
    figures: dict[str, Any] = {
        "evaluations_per_second": round(speed(family)),
        "threads": torch.get_num_threads(),
        "kappa": {
            sigma: round(kappa(family, Split(latents, test.labels), sigma), 4) for sigma in LEVELS
        },
    }
    if family.autoencoder is not None:
        judged["decoded"] = images_of(family, latents)
        figures["psnr_decoded"] = round(psnr(test.images, judged["decoded"]), 2)
    for part in family.classifiers:
        figures[part] = judge(family, part, judged, test.labels, labels)
    if options.picture is not None:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        count = len(family.classes)
        shown = images_of(family, samples(family, torch.arange(ROWS * count) % count))
        image_grid(to_uint8(shown), columns=count).save(options.picture)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
