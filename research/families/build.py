"""The families: what each is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .autoencoder import Autoencoder
from .classifier import EmojiClassifier, FamilyClassifier
from .denoiser import ConditionalDenoiser, FamilyDenoiser, FlowDenoiser
from .mixer import Mixer
from .parameterisation import Parameterisation, edm, flow, velocity_vp
from .resnet import ResNet
from .transformer import Transformer

_EMBEDDING = 128

DIGITS = tuple(str(digit) for digit in range(10))
EMOJI = (
    "Activities",
    "Animals & Nature",
    "Flags",
    "Food & Drink",
    "Objects",
    "People & Body",
    "Smileys & Emotion",
    "Symbols",
    "Travel & Places",
)
PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
    "rocket.jpg",
)


VENDORS = ("google", "twitter")

Classifier = FamilyClassifier | EmojiClassifier


@dataclass(frozen=True)
class Recipe:
    """Shape and classes of a family's data, and how its untrained networks are built.

    Attributes:
        shape: (C, H, W) of a sample.
        classes: names, in the order of their labels.
        build: the denoiser.
        judges: the classifiers of images without noise, by name.
        autoencoder: between images and samples, where the denoiser works on latents.
    """

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    build: Callable[[Recipe], ConditionalDenoiser]
    judges: Callable[[Recipe], dict[str, Classifier]]
    autoencoder: Callable[[], Autoencoder] | None = None


def _mixer(recipe: Recipe) -> FamilyDenoiser:
    body = Mixer(recipe.shape, patch=4, width=128, depth=4, embedding=_EMBEDDING)
    return _denoiser(recipe, body, edm(0.5))


def _transformer(recipe: Recipe) -> FamilyDenoiser:
    body = Transformer(recipe.shape, patch=4, width=128, depth=5, embedding=_EMBEDDING)
    return _denoiser(recipe, body, velocity_vp)


def _resnet(recipe: Recipe) -> FamilyDenoiser:
    body = ResNet(recipe.shape[0], 56, (1, 2, 4, 1, 2, 4), _EMBEDDING)
    return _denoiser(recipe, body, flow)


def _denoiser(
    recipe: Recipe, body: nn.Module, parameterisation: Parameterisation
) -> FamilyDenoiser:
    return FamilyDenoiser(body, parameterisation, recipe.shape, len(recipe.classes), _EMBEDDING)


def _latent_transformer(recipe: Recipe) -> ConditionalDenoiser:
    body = Transformer(
        recipe.shape, patch=1, width=128, depth=6, embedding=_EMBEDDING, qk_norm=True
    )
    return FlowDenoiser(body, flow, recipe.shape, len(recipe.classes), _EMBEDDING)


def _judge(recipe: Recipe) -> dict[str, Classifier]:
    return {"classifier": FamilyClassifier(recipe.shape[0], len(recipe.classes))}


def _emoji_judges(recipe: Recipe) -> dict[str, Classifier]:
    count = len(recipe.classes)
    return {
        "classifier": EmojiClassifier((32, 64, 96, 128), count),
        "classifier-2": EmojiClassifier((24, 48, 96, 96), count),
    }


def _autoencoder() -> Autoencoder:
    return Autoencoder((24, 48, 72), latent_channels=4)


_EMOJI_BY_VENDOR = tuple(f"{category}, {vendor}" for category in EMOJI for vendor in VENDORS)

RECIPES = {
    "digits-mixer": Recipe((1, 28, 28), DIGITS, _mixer, _judge),
    "emoji-transformer": Recipe((3, 24, 24), EMOJI, _transformer, _judge),
    "photos-resnet": Recipe((3, 16, 16), PHOTOS, _resnet, _judge),
    "latent-emoji": Recipe(
        (4, 8, 8), _EMOJI_BY_VENDOR, _latent_transformer, _emoji_judges, _autoencoder
    ),
}
