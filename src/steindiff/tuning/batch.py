"""How many noises are evaluated at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .network import hooked, module_in

AT_ONCE = 64
"""The most, where the number is not given."""

ACTIVATIONS = 2**30
"""Bytes that what a network's parts put out in one evaluation may take on the CPU, all counted as
if they were kept."""


class Batch:
    """The number of noises at a time: as given, or as many as there is room for.

    On the CPU that is decided by `fit` beforehand; elsewhere by trying, from `AT_ONCE` down.

    Args:
        given: the number; None where it is to be found.
    """

    def __init__(self, given: int | None) -> None:
        self.given, self.count = given, given or AT_ONCE

    def fit(self, denoiser: Any, evaluate: Callable[[], Tensor]) -> Tensor:
        """What `evaluate` gives, the evaluation of one noise by which a bound is found on the CPU.

        A denoiser without a module inside has none.
        """
        module, sizes = module_in(denoiser), []

        def note(part: Any, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                sizes.append(output.nbytes)

        leaves = [] if module is None else [p for p in module.modules() if not [*p.children()]]
        with hooked(leaves, note):
            found = evaluate()
        if self.given is None and sizes and found.device.type == "cpu":
            self.count = max(1, min(AT_ONCE, ACTIVATIONS // sum(sizes)))
        return found

    def halve(self) -> None:
        """After the device ran out of memory.

        Raises:
            torch.OutOfMemoryError: the number was given, or is 1 already.
        """
        if self.given is not None or self.count == 1:
            raise torch.OutOfMemoryError(
                f"batch is {self.count}, and the device has no room for so many noises at a time"
                + ("; pass a smaller one, or none" if self.count > 1 else "")
            )
        self.count //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
