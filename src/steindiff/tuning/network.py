"""The network inside a denoiser, and whether it is the one that was tuned."""

from __future__ import annotations

import math
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..denoisers import ClassifierFreeGuidance

KNOWN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SAME, ROUNDED = 1e-4, 1e-2
"""Relative difference of figures of n weights that are the same: SAME + ROUNDED/n^(1/2), which
rounding to bfloat16 stays below."""
PACKED = "_packed_params"
"""Where torch's quantized layers hold their weights, which are no parameters."""
DEPTH = 4
"""Objects inside each other that a network is looked for in."""


class Weights(NamedTuple):
    """Figures of a network's weights that need no names and no order.

    So they are the same in diffusers and in ComfyUI, in any precision and on any device.

    Attributes:
        count: how many there are.
        size: their root mean square.
        mean: the mean of their absolute values.
    """

    count: int
    size: float
    mean: float

    def __str__(self) -> str:
        return f"{self.count:,} weights of root mean square {self.size:.6g}"

    def same(self, other: Weights) -> bool:
        """Whether the two may be of one network."""
        slack = SAME + ROUNDED / self.count**0.5
        pairs = zip(self[1:], other[1:], strict=True)
        return self.count == other.count and all(math.isclose(*p, rel_tol=slack) for p in pairs)


def bare(denoiser: Any) -> Any:
    """The denoiser without guidance."""
    return denoiser.denoiser if isinstance(denoiser, ClassifierFreeGuidance) else denoiser


def module_in(thing: Any) -> nn.Module | None:
    """The module that a denoiser is, or that it wraps: of several the least deep.

    Of one that `torch.compile` wrapped, what is in it.
    """
    level = [thing]
    for _ in range(DEPTH + 1):
        for one in level:
            if isinstance(one, nn.Module):
                inner = getattr(one, "_orig_mod", one)
                return inner if isinstance(inner, nn.Module) else one
        level = [inner for one in level for inner in getattr(one, "__dict__", {}).values()]
    return None


@contextmanager
def hooked(parts: Sequence[nn.Module], note: Callable[..., object]) -> Iterator[None]:
    """While it lasts, `note` is told what these parts put out, as (part, input, output).

    Of this thread alone: a part that another thread evaluates has the same hooks. A compiled
    network runs as it was written meanwhile, for its graph knows no parts (torch 2.6; before it, a
    compiled one tells nothing).
    """
    here = threading.get_ident()

    def own(*given: Any) -> None:  # what it returned would take the output's place
        if threading.get_ident() == here:
            note(*given)

    handles = [part.register_forward_hook(own) for part in parts]
    # Whoever compiled a network has imported the compiler, which takes seconds.
    stance = getattr(torch.compiler, "set_stance", None) if "torch._dynamo" in sys.modules else None
    try:
        with nullcontext() if stance is None else stance("force_eager"):
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Read(NamedTuple):
    """Figures of a module, and the parameters that they are of with their versions."""

    parameters: Sequence[tuple[weakref.ref[Any], int]]
    found: Weights | None


_READ: weakref.WeakKeyDictionary[nn.Module, _Read] = weakref.WeakKeyDictionary()


def weights_of(thing: Any) -> Weights | None:
    """Of the network in a denoiser; None without one, or where its weights can't be read.

    Such are quantized ones, and those that are not in memory. A network is read once, which waits
    for the device, and again where a parameter has been replaced or written to since. What is
    written past autograd, to `parameter.data`, is not noticed.
    """
    module = module_in(thing)
    found = [] if module is None else [one for one in module.parameters() if one.numel()]
    if not found or any(one.dtype not in KNOWN or one.is_meta for one in found):
        return None
    assert module is not None
    if any(hasattr(part, PACKED) for part in module.modules()):
        return None
    if any(one.is_inference() for one in found):  # has no version
        return _figures(found)
    known = _READ.get(module)
    if known is None or not _unchanged(known, found):
        now = [(weakref.ref(one), one._version) for one in found]
        known = _READ[module] = _Read(now, _figures(found))
    return known.found


def _unchanged(known: _Read, parameters: Sequence[Tensor]) -> bool:
    return len(known.parameters) == len(parameters) and all(
        ref() is one and version == one._version
        for (ref, version), one in zip(known.parameters, parameters, strict=True)
    )


@torch.no_grad()
def _figures(parameters: Sequence[Tensor]) -> Weights | None:
    """Of all of them; each device is waited for once. None where one cannot be read."""
    on: dict[torch.device, list[Tensor]] = {}
    try:
        for one in parameters:
            on.setdefault(one.device, []).append(_norms(one))
    except NotImplementedError:  # by a class of tensors that is multiplied with and not read
        return None
    norms = torch.cat([torch.stack(each).cpu().double() for each in on.values()])
    count = sum(one.numel() for one in parameters)
    return Weights(
        count, float(norms[:, 1].square().sum() / count) ** 0.5, float(norms[:, 0].sum() / count)
    )


def _norms(weights: Tensor) -> Tensor:
    """(2,): the sum of absolute values, and the root of that of squares."""
    wide = torch.promote_types(weights.dtype, torch.float32)
    return torch.stack([torch.linalg.vector_norm(weights, order, dtype=wide) for order in (1, 2)])
