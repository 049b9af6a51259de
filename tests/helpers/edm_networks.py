"""Networks that are called as EDM's are, written from the paper; importable, to be pickled."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steindiff.models.network import UNetDenoiser


class FakeEDM(nn.Module):
    """Pre-conditioning of Karras et al. 2022, table 1, last column, around a tiny network."""

    def __init__(self, label_dim: int = 3, use_fp16: bool = False) -> None:
        super().__init__()
        self.img_channels, self.img_resolution, self.label_dim = 2, 4, label_dim
        self.sigma_min, self.sigma_max, self.sigma_data = 0.01, 50.0, 0.5
        self.use_fp16 = use_fp16
        torch.manual_seed(3)
        self.image = nn.Conv2d(2, 2, 3, padding=1)
        self.labels = nn.Linear(max(label_dim, 1), 2, bias=False)
        self.seen: list[tuple[torch.dtype, torch.dtype]] = []

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        self.seen.append((x.dtype, sigma.dtype))
        level, data = sigma.reshape(-1, 1, 1, 1), self.sigma_data
        total = level**2 + data**2
        inside = (x / total.sqrt()).to(torch.float16 if self.use_fp16 else torch.float32)
        network = self.half() if self.use_fp16 else self
        h = network.image(inside)
        if self.label_dim:
            assert class_labels is not None
            assert class_labels.shape == (len(x), self.label_dim)
            h = h + network.labels(class_labels.to(h.dtype))[:, :, None, None]
        h = (h + (sigma.log() / 4).to(h.dtype).reshape(-1, 1, 1, 1)).tanh()
        return data**2 / total * x + level * data / total.sqrt() * h.to(torch.float32)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        return torch.as_tensor(sigma)


class AsEDM(nn.Module):
    """A network of ours in the clothes of an EDM one: one-hot labels, zeros for "no class"."""

    def __init__(self, net: UNetDenoiser) -> None:
        super().__init__()
        self.net = net
        self.img_channels, self.img_resolution = net.config.channels, net.config.image_size
        self.label_dim = net.config.num_classes

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor) -> Tensor:
        null = 1 - class_labels.sum(dim=1, keepdim=True)
        return self.net(x, sigma, torch.cat([class_labels, null], dim=1).argmax(dim=1))


class Discrete(FakeEDM):
    """Knows four levels, as iDDPM's networks know a thousand."""

    levels = (0.01, 1.0, 8.0, 50.0)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        known = torch.tensor(self.levels)
        sigma = torch.as_tensor(sigma, dtype=torch.float32)
        return known[(sigma[:, None] - known).abs().argmin(dim=1)]
