"""Trains the latent family: two classifiers, an autoencoder, and the flow on its latents.

    python research/train_latent.py --out runs/latent-emoji

On a GPU, where there is one. Each of the four goes on from its own last checkpoint, and every batch
is a function of (seed, step) alone. The committed weights are of an earlier script, see
research/README.md; with --weights elsewhere they are left alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from families.autoencoder import Autoencoder
from families.build import RECIPES
from families.classifier import EmojiClassifier
from families.data import Pasted, load_pasted
from families.denoiser import ConditionalDenoiser
from families.pasting import paste
from families.weights import WEIGHTS, denoiser_path, part_path, save_weights
from training import Plan, averaged, denoising_loss, train

NAME = "latent-emoji"
WARM_UP, COOL_DOWN, LEAST_RATE = 200, 0.4, 0.02
LABEL_DROPOUT = 0.15
# t = sigmoid(1.2 normal), a tenth uniform (Esser et al. 2024, arXiv 2403.03206, section 3.1).
TIME_DEVIATION, UNIFORM_SHARE = 1.2, 0.1
TIMES = (1e-3, 1 - 1e-3)
BASE_WEIGHT, CLASSIFIER_NOISE = 0.3, 0.05
SQUARED_WEIGHT, PERCEPTUAL_WEIGHT, KL_WEIGHT = 0.5, 0.1, 1e-3
PERCEPTUAL_STAGES = 3
STATISTICS_BATCHES = 20


@dataclass(frozen=True)
class Stage:
    """Steps, batch, peak learning rate, decay of the average and weight decay of one network."""

    steps: int
    batch: int
    rate: float
    decay: float
    weight_decay: float

    def plan(self) -> Plan:
        """Warm-up, a constant rate, and a straight way down over the last two fifths."""

        def rate(step: int) -> float:
            warm = min(1.0, (step + 1) / WARM_UP)
            return self.rate * warm * min(1.0, max(LEAST_RATE, (1 - step / self.steps) / COOL_DOWN))

        return Plan(self.steps, rate, lambda step: self.decay, self.weight_decay)


# Of the run that gave the committed weights only the denoiser's steps and the batches are known.
STAGES = {
    "classifier": Stage(1000, 256, 2e-3, 0.999, 0.01),
    "classifier-2": Stage(1000, 256, 2e-3, 0.999, 0.01),
    "autoencoder": Stage(3000, 128, 1.5e-3, 0.999, 0.0),
    "denoiser": Stage(3100, 256, 1e-3, 0.9995, 0.01),
}


class Batches:
    """Random images with their labels, (seed, step) alone deciding which."""

    def __init__(self, data: Pasted, seed: int, device: str) -> None:
        self.data = Pasted(*(part.to(device) for part in data))
        self.seed, self.device = seed, device

    def generator(self, step: int) -> torch.Generator:
        """What all random numbers of a step come from."""
        return torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + step)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (count, 3, 64, 64) and which emoji they show."""
        total = len(self.data.images)
        picked = torch.randint(total, (count,), generator=generator, device=self.device)
        return paste(self.data, picked, generator), picked


class _WithBase(nn.Module):
    """A classifier with a second head, for the emoji itself: more to learn features from."""

    def __init__(self, classifier: EmojiClassifier, count: int) -> None:
        super().__init__()
        self.classifier = classifier
        self.base = nn.Linear(classifier.embed.out_features, count)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.silu(self.classifier.features(images))
        return self.classifier.head(hidden), self.base(hidden)


def train_classifier(
    classifier: EmojiClassifier, batches: Batches, stage: Stage, checkpoint: Path
) -> EmojiClassifier:
    """Learns class and emoji of slightly noisy images."""
    count = int(batches.data.base.max()) + 1
    net = _WithBase(classifier, count).to(batches.device)

    def loss(step: int) -> Tensor:
        generator = batches.generator(step)
        images, picked = batches.draw(stage.batch, generator)
        normal = torch.randn(images.shape, generator=generator, device=images.device)
        with _half(images):
            logits, base = net(images + CLASSIFIER_NOISE * normal)
        labels, emoji = batches.data.labels[picked], batches.data.base[picked]
        return F.cross_entropy(logits.float(), labels) + BASE_WEIGHT * F.cross_entropy(
            base.float(), emoji
        )

    train(net, loss, stage.plan(), checkpoint)
    return averaged(net, checkpoint).classifier


