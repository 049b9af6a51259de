"""What goes wrong, said clearly: the argument, its value, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields

import torch
from torch import Tensor


class NonFiniteError(ValueError):
    """A NaN or an infinity appeared while sampling.

    Attributes:
        step: index of the step, counted from 0.
        samples: indices of the affected samples in the batch.
    """

    def __init__(self, what: str, step: int, sigma: float, samples: list[int]) -> None:
        self.step, self.samples = step, samples
        shown = ", ".join(map(str, samples[:8])) + (", ..." if len(samples) > 8 else "")
        super().__init__(
            f"{what} is not finite at step {step} (sigma = {sigma:g}), in samples {shown}"
        )


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in a registry, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{kind} {name!r} is unknown.{hint} Known: {', '.join(known)}.")


def check_options(kind: str, name: str, cls: type, options: Iterable[str]) -> None:
    """Raises ValueError for an option that is no field of the dataclass `cls`."""
    known = [field.name for field in fields(cls)]
    for option in options:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"option {option!r} does not exist for {kind} {name!r}; {has}")


def check_count(name: str, value: object, least: int = 1) -> int:
    """`value` if it is an int of `least` or more; raises ValueError where it is not."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; an int >= {least} is needed")
    return value


def check_batch(x: object, name: str = "x") -> Tensor:
    """`x` if it is a batch of samples: floating point, at least two dimensions, not empty.

    Raises:
        TypeError: not a tensor, or not of a real floating-point dtype.
        ValueError: no batch dimension, or nothing in it.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is a {type(x).__name__}; a torch.Tensor is needed")
    if not x.dtype.is_floating_point:
        raise TypeError(f"{name} has dtype {x.dtype}; a real floating-point dtype is needed")
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; (batch, *sample shape) is needed")
    if x.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: the batch is empty")
    return x


def non_finite_samples(x: Tensor) -> Tensor:
    """(B,) bool: which samples of `x` hold a NaN or an infinity. Does not wait for the device."""
    return ~torch.isfinite(x).flatten(1).all(dim=1)


def require_finite(what: str, bad: Tensor, step: int, sigma: float) -> None:
    """Raises NonFiniteError where `bad` (B,) of `non_finite_samples` says so. Waits for it."""
    if bool(bad.any()):
        raise NonFiniteError(what, step, sigma, bad.nonzero().flatten().tolist())
