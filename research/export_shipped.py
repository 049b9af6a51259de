"""Turns a finished training into the files that the package ships, with their hashes and card.

python research/export_shipped.py --run runs/fashion-mnist --classifier runs/classifier.safetensors
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from matplotlib.figure import Figure

import steindiff as sd
from shipped.data import fashion_mnist
from steindiff._files import sha256
from steindiff.denoisers import Denoiser
from steindiff.lab.images import to_uint8
from steindiff.lab.picture import image_grid
from steindiff.models import NetworkConfig, UNetDenoiser, save_model
from training import accuracy, averaged, curve_of

NAME = "fashion-mnist"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SHIPPED = Path(sd.__file__).parent / "models"
CHECKED = 1000  # samples that the card's figures are measured on
LIMIT = 8 * 2**20


def fine_samples(net: Denoiser, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Heun, 39 evaluations, seeds 0 .. count - 1, the classes in turn."""
    labels = torch.arange(count) % len(CLASSES)
    parts = []
    for part in torch.arange(count).split(200):
        x = sd.noise((1, 28, 28), 80.0, part.tolist())
        levels = sd.schedules.karras(20, final="zero")
        conditioning = {"class_labels": labels[part]}
        parts.append(sd.sample(net, x, levels, "heun", None, conditioning=conditioning).x)
    return torch.cat(parts), labels


def card(figures: dict[str, object]) -> str:
    return f"""# Model card: {NAME}

A class-conditional denoiser for 28x28 grey images of clothes, and the classifier that judges its
samples. Made for measuring few-step samplers on a real trained network; it is small on purpose.

| | |
|---|---|
| Denoiser | U-Net on 2x2 patches, {figures["parameters"]:,} parameters, EDM pre-conditioning, sigma_data {figures["sigma_data"]} |
| Input | `net(x, sigma, class_labels)`: x (B, 1, 28, 28) = x0 + sigma * eps, x0 in [-1, 1]; labels 0-9, or 10 for "no class" |
| Noise levels trained on | 0.005 to 100 |
| Data | Fashion-MNIST, 60,000 training images (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747), MIT licence, Debian package `dataset-fashion-mnist` |
| Licence of the weights | Apache-2.0 |
| Command | `python research/train_shipped.py --out runs/fashion-mnist`, then `python research/train_shipped_classifier.py --out runs/classifier.safetensors` and `python research/export_shipped.py --run runs/fashion-mnist --classifier runs/classifier.safetensors` |
| Training time | {figures["seconds"]:.0f} s on two CPU cores, {figures["steps"]} steps of 128 images, seed 0, bfloat16 autocast, EMA |
| Classifier | {figures["accuracy"]:.2%} on the 10,000 test images |
| Samples classified as their label | {figures["agreement"]:.1%} of {CHECKED} (Heun, 39 evaluations, seeds 0-{CHECKED - 1}); guidance 2: {figures["agreement_guided"]:.1%} |
| Fréchet distance of these samples to the test images (classifier features) | {figures["frechet"]:.2f}; of the first {CHECKED} training images to the same: {figures["frechet_train"]:.2f} |

Samples (one class a column, seeds 0-99; Heun, 39 evaluations):

![samples](samples.png)

Loss (EDM-weighted, mean of 100 steps):

![loss](loss.png)

Limits: grey clothes at 28x28, nothing else. Figures in the classifier's features compare only with
each other.
"""


def plot_loss(curve: list[tuple[int, float]], path: Path) -> None:
    figure = Figure(figsize=(6, 3), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curve, strict=True), color="#1f4e9c")
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--classifier", type=Path, required=True)
    options = parser.parse_args()
    checkpoint = options.run / "checkpoint.pt"
    net, saved = averaged(UNetDenoiser(NetworkConfig()), checkpoint), curve_of(checkpoint)
    manifest: dict[str, object] = {"classes": CLASSES}
    file = f"{NAME}.safetensors"
    manifest["denoiser"] = {"file": file, "sha256": save_model(SHIPPED / file, net)}
    assert (SHIPPED / file).stat().st_size <= LIMIT
    file = f"{NAME}-classifier.safetensors"
    shutil.copyfile(options.classifier, SHIPPED / file)
    manifest["classifier"] = {"file": file, "sha256": sha256(SHIPPED / file)}
    (SHIPPED / "manifest.json").write_text(json.dumps({NAME: manifest}, indent=1) + "\n")

    classifier = sd.load_classifier(options.classifier)
    test_images, test_labels = fashion_mnist("t10k")
    samples, labels = fine_samples(net, CHECKED)
    guided = sd.denoisers.ClassifierFreeGuidance(net, 2.0, {"class_labels": net.null_label})
    guided_samples, _ = fine_samples(guided, CHECKED)
    target = torch.cat([classifier.features(part) for part in test_images.split(500)])
    train_images = fashion_mnist("train")[0][:CHECKED]
    folder = SHIPPED / NAME
    folder.mkdir(exist_ok=True)
    image_grid(to_uint8(samples[:100]), columns=10).save(folder / "samples.png")
    plot_loss(saved["curve"], folder / "loss.png")
    figures = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "sigma_data": net.config.sigma_data,
        "steps": saved["step"],
        "seconds": saved["seconds"],
        "accuracy": accuracy(classifier, test_images, test_labels),
        "agreement": accuracy(classifier, samples, labels),
        "agreement_guided": accuracy(classifier, guided_samples, labels),
        "frechet": sd.lab.metrics.frechet_distance(classifier.features(samples), target),
        "frechet_train": sd.lab.metrics.frechet_distance(classifier.features(train_images), target),
    }
    (folder / "card.md").write_text(card(figures))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
