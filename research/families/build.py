"""The three families: what each is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .denoiser import FamilyDenoiser
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


@dataclass(frozen=True)
class Recipe:
    """Shape and classes of a family's data, and how its untrained denoiser is built."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    build: Callable[[Recipe], FamilyDenoiser]


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


RECIPES = {
    "digits-mixer": Recipe((1, 28, 28), DIGITS, _mixer),
    "emoji-transformer": Recipe((3, 24, 24), EMOJI, _transformer),
    "photos-resnet": Recipe((3, 16, 16), PHOTOS, _resnet),
}
