"""Somebody else's network in evaluation mode while it is called, by one thread or by several."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn


@dataclass
class _Use:
    """What is to be put back when the last of the calls is over.

    Attributes:
        training: the parts that were in training mode.
        trained: the weights that needed gradients.
        calls: how many are under way.
    """

    training: list[nn.Module]
    trained: list[nn.Parameter]
    calls: int = 0


_LOCK = threading.Lock()
_USES: dict[nn.Module, _Use] = {}


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode and its weights without gradients; then as they were.

    It belongs to whoever made the pipeline, and may be in training. Of calls that overlap, in
    several threads, the first changes it and the last puts it back.
    """
    with _LOCK:
        use = _USES[module] = _USES.get(module) or _begun(module)
        use.calls += 1
    try:
        yield
    finally:
        with _LOCK:
            use.calls -= 1
            if use.calls == 0:
                del _USES[module]
                _put_back(use)


def _begun(module: nn.Module) -> _Use:
    training = [part for part in module.modules() if part.training]
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    for part in training:
        part.training = False
    for weight in trained:
        weight.requires_grad_(False)
    return _Use(training, trained)


def _put_back(use: _Use) -> None:
    for part in use.training:
        part.training = True
    for weight in use.trained:
        weight.requires_grad_()
