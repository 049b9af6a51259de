"""A small convolutional classifier: judges samples and gives the features to compare them in."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import check_count


class Classifier(nn.Module):
    """Images (B, 1, 28, 28) in [-1, 1] -> logits (B, num_classes); `features` gives (B, width)."""

    def __init__(self, num_classes: int = 10, width: int = 64) -> None:
        super().__init__()
        check_count("num_classes", num_classes, 1, 100_000)
        check_count("width", width, 1, 16_384)
        self.config = {"num_classes": num_classes, "width": width}
        channels = (1, 32, 64, 128)
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, padding=1),
                    nn.BatchNorm2d(b),
                    nn.ReLU(),
                    nn.Conv2d(b, b, 3, padding=1, groups=b // 32),
                    nn.BatchNorm2d(b),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                )
                for a, b in itertools.pairwise(channels)
            )
        )
        self.embed = nn.Linear(channels[-1], width)
        self.head = nn.Linear(width, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """(B, width): the layer before the logits."""
        pooled = self.body(images).mean(dim=(2, 3))
        return F.gelu(self.embed(pooled))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
