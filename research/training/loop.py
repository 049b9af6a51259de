"""The training loop: AdamW, a moving average of the weights, checkpoints that it goes on from."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from steindiff._files import write_whole

WARM_UP = 300
TOLD_EVERY, SAVED_EVERY = 100, 200

_Net = TypeVar("_Net", bound=nn.Module)


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Attributes:
        steps: in all.
        rate: learning rate of a step, counted from 0.
        decay: of the average at a step, once it has forgotten its beginning.
        weight_decay: of AdamW.
    """

    steps: int
    rate: Callable[[int], float]
    decay: Callable[[int], float]
    weight_decay: float = 1e-3


def cosine(peak: float, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return peak * warm * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def train(net: nn.Module, loss: Callable[[int], Tensor], plan: Plan, checkpoint: Path) -> None:
    """Trains from `checkpoint`, or from the start where there is none, to the last step.

    Args:
        net: what is trained, with the weights it starts from.
        loss: of `net` at a step; its data depend on the step alone, so that an interrupted run
            sees the same as an undisturbed one.
        plan: steps and rates.
        checkpoint: file, written every 200 steps and at the end.
    """
    average = copy.deepcopy(net).eval()
    optimizer = torch.optim.AdamW(
        net.parameters(), betas=(0.9, 0.99), weight_decay=plan.weight_decay
    )
    first, seconds, curve = 0, 0.0, []
    if checkpoint.exists():
        saved = _load(checkpoint)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        first, seconds, curve = saved["step"], saved["seconds"], saved["curve"]
    began, running = time.monotonic() - seconds, 0.0
    for step in range(first, plan.steps):
        running += _step(net, optimizer, loss(step), plan.rate(step))
        _update(average, net, step, plan.decay(step))
        done = step + 1
        if done % TOLD_EVERY == 0 or done == plan.steps:
            seconds = time.monotonic() - began
            curve.append((done, round(running / (step % TOLD_EVERY + 1), 5)))
            running = 0.0
            print(f"step {done} loss {curve[-1][1]:.4f} {seconds:.0f} s", flush=True)
        if done % SAVED_EVERY == 0 or done == plan.steps:
            state: dict[str, Any] = {
                "net": net.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": done,
                "seconds": seconds,
                "curve": curve,
            }
            write_whole(checkpoint, partial(torch.save, state))


def averaged(net: _Net, checkpoint: Path) -> _Net:
    """The network with the averaged weights of a checkpoint, in evaluation mode."""
    net.load_state_dict(_load(checkpoint)["average"])
    return net.eval().requires_grad_(False)


def curve_of(checkpoint: Path) -> dict[str, Any]:
    """Steps, seconds and the loss (step, mean of 100) of a training."""
    saved = _load(checkpoint)
    return {key: saved[key] for key in ("step", "seconds", "curve")}


def _load(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, map_location="cpu", weights_only=True)


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def _update(average: nn.Module, net: nn.Module, step: int, longest: float) -> None:
    """Exponential moving average that forgets quickly at first."""
    decay = min(longest, (1 + step) / (10 + step))
    for a, p in zip(average.parameters(), net.parameters(), strict=True):
        a.lerp_(p, 1 - decay)
