"""A network body made a denoiser: noise level and class embedded, the parameterisation applied."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parameterisation import Parameterisation

_LEAST_SIGMA = 1e-4  # ln(0) must not reach the embedding; there D = x whatever the body says


class ConditionalDenoiser(nn.Module, ABC):
    """D(x, sigma) = skip x + out F(input x, embedding of sigma and class), in VE coordinates.

    The label `null_label` (= num_classes) means "no class"; it was trained by label dropout.

    Args:
        body: takes (B, C, H, W) and what `_embed` gives, returns (B, C, H, W).
        parameterisation: the factors as a function of sigma.
        sample_shape: (C, H, W).
        num_classes: classes without the null label.
    """

    sigma_max = 80.0

    def __init__(
        self,
        body: nn.Module,
        parameterisation: Parameterisation,
        sample_shape: tuple[int, int, int],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.body = body
        self.parameterisation = parameterisation
        self.sample_shape = sample_shape
        self.num_classes = num_classes
        self.null_label = num_classes

    def forward(
        self, x: Tensor, sigma: Tensor | float, class_labels: Tensor | None = None
    ) -> Tensor:
        """Denoised estimate of `x`, of its shape and dtype.

        Args:
            x: (B, C, H, W), the noisy images x0 + sigma eps, x0 in [-1, 1].
            sigma: noise level, one for all or (B,).
            class_labels: (B,) int64, 0 .. num_classes - 1 or `null_label`; None is the null label
                for all.

        Raises:
            ValueError: samples of another shape, or labels of the wrong shape or dtype.
        """
        if tuple(x.shape[1:]) != self.sample_shape:
            raise ValueError(
                f"x has samples of shape {tuple(x.shape[1:])}; this model takes {self.sample_shape}"
            )
        labels = self._labels(x, class_labels)
        dtype = torch.promote_types(x.dtype, torch.float32)
        level = torch.as_tensor(sigma, dtype=dtype, device=x.device).expand(len(x))
        skip, out, scale = self.parameterisation(level[:, None, None, None])
        f = self.body((scale * x).float(), self._embed(level, labels))
        return (skip * x + out * f.to(dtype)).to(x.dtype)

    @abstractmethod
    def _embed(self, level: Tensor, labels: Tensor) -> Tensor:
        """What the body is conditioned on, (B, E), of levels (B,) and labels (B,)."""

    def _labels(self, x: Tensor, class_labels: Tensor | None) -> Tensor:
        if class_labels is None:
            return torch.full((len(x),), self.null_label, device=x.device)
        if class_labels.dtype != torch.int64 or class_labels.shape != x.shape[:1]:
            raise ValueError(
                f"class_labels has shape {tuple(class_labels.shape)} and dtype "
                f"{class_labels.dtype}; an int64 tensor of shape ({len(x)},) is needed"
            )
        return class_labels


class FamilyDenoiser(ConditionalDenoiser):
    """Embeds ln(sigma)/4, as EDM does, by 16 frequencies from 0.5 to 64.

    Args:
        embedding: width of the embedding; the others are those of `ConditionalDenoiser`.
    """

    frequencies: Tensor

    def __init__(
        self,
        body: nn.Module,
        parameterisation: Parameterisation,
        sample_shape: tuple[int, int, int],
        num_classes: int,
        embedding: int,
    ) -> None:
        super().__init__(body, parameterisation, sample_shape, num_classes)
        frequencies = torch.exp(torch.linspace(math.log(0.5), math.log(64.0), 16))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.noise_embedding = nn.Linear(2 * len(frequencies), embedding)
        self.class_embedding = nn.Embedding(num_classes + 1, embedding)
        self.embedding = nn.Linear(embedding, embedding)

    def _embed(self, level: Tensor, labels: Tensor) -> Tensor:
        phase = level.clamp(min=_LEAST_SIGMA).log().float()[:, None] / 4 * self.frequencies
        features = torch.cat([phase.cos(), phase.sin()], dim=1)
        mixed = self.noise_embedding(features) + self.class_embedding(labels)
        return F.silu(self.embedding(F.silu(mixed)))


class FlowDenoiser(ConditionalDenoiser):
    """Embeds the time t = sigma / (1 + sigma) of a flow by 32 frequencies from 1 to 1000.

    Args:
        embedding: width of the embedding; the others are those of `ConditionalDenoiser`.
    """

    frequencies: Tensor

    def __init__(
        self,
        body: nn.Module,
        parameterisation: Parameterisation,
        sample_shape: tuple[int, int, int],
        num_classes: int,
        embedding: int,
    ) -> None:
        super().__init__(body, parameterisation, sample_shape, num_classes)
        frequencies = torch.exp(torch.linspace(0.0, math.log(1000.0), 32))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.time_embedding = nn.Sequential(
            nn.Linear(2 * len(frequencies), embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.class_embedding = nn.Embedding(num_classes + 1, embedding)

    def _embed(self, level: Tensor, labels: Tensor) -> Tensor:
        time = level / (1 + level)
        phase = time.float()[:, None] * self.frequencies
        features = torch.cat([phase.cos(), phase.sin()], dim=1)
        return F.silu(self.time_embedding(features) + self.class_embedding(labels))