def train_autoencoder(
    net: Autoencoder, judge: EmojiClassifier, batches: Batches, stage: Stage, checkpoint: Path
) -> Autoencoder:
    """Learns to give images back, in pixels and in the stages of a classifier."""
    net.to(batches.device)

    def loss(step: int) -> Tensor:
        generator = batches.generator(step)
        images, _ = batches.draw(stage.batch, generator)
        with _half(images):
            mean, log_variance = net.moments(images)
            normal = torch.randn(mean.shape, generator=generator, device=images.device)
            found = net.decoder(mean + torch.exp(log_variance / 2) * normal)
            seen, wanted = (
                judge.stage_outputs(x)[:PERCEPTUAL_STAGES] for x in (found, images)
            )  # fmt: skip
        perceptual = sum(F.l1_loss(a.float(), b.float()) for a, b in zip(seen, wanted, strict=True))
        kl = (mean.float().square() + log_variance.float().exp() - 1 - log_variance.float()) / 2
        return (
            F.l1_loss(found.float(), images)
            + SQUARED_WEIGHT * F.mse_loss(found.float(), images)
            + PERCEPTUAL_WEIGHT * perceptual
            + KL_WEIGHT * kl.mean()
        )

    train(net, loss, stage.plan(), checkpoint)
    averaged(net, checkpoint)
    _normalise(net, batches, stage)
    return net


def train_denoiser(
    net: ConditionalDenoiser, encode: Callable[[Tensor, torch.Generator], Tensor],
    batches: Batches, stage: Stage, checkpoint: Path,
) -> ConditionalDenoiser:  # fmt: skip
    """Learns the velocity, of unit weight, on latents drawn anew at every step."""
    net.to(batches.device)

    def loss(step: int) -> Tensor:
        generator = batches.generator(step)
        images, picked = batches.draw(stage.batch, generator)
        with torch.no_grad():
            latents = encode(images, generator)
        time = _times(stage.batch, generator)
        sigma = time / (1 - time)
        weight = net.parameterisation(sigma).out.square().reciprocal()
        return denoising_loss(
            net, latents, batches.data.labels[picked], sigma, weight, generator,
            null_label=net.null_label, dropout=LABEL_DROPOUT, half=images.is_cuda,
        )  # fmt: skip

    train(net, loss, stage.plan(), checkpoint)
    return averaged(net, checkpoint)


def train_all(
    data: Pasted, out: Path, weights: Path, stages: dict[str, Stage], seed: int, device: str
) -> None:
    """Trains what is not finished, and writes the weights of all four."""
    recipe = RECIPES[NAME]
    assert recipe.autoencoder is not None
    torch.manual_seed(seed)
    batches = Batches(data, seed, device)
    denoiser, classifiers, autoencoder = (
        recipe.build(recipe), recipe.judges(recipe), recipe.autoencoder()
    )  # fmt: skip
    found: dict[str, nn.Module] = {}
    for part, classifier in classifiers.items():
        assert isinstance(classifier, EmojiClassifier)
        found[part] = train_classifier(classifier, batches, stages[part], out / f"{part}.pt")
    judge = found["classifier"]
    assert isinstance(judge, EmojiClassifier)
    train_autoencoder(autoencoder, judge, batches, stages["autoencoder"], out / "autoencoder.pt")
    found["autoencoder"] = autoencoder
    train_denoiser(
        denoiser, autoencoder.encode, batches, stages["denoiser"], out / "denoiser.pt"
    )  # fmt: skip
    save_weights(denoiser_path(NAME, weights), denoiser.cpu())
    for part, net in found.items():
        save_weights(part_path(NAME, part, weights), net.cpu())


@torch.no_grad()
def _normalise(net: Autoencoder, batches: Batches, stage: Stage) -> None:
    """Sets the buffers that give latents zero mean and unit deviation a channel."""
    steps = range(stage.steps, stage.steps + STATISTICS_BATCHES)
    drawn = [batches.draw(stage.batch, batches.generator(step))[0] for step in steps]
    latents = torch.cat([net.moments(images)[0] for images in drawn])
    net.mean.copy_(latents.mean(dim=(0, 2, 3), keepdim=True))
    net.deviation.copy_(latents.std(dim=(0, 2, 3), keepdim=True))


def _times(count: int, generator: torch.Generator) -> Tensor:
    normal = torch.randn(count, generator=generator, device=generator.device)
    uniform = torch.rand(2, count, generator=generator, device=generator.device)
    times = torch.where(
        uniform[0] < UNIFORM_SHARE, uniform[1], torch.sigmoid(TIME_DEVIATION * normal)
    )
    return times.clamp(*TIMES)


def _half(images: Tensor) -> torch.autocast:
    return torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--data", type=Path, default=Path(f"runs/data/{NAME}.npz"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the weights")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for folder in (options.out, options.weights):
        folder.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = load_pasted(options.data)
    train_all(data, options.out, options.weights, STAGES, options.seed, device)


if __name__ == "__main__":
    main()
