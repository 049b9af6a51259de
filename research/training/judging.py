"""How often a classifier is right."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images (N, C, H, W) whose label (N,) the network names, in evaluation mode."""
    training = net.training
    net.eval()
    logits = torch.cat([net(batch) for batch in images.split(500)])
    net.train(training)
    return (logits.argmax(dim=1) == labels).float().mean().item()
